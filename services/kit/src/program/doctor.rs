//! `doctor`: everything a service needs, looked at once, with what to do about what is wrong.
//!
//! Owns the wording of the findings of every service. Refuses to change anything.
use std::{path::Path, process::ExitCode, time::Duration};

use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Configured, Program, Settings};
use crate::{db::Db, serve::Mesh, subprocess::Tool};

/// Time a peer has to answer.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// Whether it is as it must be.
    pub is_well: bool,
    /// What was seen.
    pub text: String,
    /// What to do, where it is not well.
    pub remedy: String,
}

impl Finding {
    /// It is as it must be.
    pub fn well(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self { subject: subject.into(), is_well: true, text: text.into(), remedy: String::new() }
    }

    /// It is not, and this helps.
    pub fn ill(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject: subject.into(), is_well: false, text: text.into(), remedy: remedy.into() }
    }
}

/// Whether a program that is run is there: at the path configured, else on PATH.
pub fn tool(name: &str, configured: Option<&Path>) -> Finding {
    let found = match configured {
        Some(path) => Tool::at(name, path),
        None => Tool::find(name),
    };
    match found {
        Ok(_) => Finding::well(name, "is there"),
        Err(error) => {
            Finding::ill(name, error.message(), format!("install {name}, or name its path in the configuration"))
        }
    }
}

impl<C: Configured> Program<C> {
    /// Looks at everything and tells it; fails if anything is not well.
    pub(super) async fn doctor(&self, settings: &Settings<C>) -> ExitCode {
        let mut all = vec![Finding::well("configuration", "is valid")];
        all.push(self.database(&settings.service).await);
        all.extend(self.peers(settings).await);
        all.extend(settings.service.examine().await);
        for finding in &all {
            let mark = if finding.is_well { "ok  " } else { "FAIL" };
            println!("{mark} {}: {}", finding.subject, finding.text);
            if !finding.is_well {
                println!("     {}", finding.remedy);
            }
        }
        if all.iter().all(|finding| finding.is_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn database(&self, service: &C) -> Finding {
        let subject = "database";
        let db = match Db::open(service.database()).await {
            Ok(db) => db,
            Err(error) => {
                let remedy = "start the server, or correct service.database";
                return Finding::ill(subject, error.message(), remedy);
            }
        };
        let newest = |pending: Vec<i64>| match pending.len() {
            0 => Finding::well(subject, format!("{} answers, and its schema is that of this build", db.engine())),
            n => {
                let remedy = format!("run `slipway-{} migrate --config …`", self.name);
                Finding::ill(subject, format!("{n} migrations are missing"), remedy)
            }
        };
        match db.pending((self.migrations)()).await {
            Ok(pending) => newest(pending),
            Err(error) => Finding::ill(subject, error.message(), "look at the rights of the database's user"),
        }
    }

    async fn peers(&self, settings: &Settings<C>) -> Vec<Finding> {
        let mesh = match Mesh::join(self.name, &settings.mesh) {
            Ok(mesh) => mesh,
            Err(error) => {
                let remedy = "make the certificates anew, for example with `slipway certificates`";
                return vec![Finding::ill("certificate", error.message(), remedy)];
            }
        };
        let mut all = vec![Finding::well("certificate", "names this service and fits its key")];
        for service in settings.mesh.peers.keys().filter_map(|name| crate::authz::peer(name)) {
            if service == self.name {
                continue;
            }
            let mut health = HealthClient::new(mesh.peers().as_service(service, PEER_TIMEOUT));
            let asked = health.check(HealthCheckRequest { service: String::new() }).await;
            all.push(match asked {
                Ok(answer) if answer.get_ref().status == 1 => Finding::well(service, "answers, and is ready"),
                Ok(_) => {
                    Finding::ill(service, "answers, and is not ready", format!("see the log of slipway-{service}"))
                }
                Err(status) => {
                    let address = &settings.mesh.peers[service];
                    let remedy = format!("start slipway-{service}, or correct mesh.peers.{service}");
                    Finding::ill(service, format!("{address}: {}", status.message()), remedy)
                }
            });
        }
        all
    }
}
