//! Signed tokens of configured issuers, checked strictly from the bytes to the claims (SAFE-8 to SAFE-11).
//!
//! Refuses to look at a claim before the signature holds, except `iss` for choosing the issuer; refuses to tell a caller why.

pub mod claims;
pub mod jwk;
mod parts;

pub use claims::{IssuerRules, Verified};
pub use jwk::{Algorithm, KeySet};
pub use parts::Parts;

/// Why a token is refused. Only [`Refused::Expired`] may be told to a caller: it is reached after the signature held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Everything but expiry; the word goes to audit and metrics.
    Invalid(&'static str),
    /// No key of the set has the token's `kid`: the set may be old.
    UnknownKey,
    /// Signed and well-formed, but past its end.
    Expired,
}

/// Verifies a token against the rules and keys of one issuer at `now` (seconds since 1970).
///
/// # Errors
/// [`Refused`] with the first reason.
pub fn verify(parts: &Parts, rules: &IssuerRules, keys: &KeySet, now_seconds: i64) -> Result<Verified, Refused> {
    if parts.issuer() != rules.issuer {
        return Err(Refused::Invalid("issuer"));
    }
    if !rules.algorithms.contains(&parts.algorithm()) {
        return Err(Refused::Invalid("algorithm"));
    }
    rules.check_type(parts.typ())?;
    let key = keys.find(parts.kid(), parts.algorithm())?;
    key.verify(parts.algorithm(), parts.signed(), parts.signature())?;
    claims::check(parts.claims(), rules, now_seconds)
}

#[cfg(test)]
mod tests;
