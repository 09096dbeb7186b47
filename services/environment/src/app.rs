//! Verbs: authorise on the resource, open a transaction, ask the model, save, append the event.
//!
//! Owns the order of these within each call. Refuses SQL, wire types and rules: store, api and model have those.
mod approvals;
mod budgets;
mod changes;
mod clusters;
mod deletions;
mod diagnoses;
mod environments;
mod happenings;
mod hints;
mod holds;
mod lifetimes;
mod orphans;
mod policies;
mod previews;
mod receipts;
mod reports;
mod routes;
mod scm_connections;
mod sweep;
mod watch;
mod watching;

use std::sync::Arc;

use slipway_kit::{
    authz::Facts,
    clock::Clock,
    db::{Db, Tx},
    error::{Error, Result, SERVICE_UNKNOWN, Violations},
    journal,
    mutation::{Begun, Mutation},
    page::Sealer,
    serve::{Call, Shutdown},
    worker,
};

pub use approvals::NewApproval;
pub use budgets::{Budget, BudgetChange, Idle};
pub use clusters::{ClusterSpec, Listed};
pub use deletions::Deletion;
pub(crate) use diagnoses::last_lines;
pub use diagnoses::{Line, WantedLogs};
pub use environments::{List, NewEnvironment, Page, WaitFor};
pub use happenings::Happening;
pub use hints::pull_request_id;
pub use holds::{HoldList, Shown};
pub use lifetimes::NewPin;
pub use orphans::{Confirmation, OrphanList, WORK_SWEEP};
pub use policies::{For, PolicyChange, name as policy_name};
pub use previews::WantedPreview;
pub use reports::{Told, WORK_REPORT};
pub use routes::{RouteChange, Routes, Touch};
pub use watch::{Change, WatchQuery};
pub use watching::{Looked, Watches};

use crate::{
    config::Platform,
    model::environment::Environment,
    store::Store,
    wire,
    world::{ServiceFacts, World},
};

/// Kind of work: reconcile an environment, by uid.
pub const WORK_ENVIRONMENT: &str = "environment";
/// Kind of work: tear an environment down, by uid; handed over by the first lane.
pub const WORK_TEARDOWN: &str = "teardown";
/// Kind of work: go on with a teardown that is blocked, by uid; handed over by the second lane.
pub const WORK_BLOCKED: &str = "teardown_blocked";
/// Kind of work: look at a pull request, by `<scm>/<repository id>/<number>`.
pub const WORK_PULL_REQUEST: &str = "pull_request";
/// Kind of work: look at every repository of a connection, by its id.
pub const WORK_POLL: &str = "poll";
/// Kind of work: run the checks of a registered cluster, by its id.
pub const WORK_CHECK: &str = "cluster_check";
/// Kind of work: drop what is kept long enough.
pub const WORK_PURGE: &str = "purge";

/// The verbs; cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) platform: Arc<Platform>,
    pub(crate) clock: Clock,
    pub(crate) sealer: Sealer,
    pub(crate) looked: Looked,
    pub(crate) watches: Watches,
    routes: Routes,
    drain: Shutdown,
}

impl App {
    /// The verbs over a store and a world.
    pub fn new(store: Store, world: World, platform: Platform, clock: Clock, sealer: Sealer) -> Self {
        Self {
            store,
            world,
            platform: Arc::new(platform),
            clock,
            sealer,
            looked: Looked::default(),
            watches: Watches::default(),
            routes: Routes::default(),
            drain: Shutdown::new(),
        }
    }

    /// The service's database.
    pub fn db(&self) -> &Db {
        &self.store.db
    }

    /// Ends the streams that watch.
    pub fn drain(&self) {
        self.drain.begin();
    }

