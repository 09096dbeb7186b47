//! Bringing a generation out in a cluster: namespace, guard rails, Secrets, objects, and what earlier generations left.
//!
//! Owns the effects of the target apply, each idempotent and fenced. Refuses to write what was not intended before, to take over
//! fields of what is not ours, and to go on once the lease is short.
use std::{sync::Arc, time::Duration};

use slipway_kit::{
    error::{DEPENDENCY_UNAVAILABLE, Error, Kind, Result},
    worker::{Claim, Next},
};

use super::Reconciler;
use crate::{
    model::{
        condition::Aspect,
        delivery::Delivered,
        environment::{Environment, ObjectRef, Target},
        guardrails,
        manifest::{self, Doc},
        observed,
        outcome::{self, namespace_ref, same},
        plan::{self, Plan},
        refusal::Refusal,
        rollout, step,
    },
    world::{
        Place,
        cluster::{Answer, Apply, Cluster, Deleted},
    },
};

/// Time one write may take, checked against the lease before it starts (REL-50).
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long until objects that are still going are looked at again.
const GOING_WAIT: Duration = Duration::from_secs(2);

/// What the cluster gave an object it took.
pub(super) type Taken = (ObjectRef, String);

impl Reconciler {
    /// The cluster of an environment.
    pub(super) async fn cluster(&self, env: &Environment) -> Result<Arc<dyn Cluster>> {
        self.0.world.clusters.open(&env.cluster).await
    }

