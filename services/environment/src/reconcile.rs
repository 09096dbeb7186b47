//! The loop that makes status equal spec: load, observe, let the model decide ONE action, do it, save (ENV-121 to ENV-124).
//!
//! Owns the order of these and the fencing of every write. Refuses to remember anything between two looks: killed anywhere, the
//! next look rereads everything and goes on.
use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{CONFLICT, Error, Result},
    worker::{Claim, Handler, Next},
};

use crate::{
    app::App,
    error::SUPERSEDED,
    model::{
        condition::{Aspect, Verdict},
        environment::{Environment, Publication, Removal},
        guardrails, layout, policy,
        preview::{Reading, Tombstone},
        receipt,
        step::{self, Action, Facts},
        values::{self, Forced},
    },
    world::{Fault, Job, Landed, Output},
};

/// Most steps of one look; more would be a loop.
const STEPS_MAX: usize = 40;
/// How often it is looked whether what is bound exists by now.
const SECRETS_EVERY: Duration = Duration::from_secs(10);
/// Time one publication may take, checked against the lease before it starts.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// Window in which endings are counted (ENV-42).
const BRAKE_US: i64 = 10 * 60_000_000;

/// The handler of environments.
pub struct Reconciler(pub App);

#[async_trait]
impl Handler for Reconciler {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        let mut reading: Option<(Reading, i64, i64)> = None;
        for _ in 0..STEPS_MAX {
            let Some(mut env) = self.0.store.by_uid(&self.0.store.db, &claim.id).await? else { return Ok(Next::Done) };
            let now_us = self.0.now_us();
            // A reading is never older than ENV-22 permits, nor than the generation it decides on: a call may have read a newer head.
            let stale =
                |at_us: i64, generation: i64| now_us - at_us > step::READING_AGE_MAX_US || generation != env.generation;
            if reading.as_ref().is_none_or(|(_, at_us, generation)| stale(*at_us, *generation)) {
                reading = Some((self.read(&env).await, now_us, env.generation));
            }
            let Some((seen, ..)) = &reading else { continue };
            let is_held = matches!(seen, Reading::Ended { .. }) && env.retire.is_none() && self.is_held(&env).await?;
            let poll_us = self.0.world.sources.poll_us(&env.spec.source.scm);
            let before = env.clone();
            let action = step::step(&mut env, &Facts { now_us, reading: seen, is_held, poll_us });
            match self.advance(claim, &before, env, action).await {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                // A call changed the environment meanwhile: decide again on what it is now.
                Err(error) if error.is(&CONFLICT) => {}
                Err(error) if error.is(&SUPERSEDED) => return Ok(Next::After(Duration::from_secs(5))),
                Err(error) => return Err(error),
            }
        }
        Ok(Next::After(Duration::from_secs(1)))
    }
}

impl Reconciler {
    async fn read(&self, env: &Environment) -> Reading {
        if env.retire.is_some() || env.deleted_us.is_some() || !env.kind.follows_pushes() {
            return Reading::Fixed;
        }
        self.0.world.sources.read(&env.spec.source).await
    }

    async fn is_held(&self, env: &Environment) -> Result<bool> {
        let (ended, living) = self.0.store.endings(&env.spec.source.scm, self.0.now_us() - BRAKE_US).await?;
        Ok(step::is_held(ended, living))
    }

    /// Saves what the step decided and does its action; `None` means to go on.
    async fn advance(
        &self,
        claim: &Claim,
        before: &Environment,
        mut env: Environment,
        action: Action,
    ) -> Result<Option<Next>> {
        self.save(claim, before, &mut env).await?;
        match action {
            Action::Again => Ok(None),
            Action::Wait(us) => Ok(Some(Next::After(Duration::from_micros(us.max(1000).unsigned_abs())))),
            Action::Rest => Ok(Some(Next::Done)),
            Action::Bind => self.bind(claim, env).await,
            Action::Render => self.render(claim, env).await.map(|()| None),
            Action::Publish => self.publish(claim, env).await.map(|()| None),
            Action::Remove => self.remove(claim, env).await.map(|()| None),
            Action::Finish => self.finish(claim, env).await.map(|()| None),
        }
    }

    async fn save(&self, claim: &Claim, before: &Environment, env: &mut Environment) -> Result<()> {
        if env == before {
            return Ok(());
        }
        let mut tx = self.0.store.db.begin().await?;
        claim.guard(&mut tx).await?;
        self.0.save_status(&mut tx, before, env).await?;
        tx.commit().await
    }

