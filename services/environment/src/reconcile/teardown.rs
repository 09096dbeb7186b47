//! Taking an environment out of its cluster, in the order of ENV-44.
//!
//! Owns the deletions, each under the uid that was recorded. Refuses finalizers: they are shown, never stripped (ENV-48).
use std::time::Duration;

use slipway_kit::{
    error::{Kind, Result},
    worker::{Claim, Next},
};

use super::{Reconciler, apply::WRITE_TIMEOUT};
use crate::{
    model::{environment::Environment, outcome::namespace_ref, progress::TeardownStep, teardown},
    world::cluster::Deleted,
};

/// How long until a deletion that was refused is tried again.
const REFUSED_WAIT: Duration = Duration::from_secs(10);

impl Reconciler {
    /// Deletes the objects of a step. What still goes afterwards is the namespace's to wait for.
    pub(super) async fn tear(&self, claim: &Claim, mut env: Environment, step: TeardownStep) -> Result<Option<Next>> {
        let (before, cluster) = (env.clone(), self.cluster(&env).await?);
        let mut refused = Vec::new();
        for held in teardown::going(&env, step) {
            if let Err(refusal) = self.delete_one(claim, cluster.as_ref(), &env, &held.object).await? {
                refused.push(refusal.sentence(&format!("{}/{}", held.object.kind, held.object.name)));
            }
        }
        if refused.is_empty() {
            teardown::done(&mut env, step, self.0.now_us());
            return self.save(claim, &before, &mut env).await.map(|()| None);
        }
        teardown::refused(&mut env, &refused.join(" "), self.0.now_us());
        self.save(claim, &before, &mut env).await?;
        Ok(Some(Next::After(REFUSED_WAIT)))
    }

    /// Has the bound Secrets withdrawn before the namespace goes.
    pub(super) async fn withdraw(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let before = env.clone();
        if !env.status.secret_names.is_empty() || !env.status.progress.secrets.secrets.is_empty() {
            claim.may_start(WRITE_TIMEOUT)?;
            let withdrawn = match self.place(&env).await {
                Ok(place) => self.0.world.bindings.withdraw(&env, &place).await.map(drop),
                Err(error) => Err(error),
            };
            match withdrawn {
                Ok(()) => {}
                // What can be withdrawn no more goes with the namespace.
                Err(error) if error.kind() == Kind::FailedPrecondition || error.kind() == Kind::NotFound => {
                    tracing::warn!(?error, env = %env.uid, "secrets not withdrawn; the namespace takes them");
                }
                Err(error) => return Err(error),
            }
        }
        teardown::done(&mut env, TeardownStep::Secrets, self.0.now_us());
        self.save(claim, &before, &mut env).await.map(|()| None)
    }

    /// Deletes the namespace under its uid; whether it is gone, the next look tells.
    pub(super) async fn leave(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let (before, cluster, namespace) = (env.clone(), self.cluster(&env).await?, namespace_ref(&env));
        claim.may_start(WRITE_TIMEOUT)?;
        let answer = cluster.delete(&namespace, &env.status.namespace_uid).await?;
        match answer {
            Ok(Deleted::Gone | Deleted::Going) => {
                teardown::done(&mut env, TeardownStep::Namespace, self.0.now_us());
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Err(refusal) => {
                let text = refusal.sentence(&format!("Namespace/{}", env.namespace));
                teardown::refused(&mut env, &text, self.0.now_us());
                self.save(claim, &before, &mut env).await?;
                Ok(Some(Next::After(REFUSED_WAIT)))
            }
        }
    }
}
