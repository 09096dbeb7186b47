//! Texts that callers carry for us and can neither read nor change: AES-256-GCM-SIV under a key of the database.
//!
//! Owns the key and the form of a sealed text. Refuses meaning: what is sealed, for whom and how long it holds is the user's affair, who
//! binds it to a purpose.
use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    args,
    db::Db,
    error::{Error, Result},
};

const NONCE_BYTES: usize = 12;

/// Seals and opens; cheap to clone.
#[derive(Clone)]
pub struct Seal(Aes256GcmSiv);

impl Seal {
    /// The seal of a name in a database; its key is made once and shared by all who use the database.
    ///
    /// # Errors
    /// As the database.
    pub async fn load(db: &Db, name: &str) -> Result<Self> {
        let fresh: [u8; 32] = rand::random();
        let sql = "INSERT INTO seal_key (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        db.execute(sql, args![name, fresh.to_vec()]).await?;
        let row = db.fetch_one("SELECT secret FROM seal_key WHERE name = $1", args![name]).await?;
        let cipher = Aes256GcmSiv::new_from_slice(&row.bytes("secret")?)
            .map_err(|_| Error::internal(format!("the key of the seal {name} has a wrong length")))?;
        Ok(Self(cipher))
    }

    /// The text to carry; it opens for the same purpose alone.
    pub fn seal(&self, purpose: &[u8], plain: &[u8]) -> String {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plain, aad: purpose };
        let sealed =
            self.0.encrypt(&Nonce::from(nonce), payload).expect("what is carried is far below the cipher's limit");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed for this purpose; `None` for anything else, and for texts longer than `bytes_max`.
    pub fn open(&self, purpose: &[u8], text: &str, bytes_max: usize) -> Option<Vec<u8>> {
        if text.len() > bytes_max {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        self.0.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: purpose }).ok()
    }
}