    /// What the answers are rendered with.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    /// Facts of a service for a call: to a caller without a right to it, a service that does not exist is one that is not visible.
    /// Refuses entities that are no components; `field` is where the request names the service.
    async fn service(&self, call: &Call, field: &str, reference: &str, tier: &str) -> Result<ServiceFacts> {
        match self.world.directory.service(reference).await {
            Ok(facts) => {
                let owner = Some(facts.owner.as_str()).filter(|o| !o.is_empty());
                call.check(&Facts {
                    owner,
                    environment_tier: Some(tier),
                    service_tier: Some(facts.tier.as_str()),
                    ..Facts::default()
                })?;
                call.check_job(&facts.reference, None)?;
                let mut v = Violations::new();
                let rule = format!("must be a component; {} has no environments", facts.reference);
                v.check(facts.reference.starts_with("component:"), field, rule);
                v.finish()?;
                Ok(facts)
            }
            Err(error) if error.is(&SERVICE_UNKNOWN) => {
                call.check(&NOBODYS)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// An environment for a call; not existing and not visible read the same (SAFE-41).
    async fn environment(&self, call: &Call, name: &str) -> Result<Environment> {
        let label = name.strip_prefix("environments/").unwrap_or_default();
        let found = if label.is_empty() { None } else { self.store.by_label(&self.store.db, label).await? };
        check(call, found, name)
    }

    /// Saves a changed environment with its event; a changed generation or ending wakes its worker.
    pub(crate) async fn save(&self, tx: &mut Tx, before: &Environment, env: &mut Environment) -> Result<()> {
        let wake = before.generation != env.generation
            || before.retire != env.retire
            || before.expire_us != env.expire_us
            || before.power != env.power;
        self.save_status(tx, before, env).await?;
        if wake { worker::enqueue(tx, WORK_ENVIRONMENT, &env.uid, 0).await } else { Ok(()) }
    }

    /// Saves without waking: a write of status never enqueues (ENV-124).
    pub(crate) async fn save_status(&self, tx: &mut Tx, before: &Environment, env: &mut Environment) -> Result<()> {
        env.version = before.version + 1;
        env.updated_us = self.now_us().max(before.updated_us);
        self.store.update(tx, env, before.version).await?;
        journal::append(tx, wire::event::updated(env, &self.platform, before.state())).await?;
        if let Some(warned) = env.status.warned.filter(|_| env.status.warned != before.status.warned) {
            journal::append(tx, wire::event::expiring(env, &warned)).await?;
        }
        self.make_room(tx, before, env).await?;
        self.report_later(tx, Some(before), env).await
    }

    /// Adds a new life with its event, and wakes its worker.
    pub(crate) async fn begin_life(&self, tx: &mut Tx, env: &Environment) -> Result<()> {
        self.store.insert(tx, env).await?;
        journal::append(tx, wire::event::created(env, &self.platform)).await?;
        self.report_later(tx, None, env).await?;
        worker::enqueue(tx, WORK_ENVIRONMENT, &env.uid, 0).await
    }

    /// The earlier answer of this request id, if there is one; nothing stays open.
    async fn replayed(&self, call: &Call) -> Result<Option<Environment>> {
        match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => Ok(Some(answer)),
            Begun::Fresh(_) => Ok(None),
        }
    }
}

/// What a thing that does not exist has: nobody owns it, so that only platform administrators learn that it is missing.
const NOBODYS: Facts<'static> =
    Facts { owner: None, subject: None, environment_tier: Some("development"), service_tier: None, break_glass: false };

/// The environment if the caller may do this to it.
fn check(call: &Call, found: Option<Environment>, name: &str) -> Result<Environment> {
    match found {
        Some(env) => {
            call.check(&facts(&env))?;
            let source = &env.spec.source;
            call.check_job(&env.service, Some((&source.repository_id, source.pull_request)))?;
            Ok(env)
        }
        None => {
            call.check(&NOBODYS)?;
            Err(missing(name))
        }
    }
}

/// What decisions on an environment rest on.
fn facts(env: &Environment) -> Facts<'_> {
    Facts {
        owner: Some(env.owner.as_str()).filter(|o| !o.is_empty()),
        subject: Some(env.user.as_str()).filter(|u| !u.is_empty()),
        environment_tier: Some(env.tier.word()),
        service_tier: Some(env.service_tier.as_str()).filter(|t| !t.is_empty()),
        ..Facts::default()
    }
}

fn missing(name: &str) -> Error {
    Error::new(&slipway_kit::error::NOT_FOUND, format!("there is no {name}")).resource("slipway.dev/Environment", name)
}

/// A version that the caller meant and that is not the present one.
fn check_etag(env: &Environment, etag: &str) -> Result<()> {
    check_version(("environment", "slipway.dev/Environment"), &env.name(), &env.etag(), etag)
}

/// The same of any resource: its noun and its type, its name, its present version, and the one that is meant; any if empty.
fn check_version((noun, kind): (&str, &str), name: &str, present: &str, meant: &str) -> Result<()> {
    if meant.is_empty() || meant == present {
        return Ok(());
    }
    let error = Error::new(&slipway_kit::error::ETAG_MISMATCH, format!("the {noun} changed since it was read"));
    Err(error.resource(kind, name).meta("etag", present))
}
