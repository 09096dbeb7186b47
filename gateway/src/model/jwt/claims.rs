//! The claims of a verified token against the rules of its issuer (SAFE-10, SAFE-11).
//!
//! Refuses missing and wrongly typed claims alike: a string `exp` is not an absent one.

use serde_json::{Map, Value};

use super::{Algorithm, Refused};

/// Tolerance for clocks that differ, in seconds.
pub const LEEWAY_SECONDS: i64 = 60;
/// Longest life of a token that any issuer may be given, in seconds.
pub const MAX_LIFE_SECONDS: i64 = 24 * 3600;
const MAX_INTEGER: i64 = 1 << 53;

/// What tokens of one issuer must look like.
#[derive(Clone, Debug)]
pub struct IssuerRules {
    /// `iss`, compared byte for byte.
    pub issuer: String,
    /// Our audience, which `aud` must contain.
    pub audience: String,
    /// Algorithms accepted of this issuer.
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ`, in lower case and without `application/`; an absent `typ` counts as `jwt`.
    pub types: Vec<String>,
    /// `azp` or `client_id` that tokens must carry; any if empty.
    pub clients: Vec<String>,
    /// Whether an array `aud` may name further audiences.
    pub allow_other_audiences: bool,
    /// Longest life (`exp` − `iat`), in seconds; never above [`MAX_LIFE_SECONDS`].
    pub max_life_seconds: i64,
    /// Longest time since `iat`, in seconds, whatever `exp` says; as long as the life if `None`.
    pub max_age_seconds: Option<i64>,
}

/// What a verified token says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `exp`, in seconds since 1970.
    pub expires_seconds: i64,
    /// `iat`, in seconds since 1970.
    pub issued_seconds: i64,
    /// Every claim, for the mapping to a caller.
    pub claims: Map<String, Value>,
}

impl IssuerRules {
    /// Checks the header's `typ`.
    pub(super) fn check_type(&self, typ: Option<&str>) -> Result<(), Refused> {
        let lower = typ.unwrap_or("jwt").to_ascii_lowercase();
        let plain = lower.strip_prefix("application/").unwrap_or(&lower);
        let forbidden = matches!(plain, "logout+jwt" | "secevent+jwt" | "refresh+jwt");
        if forbidden || !self.types.iter().any(|t| t == plain) {
            return Err(Refused::Invalid("type"));
        }
        Ok(())
    }
}

pub(super) fn check(claims: &Map<String, Value>, rules: &IssuerRules, now: i64) -> Result<Verified, Refused> {
    check_kind(claims)?;
    check_audience(claims, rules)?;
    check_client(claims, rules)?;
    let subject = match claims.get("sub") {
        Some(Value::String(sub)) if !sub.is_empty() => sub.clone(),
        _ => return Err(Refused::Invalid("subject")),
    };
    let expires = time(claims, "exp")?.ok_or(Refused::Invalid("exp"))?;
    let issued = time(claims, "iat")?.ok_or(Refused::Invalid("iat"))?;
    let not_before = time(claims, "nbf")?;
    if issued > now + LEEWAY_SECONDS || not_before.is_some_and(|at| at > now + LEEWAY_SECONDS) {
        return Err(Refused::Invalid("not yet valid"));
    }
    let life = expires - issued;
    if life <= 0 || life > rules.max_life_seconds.min(MAX_LIFE_SECONDS) {
        return Err(Refused::Invalid("life"));
    }
    // Last, so that only a token good in all else is called expired.
    if now >= expires + LEEWAY_SECONDS || rules.max_age_seconds.is_some_and(|most| now - issued > most) {
        return Err(Refused::Expired);
    }
    Ok(Verified {
        issuer: rules.issuer.clone(),
        subject,
        expires_seconds: expires,
        issued_seconds: issued,
        claims: claims.clone(),
    })
}

/// Logout and security-event tokens carry `events`; some providers say in a claim `typ` that a token is for refreshing.
fn check_kind(claims: &Map<String, Value>) -> Result<(), Refused> {
    let said = claims.get("typ").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    if claims.contains_key("events") || matches!(said.as_str(), "refresh" | "offline" | "logout") {
        return Err(Refused::Invalid("type"));
    }
    Ok(())
}

fn check_audience(claims: &Map<String, Value>, rules: &IssuerRules) -> Result<(), Refused> {
    let refused = Refused::Invalid("audience");
    let named: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => {
            many.iter().map(Value::as_str).collect::<Option<_>>().ok_or(Refused::Invalid("audience"))?
        }
        _ => return Err(refused),
    };
    let ours = named.iter().any(|a| *a == rules.audience);
    let others = named.iter().any(|a| *a != rules.audience);
    if !ours || (others && !rules.allow_other_audiences) {
        return Err(refused);
    }
    Ok(())
}

fn check_client(claims: &Map<String, Value>, rules: &IssuerRules) -> Result<(), Refused> {
    if rules.clients.is_empty() {
        return Ok(());
    }
    let said: Vec<&Value> = ["azp", "client_id"].iter().filter_map(|name| claims.get(*name)).collect();
    let known = |v: &&Value| v.as_str().is_some_and(|v| rules.clients.iter().any(|c| c == v));
    if said.is_empty() || !said.iter().all(known) {
        return Err(Refused::Invalid("client"));
    }
    Ok(())
}

/// A time claim: absent, or a JSON integer in 0…2^53.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, Refused> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(seconds) if (0..=MAX_INTEGER).contains(&seconds) => Ok(Some(seconds)),
            _ => Err(Refused::Invalid(name)),
        },
    }
}
