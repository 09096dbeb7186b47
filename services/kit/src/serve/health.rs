//! `grpc.health.v1` of one service: for the whole, and for each gRPC service it serves (REL-17).
//!
//! Owns when it says NOT_SERVING: as soon as the process stops. Refuses the state of siblings: that is theirs to tell.
use tonic_health::{ServingStatus, server::HealthReporter};

use super::routes::Routes;

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

    async fn say(&self, status: ServingStatus) {
        for service in &self.served {
            self.reporter.set_service_status(*service, status).await;
        }
    }
}