    pub(super) async fn namespace(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let (before, rails) = (env.clone(), self.rails(&env).await?);
        let cluster = self.cluster(&env).await?;
        let Some(doc) = rails.first() else { return Ok(None) };
        match self.apply_one(claim, cluster.as_ref(), &env, doc).await {
            Ok(Ok((_, uid))) => {
                rollout::adopt(&mut env, &uid, self.0.now_us());
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Ok(Err(refusal)) => self.refused(claim, &before, env, Aspect::NamespaceReady, doc, &refusal).await,
            Err(error) => self.unanswered(claim, &before, env, Aspect::NamespaceReady, error).await,
        }
    }

    /// Every guard rail in its order; one that cannot stand stops the rest.
    pub(super) async fn guard(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let (before, mut taken) = (env.clone(), Vec::new());
        let cluster = self.cluster(&env).await?;
        for doc in self.rails(&env).await? {
            match self.apply_one(claim, cluster.as_ref(), &env, &doc).await {
                Ok(Ok(object)) => taken.push(object),
                Ok(Err(refusal)) => {
                    outcome::held(&mut env, taken, self.0.now_us());
                    return self.refused(claim, &before, env, Aspect::GuardrailsReady, &doc, &refusal).await;
                }
                Err(error) => return self.unanswered(claim, &before, env, Aspect::GuardrailsReady, error).await,
            }
        }
        outcome::guarded(&mut env, taken, self.0.now_us());
        self.save(claim, &before, &mut env).await.map(|()| None)
    }

    /// The guard rails as they shall stand in the environment's cluster.
    pub(super) async fn rails(&self, env: &Environment) -> Result<Vec<Doc>> {
        let platform = self.0.platform();
        let mut rails = guardrails::documents(env, &platform.profile_of(env), &platform.gateway.namespace);
        // What is published is delivered by nobody.
        if env.target == Target::Apply {
            guardrails::pull_with(&mut rails, &self.0.pull_secret_files(env.tier, &env.cluster).await?);
        }
        Ok(rails)
    }

    /// Has the bound Secrets and the image pull secrets written by the service that may read them; without any there is nothing to ask for.
    pub(super) async fn deliver(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let before = env.clone();
        let (pull_secrets, last) =
            (self.0.pull_secret_files(env.tier, &env.cluster).await?, &env.status.progress.secrets);
        if env.status.secret_names.is_empty() && pull_secrets.is_empty() && *last == Delivered::default() {
            outcome::delivered(&mut env, Delivered::default(), self.0.now_us());
            return self.save(claim, &before, &mut env).await.map(|()| None);
        }
        claim.may_start(WRITE_TIMEOUT)?;
        let delivered = match self.place(&env).await {
            Ok(place) => self.0.world.bindings.deliver(&env, &place, &pull_secrets).await,
            Err(error) => Err(error),
        };
        match delivered {
            Ok(secrets) => {
                outcome::delivered(&mut env, secrets, self.0.now_us());
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Err(error) if error.kind() == Kind::FailedPrecondition => {
                let now_us = self.0.now_us();
                env.fail(Aspect::SecretsReady, error.reason().name, error.message(), now_us + step::RETRY_US, now_us);
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Err(error) => self.unanswered(claim, &before, env, Aspect::SecretsReady, error).await,
        }
    }

    /// Where the secrets service writes.
    pub(super) async fn place(&self, env: &Environment) -> Result<Place> {
        let credential = self.0.world.clusters.credential(&env.cluster).await?;
        Ok(Place { credential, namespace_uid: env.status.namespace_uid.clone() })
    }

    /// Asks admission about the pods, writes down what will be there, then applies it in order.
    pub(super) async fn apply(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let before = env.clone();
        let Some(files) = self.0.store.render(&env.uid, env.generation).await? else {
            // Rendered by a version that kept it elsewhere, or purged: render again.
            env.status.conditions.clear(Aspect::Rendered);
            return self.save(claim, &before, &mut env).await.map(|()| None);
        };
        let Plan { mut docs, objects, kept } = plan::of(&env, &files).map_err(Error::internal)?;
        env.status.progress.secrets.stamp(&mut docs);
        let cluster = self.cluster(&env).await?;
        if env.status.progress.applied != env.generation
            && let Some((pod, refusal)) = self.inadmissible(cluster.as_ref(), &env, &docs).await?
        {
            return self.refused(claim, &before, env, Aspect::Applied, &pod, &refusal).await;
        }
        let replicas = cluster.list("apps/v1", "Deployment", &env.namespace, &[]).await?;
        if let Some(replicas) = plan::remembered(&env, &observed::replicas(&replicas)) {
            env.status.progress.replicas = replicas;
        }
        for object in kept {
            if !env.status.progress.kept.iter().any(|known| same(known, &object)) {
                env.status.progress.kept.push(object);
            }
        }
        outcome::intended(&mut env, &objects, self.0.now_us());
        self.save(claim, &before, &mut env).await?;
        self.apply_all(claim, cluster.as_ref(), env, &docs).await
    }

    async fn apply_all(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        mut env: Environment,
        docs: &[Doc],
    ) -> Result<Option<Next>> {
        let (before, mut taken) = (env.clone(), Vec::new());
        for doc in docs {
            match self.apply_one(claim, cluster, &env, doc).await {
                Ok(Ok(object)) => taken.push(object),
                Ok(Err(refusal)) => {
                    outcome::held(&mut env, taken, self.0.now_us());
                    return self.refused(claim, &before, env, Aspect::Applied, doc, &refusal).await;
                }
                Err(error) => {
                    outcome::held(&mut env, taken, self.0.now_us());
                    return self.unanswered(claim, &before, env, Aspect::Applied, error).await;
                }
            }
        }
        let power = env.power;
        outcome::applied(&mut env, taken, power, self.0.now_us());
        self.save(claim, &before, &mut env).await.map(|()| None)
    }

    /// The first workload whose pods admission refuses (ENV-66). While an earlier generation runs, a full quota says nothing: its pods
    /// make room, and the arithmetic was done before.
    async fn inadmissible(
        &self,
        cluster: &dyn Cluster,
        env: &Environment,
        docs: &[Doc],
    ) -> Result<Option<(Doc, Refusal)>> {
        for (title, pod) in plan::pods(docs) {
            let Err(refusal) = cluster.admit(&pod).await? else { continue };
            if matches!(refusal, Refusal::Quota(_)) && env.status.progress.applied > 0 {
                continue;
            }
            let workload = docs.iter().find(|doc| manifest::title(doc) == title).cloned();
            return Ok(Some((workload.unwrap_or(pod), refusal)));
        }
        Ok(None)
    }

    /// Applies one document; fields of others are taken over only where the object is in our inventory with our label (ENV-80).
    pub(super) async fn apply_one(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        env: &Environment,
        doc: &Doc,
    ) -> Answer<Taken> {
        let mut doc = doc.clone();
        plan::stamp(&mut doc, claim.epoch);
        let object = manifest::object(&doc);
        let mut answer = write(claim, cluster.apply(&doc, Apply::default())).await?;
        if matches!(answer, Err(Refusal::Conflict { .. })) && is_ours(cluster, env, &object).await? {
            answer = write(claim, cluster.apply(&doc, Apply { force: true, ..Apply::default() })).await?;
        }
        Ok(answer.map(|live| (object, manifest::text(&live, "/metadata/uid").to_owned())))
    }

    /// Deletes what earlier generations left, each under its uid (ENV-82).
    pub(super) async fn prune(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let (before, cluster) = (env.clone(), self.cluster(&env).await?);
        let (mut gone, mut waits) = (Vec::new(), false);
        for object in env.status.progress.stale.clone() {
            match self.delete_one(claim, cluster.as_ref(), &env, &object).await? {
                Ok(Deleted::Gone) => gone.push(object),
                Ok(Deleted::Going) => waits = true,
                Err(refusal) => {
                    tracing::warn!(?refusal, kind = %object.kind, name = %object.name, "not pruned");
                    waits = true;
                }
            }
        }
        outcome::pruned(&mut env, &gone);
        self.save(claim, &before, &mut env).await?;
        Ok(waits.then_some(Next::After(GOING_WAIT)))
    }

    /// Deletes an object of the inventory; one that was only intended is looked for first, and one that is not ours is left alone.
    pub(super) async fn delete_one(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        env: &Environment,
        object: &ObjectRef,
    ) -> Answer<Deleted> {
        let held = env.status.inventory.iter().find(|held| same(&held.object, object));
        let mut uid = held.map(|held| held.uid.clone()).unwrap_or_default();
        if uid.is_empty() {
            match cluster.get(object).await? {
                Some(found) if observed::owner(&found) == env.uid => {
                    manifest::text(&found, "/metadata/uid").clone_into(&mut uid);
                }
                _ => return Ok(Ok(Deleted::Gone)),
            }
        }
        write(claim, cluster.delete(object, &uid)).await
    }

    /// Tells a refusal by what has to happen before it goes on.
    pub(super) async fn refused(
        &self,
        claim: &Claim,
        before: &Environment,
        mut env: Environment,
        aspect: Aspect,
        doc: &Doc,
        refusal: &Refusal,
    ) -> Result<Option<Next>> {
        let wait_us = outcome::refused(&mut env, aspect, &manifest::title(doc), refusal, self.0.now_us());
        self.save(claim, before, &mut env).await?;
        Ok(wait_us.map(|us| Next::After(Duration::from_micros(us.unsigned_abs()))))
    }

    /// Tells that no answer came, and gives the error on to the back-off.
    pub(super) async fn unanswered(
        &self,
        claim: &Claim,
        before: &Environment,
        mut env: Environment,
        aspect: Aspect,
        error: Error,
    ) -> Result<Option<Next>> {
        if error.kind().is_definite() {
            // A lost claim, or a defect: nothing is known about the cluster.
            return Err(error);
        }
        let text = format!("No answer: {}", error.message());
        step::unavailable(&mut env, aspect, rollout::UNREACHABLE, &text, self.0.now_us());
        self.save(claim, before, &mut env).await?;
        Err(error)
    }
}

/// Whether an object that others write too is in our inventory and says that it is ours.
async fn is_ours(cluster: &dyn Cluster, env: &Environment, object: &ObjectRef) -> Result<bool> {
    let Some(found) = cluster.get(object).await? else { return Ok(false) };
    let uid = manifest::text(&found, "/metadata/uid");
    let is_held = env.status.inventory.iter().any(|held| same(&held.object, object) && held.uid == uid);
    Ok(is_held && observed::owner(&found) == env.uid
        || *object == namespace_ref(env) && uid == env.status.namespace_uid)
}

/// One write: begun only if the lease outlives it, given up when it takes too long.
async fn write<T>(claim: &Claim, effect: impl Future<Output = Result<T>>) -> Result<T> {
    claim.may_start(WRITE_TIMEOUT)?;
    let silent = |_| Err(Error::new(&DEPENDENCY_UNAVAILABLE, "the cluster did not answer within 5 seconds"));
    tokio::time::timeout(WRITE_TIMEOUT, effect).await.unwrap_or_else(silent)
}
