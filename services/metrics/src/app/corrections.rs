//! Corrections of attributions by people who may write for the service (MET-47).
use slipway_kit::{
    audit,
    authz::Facts,
    error::{Error, INVALID_FIELD, Result},
    id,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::App;
use crate::{
    error::{DEPLOYMENT_UNKNOWN, INCIDENT_UNKNOWN},
    model::{
        correction::{Correction, Target},
        service_ref,
    },
    store::{deployments, derived, ledger, services},
};

impl App {
    /// Records a correction, or only says what would be recorded.
    pub async fn correct(
        &self,
        call: &Call,
        service: &str,
        reason: String,
        target: Target,
        dry: bool,
    ) -> Result<Correction> {
        let service = service_ref::canonical(service).ok_or_else(|| {
            Error::new(&INVALID_FIELD, "invalid: correction.service")
                .violation("correction.service", "must be a reference")
        })?;
        let known = self.directory.resolve(&service).await?;
        let owner = known.as_ref().map(|s| s.owner.as_str()).filter(|o| !o.is_empty());
        call.check(&Facts { owner, ..Facts::default() })?;
        self.check_target(&service, &target).await?;
        let mut mutation = match Mutation::begin::<Correction>(&self.db, call).await? {
            Begun::Replay(correction) => return Ok(correction),
            Begun::Fresh(mutation) => mutation,
        };
        let author = call.caller.principal.clone();
        let correction =
            Correction { id: id::uuid7(), service, reason, target, author, created_us: self.clock.now_us() };
        if dry {
            return Ok(correction);
        }
        let tx = mutation.tx();
        let seq = ledger::take_numbers(tx, 1).await?;
        derived::put_correction(tx, &correction, seq).await?;
        services::touch(tx, &correction.service, seq).await?;
        let name = format!("corrections/{}", correction.id);
        mutation
            .commit(&correction, audit::Change { resource: &name, uid: &correction.id, fields: &["correction"] })
            .await?;
        Ok(correction)
    }

    /// What is corrected must be there.
    async fn check_target(&self, service: &str, target: &Target) -> Result<()> {
        let deployment = |id: &str| {
            Error::new(&DEPLOYMENT_UNKNOWN, format!("{service} has no deployment {id}")).resource("deployment", id)
        };
        match target {
            Target::Incident { external_id, cause_deployment } => {
                if !derived::incidents(&self.db, service).await?.iter().any(|i| i.external_id == *external_id) {
                    let why = format!("{service} has no incident {external_id}");
                    return Err(Error::new(&INCIDENT_UNKNOWN, why).resource("incident", external_id));
                }
                if !cause_deployment.is_empty() && !deployments::exists(&self.db, service, cause_deployment).await? {
                    return Err(deployment(cause_deployment));
                }
            }
            Target::Deployment { environment, external_id, .. } => {
                let all = deployments::of_service(&self.db, service).await?;
                if !all.iter().any(|d| d.environment == *environment && d.external_id == *external_id) {
                    return Err(deployment(external_id));
                }
            }
        }
        Ok(())
    }
}
