//! From a verified token of a CI job to a caller: exactly what the matching trust entries give, for the services they name (SAFE-15 to
//! SAFE-18).
//!
//! Refuses by default: a repository without an entry, a job that meets none of its entries, a service that nobody owns. Never
//! remembers: entries and owners are read anew each time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use slipway_kit::caller::{Caller, CallerKind, Job, Role, Scope};

use crate::{
    error::Result,
    model::{
        job::JobClaims,
        jwt::Verified,
        trust::{self, TrustEntry},
    },
    store::Store,
    world::directory::Owners,
};

/// Why a job is nobody.
pub enum Unknown {
    /// The token's own fault, with the word for audit and metrics.
    Refused(&'static str),
    /// What decides is away.
    Away(slipway_kit::error::Error),
}

impl From<slipway_kit::error::Error> for Unknown {
    fn from(error: slipway_kit::error::Error) -> Self {
        Self::Away(error)
    }
}

/// Knows jobs; cheap to clone.
#[derive(Clone)]
pub struct Jobs {
    store: Store,
    owners: Arc<dyn Owners>,
}

impl Jobs {
    /// Jobs by the entries of this store.
    #[must_use]
    pub fn new(store: Store, owners: Arc<dyn Owners>) -> Self {
        Self { store, owners }
    }

    /// The caller that a verified token of an issuer speaks for.
    ///
    /// # Errors
    /// [`Unknown`] when no entry trusts it, or what decides is away.
    pub async fn caller(&self, issuer: &str, token: &Verified) -> Result<Caller, Unknown> {
        let job = JobClaims::read(token).map_err(Unknown::Refused)?;
        let entries = self.store.trust_of(issuer, job.repository_id).await?;
        let mut cause = "no trust entry";
        let mut trusted = Vec::new();
        for entry in &entries {
            match entry.terms.admit(&job) {
                Ok(()) => trusted.push(entry),
                Err(word) => cause = word,
            }
        }
        let Some(_) = trusted.first() else { return Err(Unknown::Refused(cause)) };
        let caller = self.speaking(issuer, job.repository_id, job.pull_request, &trusted).await?;
        caller.ok_or(Unknown::Refused("service without owner"))
    }

    /// The present rights of a job that began with this principal and credential; `None` when they are gone.
    ///
    /// # Errors
    /// UNAVAILABLE when what decides is away.
    pub async fn present(&self, principal: &str, credential: &str) -> Result<Option<Caller>> {
        let place = trust::of_principal(principal).zip(trust::of_credential(credential));
        let Some(((issuer, repository_id, pull_request), ids)) = place else { return Ok(None) };
        let entries = self.store.trust_of(issuer, repository_id).await?;
        let trusted: Vec<_> = entries.iter().filter(|e| ids.contains(&e.id.as_str())).collect();
        if trusted.is_empty() {
            return Ok(None);
        }
        self.speaking(issuer, repository_id, pull_request, &trusted).await
    }

    async fn speaking(
        &self,
        issuer: &str,
        repository_id: i64,
        pull_request: Option<i64>,
        trusted: &[&TrustEntry],
    ) -> Result<Option<Caller>> {
        let (mut teams, mut scopes) = (BTreeMap::new(), BTreeSet::new());
        let mut grants: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in trusted {
            let Some(owner) = self.owners.owner(&entry.service).await?.and_then(|found| found.owner) else { continue };
            for permission in entry.terms.given(pull_request.is_some()) {
                scopes.insert((permission.to_owned(), owner.clone()));
                grants.entry(entry.service.clone()).or_default().insert(permission.to_owned());
            }
            teams.insert(owner, Role::Automation);
        }
        if teams.is_empty() {
            return Ok(None);
        }
        let scopes = scopes.into_iter().map(|(permission, resource)| Scope { permission, resource }).collect();
        Ok(Some(Caller {
            principal: trust::principal(issuer, repository_id, pull_request),
            kind: CallerKind::CiJob,
            credential: trust::credential(trusted.iter().map(|e| e.id.as_str())),
            teams,
            roles: BTreeSet::new(),
            scopes: Some(scopes),
            job: Some(Job { repository_id: repository_id.to_string(), pull_request, grants }),
        }))
    }
}
