//! Identifiers and the short names made from them (ENV-4).
//!
//! Owns UUIDs, slugs and the base32 hashes used in names. Refuses meaning: which parts a name has is its service's rule.
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A time-ordered UUIDv7 as text.
pub fn uuid7() -> String {
    Uuid::now_v7().to_string()
}

/// A random UUIDv4 as text.
pub fn uuid4() -> String {
    Uuid::new_v4().to_string()
}

/// Lower case; runs outside `[a-z0-9]` become `-`; trimmed, cut to `n`, trimmed again; empty becomes `x` (ENV-4).
pub fn slug(text: &str, n: usize) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let cut = out.trim_matches('-').chars().take(n).collect::<String>();
    let cut = cut.trim_matches('-');
    if cut.is_empty() { "x".to_owned() } else { cut.to_owned() }
}

/// First `n` characters of the lower-case unpadded RFC 4648 base32 of `bytes`.
pub fn base32(bytes: &[u8], n: usize) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase().chars().take(n).collect()
}

/// h5 of a uid: five base32 characters of its 16 bytes; of any other text, of the text's SHA-256 (ENV-4).
pub fn h5(text: &str) -> String {
    hash(text, 5)
}

/// h8: as [`h5`] with eight characters (DB-3, ENV-5).
pub fn h8(text: &str) -> String {
    hash(text, 8)
}

fn hash(text: &str, n: usize) -> String {
    match Uuid::parse_str(text) {
        Ok(uid) => base32(uid.as_bytes(), n),
        Err(_) => base32(&Sha256::digest(text.as_bytes()), n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_examples_of_env_6() {
        assert_eq!(h5("3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b"), "h4vyy");
        assert_eq!(slug("Payment_Gateway.Service--v2", 22), "payment-gateway-servic");
        assert_eq!(slug("Payment_Gateway.Service--v2", 40), "payment-gateway-service-v2");
        let branch = "feature/checkout-new-payment-provider-with-retry-and-fallback-";
        assert_eq!(h5(&format!("github.com/91234567:refs/heads/{branch}a")), "ejps2");
        assert_eq!(h5(&format!("github.com/91234567:refs/heads/{branch}b")), "udyw7");
    }

    #[test]
    fn slugs_are_labels() {
        for (text, n, want) in
            [("", 5, "x"), ("---", 5, "x"), ("Äpfel", 9, "pfel"), ("a--b", 9, "a-b"), ("abc-def", 4, "abc")]
        {
            assert_eq!(slug(text, n), want, "{text}");
        }
    }
}
