//! SCM connections: making, changing, deleting and trying them (ENV-182).
//!
//! Owns that a change counts at once in this process and soon in others. Refuses changes of configured ones, and to delete one
//! that an environment follows.
use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    authz::Facts,
    error::{ALREADY_EXISTS, Error, NOT_FOUND, Result, Violations},
    id,
    mutation::{Begun, Mutation},
    page,
    scm::Check,
    serve::Call,
    worker,
};

use super::{App, WORK_POLL, check_version};
use crate::{
    error::{SCM_CONFIGURED, SCM_IN_USE},
    model::scm_connection::ScmConnection,
};

const FIELDS: [&str; 8] =
    ["kind", "api_url", "git_url", "app_id", "installation_id", "private_key_file", "token_file", "poll_interval"];

/// Where a page starts.
#[derive(Serialize, Deserialize)]
struct After {
    id: String,
}

impl App {
    /// Adds a connection.
    ///
    /// # Errors
    /// INVALID_FIELD; ALREADY_EXISTS.
    pub async fn create_scm(&self, call: &Call, new: ScmConnection, validate_only: bool) -> Result<ScmConnection> {
        call.check(&Facts::default())?;
        self.check_scm(&new).await?;
        let mut mutation = match Mutation::begin::<ScmConnection>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let is_configured = self.world.sources.shown().iter().any(|c| c.id == new.id && c.is_configured());
        if is_configured || self.store.scm_connection(mutation.tx(), &new.id).await?.is_some() {
            let error = Error::new(&ALREADY_EXISTS, format!("there is a {}", new.name()));
            return Err(error.resource("slipway.dev/ScmConnection", new.name()));
        }
        let now_us = self.now_us();
        let made = ScmConnection { uid: id::uuid4(), version: 1, created_us: now_us, updated_us: now_us, ..new };
        if validate_only {
            return Ok(made);
        }
        self.store.insert_scm_connection(mutation.tx(), &made).await?;
        worker::enqueue(mutation.tx(), WORK_POLL, &made.id, 0).await?;
        let resource = made.name();
        mutation.commit(&made, Change { resource: &resource, uid: &made.uid, fields: &FIELDS }).await?;
        self.follow_scms().await?;
        Ok(made)
    }

    /// Replaces what a connection says.
    ///
    /// # Errors
    /// INVALID_FIELD; NOT_FOUND; SCM_CONFIGURED; ETAG_MISMATCH.
    pub async fn update_scm(
        &self,
        call: &Call,
        wanted: ScmConnection,
        etag: &str,
        validate_only: bool,
    ) -> Result<ScmConnection> {
        call.check(&Facts::default())?;
        let mut mutation = match Mutation::begin::<ScmConnection>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let before = self.need_scm(&mut mutation, &wanted.id, etag).await?;
        self.check_scm(&wanted).await?;
        let changed = ScmConnection {
            uid: before.uid.clone(),
            version: before.version + 1,
            created_us: before.created_us,
            updated_us: self.now_us().max(before.updated_us),
            ..wanted
        };
        if validate_only {
            return Ok(changed);
        }
        self.store.update_scm_connection(mutation.tx(), &changed, before.version).await?;
        worker::enqueue(mutation.tx(), WORK_POLL, &changed.id, 0).await?;
        let resource = changed.name();
        mutation.commit(&changed, Change { resource: &resource, uid: &changed.uid, fields: &FIELDS }).await?;
        self.follow_scms().await?;
        Ok(changed)
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// NOT_FOUND; SCM_CONFIGURED; SCM_IN_USE; ETAG_MISMATCH.
    pub async fn delete_scm(&self, call: &Call, id: &str, etag: &str) -> Result<()> {
        call.check(&Facts::default())?;
        let mut mutation = match Mutation::begin::<()>(&self.store.db, call).await? {
            Begun::Replay(()) => return Ok(()),
            Begun::Fresh(mutation) => mutation,
        };
        let before = self.need_scm(&mut mutation, id, etag).await?;
        let living = self.store.living_on_scm(mutation.tx(), id).await?;
        if living > 0 {
            let text = format!("{living} environments follow {}", before.name());
            return Err(Error::new(&SCM_IN_USE, text).meta("environments", living.to_string()));
        }
        self.store.delete_scm_connection(mutation.tx(), id).await?;
        let resource = before.name();
        mutation.commit(&(), Change { resource: &resource, uid: &before.uid, fields: &[] }).await?;
        self.follow_scms().await
    }

    /// One connection.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn scm(&self, call: &Call, id: &str) -> Result<ScmConnection> {
        call.check(&Facts::default())?;
        self.all_scms().await?.into_iter().find(|c| c.id == id).ok_or_else(|| missing(id))
    }

    /// A page of connections in order of id, and the token of the next.
    pub async fn scms(&self, call: &Call, page_size: i32, token: &str) -> Result<(Vec<ScmConnection>, String)> {
        call.check(&Facts::default())?;
        let after: Option<After> = self.sealer.open(call, "", token)?;
        let limit = page::size(page_size);
        let mut found = self.all_scms().await?;
        found.retain(|c| after.as_ref().is_none_or(|after| c.id > after.id));
        let more = found.len() > limit;
        found.truncate(limit);
        let next = match found.last() {
            Some(last) if more => self.sealer.seal(call, "", &After { id: last.id.clone() }),
            _ => String::new(),
        };
        Ok((found, next))
    }

    /// Tries a connection at its provider.
    ///
    /// # Errors
    /// NOT_FOUND; a connection that does not work is no error here but a check that failed.
    pub async fn test_scm(&self, call: &Call, id: &str) -> Result<Vec<Check>> {
        call.check(&Facts::default())?;
        self.follow_scms().await?;
        self.scm(call, id).await?;
        self.world.sources.test_connection(id).await
    }

    /// Opens and closes connections as they are stored now; polls those that were opened.
    pub async fn follow_scms(&self) -> Result<()> {
        self.world.sources.follow(&self.store.scm_connections().await?).await;
        Ok(())
    }

    /// Whether there is a connection, open or about to be.
    pub async fn has_scm(&self, id: &str) -> Result<bool> {
        let is_open = self.world.sources.connections().iter().any(|open| open == id);
        Ok(is_open || self.store.scm_connection(&self.store.db, id).await?.is_some())
    }

    async fn all_scms(&self) -> Result<Vec<ScmConnection>> {
        let mut all = self.store.scm_connections().await?;
        all.extend(self.world.sources.shown().into_iter().filter(ScmConnection::is_configured));
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    async fn check_scm(&self, connection: &ScmConnection) -> Result<()> {
        let mut v = Violations::new();
        connection.check(&mut v);
        v.finish()?;
        self.world.sources.prepare(connection).await
    }

    async fn need_scm(&self, mutation: &mut Mutation, id: &str, etag: &str) -> Result<ScmConnection> {
        let Some(found) = self.store.scm_connection(mutation.tx(), id).await? else {
            if self.world.sources.shown().iter().any(|c| c.id == id && c.is_configured()) {
                let text = format!("scmConnections/{id} stands in the configuration");
                return Err(Error::new(&SCM_CONFIGURED, text));
            }
            return Err(missing(id));
        };
        check_version(("connection", "slipway.dev/ScmConnection"), &found.name(), &found.etag(), etag)?;
        Ok(found)
    }
}

fn missing(id: &str) -> Error {
    let name = format!("scmConnections/{id}");
    Error::new(&NOT_FOUND, format!("there is no {name}")).resource("slipway.dev/ScmConnection", name)
}
