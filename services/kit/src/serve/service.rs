//! One service as a process serves it: its RPCs, its database, its background loops.
//!
//! Owns what every service has without asking for it: health, journal and inbox. Refuses knowledge of the process around it.
use std::convert::Infallible;

use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::watch;
use tonic::{body::Body, server::NamedService};

use super::{Shutdown, routes::Routes};
use crate::{audit::Recorder, db::Db, inbox, journal, retention};

/// A background loop, to be started with the process's signal.
pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) start: Box<dyn FnOnce(Shutdown) -> BoxFuture<'static, ()> + Send>,
}

/// What a service's `build()` answers.
pub struct Service {
    pub(super) name: &'static str,
    pub(super) db: Db,
    pub(super) routes: Routes,
    pub(super) served: Vec<&'static str>,
    pub(super) tasks: Vec<Task>,
    pub(super) recorder: Recorder,
    pub(super) ailing: Vec<(&'static str, watch::Receiver<bool>)>,
    pub(super) ready: watch::Sender<bool>,
}

impl Service {
    /// A service with kit's own RPCs and nothing else yet: its journal for the others, its inbox, and retention.
    pub fn new(name: &'static str, db: Db) -> Self {
        let (routes, served, tasks, recorder) = (Routes::default(), Vec::new(), Vec::new(), Recorder::new(&db));
        let bare = Self {
            name,
            db: db.clone(),
            routes,
            served,
            tasks,
            recorder,
            ailing: Vec::new(),
            ready: watch::Sender::new(false),
        };
        bare.add(journal::service(db.clone()))
            .add(inbox::service(db.clone()))
            .task("retention", move |shutdown| retention::run(db, shutdown))
    }

    /// Adds a generated server, for example `EnvironmentServiceServer::new(api)`.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a builder's word; nobody adds services up")]
    pub fn add<S>(mut self, grpc_server: S) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        if !self.served.contains(&S::NAME) {
            self.served.push(S::NAME);
        }
        self.routes.add(S::NAME, grpc_server);
        self
    }

    /// Lets the health of a gRPC service follow a signal of its own: NOT_SERVING while that is false.
    #[must_use]
    pub fn health(mut self, grpc_service: &'static str, serving: watch::Receiver<bool>) -> Self {
        self.ailing.push((grpc_service, serving));
        self
    }

    /// Adds a background loop that ends when the signal is given.
    #[must_use]
    pub fn task<F, Fut>(mut self, name: &'static str, f: F) -> Self
    where
        F: FnOnce(Shutdown) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.tasks.push(Task { name, start: Box::new(move |shutdown| Box::pin(f(shutdown))) });
        self
    }

    /// Where its layers record reads and denials; for a process that refuses calls before they get here.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Whether it runs and its database answers, once it is served.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The service's database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The service's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Names of the gRPC services it serves.
    pub fn served(&self) -> &[&'static str] {
        &self.served
    }
}
