//! The keys of an open engine and what is done with them.
//!
//! Owns the envelope: which key seals what, bound to what. Refuses a row at another place than it was written for.
use std::fmt;

use hmac::digest::Digest as _;
use sha2::Sha256;
use slipway_kit::{
    error::{Error, Result},
    id,
};
use subtle::ConstantTimeEq as _;

use super::envelope::Key;
use crate::{
    error::VALUE_DAMAGED,
    model::{document::Document, name::Path},
};

/// What a database keeps to know its master key again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of the engine.
    pub engine_id: String,
    /// Keyed check over the id: right only under the right key.
    pub key_check: Vec<u8>,
    /// Plain sum over both: right unless the row was changed.
    pub row_sum: Vec<u8>,
}

impl Identity {
    pub(super) fn of(master: &Key, engine_id: &str) -> Self {
        let key_check = check(master, engine_id);
        let row_sum = sum(engine_id, &key_check);
        Self { engine_id: engine_id.to_owned(), key_check, row_sum }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.row_sum == sum(&self.engine_id, &self.key_check)
    }

    pub(super) fn is_of(&self, master: &Key) -> bool {
        bool::from(check(master, &self.engine_id).ct_eq(&self.key_check))
    }
}

fn check(master: &Key, engine_id: &str) -> Vec<u8> {
    master.derive("check").mac(&[engine_id.as_bytes()]).to_vec()
}

fn sum(engine_id: &str, key_check: &[u8]) -> Vec<u8> {
    Sha256::digest([engine_id.as_bytes(), key_check].concat()).to_vec()
}

/// The keys of an open engine.
pub struct Ring {
    engine_id: String,
    wrap: Key,
    chain: Key,
    request: Key,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({})", self.engine_id)
    }
}

/// A service's key-encryption key as it is stored.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// Id.
    pub id: String,
    /// Ciphertext under the master's wrapping key.
    pub wrapped: Vec<u8>,
}

/// A service's key-encryption key, opened.
#[derive(Debug)]
pub struct ServiceKey {
    id: String,
    key: Key,
}

/// One version as it is stored.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    /// Id of the service's key.
    pub key_id: String,
    /// Data key, under the service's key.
    pub wrapped_key: Vec<u8>,
    /// The document, under the data key.
    pub ciphertext: Vec<u8>,
    /// SHA-256 of the ciphertext; stays when the ciphertext is destroyed.
    pub digest: Vec<u8>,
}

impl Ring {
    pub(super) fn new(master: &Key, engine_id: &str) -> Self {
        let [wrap, chain, request] = ["wrap", "chain", "request"].map(|purpose| master.derive(purpose));
        Self { engine_id: engine_id.to_owned(), wrap, chain, request }
    }

    /// Id of the engine.
    pub fn engine_id(&self) -> &str {
        &self.engine_id
    }

    /// A new key-encryption key for a service.
    pub fn new_service_key(&self, segment: &str) -> (ServiceKey, WrappedKey) {
        let (id, key) = (id::uuid4(), Key::random());
        let wrapped = self.wrap.wrap(&self.service_binding(segment, &id), &key);
        (ServiceKey { id: id.clone(), key }, WrappedKey { id, wrapped })
    }

    /// Opens a service's key.
    pub fn service_key(&self, segment: &str, stored: &WrappedKey) -> Result<ServiceKey> {
        let key = self.wrap.unwrap(&self.service_binding(segment, &stored.id), &stored.wrapped).ok_or_else(damaged)?;
        Ok(ServiceKey { id: stored.id.clone(), key })
    }

    /// Seals a document for one version of one path.
    pub fn seal(&self, key: &ServiceKey, path: &Path, version: i64, document: &Document) -> Sealed {
        let data_key = Key::random();
        let (path, version) = (path.to_string(), version.to_be_bytes());
        let wrapped_key = key.key.wrap(&self.version_binding(b"data-key", &path, &version, &key.id), &data_key);
        let ciphertext = data_key.seal(&self.version_binding(b"value", &path, &version, &key.id), &document.encode());
        let digest = Sha256::digest(&ciphertext).to_vec();
        Sealed { key_id: key.id.clone(), wrapped_key, ciphertext, digest }
    }

    /// Opens the document of one version of one path; `VALUE_DAMAGED` if the row is not what was written there.
    pub fn open(&self, key: &ServiceKey, path: &Path, version: i64, sealed: &Sealed) -> Result<Document> {
        let (path, version) = (path.to_string(), version.to_be_bytes());
        let data_key = key
            .key
            .unwrap(&self.version_binding(b"data-key", &path, &version, &key.id), &sealed.wrapped_key)
            .ok_or_else(damaged)?;
        let binding = self.version_binding(b"value", &path, &version, &key.id);
        let plain = data_key.open(&binding, &sealed.ciphertext).ok_or_else(damaged)?;
        Document::decode(&plain).ok_or_else(damaged)
    }

    /// The link of a version to the one before it (SEC-74); `previous` is empty for the first.
    pub fn link(&self, path: &Path, version: i64, sealed: &Sealed, previous: &[u8]) -> Vec<u8> {
        let path = path.to_string();
        let parts: [&[u8]; 6] = [
            self.engine_id.as_bytes(),
            path.as_bytes(),
            &version.to_be_bytes(),
            sealed.key_id.as_bytes(),
            &sealed.digest,
            previous,
        ];
        self.chain.mac(&parts).to_vec()
    }

    /// Authenticates a count of writes outside the database.
    pub fn attest(&self, writes: i64) -> Vec<u8> {
        self.chain.mac(&[b"witness", self.engine_id.as_bytes(), &writes.to_be_bytes()]).to_vec()
    }

