//! Trust entries as rows and verbs, on every engine: who may write them, and what none may say.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use slipway_gateway::{
    app::{
        access::Access,
        lists::{Asked, Lists, Total},
        trust_entries::{Change, NewTrustEntry, TrustEntries},
    },
    error::{TOKEN_SCOPE_TOO_WIDE, TRUST_ENTRIES_FULL},
    model::trust::{ENTRIES_MAX, Terms, TrustEntry},
    store::{MIGRATIONS, Store},
    world::directory::{Directory, Memberships, Owned, Owners},
};
use slipway_kit::{
    caller::{Caller, Role, Scope},
    clock::Clock,
    db::scratch::{self, Scratch},
    error::{
        DEPENDENCY_UNAVAILABLE, ETAG_MISMATCH, Error, INVALID_FIELD, NOT_FOUND, PERMISSION_DENIED, Result,
        SERVICE_UNKNOWN,
    },
    page::Sealer,
    serve::Call,
};

const TEAM: &str = "group:default/pay";

/// One service of one team, and whether the catalog is away.
#[derive(Clone, Default)]
struct Catalog(Arc<AtomicBool>);

#[async_trait]
impl Directory for Catalog {
    async fn memberships(&self) -> Result<Memberships> {
        Ok(Memberships::default())
    }
}

#[async_trait]
impl Owners for Catalog {
    async fn owner(&self, reference: &str) -> Result<Option<Owned>> {
        if self.0.load(Ordering::SeqCst) {
            return Err(Error::new(&DEPENDENCY_UNAVAILABLE, "down"));
        }
        let known = matches!(reference, "payments" | "component:default/payments");
        let owned = Owned { reference: "component:default/payments".into(), owner: Some(TEAM.into()) };
        Ok(known.then_some(owned))
    }
}

struct Suite {
    verbs: TrustEntries,
    store: Store,
    catalog: Catalog,
    _scratch: Scratch,
}

async fn suites() -> Vec<Suite> {
    let mut all = Vec::new();
    for scratch in scratch::each(&MIGRATIONS).await {
        let (store, catalog) = (Store::new(scratch.db.clone()), Catalog::default());
        let access = Access::new(store.clone(), Box::new(catalog.clone()));
        let lists = Lists::new(Sealer::load(&scratch.db).await.unwrap());
        let issuers = BTreeMap::from([("github".to_owned(), vec![])]);
        let clock = Clock::manual(1_000_000_000);
        let verbs = TrustEntries::new(store.clone(), access, Arc::new(catalog.clone()), clock, lists, issuers);
        all.push(Suite { verbs, store, catalog, _scratch: scratch });
    }
    all
}

fn user(name: &str) -> Caller {
    Caller { principal: format!("user:default/{name}"), ..Caller::anonymous() }
}

fn member(role: Role) -> Caller {
    Caller { teams: [(TEAM.to_owned(), role)].into(), ..user("ann") }
}

fn administrator() -> Caller {
    Caller { roles: [Role::PlatformAdmin].into(), ..user("admin") }
}

fn call(caller: Caller, verb: &str) -> Call {
    Call::for_test(caller, Box::leak(format!("/slipway.access.v1.TrustEntryService/{verb}").into_boxed_str()))
}

fn new() -> NewTrustEntry {
    let terms = Terms {
        owner_id: 65,
        refs: vec!["refs/pull/*/merge".into()],
        permissions: vec!["environments.ensure_preview".into()],
        ..Terms::default()
    };
    NewTrustEntry {
        issuer: "github".into(),
        repository_id: 74,
        service: "payments".into(),
        terms,
        validate_only: false,
    }
}

fn asked() -> Asked {
    Asked { size: 0, token: String::new(), filter: String::new(), order_by: String::new(), total: Total::Exact }
}

fn rename(entry: &TrustEntry, etag: &str) -> Change {
    let apply = |old: Terms| Terms { repository: "octo/renamed".into(), ..old };
    Change { id: entry.id.clone(), etag: etag.into(), apply: Box::new(apply), validate_only: false }
}

