//! Deletions: at once in development, in two steps for staging and production (ENV-43).
//!
//! Owns tokens and the count of people. Refuses pipelines as confirmers, and one person twice.
use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    error::{Error, Result, Violations},
    id,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{App, check, check_etag};
use crate::{
    error::{CONFIRMED_ALREADY, DELETE_NOT_OPEN, NEEDS_PERSON},
    model::environment::{Environment, RetireReason},
    store::OpenDeletion,
};

/// How long an opened deletion waits, in microseconds.
const OPEN_US: i64 = 15 * 60_000_000;

/// What a deletion came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deletion {
    /// The environment.
    pub env: Environment,
    /// Names the opened deletion; empty when no confirmation is missing.
    pub token: String,
    /// Until when it may be confirmed, in microseconds.
    pub expire_us: Option<i64>,
    /// People who still have to confirm.
    pub missing: i32,
}

impl App {
    /// Deletes a development environment, or opens the deletion of another.
    pub async fn delete(&self, call: &Call, name: &str, etag: &str, validate_only: bool) -> Result<Deletion> {
        let found = self.environment(call, name).await?;
        let mut mutation = match Mutation::begin::<Deletion>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let found = self.store.by_label(mutation.tx(), &found.label_id).await?;
        let env = check(call, found, name)?;
        check_etag(&env, etag)?;
        let missing = env.tier.delete_confirmations();
        let mut done = if env.retire.is_some() {
            Deletion { env, token: String::new(), expire_us: None, missing: 0 }
        } else if missing == 0 {
            self.end(&mut mutation, call, env).await?
        } else {
            self.open(&mut mutation, call, env, missing).await?
        };
        if validate_only {
            // Nothing is opened, so that there is nothing to confirm with.
            (done.token, done.expire_us) = (String::new(), None);
        } else {
            let resource = done.env.name();
            mutation.commit(&done, Change { resource: &resource, uid: &done.env.uid, fields: &["state"] }).await?;
        }
        Ok(done)
    }

    async fn end(&self, mutation: &mut Mutation, call: &Call, mut env: Environment) -> Result<Deletion> {
        let (before, now_us) = (env.clone(), self.now_us());
        env.end(RetireReason::Requested, &call.caller.principal, now_us, now_us);
        self.save(mutation.tx(), &before, &mut env).await?;
        self.store.drop_deletion(mutation.tx(), &env.uid).await?;
        Ok(Deletion { env, token: String::new(), expire_us: None, missing: 0 })
    }

    async fn open(&self, mutation: &mut Mutation, call: &Call, env: Environment, needed: i32) -> Result<Deletion> {
        let now_us = self.now_us();
        let deletion = match self.store.open_deletion(mutation.tx(), &env.uid, now_us).await? {
            Some(open) => open,
            None => {
                let new = OpenDeletion {
                    uid: env.uid.clone(),
                    token: id::uuid4(),
                    requester: call.caller.principal.clone(),
                    confirmers: Vec::new(),
                    expire_us: now_us + OPEN_US,
                };
                self.store.keep_deletion(mutation.tx(), &new).await?;
                new
            }
        };
        let missing = needed - i32::try_from(deletion.confirmers.len()).unwrap_or(needed);
        Ok(Deletion { env, token: deletion.token, expire_us: Some(deletion.expire_us), missing })
    }

    /// Confirms an opened deletion; production needs two different people.
    pub async fn confirm(&self, call: &Call, name: &str, confirm_name: &str, token: &str) -> Result<Deletion> {
        let found = self.environment(call, name).await?;
        let mut v = Violations::new();
        let echoed = confirm_name == found.label_id || confirm_name == found.name();
        v.check(echoed, "confirm_name", format!("must be {}", found.label_id));
        v.finish()?;
        if !call.caller.principal.starts_with("user:") {
            return Err(Error::new(&NEEDS_PERSON, "a deletion is confirmed by people"));
        }
        let mut mutation = match Mutation::begin::<Deletion>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let found = self.store.by_label(mutation.tx(), &found.label_id).await?;
        let env = check(call, found, name)?;
        let open = self.store.open_deletion(mutation.tx(), &env.uid, self.now_us()).await?;
        let Some(mut open) = open.filter(|open| open.token == token) else {
            return Err(Error::new(&DELETE_NOT_OPEN, format!("no such deletion of {name} waits")));
        };
        if open.confirmers.contains(&call.caller.principal) {
            return Err(Error::new(&CONFIRMED_ALREADY, "another person has to confirm too"));
        }
        open.confirmers.push(call.caller.principal.clone());
        let missing = env.tier.delete_confirmations() - i32::try_from(open.confirmers.len()).unwrap_or(0);
        let done = if missing <= 0 {
            self.end(&mut mutation, call, env).await?
        } else {
            self.store.keep_deletion(mutation.tx(), &open).await?;
            Deletion { env, token: open.token, expire_us: Some(open.expire_us), missing }
        };
        let resource = done.env.name();
        mutation.commit(&done, Change { resource: &resource, uid: &done.env.uid, fields: &["state"] }).await?;
        Ok(done)
    }
}
