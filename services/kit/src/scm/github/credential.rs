//! The credential of a connection: a token from a file, or an installation's token by the App's key.
//!
//! Owns when it is read and renewed. Refuses to show it: neither it nor the key is in an error, a log line or a debug print.
use std::{path::PathBuf, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use super::super::{SCM_CREDENTIAL_UNREADABLE, ScmConfig};
use crate::error::{Error, Result};

const FILE_BYTES_MAX: u64 = 64 << 10;
/// Life of the App's assertion; the provider takes at most ten minutes.
const ASSERTION_SECONDS: i64 = 540;
/// How long before its end an installation's token is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// How a connection proves itself.
pub(super) enum Credential {
    /// A token, read from its file each time, so that a new one counts at once.
    Token(PathBuf),
    /// An App's installation.
    App {
        /// Id of the App.
        app_id: u64,
        /// Id of the installation.
        installation_id: u64,
        /// Private key in PEM.
        key_file: PathBuf,
        /// The installation's token while it lasts.
        held: tokio::sync::Mutex<Option<Held>>,
    },
}

/// An installation's token.
pub(super) struct Held {
    pub(super) token: SecretString,
    pub(super) until_us: i64,
}

impl Held {
    /// Whether it lasts long enough to be used.
    pub(super) fn is_fresh(&self) -> bool {
        let before = i64::try_from(RENEW_BEFORE.as_micros()).unwrap_or(0);
        jiff::Timestamp::now().as_microsecond() < self.until_us - before
    }
}

#[derive(Serialize)]
struct Claims {
    iat: i64,
    exp: i64,
    iss: String,
}

impl Credential {
    pub(super) fn of(config: &ScmConfig) -> Result<Self> {
        match (&config.token_file, config.app_id, config.installation_id, &config.private_key_file) {
            (Some(file), ..) => Ok(Self::Token(file.clone())),
            (None, Some(app_id), Some(installation_id), Some(key_file)) => Ok(Self::App {
                app_id,
                installation_id,
                key_file: key_file.clone(),
                held: tokio::sync::Mutex::new(None),
            }),
            _ => Err(Error::internal("the configuration was checked")),
        }
    }
}

/// The token of a file.
pub(super) fn token(file: &std::path::Path) -> Result<SecretString> {
    let text = read(file)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(unreadable(file, "holds no token"));
    }
    Ok(SecretString::from(token.to_owned()))
}

/// The App's assertion, signed by its key.
pub(super) fn assertion(app_id: u64, key_file: &std::path::Path) -> Result<SecretString> {
    let pem = read(key_file)?;
    // The library's own message is left out: it could repeat what the file holds.
    let key = EncodingKey::from_rsa_pem(pem.as_bytes())
        .map_err(|_| unreadable(key_file, "holds no RSA private key in PEM"))?;
    let now = jiff::Timestamp::now().as_second();
    // A minute back, for clocks that differ.
    let claims = Claims { iat: now - 60, exp: now + ASSERTION_SECONDS, iss: app_id.to_string() };
    let jwt = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key)
        .map_err(|_| unreadable(key_file, "holds a key that cannot sign"))?;
    Ok(SecretString::from(jwt))
}

/// Value of the header that carries a credential, marked so that nothing prints it.
pub(super) fn bearer(token: &SecretString) -> Result<http::HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose_secret()))
}

/// As [`bearer`], for git's own protocol.
pub(super) fn basic(token: &SecretString) -> Result<http::HeaderValue> {
    use base64::Engine as _;
    let pair = Zeroizing::new(format!("x-access-token:{}", token.expose_secret()));
    sensitive(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())))
}

fn sensitive(text: &str) -> Result<http::HeaderValue> {
    let mut value =
        http::HeaderValue::from_str(text).map_err(|_| Error::internal("a credential with odd characters"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(file: &std::path::Path) -> Result<Zeroizing<String>> {
    use std::io::Read as _;
    let open = std::fs::File::open(file).map_err(|e| unreadable(file, &format!("cannot be opened: {}", e.kind())))?;
    let mut text = Zeroizing::new(String::new());
    open.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|_| unreadable(file, "is not text"))?;
    Ok(text)
}

/// Only the file's name is told: where credentials lie is nobody's business.
fn unreadable(file: &std::path::Path, what: &str) -> Error {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Error::new(&SCM_CREDENTIAL_UNREADABLE, format!("the file {name} {what}"))
}
