//! `grpc.health.v1` of one service: for the whole, and for each gRPC service it serves (REL-17).
//!
//! Owns when it says NOT_SERVING: as soon as the process stops. Refuses the state of siblings: that is theirs to tell.
use std::time::Duration;

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Shutdown, routes::Routes};
use crate::db::Db;

/// Between two looks at the database.
const READINESS_PERIOD: Duration = Duration::from_secs(5);
/// Time the database has to answer.
const READINESS_TIME: Duration = Duration::from_secs(2);

/// Tells what is served.
pub(super) struct Health {
    reporter: HealthReporter,
    served: Vec<&'static str>,
}

/// Adds the health service to the routes, saying SERVING.
pub(super) async fn add(mut routes: Routes, served: &[&'static str]) -> (Routes, Health) {
    let (reporter, server) = tonic_health::server::health_reporter();
    let served = served.iter().copied().chain([""]).collect();
    let health = Health { reporter, served };
    say(&health.reporter, &health.served, ServingStatus::Serving).await;
    routes.add("grpc.health.v1.Health", server);
    (routes, health)
}

impl Health {
    /// Says NOT_SERVING at shutdown, so that nobody sends new calls here.
    pub(super) fn stopping(&self, shutdown: Shutdown) -> impl Future<Output = ()> + Send + 'static {
        let (reporter, served) = (self.reporter.clone(), self.served.clone());
        async move {
            shutdown.wait().await;
            say(&reporter, &served, ServingStatus::NotServing).await;
        }
    }

    /// Keeps what is said of one gRPC service as a signal has it, until shutdown.
    pub(super) fn follow(
        &self,
        grpc_service: &'static str,
        mut serving: watch::Receiver<bool>,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        let reporter = self.reporter.clone();
        async move {
            while !shutdown.is_down() {
                let well = *serving.borrow_and_update();
                let status = if well { ServingStatus::Serving } else { ServingStatus::NotServing };
                reporter.set_service_status(grpc_service, status).await;
                tokio::select! {
                    changed = serving.changed() => if changed.is_err() { return },
                    () = shutdown.wait() => return,
                }
            }
        }
    }

    /// Says whether the whole is ready: its database answers (REL-17); until shutdown.
    pub(super) fn readiness(
        &self,
        db: Db,
        ready: watch::Sender<bool>,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        let reporter = self.reporter.clone();
        async move {
            let mut was_ready = true;
            ready.send_replace(true);
            loop {
                tokio::select! {
                    () = tokio::time::sleep(READINESS_PERIOD) => {}
                    () = shutdown.wait() => {
                        ready.send_replace(false);
                        return;
                    }
                }
                let asked = tokio::time::timeout(READINESS_TIME, db.fetch_one("SELECT 1 AS one", Vec::new())).await;
                let is_ready = matches!(asked, Ok(Ok(_)));
                if is_ready != was_ready && !shutdown.is_down() {
                    let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                    reporter.set_service_status("", status).await;
                    ready.send_replace(is_ready);
                }
                was_ready = is_ready;
            }
        }
    }
}

async fn say(reporter: &HealthReporter, served: &[&'static str], status: ServingStatus) {
    for service in served {
        reporter.set_service_status(*service, status).await;
    }
}