#[tokio::test]
async fn maintainers_of_the_services_team_write_its_entries_and_nobody_else_but_administrators() {
    for suite in suites().await {
        let verbs = &suite.verbs;
        let strangers = [
            user("eve"),
            member(Role::Viewer),
            member(Role::Developer),
            member(Role::Automation),
            Caller { teams: [("group:default/web".to_owned(), Role::Maintainer)].into(), ..user("bob") },
            Caller { roles: [Role::Operator].into(), ..user("op") },
        ];
        let entry = verbs.create(&call(member(Role::Maintainer), "CreateTrustEntry"), new()).await.unwrap();
        assert_eq!((entry.service.as_str(), entry.version), ("component:default/payments", 1));
        for stranger in strangers {
            let as_ = |verb| call(stranger.clone(), verb);
            let unknown = NewTrustEntry { service: "unknown".into(), ..new() };
            let texts = [
                verbs.create(&as_("CreateTrustEntry"), new()).await.unwrap_err(),
                verbs.create(&as_("CreateTrustEntry"), unknown).await.unwrap_err(),
                verbs.get(&as_("GetTrustEntry"), &entry.id).await.unwrap_err(),
                verbs.get(&as_("GetTrustEntry"), "aaaaaaaa").await.unwrap_err(),
                verbs.list(&as_("ListTrustEntries"), "", &asked()).await.err().unwrap(),
                verbs.list(&as_("ListTrustEntries"), "payments", &asked()).await.err().unwrap(),
                verbs.update(&as_("UpdateTrustEntry"), &rename(&entry, "")).await.unwrap_err(),
                verbs.delete(&as_("DeleteTrustEntry"), &entry.id, "").await.unwrap_err(),
                verbs.delete(&as_("DeleteTrustEntry"), "aaaaaaaa", "").await.unwrap_err(),
            ];
            for error in texts {
                assert!(error.is(&PERMISSION_DENIED), "{}: {error}", stranger.principal);
                assert_eq!(error.message(), "permission denied, or there is no such resource");
            }
        }
        let list = verbs.list(&call(member(Role::Maintainer), "ListTrustEntries"), "payments", &asked()).await.unwrap();
        assert_eq!((list.items, list.total), (vec![entry.clone()], Some(1)));
        let auditor = Caller { roles: [Role::Auditor].into(), ..user("aud") };
        assert_eq!(verbs.list(&call(auditor, "ListTrustEntries"), "", &asked()).await.unwrap().items.len(), 1);
        let admin = |verb| call(administrator(), verb);
        let unknown = NewTrustEntry { service: "unknown".into(), ..new() };
        assert!(verbs.create(&admin("CreateTrustEntry"), unknown).await.unwrap_err().is(&SERVICE_UNKNOWN));
        assert!(verbs.get(&admin("GetTrustEntry"), "aaaaaaaa").await.unwrap_err().is(&NOT_FOUND));
        // Without the catalog only an administrator can repair.
        suite.catalog.0.store(true, Ordering::SeqCst);
        let away = verbs.delete(&call(member(Role::Maintainer), "DeleteTrustEntry"), &entry.id, "").await;
        assert!(away.unwrap_err().is(&DEPENDENCY_UNAVAILABLE));
        verbs.delete(&admin("DeleteTrustEntry"), &entry.id, "v1").await.unwrap();
        assert_eq!(suite.store.trust_of("github", 74).await.unwrap(), []);
    }
}

#[tokio::test]
async fn every_fault_is_told_at_once_and_nothing_is_stored() {
    for suite in suites().await {
        let verbs = &suite.verbs;
        let maintainer = |verb| call(member(Role::Maintainer), verb);
        let terms = Terms {
            permissions: [
                "tokens.create",
                "environments.confirm_delete",
                "environments.list",
                "trust_entries.create",
                "a.b",
            ]
            .map(str::to_owned)
            .to_vec(),
            workflow: "x".into(),
            ..Terms::default()
        };
        let bad = NewTrustEntry { issuer: "other".into(), repository_id: 0, terms, ..new() };
        let error = verbs.create(&maintainer("CreateTrustEntry"), bad).await.unwrap_err();
        assert!(error.is(&INVALID_FIELD));
        let fields: Vec<&str> = error.violations().iter().map(|(field, _)| field.as_str()).collect();
        let mut named: Vec<String> =
            ["issuer", "repository_id", "repository_owner_id", "refs", "job_workflow_ref"].map(str::to_owned).to_vec();
        named.extend((0..5).map(|at| format!("permissions[{at}]")));
        assert_eq!(fields, named.iter().map(|field| format!("trust_entry.{field}")).collect::<Vec<_>>());
        let narrow = vec![Scope { permission: "trust_entries.*".into(), resource: String::new() }];
        let token = Caller { scopes: Some(narrow), ..member(Role::Maintainer) };
        let wide = verbs.create(&call(token, "CreateTrustEntry"), new()).await.unwrap_err();
        assert!(wide.is(&TOKEN_SCOPE_TOO_WIDE));
        let only_checked = NewTrustEntry { validate_only: true, ..new() };
        verbs.create(&maintainer("CreateTrustEntry"), only_checked).await.unwrap();
        assert_eq!(suite.store.trust_of("github", 74).await.unwrap(), []);
    }
}

#[tokio::test]
async fn repeats_versions_and_the_limit() {
    for suite in suites().await {
        let verbs = &suite.verbs;
        let maintainer = |verb| call(member(Role::Maintainer), verb);
        let once = maintainer("CreateTrustEntry");
        let entry = verbs.create(&once, new()).await.unwrap();
        assert_eq!(verbs.create(&once, new()).await.unwrap(), entry, "the same call is the same entry");
        let before = suite.store.version().await.unwrap();
        let renamed = verbs.update(&maintainer("UpdateTrustEntry"), &rename(&entry, "v1")).await.unwrap();
        assert_eq!((renamed.version, renamed.terms.repository.as_str()), (2, "octo/renamed"));
        assert!(suite.store.version().await.unwrap() > before, "caches must learn of it");
        let stale = verbs.update(&maintainer("UpdateTrustEntry"), &rename(&entry, "v1")).await.unwrap_err();
        assert!(stale.is(&ETAG_MISMATCH));
        assert_eq!(verbs.get(&maintainer("GetTrustEntry"), &entry.id).await.unwrap(), renamed);
        for _ in 1..ENTRIES_MAX {
            verbs.create(&maintainer("CreateTrustEntry"), new()).await.unwrap();
        }
        let full = verbs.create(&maintainer("CreateTrustEntry"), new()).await.unwrap_err();
        assert!(full.is(&TRUST_ENTRIES_FULL));
        let another = NewTrustEntry { repository_id: 75, ..new() };
        verbs.create(&maintainer("CreateTrustEntry"), another).await.unwrap();
        assert!(verbs.delete(&maintainer("DeleteTrustEntry"), &entry.id, "v1").await.unwrap_err().is(&ETAG_MISMATCH));
        verbs.delete(&maintainer("DeleteTrustEntry"), &entry.id, "v2").await.unwrap();
    }
}
