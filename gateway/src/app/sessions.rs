//! Sessions of browsers: the code that begins one, the sealed text a browser carries, and whose it is now.
//!
//! Refuses what was sealed for another host or another purpose, a code that was used, and a session whose credential ended.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use slipway_kit::{caller::CallerKind, clock::Clock, error::Error, id, seal::Seal};

use super::authentication::{Admission, Authentication, Refusal, refused};
use crate::{
    error::Result,
    model::session::{CODE_LIFE_US, Code, Session, safe_path, state_of},
    store::Store,
};

const KEY_NAME: &str = "session";
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
    seal: Seal,
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
        let seal = Seal::load(store.db(), KEY_NAME).await?;
        Ok(Self(Arc::new(Inner { seal, store, authentication, clock })))
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
        self.0.seal.seal(&associated(purpose, host), &plain)
    }

    fn open<T: DeserializeOwned>(&self, purpose: Purpose, host: &str, text: &str) -> Option<T> {
        let plain = self.0.seal.open(&associated(purpose, host), text, SEALED_BYTES_MAX)?;
        serde_json::from_slice(&plain).ok()
    }
}

fn associated(purpose: Purpose, host: &str) -> Vec<u8> {
    format!("slipway-sign-in-v1\n{purpose:?}\n{host}").into_bytes()
}

fn away(error: Error) -> Refusal {
    Refusal { error, is_credential: false, cause: "unavailable", token_id: None }
}
