//! Sealing bytes under a key, and authenticating them.
//!
//! Owns the cipher, nonces and how associated data is laid out. Refuses keys that print.
use std::fmt;

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// A 256-bit key, wiped when dropped.
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

impl Key {
    /// A random key.
    pub fn random() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// A key of these bytes; `None` unless there are 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// The key derived for one purpose.
    pub fn derive(&self, purpose: &str) -> Self {
        Self(Zeroizing::new(self.mac(&[b"slipway-secrets-v1", purpose.as_bytes()])))
    }

    /// HMAC-SHA256 over the parts, each after its length.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(self.0.as_slice()).expect("HMAC takes a key of any length");
        mac.update(&Zeroizing::new(joined(parts)));
        mac.finalize().into_bytes().into()
    }

    /// Nonce and ciphertext of `plain`, bound to the parts.
    pub fn seal(&self, bound_to: &[&[u8]], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: &joined(bound_to) };
        let sealed =
            self.cipher().encrypt(&Nonce::from(nonce), payload).expect("a document is far below the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed under this key and bound to the same parts; `None` for anything else.
    pub fn open(&self, bound_to: &[&[u8]], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: &joined(bound_to) };
        self.cipher().decrypt(&Nonce::from(*nonce), payload).ok().map(Zeroizing::new)
    }

    /// Another key, sealed under this one.
    pub fn wrap(&self, bound_to: &[&[u8]], key: &Key) -> Vec<u8> {
        self.seal(bound_to, key.0.as_slice())
    }

    /// A key that was sealed under this one.
    pub fn unwrap(&self, bound_to: &[&[u8]], wrapped: &[u8]) -> Option<Key> {
        Self::from_bytes(&self.open(bound_to, wrapped)?)
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new_from_slice(self.0.as_slice()).expect("the key has 32 bytes")
    }
}

/// Lengths go before the parts, so that no two lists run together.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_the_same_binding() {
        let (key, other) = (Key::random(), Key::random());
        let sealed = key.seal(&[b"a", b"bc"], b"value");
        assert_eq!(key.open(&[b"a", b"bc"], &sealed).unwrap().as_slice(), b"value");
        assert!(key.open(&[b"ab", b"c"], &sealed).is_none());
        assert!(other.open(&[b"a", b"bc"], &sealed).is_none());
        assert!(key.open(&[b"a", b"bc"], &sealed[..11]).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(&[b"a", b"bc"], &changed).is_none(), "byte {at}");
        }
        assert_ne!(key.seal(&[], b"value"), key.seal(&[], b"value"));
    }

    #[test]
    fn keys_do_not_print_and_purposes_differ() {
        let key = Key::from_bytes(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "Key(***)");
        assert_ne!(key.derive("wrap").mac(&[b"x"]), key.derive("chain").mac(&[b"x"]));
        assert!(Key::from_bytes(&[7; 31]).is_none());
    }
}
