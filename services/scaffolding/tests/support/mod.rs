//! What the suites share: a service on a scratch database, callers, and the golden path's parameters.
#![allow(dead_code)]
use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value as Json, json};
use slipway_kit::{
    caller::{Caller, CallerKind, Role, Signer},
    clock::Clock,
    db::Db,
    page::Sealer,
    serve::{Call, Client, Hub, Outgoing, Shutdown},
};
use slipway_scaffolding::{
    app::{App, NewRun},
    reconcile::Reconciler,
    store::{Store, Trees},
    world::{Forge, Siblings, fake::Fake},
};

pub const CREATE: &str = "/slipway.scaffolding.v1.RunService/CreateRun";
pub const GET: &str = "/slipway.scaffolding.v1.RunService/GetRun";
pub const CANCEL: &str = "/slipway.scaffolding.v1.RunService/CancelRun";
pub const PUBLISH: &str = "/slipway.scaffolding.v1.TemplateService/PublishRevision";

/// A developer of one team.
pub fn developer(name: &str, team: &str) -> Caller {
    Caller {
        principal: format!("user:default/{name}"),
        kind: CallerKind::User,
        credential: "tokens/t1".to_owned(),
        teams: [(team.to_owned(), Role::Developer)].into(),
        roles: std::collections::BTreeSet::new(),
        scopes: None,
        job: None,
    }
}

/// A platform administrator.
pub fn admin() -> Caller {
    Caller { roles: [Role::PlatformAdmin].into(), teams: std::collections::BTreeMap::new(), ..developer("root", "x") }
}

pub fn object(value: Json) -> Map<String, Json> {
    value.as_object().expect("an object").clone()
}

pub fn payments() -> Map<String, Json> {
    object(json!({
        "name": "payments", "title": "Payments", "owner": "payments", "system": "shop", "tier": "standard", "description": "Takes money.",
    }))
}

pub fn golden() -> NewRun {
    NewRun { template: "templates/go-service".to_owned(), parameters: payments(), validate_only: false }
}

/// A fake world that knows team payments and its developer ann.
pub fn world() -> Arc<Fake> {
    let fake = Fake::default();
    {
        let mut state = fake.state();
        state.groups.extend(["group:default/payments".to_owned(), "group:default/other".to_owned()]);
        let ann = developer("ann", "group:default/payments");
        state.callers.insert(ann.principal.clone(), ann);
    }
    Arc::new(fake)
}

/// Verbs and worker over a database and a world, with the golden paths published.
pub struct Bench {
    pub app: App,
    pub db: Db,
    pub world: Arc<Fake>,
}

impl Bench {
    pub async fn new(db: &Db, world: Arc<Fake>) -> Bench {
        let forge: Arc<dyn Forge> = world.clone();
        let siblings: Arc<dyn Siblings> = world.clone();
        let app = App {
            store: Store::new(db.clone()),
            sealer: Sealer::load(db).await.expect("a sealer"),
            forge,
            siblings,
            trees: Trees::default(),
            clock: Clock::system(),
        };
        app.publish_golden_paths().await.expect("published");
        Bench { app, db: db.clone(), world }
    }

    /// A worker as a fresh process would have it.
    pub fn reconciler(&self) -> Reconciler {
        Reconciler {
            store: self.app.store.clone(),
            forge: self.world.clone(),
            siblings: self.world.clone(),
            trees: Trees::default(),
            clock: Clock::system(),
        }
    }
}

pub fn call(caller: &Caller, method: &'static str) -> Call {
    Call::for_test(caller.clone(), method)
}

/// A served service and who may call it.
pub struct Served {
    hub: Hub,
    signer: Signer,
    pub shutdown: Shutdown,
}

impl Served {
    pub async fn new(db: Db, forge: Arc<dyn Forge>, siblings: Arc<dyn Siblings>) -> Served {
        let (hub, signer, shutdown) = (Hub::new(), Signer::generate(), Shutdown::new());
        let service = slipway_scaffolding::assemble(db, Clock::system(), forge, siblings, 4).await.expect("assembled");
        hub.serve(service, signer.verifier(), shutdown.clone());
        Served { hub, signer, shutdown }
    }

    /// A client that calls one method as `caller`, as the gateway would.
    pub fn client(&self, caller: &Caller, method: &str) -> Client {
        let assertion = self.signer.assert(caller, &["scaffolding"], method, None).expect("signed");
        let outgoing = Outgoing { assertion: Some(assertion), ..Outgoing::default() };
        self.hub.peers("gateway").forwarding(
            "scaffolding",
            outgoing,
            tokio::time::Instant::now() + Duration::from_secs(30),
        )
    }
}
