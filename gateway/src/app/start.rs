//! The first start: an administrator's binding and the one token to begin with (SAFE-2, SAFE-30).
//!
//! Refuses to make a second one: until the first token is used, each start replaces it, so that a kill before it was read loses
//! nothing; after that no start makes one.

use slipway_kit::{
    caller::{Role, Scope},
    clock::Clock,
    error::Result,
};

use super::{
    role_bindings::new_binding,
    tokens::{described, mint},
};
use crate::{
    model::{
        rights::Grant,
        token::{DEFAULT_LIFE_SECONDS, PlainToken},
    },
    store::Store,
};

/// The first administrator.
pub const ADMINISTRATOR: &str = "user:default/admin";

/// Makes the administrator if this is the first start, and a token if the first one was never used.
///
/// # Errors
/// As the database.
pub async fn begin(store: &Store, clock: &Clock, key: &[u8; 32]) -> Result<Option<PlainToken>> {
    let mut tx = store.db().begin().await?;
    let (started, unused) = store.start_state(&mut tx).await?;
    if started && unused.is_none() {
        return Ok(None);
    }
    let now_us = clock.now_us();
    if !started {
        let grant = Grant { subject: ADMINISTRATOR.into(), role: Role::PlatformAdmin, team: String::new() };
        store.add_binding(&mut tx, &new_binding(grant, now_us)).await?;
    }
    if let Some(old) = unused {
        store.forget_token(&mut tx, &old).await?;
    }
    let plain = mint();
    let everything = vec![Scope { permission: "*".into(), resource: String::new() }];
    let name = "first administrator token".to_owned();
    let life_us = DEFAULT_LIFE_SECONDS * 1_000_000;
    let token = described(&plain, name, ADMINISTRATOR.into(), everything, now_us, life_us);
    store.add_token(&mut tx, &token, &plain.keyed_hash(key)).await?;
    store.set_start_state(&mut tx, plain.id()).await?;
    tx.commit().await?;
    Ok(Some(plain))
}
