//! The form of a platform token, `slw_` + id + secret + checksum, and the keyed hash that is stored of it (SAFE-21).
//!
//! Refuses to print a secret: the types here have no Display, and Debug shows the id alone.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// What every platform token begins with.
pub const PREFIX: &str = "slw_";
/// Characters of the id, which is public and names the token.
pub const ID_LEN: usize = 8;
/// Bytes of the secret.
pub const SECRET_BYTES: usize = 32;
/// Life of a token whose maker names none, in seconds: 30 days.
pub const DEFAULT_LIFE_SECONDS: i64 = 30 * 24 * 3600;
/// Longest life of a token, in seconds: 90 days.
pub const MAX_LIFE_SECONDS: i64 = 90 * 24 * 3600;

const SECRET_LEN: usize = 43;
const CHECK_BYTES: usize = 6;
const CHECK_LEN: usize = 8;
const TOKEN_LEN: usize = PREFIX.len() + ID_LEN + SECRET_LEN + CHECK_LEN;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A token in clear, held only while it is made or checked.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainToken {
    text: String,
}

impl std::fmt::Debug for PlainToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlainToken").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Why a text is not a platform token. Goes to audit and metrics, never to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Not the right number of characters, or another prefix.
    Shape,
    /// The id has a character outside `0-9a-z`.
    Id,
    /// The secret is not canonical unpadded base64url.
    Secret,
    /// The checksum does not match: mistyped or cut.
    Checksum,
}

impl PlainToken {
    /// Makes a token of random bytes that the caller drew; `None` when `id_entropy` holds too few usable bytes, draw again then.
    #[must_use]
    pub fn mint(id_entropy: &[u8], secret: &[u8; SECRET_BYTES]) -> Option<Self> {
        // 252 is the largest multiple of 36 in a byte: what lies above would favour the first letters.
        let id: String = id_entropy
            .iter()
            .filter(|b| **b < 252)
            .take(ID_LEN)
            .map(|b| char::from(ALPHABET[usize::from(b % 36)]))
            .collect();
        if id.len() < ID_LEN {
            return None;
        }
        let body = format!("{PREFIX}{id}{}", URL_SAFE_NO_PAD.encode(secret));
        let check = checksum(&body);
        Some(Self { text: body + &check })
    }

    /// Reads a credential as sent; nothing is looked up before this succeeds.
    ///
    /// # Errors
    /// [`Malformed`] with the first thing wrong.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() != TOKEN_LEN || !text.is_ascii() || !text.starts_with(PREFIX) {
            return Err(Malformed::Shape);
        }
        let (body, check) = text.split_at(TOKEN_LEN - CHECK_LEN);
        let (id, secret) = body[PREFIX.len()..].split_at(ID_LEN);
        if !id.bytes().all(|b| ALPHABET.contains(&b)) {
            return Err(Malformed::Id);
        }
        match URL_SAFE_NO_PAD.decode(secret) {
            Ok(bytes) if bytes.len() == SECRET_BYTES => {}
            _ => return Err(Malformed::Secret),
        }
        if checksum(body) != check {
            return Err(Malformed::Checksum);
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The public id, as in `tokens/<id>`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[PREFIX.len()..PREFIX.len() + ID_LEN]
    }

    /// The whole credential in clear: for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What is stored: HMAC-SHA-256 of the whole token under the gateway's key.
    #[must_use]
    pub fn keyed_hash(&self, key: &[u8; 32]) -> Vec<u8> {
        self.mac(key).finalize().into_bytes().to_vec()
    }

    /// Whether this token is the one that `stored` was made of; takes the same time for every wrong one.
    #[must_use]
    pub fn matches(&self, key: &[u8; 32], stored: &[u8]) -> bool {
        self.mac(key).verify_slice(stored).is_ok()
    }

    fn mac(&self, key: &[u8; 32]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
        mac.update(b"slipway-token-v1");
        mac.update(self.text.as_bytes());
        mac
    }
}

fn checksum(body: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(body.as_bytes())[..CHECK_BYTES])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> PlainToken {
        PlainToken::mint(&[7; 16], &[42; 32]).unwrap()
    }

    #[test]
    fn a_minted_token_reads_back_and_matches_its_hash_only_under_its_key() {
        let token = sample();
        let read = PlainToken::parse(token.expose()).unwrap();
        assert_eq!(read.id(), "77777777");
        let hash = token.keyed_hash(&[1; 32]);
        assert!(read.matches(&[1; 32], &hash));
        assert!(!read.matches(&[2; 32], &hash));
        assert!(!read.matches(&[1; 32], &hash[..31]));
        assert!(!read.matches(&[1; 32], &[]));
        assert!(!PlainToken::mint(&[7; 16], &[43; 32]).unwrap().matches(&[1; 32], &hash));
    }

    #[test]
    fn every_single_character_change_is_refused() {
        let token = sample();
        for at in 0..token.expose().len() {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            assert!(PlainToken::parse(std::str::from_utf8(&bytes).unwrap()).is_err(), "position {at}");
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let good = sample().expose().to_owned();
        for bad in [
            "",
            "slw_",
            " ",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{good} "),
            &good.to_uppercase(),
            &good.replace("slw_", "slv_"),
        ] {
            assert!(PlainToken::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(PlainToken::parse(&"é".repeat(TOKEN_LEN / 2)), Err(Malformed::Shape));
    }

    #[test]
    fn debug_hides_the_secret_and_biased_bytes_are_not_used() {
        let token = sample();
        assert!(!format!("{token:?}").contains(&token.expose()[ID_LEN + PREFIX.len()..]));
        assert!(PlainToken::mint(&[255; 64], &[1; 32]).is_none());
    }
}
