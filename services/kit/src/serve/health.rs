//! `grpc.health.v1` of one service: for the whole, and for each gRPC service it serves (REL-17).
//!
//! Owns when it says NOT_SERVING: as soon as the process stops. Refuses the state of siblings: that is theirs to tell.
use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Shutdown, routes::Routes};

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
    health.say(ServingStatus::Serving).await;
    routes.add("grpc.health.v1.Health", server);
    (routes, health)
}

impl Health {
    /// Says NOT_SERVING, so that nobody sends new calls here.
    pub(super) async fn stopping(&self) {
        self.say(ServingStatus::NotServing).await;
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

    async fn say(&self, status: ServingStatus) {
        for service in &self.served {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}
