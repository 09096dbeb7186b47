//! Sessions of browsers: what a session and the code that begins one say, how long they hold, and what a cookie may be named.
//!
//! Refuses to hold a secret: a session names the credential it began with, and is worth what that credential is worth now.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const SECOND_US: i64 = 1_000_000;
/// How long a code holds.
pub const CODE_LIFE_US: i64 = 60 * SECOND_US;
/// How long a session holds at most.
pub const SESSION_LIFE_US: i64 = 12 * 3600 * SECOND_US;
/// How long a session holds that nobody uses.
pub const SESSION_IDLE_US: i64 = 3600 * SECOND_US;
/// How old a word of use gets before it is renewed.
const RENEW_AFTER_US: i64 = 300 * SECOND_US;
/// How long a sign-in may take, in seconds.
pub const SIGN_IN_SECONDS: i64 = 600;
/// Name of the session's cookie, but for its prefix.
pub const SESSION_COOKIE: &str = "slipway-session";
/// Name of the cookie that a sign-in began with, but for its prefix.
pub const BEGUN_COOKIE: &str = "slipway-sign-in";
/// Where the sign-in page is on the platform's own host.
pub const SIGN_IN_PATH: &str = "/sign-in";
/// Below which path a host of the proxy has pages of ours.
pub const OWN_PATHS: &str = "/.slipway/";
/// Where a host of the proxy takes the code.
pub const SESSION_PATH: &str = "/.slipway/session";
/// Longest path that is come back to, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Length of what a sign-in began with, as text.
const NONCE_CHARS: usize = 43;

/// A signed-in browser at one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Who.
    pub principal: String,
    /// With which credential it began; never the secret.
    pub credential: String,
    /// When it began.
    pub began_us: i64,
    /// When it was last said to be in use.
    pub seen_us: i64,
    /// When it ends, at the latest with its credential.
    pub ends_us: i64,
}

/// What takes a sign-in to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Id, so that it is used once.
    pub id: String,
    /// The session that it begins.
    pub session: Session,
    /// Which sign-in it belongs to: only the browser that began it has the answer.
    pub state: String,
    /// Where to go.
    pub path: String,
    /// When it is over.
    pub expires_us: i64,
}

impl Session {
    /// A session that begins now and ends with its credential.
    #[must_use]
    pub fn begin(principal: &str, credential: &str, now_us: i64, credential_ends_us: i64) -> Self {
        let ends_us = credential_ends_us.min(now_us.saturating_add(SESSION_LIFE_US));
        let (principal, credential) = (principal.to_owned(), credential.to_owned());
        Self { principal, credential, began_us: now_us, seen_us: now_us, ends_us }
    }

    /// Whether it may still be used.
    #[must_use]
    pub fn is_live(&self, now_us: i64) -> bool {
        now_us < self.ends_us && now_us - self.seen_us < SESSION_IDLE_US
    }

    /// The session to carry from now on, if what is carried is too old.
    #[must_use]
    pub fn renewed(&self, now_us: i64) -> Option<Self> {
        (now_us - self.seen_us >= RENEW_AFTER_US).then(|| Self { seen_us: now_us, ..self.clone() })
    }
}

/// What the platform is told of what a sign-in began with: from it nobody learns the cookie.
#[must_use]
pub fn state_of(nonce: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(nonce.as_bytes()))
}

/// Whether a text looks like what a sign-in began with, or like its state.
#[must_use]
pub fn is_nonce(text: &str) -> bool {
    text.len() == NONCE_CHARS && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The path to come back to: one on the same host, or the root.
#[must_use]
pub fn safe_path(path: &str) -> &str {
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let own = path.starts_with('/') && !path.starts_with("//") && !path.starts_with(OWN_PATHS);
    if own && plain && path.len() <= PATH_BYTES_MAX { path } else { "/" }
}

/// Whether a cookie's name is one of ours, with or without a prefix.
#[must_use]
pub fn is_own_cookie(name: &[u8]) -> bool {
    let name = name.trim_ascii().to_ascii_lowercase();
    let bare = [&b"__host-"[..], b"__secure-"].iter().find_map(|p| name.strip_prefix(*p)).unwrap_or(&name);
    bare == SESSION_COOKIE.as_bytes() || bare == BEGUN_COOKIE.as_bytes()
}

/// The whole name of a cookie of ours: bound to its host by the browser wherever that is possible.
#[must_use]
pub fn cookie_name(name: &str, is_secure: bool) -> String {
    if is_secure { format!("__Host-{name}") } else { name.to_owned() }
}

/// A `set-cookie` of ours; an empty value takes the cookie away.
#[must_use]
pub fn set_cookie(name: &str, value: &str, seconds: i64, is_secure: bool) -> String {
    let (name, age) = (cookie_name(name, is_secure), if value.is_empty() { 0 } else { seconds });
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_credential_its_time_or_its_use() {
        let begin = |ends_us| Session::begin("user:default/ann", "tokens/x", 0, ends_us);
        assert_eq!(begin(i64::MAX).ends_us, SESSION_LIFE_US);
        assert!(begin(10).is_live(9) && !begin(10).is_live(10));
        let long = begin(i64::MAX);
        assert!(long.is_live(SESSION_IDLE_US - 1) && !long.is_live(SESSION_IDLE_US));
        assert_eq!(long.renewed(RENEW_AFTER_US - 1), None);
        let renewed = long.renewed(RENEW_AFTER_US);
        assert!(renewed.as_ref().is_some_and(|s| s.is_live(SESSION_IDLE_US) && s.ends_us == long.ends_us));
        assert!(renewed.is_some_and(|s| !Session { seen_us: SESSION_LIFE_US, ..s }.is_live(SESSION_LIFE_US)));
    }

    #[test]
    fn only_paths_of_the_same_host_are_come_back_to() {
        for path in ["/", "/a?b=c&d=%2F", "/a//b"] {
            assert_eq!(safe_path(path), path);
        }
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        for path in
            ["", "a", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/.slipway/x", &long]
        {
            assert_eq!(safe_path(path), "/", "{path}");
        }
    }

    #[test]
    fn our_cookies_are_known_by_any_prefix_and_others_are_left_alone() {
        for name in ["slipway-session", "__Host-slipway-session", "__HOST-Slipway-Sign-In", "__Secure-slipway-session"]
        {
            assert!(is_own_cookie(name.as_bytes()), "{name}");
        }
        for name in ["session", "my-slipway-session", "slipway-session2", ""] {
            assert!(!is_own_cookie(name.as_bytes()), "{name}");
        }
        assert_eq!(
            set_cookie(SESSION_COOKIE, "x", 60, true),
            "__Host-slipway-session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert!(set_cookie(SESSION_COOKIE, "", 60, false).starts_with("slipway-session=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn a_state_tells_nothing_of_what_it_is_of() {
        let nonce = "a".repeat(NONCE_CHARS);
        assert!(is_nonce(&nonce) && is_nonce(&state_of(&nonce)) && state_of(&nonce) != nonce);
        assert!(!is_nonce("") && !is_nonce(&format!("{};", "a".repeat(NONCE_CHARS - 1))));
    }
}
