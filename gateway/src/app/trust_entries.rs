//! Making, reading, changing and deleting trust entries.
//!
//! Refuses entries that trust everybody, permissions no job can have, and rights the maker's own credential does not have. The owner
//! of the entry's service decides who may do this, asked for at each call (SAFE-31).

use std::{collections::BTreeMap, sync::Arc};

use slipway_kit::{
    audit,
    authz::{self, Facts},
    caller::{Caller, CallerKind, Role, Scope},
    clock::Clock,
    error::{ETAG_MISMATCH, Error, NOT_FOUND, Result, SERVICE_UNKNOWN, Violations},
    id,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{
    access::Access,
    lists::{self, Answer, Asked, Lists},
};
use crate::{
    error::{TOKEN_SCOPE_TOO_WIDE, TRUST_ENTRIES_FULL},
    model::{
        rights::scopes_within,
        trust::{ENTRIES_MAX, Terms, TrustEntry},
    },
    store::{Store, TRUST_ENTRY_FIELDS, read_trust_entry},
    world::directory::{Owned, Owners},
};

/// Verbs on trust entries; cheap to clone.
#[derive(Clone)]
pub struct TrustEntries {
    store: Store,
    access: Access,
    owners: Arc<dyn Owners>,
    clock: Clock,
    lists: Lists,
    /// Issuers of jobs, each with its workflows whose tags are protected.
    issuers: Arc<BTreeMap<String, Vec<String>>>,
}

/// An entry someone asks for.
pub struct NewTrustEntry {
    /// Id of the issuer.
    pub issuer: String,
    /// Number of the repository.
    pub repository_id: i64,
    /// Reference of the service, in any spelling.
    pub service: String,
    /// What it asks for and gives.
    pub terms: Terms,
    /// Only checks.
    pub validate_only: bool,
}

/// A change of an entry.
pub struct Change {
    /// Id of the entry.
    pub id: String,
    /// Version it is meant for; any if empty.
    pub etag: String,
    /// The new terms, made of the old ones.
    pub apply: Box<dyn Fn(Terms) -> Terms + Send + Sync>,
    /// Only checks.
    pub validate_only: bool,
}

/// What an answer names as changed.
const FIELDS: [&str; 4] = ["issuer", "repository_id", "service", "permissions"];

impl TrustEntries {
    /// Verbs over these parts.
    #[must_use]
    pub fn new(
        store: Store,
        access: Access,
        owners: Arc<dyn Owners>,
        clock: Clock,
        lists: Lists,
        issuers: BTreeMap<String, Vec<String>>,
    ) -> Self {
        Self { store, access, owners, clock, lists, issuers: Arc::new(issuers) }
    }

    /// Makes an entry.
    ///
    /// # Errors
    /// INVALID_FIELD with every fault, TOKEN_SCOPE_TOO_WIDE, TRUST_ENTRIES_FULL; PERMISSION_DENIED for another team's service.
    pub async fn create(&self, call: &Call, new: NewTrustEntry) -> Result<TrustEntry> {
        let service = self.service(call, &new.service).await?;
        let mut wrong = Violations::new();
        let known = self.issuers.contains_key(&new.issuer);
        wrong.check(known, "trust_entry.issuer", "must be a configured issuer of the kind github-actions");
        wrong.check(
            new.repository_id > 0,
            "trust_entry.repository_id",
            "must be the provider's number of the repository",
        );
        wrong.check(
            service.reference.starts_with("component:"),
            "trust_entry.service",
            "must be a component of the catalog",
        );
        let entry = self.entry(new.issuer, new.repository_id, &service, new.terms);
        self.check_terms(call, &entry, service.owner.as_deref(), wrong)?;
        let mut change = match Mutation::begin::<TrustEntry>(self.store.db(), call).await? {
            Begun::Replay(entry) => return Ok(entry),
            Begun::Fresh(change) => change,
        };
        let there = self.store.count_trust_of(change.tx(), &entry.issuer, entry.repository_id).await?;
        if usize::try_from(there).unwrap_or(usize::MAX) >= ENTRIES_MAX {
            let text = format!("repository {} has {ENTRIES_MAX} trust entries", entry.repository_id);
            return Err(Error::new(&TRUST_ENTRIES_FULL, text).quota("trust_entries", "delete one first"));
        }
        if new.validate_only {
            return Ok(entry);
        }
        self.store.add_trust_entry(change.tx(), &entry).await?;
        let (resource, uid) = (entry.name(), entry.uid.clone());
        change.commit(&entry, audit::Change { resource: &resource, uid: &uid, fields: &FIELDS }).await?;
        self.access.changed().await;
        Ok(entry)
    }

    /// One entry.
    ///
    /// # Errors
    /// PERMISSION_DENIED alike for another team's entry and for none; NOT_FOUND for those who may read all.
    pub async fn get(&self, call: &Call, id: &str) -> Result<TrustEntry> {
        let found = self.store.trust_entry(self.store.db(), id).await?;
        self.check(call, found.as_ref()).await?;
        found.ok_or_else(missing)
    }

    /// Lists the entries of a service, or of all.
    ///
    /// # Errors
    /// As the filter, the order and the page token.
    pub async fn list(&self, call: &Call, service: &str, asked: &Asked) -> Result<Answer<TrustEntry>> {
        let only = if service.is_empty() {
            call.check(&Facts::default())?;
            None
        } else {
            Some(("service", self.service(call, service).await?.reference))
        };
        let query = lists::Query {
            fields: TRUST_ENTRY_FIELDS,
            orders: &[("create_time", "created_us"), ("service", "service")],
            default_order: "create_time desc",
            key: "id",
            only,
        };
        let plan = self.lists.plan(call, asked, &query)?;
        let rows = self.store.trust_entries(&plan.page).await?;
        let total = match plan.total {
            None => None,
            Some(cap) => Some(self.store.count_trust_entries(&plan.all, cap).await?),
        };
        self.lists.answer(call, &plan, rows, total, read_trust_entry)
    }

    /// Changes the terms of an entry; effective here before the answer, elsewhere within a second.
    ///
    /// # Errors
    /// As [`Self::create`]; ETAG_MISMATCH.
    pub async fn update(&self, call: &Call, wanted: &Change) -> Result<TrustEntry> {
        let found = self.store.trust_entry(self.store.db(), &wanted.id).await?;
        let owner = self.check(call, found.as_ref()).await?;
        let mut change = match Mutation::begin::<TrustEntry>(self.store.db(), call).await? {
            Begun::Replay(entry) => return Ok(entry),
            Begun::Fresh(change) => change,
        };
        let mut entry = self.store.trust_entry(change.tx(), &wanted.id).await?.ok_or_else(missing)?;
        check_etag(&entry, &wanted.etag)?;
        entry.terms = (wanted.apply)(entry.terms);
        self.check_terms(call, &entry, owner.as_deref(), Violations::new())?;
        entry.version += 1;
        entry.updated_us = self.clock.now_us().max(entry.updated_us);
        if wanted.validate_only {
            return Ok(entry);
        }
        self.store.change_trust_entry(change.tx(), &entry).await?;
        let (resource, uid) = (entry.name(), entry.uid.clone());
        change.commit(&entry, audit::Change { resource: &resource, uid: &uid, fields: &["terms"] }).await?;
        self.access.changed().await;
        Ok(entry)
    }

    /// Deletes an entry; effective here before the answer, elsewhere within a second.
    ///
    /// # Errors
    /// ETAG_MISMATCH; PERMISSION_DENIED alike for another team's entry and for none.
    pub async fn delete(&self, call: &Call, id: &str, etag: &str) -> Result<()> {
        let found = self.store.trust_entry(self.store.db(), id).await?;
        if found.is_some() {
            self.check(call, found.as_ref()).await?;
        }
        let mut change = match Mutation::begin::<()>(self.store.db(), call).await? {
            Begun::Replay(()) => return Ok(()),
            Begun::Fresh(change) => change,
        };
        let Some(entry) = self.store.trust_entry(change.tx(), id).await? else {
            call.check(&Facts::default())?;
            return Err(missing());
        };
        check_etag(&entry, etag)?;
        self.store.remove_trust_entry(change.tx(), id).await?;
        let (resource, uid) = (entry.name(), entry.uid.clone());
        change.commit(&(), audit::Change { resource: &resource, uid: &uid, fields: &[] }).await?;
        self.access.changed().await;
        Ok(())
    }

    /// The service of a request; to a caller without a right to it, one that does not exist is one that is not visible.
    async fn service(&self, call: &Call, reference: &str) -> Result<Owned> {
        if reference.is_empty() {
            call.check(&Facts::default())?;
            let mut wrong = Violations::new();
            wrong.add("trust_entry.service", "must be named");
            wrong.finish()?;
        }
        let found = self.owners.owner(reference).await?;
        call.check(&Facts { owner: found.as_ref().and_then(|f| f.owner.as_deref()), ..Facts::default() })?;
        found.ok_or_else(|| Error::new(&SERVICE_UNKNOWN, format!("the catalog knows no {reference:?}")))
    }

    /// Decides on a stored entry and answers its service's owner. An administrator needs no catalog for that.
    async fn check(&self, call: &Call, entry: Option<&TrustEntry>) -> Result<Option<String>> {
        let Some(entry) = entry else {
            call.check(&Facts::default())?;
            return Ok(None);
        };
        let owner = match self.owners.owner(&entry.service).await {
            Ok(found) => found.and_then(|f| f.owner),
            Err(away) => return call.check(&Facts::default()).map(|()| None).map_err(|_| away),
        };
        call.check(&Facts { owner: owner.as_deref(), ..Facts::default() })?;
        Ok(owner)
    }

    fn check_terms(&self, call: &Call, entry: &TrustEntry, owner: Option<&str>, mut wrong: Violations) -> Result<()> {
        let tags = self.issuers.get(&entry.issuer).map(Vec::as_slice).unwrap_or_default();
        entry.terms.check(tags, &mut wrong);
        for (at, permission) in entry.terms.permissions.iter().enumerate() {
            let field = format!("trust_entry.permissions[{at}]");
            wrong.check(can_be_given(permission), field, "is no permission that a CI job can have");
        }
        wrong.finish()?;
        let resource = owner.unwrap_or_default();
        let scope = |p: &String| Scope { permission: p.clone(), resource: resource.to_owned() };
        let given: Vec<Scope> = entry.terms.permissions.iter().map(scope).collect();
        if scopes_within(&given, call.caller.scopes.as_deref()) {
            return Ok(());
        }
        Err(Error::new(&TOKEN_SCOPE_TOO_WIDE, "a trust entry cannot give more than the credential that makes it has"))
    }

    fn entry(&self, issuer: String, repository_id: i64, service: &Owned, terms: Terms) -> TrustEntry {
        let now_us = self.clock.now_us();
        TrustEntry {
            id: id::base32(&rand::random::<[u8; 16]>(), 8),
            uid: id::uuid7(),
            version: 1,
            issuer,
            repository_id,
            service: service.reference.clone(),
            terms,
            created_us: now_us,
            updated_us: now_us,
        }
    }
}

/// Verbs by which a person answers for another's change; no machine does (SAFE-46).
const HUMAN: [&str; 5] = ["approve", "confirm", "confirm_delete", "reject", "release"];

/// Permissions over everything a team has, where a job is bound to one service.
const TEAM_WIDE: [&str; 1] = ["environments.list"];

/// A team for the question below.
const TEAM: &str = "group:any/team";

/// Whether automation with this permission could ever do something with it.
fn can_be_given(permission: &str) -> bool {
    let verb = permission.split_once('.').map_or("", |(_, verb)| verb);
    if HUMAN.contains(&verb) || TEAM_WIDE.contains(&permission) {
        return false;
    }
    let scope = Scope { permission: permission.to_owned(), resource: TEAM.to_owned() };
    let job = Caller {
        principal: "ci:any/1".to_owned(),
        kind: CallerKind::CiJob,
        teams: [(TEAM.to_owned(), Role::Automation)].into(),
        scopes: Some(vec![scope]),
        ..Caller::anonymous()
    };
    // A job owns nothing of its own, above all no tokens that would outlive it.
    let fits = |rule: &&authz::Rule| rule.permission == permission && rule.relation != authz::Relation::Myself;
    authz::rules().filter(fits).any(|rule| authz::possible(&job, rule).is_ok())
}

fn check_etag(entry: &TrustEntry, etag: &str) -> Result<()> {
    if etag.is_empty() || etag == entry.etag() {
        return Ok(());
    }
    Err(Error::new(&ETAG_MISMATCH, "the trust entry changed since it was read"))
}

fn missing() -> Error {
    Error::new(&NOT_FOUND, "there is no such trust entry")
}