    /// A hash of a request that only the holder of the key file can test guesses against (SEC-16).
    pub fn request_hash(&self, parts: &[&[u8]]) -> String {
        hex::encode(self.request.mac(parts))
    }

    fn service_binding<'a>(&'a self, segment: &'a str, key_id: &'a str) -> [&'a [u8]; 4] {
        [b"service-key", self.engine_id.as_bytes(), segment.as_bytes(), key_id.as_bytes()]
    }

    fn version_binding<'a>(
        &'a self,
        what: &'a [u8],
        path: &'a str,
        version: &'a [u8],
        key_id: &'a str,
    ) -> [&'a [u8]; 5] {
        [what, self.engine_id.as_bytes(), path.as_bytes(), version, key_id.as_bytes()]
    }
}

fn damaged() -> Error {
    Error::new(&VALUE_DAMAGED, "the stored value fails its integrity check")
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret as _, SecretString};

    use super::*;
    use crate::{
        model::name::Tier,
        world::engine::{Master, Seal},
    };

    fn ring(byte: u8, engine_id: &str) -> Ring {
        Ring::new(&Key::from_bytes(&[byte; 32]).unwrap(), engine_id)
    }

    fn path(segment: &str, tier: Tier) -> Path {
        Path::new(segment, tier, "").unwrap()
    }

    fn document() -> Document {
        [("A".to_owned(), SecretString::from("value"))].into_iter().collect()
    }

    #[test]
    fn a_version_opens_where_it_was_written_and_nowhere_else() {
        let (mine, at) = (ring(1, "e"), path("pay-aaaaa", Tier::Staging));
        let (key, stored) = mine.new_service_key("pay-aaaaa");
        let sealed = mine.seal(&key, &at, 2, &document());
        assert_eq!(mine.open(&key, &at, 2, &sealed).unwrap().get("A").unwrap().expose_secret(), "value");
        let again = mine.service_key("pay-aaaaa", &stored).unwrap();
        assert!(mine.open(&again, &at, 2, &sealed).is_ok());

        let (other_key, _) = mine.new_service_key("pay-aaaaa");
        let places: [(&str, Result<Document>); 6] = [
            ("another version", mine.open(&key, &at, 1, &sealed)),
            ("another tier", mine.open(&key, &path("pay-aaaaa", Tier::Production), 2, &sealed)),
            ("another service", mine.open(&key, &path("pay-bbbbb", Tier::Staging), 2, &sealed)),
            ("another service's key", mine.open(&other_key, &at, 2, &sealed)),
            ("another engine", ring(1, "f").open(&key, &at, 2, &sealed)),
            ("nothing", mine.open(&key, &at, 2, &Sealed { key_id: sealed.key_id.clone(), ..Sealed::default() })),
        ];
        for (place, opened) in places {
            assert!(opened.unwrap_err().is(&VALUE_DAMAGED), "{place}");
        }
    }

    #[test]
    fn a_service_key_opens_for_its_service_under_its_master_only() {
        let (_, stored) = ring(1, "e").new_service_key("pay-aaaaa");
        let renamed = WrappedKey { id: "other".to_owned(), ..stored.clone() };
        for (ring, segment, stored) in [
            (ring(1, "e"), "pay-bbbbb", &stored),
            (ring(2, "e"), "pay-aaaaa", &stored),
            (ring(1, "f"), "pay-aaaaa", &stored),
            (ring(1, "e"), "pay-aaaaa", &renamed),
        ] {
            assert!(ring.service_key(segment, stored).unwrap_err().is(&VALUE_DAMAGED));
        }
    }

    #[test]
    fn equal_documents_have_unequal_ciphertexts_and_links_name_their_place() {
        let (mine, at) = (ring(1, "e"), path("pay-aaaaa", Tier::Staging));
        let (key, _) = mine.new_service_key("pay-aaaaa");
        let (one, two) = (mine.seal(&key, &at, 1, &document()), mine.seal(&key, &at, 1, &document()));
        assert!(one.ciphertext != two.ciphertext && one.wrapped_key != two.wrapped_key && one.digest != two.digest);
        let link = mine.link(&at, 1, &one, b"");
        assert_eq!(link, mine.link(&at, 1, &one, b""));
        let others = [
            mine.link(&at, 2, &one, b""),
            mine.link(&at, 1, &two, b""),
            mine.link(&at, 1, &one, b"x"),
            mine.link(&path("pay-aaaaa", Tier::Production), 1, &one, b""),
            ring(2, "e").link(&at, 1, &one, b""),
            ring(1, "f").link(&at, 1, &one, b""),
        ];
        assert!(others.iter().all(|other| *other != link));
    }

    #[test]
    fn a_wrong_key_is_told_from_damage() {
        let (right, wrong) = (Master::of_test(1), Master::of_test(2));
        let identity = right.identity("e");
        assert!(right.ring(&identity).is_ok());
        assert_eq!(wrong.ring(&identity).unwrap_err(), Seal::KeyWrong);
        let renamed = Identity { engine_id: "f".to_owned(), ..identity.clone() };
        let mut flipped = identity;
        flipped.key_check[0] ^= 1;
        for damaged in [renamed, flipped] {
            assert_eq!(right.ring(&damaged).unwrap_err(), Seal::EngineDamaged);
        }
    }

    #[test]
    fn requests_hash_under_the_master() {
        let (one, two) = (ring(1, "e"), ring(2, "e"));
        assert_eq!(one.request_hash(&[b"4711"]), one.request_hash(&[b"4711"]));
        assert_ne!(one.request_hash(&[b"4711"]), one.request_hash(&[b"47", b"11"]));
        assert_ne!(one.request_hash(&[b"4711"]), two.request_hash(&[b"4711"]));
    }
}
