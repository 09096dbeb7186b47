//! The keys of an issuer and what each may verify (SAFE-9, SAFE-12).
//!
//! Refuses symmetric keys, private keys, encryption keys, short RSA keys and every algorithm a key's type does not fit.

use aws_lc_rs::signature as sig;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::Refused;
use crate::model::strict_json;

/// Largest key set document, in bytes.
pub const MAX_SET_BYTES: usize = 512 * 1024;
/// Most keys in one set.
pub const MAX_KEYS: usize = 100;
const MAX_DEPTH: usize = 16;
const MIN_RSA_BYTES: usize = 256;
const MAX_RSA_BYTES: usize = 1024;
const MIN_RSA_EXPONENT: u64 = 65_537;

/// A signature algorithm we accept; everything else, `none` and the HMAC family above all, has no value here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of a JOSE name, compared byte for byte.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "PS256" => Self::Ps256,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// One usable verification key.
pub struct Key {
    kid: Option<String>,
    alg: Option<Algorithm>,
    material: Material,
}

/// The usable keys of one issuer.
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a key set document; keys that may not verify our tokens are left out.
    ///
    /// # Errors
    /// [`Refused::Invalid`] when the document itself is unusable.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_SET_BYTES {
            return Err(Refused::Invalid("key set size"));
        }
        let set = strict_json::object(bytes, MAX_DEPTH).map_err(|_| Refused::Invalid("key set"))?;
        let Some(Value::Array(keys)) = set.get("keys") else { return Err(Refused::Invalid("key set")) };
        if keys.len() > MAX_KEYS {
            return Err(Refused::Invalid("key set size"));
        }
        Ok(Self { keys: keys.iter().filter_map(|k| Key::read(k.as_object()?)).collect() })
    }

    /// The one key that may verify a token with this `kid` and algorithm.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Refused> {
        let named = |key: &&Key| kid.is_none() || key.kid.as_deref() == kid;
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(Refused::Invalid("ambiguous key")),
            // A key of that name but of another type is no reason to fetch the set again.
            (None, _) if kid.is_some() && self.keys.iter().any(|key| named(&key)) => Err(Refused::Invalid("key type")),
            (None, _) => Err(Refused::UnknownKey),
        }
    }
}

impl Key {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if jwk.contains_key("d") || jwk.get("use").is_some_and(|u| u != "sig") {
            return None;
        }
        if let Some(ops) = jwk.get("key_ops") {
            ops.as_array()?.iter().find(|op| *op == "verify")?;
        }
        let alg = match jwk.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name.as_str()?)?),
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => rsa(bytes("n")?, bytes("e")?)?,
            ("EC", Some("P-256")) => Material::P256(point(&bytes("x")?, &bytes("y")?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&bytes("x")?, &bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        Some(Self { kid, alg, material })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let by_type = matches!(
            (&self.material, algorithm),
            (Material::Rsa { .. }, Algorithm::Rs256 | Algorithm::Ps256)
                | (Material::P256(_), Algorithm::Es256)
                | (Material::P384(_), Algorithm::Es384)
                | (Material::Ed25519(_), Algorithm::EdDsa)
        );
        by_type && self.alg.is_none_or(|own| own == algorithm)
    }

    pub(super) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> Result<(), Refused> {
        let refused = Refused::Invalid("signature");
        if !self.fits(algorithm) {
            return Err(Refused::Invalid("key type"));
        }
        let (scheme, key): (&'static dyn sig::VerificationAlgorithm, _) = match &self.material {
            Material::Rsa { n, e } => {
                let scheme = if algorithm == Algorithm::Ps256 {
                    &sig::RSA_PSS_2048_8192_SHA256
                } else {
                    &sig::RSA_PKCS1_2048_8192_SHA256
                };
                let key = sig::RsaPublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
                return key.verify(scheme, signed, signature).map_err(|_| refused);
            }
            Material::P256(key) => (&sig::ECDSA_P256_SHA256_FIXED, key),
            Material::P384(key) => (&sig::ECDSA_P384_SHA384_FIXED, key),
            Material::Ed25519(key) => (&sig::ED25519, key),
        };
        if matches!(algorithm, Algorithm::Es256 | Algorithm::Es384) && !halves_not_zero(signature) {
            return Err(refused);
        }
        sig::UnparsedPublicKey::new(scheme, key).verify(signed, signature).map_err(|_| refused)
    }
}

fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Material> {
    let exponent = e.iter().try_fold(0u64, |sum, b| sum.checked_mul(256).map(|s| s | u64::from(*b)))?;
    let long_enough = (MIN_RSA_BYTES..=MAX_RSA_BYTES).contains(&n.len()) && n.first().is_some_and(|b| *b >= 0x80);
    let plain = e.first().is_some_and(|b| *b != 0) && exponent >= MIN_RSA_EXPONENT && exponent % 2 == 1;
    (long_enough && plain).then_some(Material::Rsa { n, e })
}

fn point(x: &[u8], y: &[u8], size: usize) -> Option<Vec<u8>> {
    (x.len() == size && y.len() == size).then(|| [&[4], x, y].concat())
}

fn halves_not_zero(signature: &[u8]) -> bool {
    let (r, s) = signature.split_at(signature.len() / 2);
    r.iter().any(|b| *b != 0) && s.iter().any(|b| *b != 0)
}
