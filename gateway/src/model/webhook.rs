//! Whether a webhook delivery was signed by its sender, over the raw body and before anything is parsed (SAFE-27).
//!
//! Refuses missing, short and doubled material: an endpoint without a usable secret cannot be built.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Shortest secret of an endpoint, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;
/// Most secrets valid at once: the old and the new one during a rotation.
pub const MAX_SECRETS: usize = 2;
/// Largest body of a delivery, in bytes: 25 MiB (SAFE-29).
pub const MAX_BODY_BYTES: usize = 25 * 1024 * 1024;

/// The secrets of one endpoint, one or two of them.
pub struct Secrets(Vec<Vec<u8>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// Why secrets cannot guard an endpoint; the process refuses to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No secret, or more than [`MAX_SECRETS`].
    Count,
    /// A secret shorter than [`MIN_SECRET_BYTES`].
    Short,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count => write!(f, "must be one secret, or two during a rotation"),
            Self::Short => write!(f, "a secret must have at least {MIN_SECRET_BYTES} bytes"),
        }
    }
}

impl Secrets {
    /// Takes the secrets of an endpoint.
    ///
    /// # Errors
    /// [`Unusable`] if there are none, too many, or one is too short.
    pub fn new(secrets: Vec<Vec<u8>>) -> Result<Self, Unusable> {
        if secrets.is_empty() || secrets.len() > MAX_SECRETS {
            return Err(Unusable::Count);
        }
        if secrets.iter().any(|s| s.len() < MIN_SECRET_BYTES) {
            return Err(Unusable::Short);
        }
        Ok(Self(secrets))
    }

    /// Whether `X-Hub-Signature-256`, given as every value the request carried, signs `body`.
    #[must_use]
    pub fn verify_github(&self, signatures: &[&[u8]], body: &[u8]) -> bool {
        let [signature] = signatures else { return false };
        let Some(tag) = signature.strip_prefix(b"sha256=").and_then(lower_hex) else { return false };
        // Each secret is tried, without leaving early, so that time does not tell which one matched.
        self.0.iter().fold(false, |found, secret| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
            mac.update(body);
            found | mac.verify_slice(&tag).is_ok()
        })
    }
}

/// Exactly 64 characters of lower-case hexadecimal.
fn lower_hex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() != 64 || text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    hex::decode(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sign(secret: &[u8], body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn github_example_from_its_documentation_verifies() {
        // The secret of the published example is short, so it is checked below the length rule.
        let secrets = Secrets(vec![b"It's a Secret to Everybody".to_vec()]);
        let signature = b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(secrets.verify_github(&[signature], b"Hello, World!"));
    }

    #[test]
    fn both_secrets_of_a_rotation_are_valid_and_no_third() {
        let secrets = Secrets::new(vec![vec![1; 32], vec![2; 32]]).unwrap();
        for (secret, good) in [([1; 32], true), ([2; 32], true), ([3; 32], false)] {
            assert_eq!(secrets.verify_github(&[sign(&secret, b"{}").as_bytes()], b"{}"), good);
        }
    }

    #[test]
    fn bad_signatures_are_refused() {
        let secrets = Secrets::new(vec![vec![1; 32]]).unwrap();
        let good = sign(&[1; 32], b"{}");
        assert!(secrets.verify_github(&[good.as_bytes()], b"{}"));
        assert!(!secrets.verify_github(&[good.as_bytes()], b"{} "));
        assert!(!secrets.verify_github(&[], b"{}"));
        assert!(!secrets.verify_github(&[good.as_bytes(), good.as_bytes()], b"{}"));
        let digits = &good["sha256=".len()..];
        let bad = [
            String::new(),
            digits.to_owned(),
            format!("sha1={digits}"),
            format!("SHA256={digits}"),
            format!("sha256= {digits}"),
            format!("sha256={}", digits.to_uppercase()),
            format!("sha256={}", &digits[1..]),
            format!("{good}00"),
            "sha256=".to_owned(),
            format!("sha256={}", "zz".repeat(32)),
        ];
        for signature in bad {
            assert!(!secrets.verify_github(&[signature.as_bytes()], b"{}"), "{signature}");
        }
    }

    #[test]
    fn endpoints_without_a_usable_secret_cannot_be_built() {
        assert_eq!(Secrets::new(vec![]).unwrap_err(), Unusable::Count);
        assert_eq!(Secrets::new(vec![vec![0; 32]; 3]).unwrap_err(), Unusable::Count);
        assert_eq!(Secrets::new(vec![vec![]]).unwrap_err(), Unusable::Short);
        assert_eq!(Secrets::new(vec![vec![0; 32], vec![0; 31]]).unwrap_err(), Unusable::Short);
    }
}
