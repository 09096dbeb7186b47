//! A token taken apart: three strict base64url parts, two strict JSON objects, a header we understand in full (SAFE-8, SAFE-9).
//!
//! Refuses encrypted, nested, compressed and critical-extended tokens; never follows a key named by the token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{Algorithm, Refused};
use crate::model::{credential::MAX_SIGNED_BYTES, strict_json};

const MAX_DEPTH: usize = 16;
const MAX_KID_BYTES: usize = 256;

/// A well-formed token whose signature has not been looked at.
pub struct Parts {
    signed: Vec<u8>,
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    issuer: String,
    claims: Map<String, Value>,
}

impl Parts {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Refused::Invalid`] with the first thing wrong.
    pub fn parse(token: &str) -> Result<Self, Refused> {
        if token.len() > MAX_SIGNED_BYTES {
            return Err(Refused::Invalid("size"));
        }
        let texts: Vec<&str> = token.split('.').collect();
        let [header_text, claims_text, signature_text] = texts[..] else { return Err(Refused::Invalid("parts")) };
        let header = object(header_text)?;
        let (algorithm, kid, typ) = read_header(&header)?;
        let claims = object(claims_text)?;
        let Some(Value::String(issuer)) = claims.get("iss") else { return Err(Refused::Invalid("issuer")) };
        Ok(Self {
            signed: token.as_bytes()[..header_text.len() + 1 + claims_text.len()].to_vec(),
            signature: decode(signature_text)?,
            algorithm,
            kid,
            typ,
            issuer: issuer.clone(),
            claims,
        })
    }

    /// The issuer the token claims; good only for choosing among configured ones.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn signed(&self) -> &[u8] {
        &self.signed
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`, good only for telling keys apart.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

/// Strict unpadded base64url: the engine refuses padding, foreign characters and trailing bits.
fn decode(text: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refused::Invalid("base64url"))
}

fn object(text: &str) -> Result<Map<String, Value>, Refused> {
    strict_json::object(&decode(text)?, MAX_DEPTH).map_err(|_| Refused::Invalid("json"))
}

type Header = (Algorithm, Option<String>, Option<String>);

fn read_header(header: &Map<String, Value>) -> Result<Header, Refused> {
    // `cty` marks a nested token, `zip` a compressed and `enc` an encrypted one.
    if ["crit", "b64", "zip", "enc", "cty"].iter().any(|name| header.contains_key(*name)) {
        return Err(Refused::Invalid("header"));
    }
    let Some(Value::String(name)) = header.get("alg") else { return Err(Refused::Invalid("algorithm")) };
    let algorithm = Algorithm::named(name).ok_or(Refused::Invalid("algorithm"))?;
    let kid = text(header, "kid")?;
    if kid
        .as_ref()
        .is_some_and(|k| k.is_empty() || k.len() > MAX_KID_BYTES || !k.bytes().all(|b| (0x20..0x7f).contains(&b)))
    {
        return Err(Refused::Invalid("kid"));
    }
    Ok((algorithm, kid, text(header, "typ")?))
}

fn text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, Refused> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refused::Invalid("header")),
    }
}
