//! Bringing a generation out by commits, and taking it away by one (ENV-151, ENV-152).
//!
//! Owns the two effects of the target git. Refuses to decide when: the model has.
use std::time::Duration;

use slipway_kit::{error::Result, worker::Claim};

use super::Reconciler;
use crate::{
    model::{
        condition::{Aspect, Verdict},
        environment::{Environment, Publication, Removal},
        layout, step,
    },
    world::{Landed, Output},
};

/// Time one publication may take, checked against the lease before it starts.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

impl Reconciler {
    pub(super) async fn publish(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        let Some(files) = self.0.store.render(&env.uid, env.generation).await? else {
            // Rendered by a version that kept it elsewhere, or purged: render again.
            env.status.conditions.clear(Aspect::Rendered);
            return self.save(claim, &before, &mut env).await;
        };
        let publication = self.commit(claim, &env, &files).await?;
        step::published(&mut env, publication, self.0.now_us());
        self.save(claim, &before, &mut env).await
    }

    /// Commits the files of a generation.
    pub(super) async fn commit(
        &self,
        claim: &Claim,
        env: &Environment,
        files: &[(String, String)],
    ) -> Result<Publication> {
        claim.may_start(PUBLISH_TIMEOUT)?;
        let (folder, message, now_us) = (layout::folder(env), layout::publish_message(env), self.0.now_us());
        let landed = self.0.world.outputs.publish(&output(env, &folder, &message, now_us), files).await?;
        Ok(Publication {
            branch: landed.branch,
            commit: landed.commit,
            path: folder,
            generation: env.generation,
            manifests: i32::try_from(files.len()).unwrap_or(i32::MAX),
            render_sha256: layout::digest(files),
            published_us: now_us,
        })
    }

    pub(super) async fn remove(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        claim.may_start(PUBLISH_TIMEOUT)?;
        let (folder, message, now_us) = (layout::folder(&env), layout::remove_message(&env), self.0.now_us());
        match self.0.world.outputs.remove(&output(&env, &folder, &message, now_us)).await {
            Ok(Landed { branch, commit, files, kept }) => {
                step::removed(&mut env, Removal { branch, commit, files, kept, removed_us: now_us }, now_us);
                self.save(claim, &before, &mut env).await
            }
            Err(error) => {
                // Deletes never give up; after a while they say what they wait for.
                if env.retire.as_ref().is_some_and(|r| now_us - r.decided_us > step::BLOCKED_US) {
                    let at = env.at(now_us);
                    let text = "The GitOps repository cannot be written; the removal is tried again.";
                    env.status.conditions.set(Aspect::Deleting, Verdict::True, crate::model::state::BLOCKED, text, at);
                    self.save(claim, &before, &mut env).await?;
                }
                Err(error)
            }
        }
    }
}

fn output<'a>(env: &'a Environment, folder: &'a str, message: &'a str, now_us: i64) -> Output<'a> {
    Output { cluster: &env.cluster, folder, uid: &env.uid, generation: env.generation, message, now_us }
}
