//! `doctor`: everything a service needs, looked at once, with what to do about what is wrong.
//!
//! Owns the checks that every service has, and how they are told. Refuses to change anything.
use std::{path::Path, process::ExitCode, time::Duration};

use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Configured, Program, Settings};
use crate::{
    check::{Check, Verdict},
    db::Db,
    serve::Mesh,
    subprocess::Tool,
};

/// Time a peer has to answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

fn passed(check: &Check) -> bool {
    check.verdict == Verdict::Passed
}

/// Whether a program that is run is there: at the path configured, else on PATH.
pub fn tool(name: &str, configured: Option<&Path>) -> Check {
    let found = match configured {
        Some(path) => Tool::at(name, path),
        None => Tool::find(name),
    };
    match found {
        Ok(_) => Check::passed(name, "is there"),
        Err(error) => {
            Check::failed(name, error.message(), format!("install {name}, or name its path in the configuration"))
        }
    }
}

impl<C: Configured> Program<C> {
    /// Looks at everything and tells it; fails if anything is not well.
    pub(super) async fn doctor(&self, settings: &Settings<C>) -> ExitCode {
        let mut all = vec![Check::passed("configuration", "is valid")];
        all.push(self.database(&settings.service).await);
        all.extend(self.peers(settings).await);
        all.extend(settings.service.examine().await);
        for check in &all {
            let mark = if passed(check) { "ok  " } else { "FAIL" };
            println!("{mark} {}: {}", check.name, check.detail);
            if !passed(check) {
                println!("     {}", check.remedy);
            }
        }
        if all.iter().all(passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn database(&self, service: &C) -> Check {
        let subject = "database";
        let db = match Db::open(service.database()).await {
            Ok(db) => db,
            Err(error) => {
                let remedy = "start the server, or correct service.database";
                return Check::failed(subject, error.message(), remedy);
            }
        };
        let newest = |pending: Vec<i64>| match pending.len() {
            0 => Check::passed(subject, format!("{} answers, and its schema is that of this build", db.engine())),
            n => {
                let remedy = format!("run `slipway-{} migrate --config …`", self.name);
                Check::failed(subject, format!("{n} migrations are missing"), remedy)
            }
        };
        match db.pending((self.migrations)()).await {
            Ok(pending) => newest(pending),
            Err(error) => Check::failed(subject, error.message(), "look at the rights of the database's user"),
        }
    }

    async fn peers(&self, settings: &Settings<C>) -> Vec<Check> {
        let mesh = match Mesh::join(self.name, &settings.mesh) {
            Ok(mesh) => mesh,
            Err(error) => {
                let remedy = "make the certificates anew, for example with `slipway certificates`";
                return vec![Check::failed("certificate", error.message(), remedy)];
            }
        };
        let mut all = vec![Check::passed("certificate", "names this service and fits its key")];
        for service in settings.mesh.peers.keys().filter_map(|name| crate::authz::peer(name)) {
            if service == self.name {
                continue;
            }
            let mut health = HealthClient::new(mesh.peers().as_service(service, PEER_TIMEOUT));
            let asked = health.check(HealthCheckRequest { service: String::new() }).await;
            all.push(match asked {
                Ok(answer) if answer.get_ref().status == 1 => Check::passed(service, "answers, and is ready"),
                Ok(_) => {
                    Check::failed(service, "answers, and is not ready", format!("see the log of slipway-{service}"))
                }
                Err(status) => {
                    let address = &settings.mesh.peers[service];
                    let remedy = format!("start slipway-{service}, or correct mesh.peers.{service}");
                    Check::failed(service, format!("{address}: {}", status.message()), remedy)
                }
            });
        }
        all
    }
}