    async fn bind(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let before = env.clone();
        match self.0.world.bindings.bound(&env).await {
            Ok(bound) if !bound.missing.is_empty() => {
                step::unbound(&mut env, &bound.missing, self.0.now_us());
                self.save(claim, &before, &mut env).await?;
                Ok(Some(Next::After(SECRETS_EVERY)))
            }
            Ok(bound) => {
                step::bound(&mut env, bound.names, self.0.now_us());
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Err(error) => {
                let text = "The secrets service does not answer; nothing is rendered without knowing what is bound.";
                self.unavailable(claim, &before, env, Aspect::SecretsReady, text).await?;
                Err(error)
            }
        }
    }

    async fn unavailable(
        &self,
        claim: &Claim,
        before: &Environment,
        mut env: Environment,
        aspect: Aspect,
        text: &str,
    ) -> Result<()> {
        step::unavailable(&mut env, aspect, "DEPENDENCY_UNAVAILABLE", text, self.0.now_us());
        self.save(claim, before, &mut env).await
    }

    async fn render(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        let rendered = match self.rendered(&env).await {
            Ok(rendered) => rendered,
            Err(error) => {
                let text = format!("Rendering is not possible now: {}", error.message());
                self.unavailable(claim, &before, env, Aspect::Rendered, &text).await?;
                return Err(error);
            }
        };
        let now_us = self.0.now_us();
        let mut tx = self.0.store.db.begin().await?;
        claim.guard(&mut tx).await?;
        match rendered {
            Ok(files) => {
                self.0.store.keep_render(&mut tx, &env.uid, env.generation, &files).await?;
                step::rendered(&mut env, &layout::digest(&files), files.len(), now_us);
            }
            Err((aspect, fault)) => {
                if aspect == Aspect::PolicyPassed {
                    let at = env.at(now_us);
                    env.status.conditions.set(Aspect::Rendered, Verdict::True, "RENDERED", "", at);
                }
                env.fail(aspect, fault.reason, &fault.message, now_us + step::RETRY_US, now_us);
            }
        }
        self.0.save_status(&mut tx, &before, &mut env).await?;
        tx.commit().await
    }

    /// The complete files of a generation, or what the user must mend.
    async fn rendered(&self, env: &Environment) -> Result<std::result::Result<Vec<(String, String)>, (Aspect, Fault)>> {
        let platform = self.0.platform();
        let host = platform.host(&env.label_id);
        let config = env.spec.config.as_ref().map_err(|fault| Error::internal(fault.clone()))?;
        let forced = Forced {
            images: env.spec.images.clone(),
            host: &host,
            labels: guardrails::labels(env),
            secret_names: &env.status.secret_names,
        };
        let job = Job {
            source: &env.spec.source,
            config,
            tier: env.tier,
            is_preview: env.is_preview(),
            release: crate::model::names::short(&env.service),
            namespace: &env.namespace,
            overlay: &values::overlay(config, &forced),
            is_upgrade: env.status.publication.is_some(),
        };
        let docs = match self.0.world.renderer.render(&job).await? {
            Ok(docs) => docs,
            Err(fault) => return Ok(Err((Aspect::Rendered, fault))),
        };
        let rules = policy::Rules {
            namespace: &env.namespace,
            tier: env.tier,
            host: &host,
            fork: env.spec.source.fork,
            registries: &platform.registries,
        };
        let violations = policy::check(&docs, &rules);
        if !violations.is_empty() {
            let fault = Fault { reason: "POLICY_VIOLATION", message: policy::message(&violations) };
            return Ok(Err((Aspect::PolicyPassed, fault)));
        }
        let docs = layout::complete(env, &platform.profile(env.tier), &platform.gateway, &host, docs);
        Ok(Ok(layout::files(&docs)))
    }

    async fn publish(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        let Some(files) = self.0.store.render(&env.uid, env.generation).await? else {
            // Rendered by a version that kept it elsewhere, or purged: render again.
            env.status.conditions.clear(Aspect::Rendered);
            return self.save(claim, &before, &mut env).await;
        };
        claim.may_start(PUBLISH_TIMEOUT)?;
        let (folder, message, now_us) = (layout::folder(&env), layout::publish_message(&env), self.0.now_us());
        let landed = self.0.world.outputs.publish(&output(&env, &folder, &message, now_us), &files).await?;
        let publication = Publication {
            branch: landed.branch,
            commit: landed.commit,
            path: folder,
            generation: env.generation,
            manifests: i32::try_from(files.len()).unwrap_or(i32::MAX),
            render_sha256: layout::digest(&files),
            published_us: now_us,
        };
        step::published(&mut env, publication, now_us);
        self.save(claim, &before, &mut env).await
    }

    async fn remove(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        claim.may_start(PUBLISH_TIMEOUT)?;
        let (folder, message, now_us) = (layout::folder(&env), layout::remove_message(&env), self.0.now_us());
        match self.0.world.outputs.remove(&output(&env, &folder, &message, now_us)).await {
            Ok(Landed { branch, commit, files }) => {
                step::removed(&mut env, Removal { branch, commit, files, removed_us: now_us }, now_us);
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

    /// Receipt, tombstone and the end of the life in one transaction.
    async fn finish(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let (before, now_us) = (env.clone(), self.0.now_us());
        step::finished(&mut env, now_us);
        let mut tx = self.0.store.db.begin().await?;
        claim.guard(&mut tx).await?;
        self.0.store.insert_receipt(&mut tx, &receipt::of(&env, now_us)).await?;
        if let Some(retire) = &env.retire {
            let head_sha = env.spec.source.head_sha.clone();
            let tombstone = Tombstone { reason: retire.reason, at_us: retire.at_us, head_sha };
            self.0.store.bury(&mut tx, &env.key, &tombstone).await?;
        }
        self.0.store.drop_render(&mut tx, &env.uid).await?;
        self.0.store.drop_deletion(&mut tx, &env.uid).await?;
        self.0.save_status(&mut tx, &before, &mut env).await?;
        tx.commit().await
    }
}

fn output<'a>(env: &'a Environment, folder: &'a str, message: &'a str, now_us: i64) -> Output<'a> {
    Output { cluster: &env.cluster, folder, uid: &env.uid, generation: env.generation, message, now_us }
}
