//! Sessions of browsers: the code that begins one, the sealed text a browser carries, and whose it is now.
//!
//! Refuses what was sealed for another host or another purpose, a code that was used, and a session whose credential ended.

use std::sync::Arc;

use aes_gcm_siv::{
    Aes256GcmSiv, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use slipway_kit::{caller::CallerKind, clock::Clock, error::Error, id};

use super::authentication::{Admission, Authentication, Refusal, refused};
use crate::{
    error::Result,
    model::session::{CODE_LIFE_US, Code, Session, safe_path, state_of},
    store::Store,
};

const KEY_NAME: &str = "session";
const NONCE_BYTES: usize = 12;
/// Longest sealed text that is looked at.
const SEALED_BYTES_MAX: usize = 4096;

/// What a sealed text is for; one for another purpose does not open.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Code,
    Session,
}

/// Sessions; cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    cipher: Aes256GcmSiv,
    store: Store,
    authentication: Authentication,
    clock: Clock,
}

/// A session that holds.
pub struct Resumed {
    /// Who, with present rights.
    pub admission: Arc<Admission>,
    /// What to carry from now on, if it is time.
    pub renewed: Option<String>,
}

impl Sessions {
    /// Sessions sealed under the key of the store.
    ///
    /// # Errors
    /// As the database.
    pub async fn load(store: Store, authentication: Authentication, clock: Clock) -> Result<Self> {
        let cipher = Aes256GcmSiv::new_from_slice(&store.seal_key(KEY_NAME).await?)
            .map_err(|_| Error::internal("the session key has a wrong length"))?;
        Ok(Self(Arc::new(Inner { cipher, store, authentication, clock })))
    }

    /// The session of a credential; none for a job, which has no browser.
    fn begin(&self, admission: &Admission) -> Option<Session> {
        let (caller, ends_us) = (&admission.caller, admission.expires_us());
        let is_person = matches!(caller.kind, CallerKind::User | CallerKind::Token);
        is_person.then(|| Session::begin(&caller.principal, &caller.credential, self.0.clock.now_us(), ends_us))
    }

    /// What a browser carries at a host from now on; none for who has no browser.
    #[must_use]
    pub fn carry(&self, host: &str, admission: &Admission) -> Option<String> {
        self.begin(admission).map(|session| self.seal(Purpose::Session, host, &session))
    }

    /// A code that begins a session at a host, for the browser that has what `state` is of; none for who has no browser.
    #[must_use]
    pub fn code(&self, host: &str, admission: &Admission, state: &str, path: &str) -> Option<String> {
        let session = self.begin(admission)?;
        let (state, path) = (state.to_owned(), safe_path(path).to_owned());
        let expires_us = self.0.clock.now_us() + CODE_LIFE_US;
        let code = Code { id: id::uuid4(), session, state, path, expires_us };
        Some(self.seal(Purpose::Code, host, &code))
    }

    /// What a browser carries for a code, and where it goes then.
    ///
    /// # Errors
    /// [`Refusal`] for a code of another host or browser, one that is over or was used, and one whose credential ended.
    pub async fn redeem(&self, host: &str, code: &str, nonces: &[&str]) -> Result<(String, String), Refusal> {
        let now_us = self.0.clock.now_us();
        let code: Code = self.open(Purpose::Code, host, code).ok_or_else(|| refused("unreadable code"))?;
        if now_us >= code.expires_us || !nonces.iter().any(|nonce| state_of(nonce) == code.state) {
            return Err(refused("a code that is over or another browser's"));
        }
        let spent = self.0.store.spend_code(&code.id, code.expires_us, now_us).await;
        if !spent.map_err(away)? {
            return Err(refused("a code that was used"));
        }
        self.0.authentication.resume(&code.session.principal, &code.session.credential).await?;
        Ok((self.seal(Purpose::Session, host, &code.session), safe_path(&code.path).to_owned()))
    }

    /// Whose session one of these texts is.
    ///
    /// # Errors
    /// [`Refusal`] when none is a session of this host that holds.
    pub async fn resume(&self, host: &str, carried: &[&str]) -> Result<Resumed, Refusal> {
        let now_us = self.0.clock.now_us();
        let sealed = carried.iter().filter_map(|text| self.open::<Session>(Purpose::Session, host, text));
        let session = sealed.into_iter().find(|session| session.is_live(now_us));
        let session = session.ok_or_else(|| refused("no session that holds"))?;
        let admission = self.0.authentication.resume(&session.principal, &session.credential).await?;
        let renewed = session.renewed(now_us).map(|session| self.seal(Purpose::Session, host, &session));
        Ok(Resumed { admission, renewed })
    }

    fn seal(&self, purpose: Purpose, host: &str, what: &impl Serialize) -> String {
        let plain = serde_json::to_vec(what).expect("a session has a JSON form");
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: &plain, aad: &associated(purpose, host) };
        let sealed = self.0.cipher.encrypt(&Nonce::from(nonce), payload);
        let sealed = sealed.expect("a session is far below the cipher's limit");
        URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat())
    }

    fn open<T: DeserializeOwned>(&self, purpose: Purpose, host: &str, text: &str) -> Option<T> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|_| text.len() <= SEALED_BYTES_MAX)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: &associated(purpose, host) };
        serde_json::from_slice(&self.0.cipher.decrypt(&Nonce::from(*nonce), payload).ok()?).ok()
    }
}

fn associated(purpose: Purpose, host: &str) -> Vec<u8> {
    format!("slipway-sign-in-v1\n{purpose:?}\n{host}").into_bytes()
}

fn away(error: Error) -> Refusal {
    Refusal { error, is_credential: false, cause: "unavailable", token_id: None }
}
