//! Putting to sleep what an earlier approval let run, while nobody has approved what is wanted now (ENV-31).
//!
//! Owns the effect in both targets. Refuses to bring anything of the new content out: all it knows is what was rendered before, and only objects
//! that are in the inventory are written.
use slipway_kit::{
    error::{Error, Result},
    worker::{Claim, Next},
};

use super::Reconciler;
use crate::model::{
    condition::Aspect,
    environment::{Environment, Target},
    guardrails, layout,
    manifest::{self, Doc},
    observed, outcome, plan, sleep,
};

impl Reconciler {
    /// The sleeping form of what was rendered last; jobs end.
    async fn sleeping(&self, env: &Environment) -> Result<Vec<Doc>> {
        let mut docs = manifest::of_files(&self.0.store.last_render(&env.uid).await?).map_err(Error::internal)?;
        docs.retain(|doc| manifest::kind(doc) != "Job" && !guardrails::is_rail(doc));
        Ok(sleep::asleep(docs))
    }

    pub(super) async fn doze(&self, claim: &Claim, env: Environment) -> Result<Option<Next>> {
        match env.target {
            Target::Git => self.doze_published(claim, env).await.map(|()| None),
            Target::Apply => self.doze_applied(claim, env).await,
        }
    }

    /// Commits the sleeping form in place of what was published.
    async fn doze_published(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        let mut docs = self.rails(&env).await?;
        docs.extend(self.sleeping(&env).await?);
        let publication = self.commit(claim, &env, &layout::files(&docs)).await?;
        outcome::dozed_published(&mut env, publication, self.0.now_us());
        self.save(claim, &before, &mut env).await
    }

    /// Applies the sleeping form; what cannot be put to sleep is taken away, as is what is no part of it.
    async fn doze_applied(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let (before, cluster) = (env.clone(), self.cluster(&env).await?);
        let mut docs = self.sleeping(&env).await?;
        docs.retain(|doc| env.status.inventory.iter().any(|held| outcome::same(&held.object, &manifest::object(doc))));
        env.status.progress.secrets.stamp(&mut docs);
        let live = cluster.list("apps/v1", "Deployment", &env.namespace, &[]).await?;
        if let Some(replicas) = plan::remembered(&env, &observed::replicas(&live)) {
            env.status.progress.replicas = replicas;
        }
        let (mut taken, mut slept) = (Vec::new(), Vec::new());
        for doc in &docs {
            match self.apply_one(claim, cluster.as_ref(), &env, doc).await {
                Ok(Ok(object)) => {
                    slept.push(object.0.clone());
                    taken.push(object);
                }
                Ok(Err(refusal)) => tracing::warn!(?refusal, doc = %manifest::title(doc), "not put to sleep; it goes"),
                Err(error) => return self.unanswered(claim, &before, env, Aspect::Applied, error).await,
            }
        }
        outcome::dozed(&mut env, &slept, taken, self.0.now_us());
        self.save(claim, &before, &mut env).await.map(|()| None)
    }
}
