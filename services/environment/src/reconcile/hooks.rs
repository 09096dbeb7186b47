//! Running the hooks of a chart, one after another (ENV-75).
//!
//! Owns the effects: an intent before each object, its end with its last lines, and its deletion. Refuses to run one twice in a
//! generation: what may be there is looked at before it is written.
use std::time::Duration;

use slipway_kit::{
    error::{Error, Result},
    worker::{Claim, Next},
};

use super::{
    Reconciler,
    look::{POD, objects},
};
use crate::{
    app::last_lines,
    model::{
        environment::{Environment, Held},
        health::{self, Health},
        hook::{self, Delete, Made, Phase, Seen, Stand, Step},
        manifest::{self, Doc},
        observed, outcome, step as steps, teardown,
    },
    world::cluster::{Cluster, Deleted},
};

/// How long until an object that is still going is looked at again.
const GOING_WAIT: Duration = Duration::from_secs(1);
/// How long until a deletion that was refused is tried again.
const REFUSED_WAIT: Duration = Duration::from_secs(10);
/// Most last lines that a failure tells.
const LINES_MAX: usize = 10;

impl Reconciler {
    /// One step of the hook that is next.
    pub(super) async fn hook(&self, claim: &Claim, env: Environment, phase: Phase) -> Result<Option<Next>> {
        let hooks = &env.status.progress.hooks;
        let Some((at, step)) = hooks.next(phase).and_then(|at| Some((at, hooks.steps.get(at)?.clone()))) else {
            return Ok(None);
        };
        let cluster = self.cluster(&env).await?;
        match step.stand {
            Stand::Todo => self.begin_hook(claim, cluster.as_ref(), env, at, &step).await,
            Stand::Begun => self.follow_hook(claim, cluster.as_ref(), env, at, &step).await,
            _ => self.clear_hook(claim, cluster.as_ref(), env, at, &step).await,
        }
    }

    /// What stands in its way goes first; then it is written down, and made.
    async fn begin_hook(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        mut env: Environment,
        at: usize,
        step: &Step,
    ) -> Result<Option<Next>> {
        let before = env.clone();
        for object in env.status.progress.hooks.before(step) {
            match self.delete_one(claim, cluster, &env, &object).await? {
                Ok(Deleted::Gone) => forget(&mut env, &object),
                Ok(Deleted::Going) => {
                    self.save(claim, &before, &mut env).await?;
                    return Ok(Some(Next::After(GOING_WAIT)));
                }
                Err(refusal) => {
                    tracing::warn!(?refusal, hook = %step.title(), "what is in the way of a hook is not deleted");
                    return Ok(Some(Next::After(REFUSED_WAIT)));
                }
            }
        }
        let now_us = self.0.now_us();
        outcome::hold(&mut env, step.object.clone(), "", now_us);
        let hooks = &mut env.status.progress.hooks;
        if !hooks.has_made(&step.object) {
            hooks.made.push(Made { object: step.object.clone(), base: step.base.clone() });
        }
        (hooks.steps[at].stand, hooks.steps[at].begun_us) = (Stand::Begun, now_us);
        self.save(claim, &before, &mut env).await?;
        self.make_hook(claim, cluster, env, at, step).await
    }

    async fn make_hook(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        mut env: Environment,
        at: usize,
        step: &Step,
    ) -> Result<Option<Next>> {
        let before = env.clone();
        let Some(doc) = self.hook_document(&env, step).await? else {
            // Its render is gone: there is nothing to run.
            forget(&mut env, &step.object);
            env.status.progress.hooks.steps[at].stand = Stand::Done;
            return self.save(claim, &before, &mut env).await.map(|()| None);
        };
        match self.apply_one(claim, cluster, &env, &doc).await? {
            Ok((object, uid)) => {
                outcome::hold(&mut env, object, &uid, self.0.now_us());
                if !step.runs() {
                    env.status.progress.hooks.steps[at].succeed();
                }
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Err(refusal) if step.phase.is_delete() => {
                self.hook_failed(claim, &before, env, at, refusal.sentence(&step.title())).await
            }
            Err(refusal) => self.refused(claim, &before, env, step.phase.aspect(), &doc, &refusal).await,
        }
    }

    async fn hook_document(&self, env: &Environment, step: &Step) -> Result<Option<Doc>> {
        let generation = env.status.progress.hooks.generation;
        let Some(files) = self.0.store.render(&env.uid, generation).await? else { return Ok(None) };
        Ok(hook::document(manifest::of_files(&files).map_err(Error::internal)?, step, generation))
    }

    /// It may be there: it is looked at, and only made if it is not.
    async fn follow_hook(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        mut env: Environment,
        at: usize,
        step: &Step,
    ) -> Result<Option<Next>> {
        let before = env.clone();
        let live = cluster.get(&step.object).await?.filter(|live| observed::owner(live) == env.uid);
        let Some(live) = live else { return self.make_hook(claim, cluster, env, at, step).await };
        outcome::hold(&mut env, step.object.clone(), manifest::text(&live, "/metadata/uid"), self.0.now_us());
        let is_late = self.0.now_us() - step.begun_us >= step.phase.deadline_us();
        match hook::judge(&live) {
            _ if !step.runs() => env.status.progress.hooks.steps[at].succeed(),
            Seen::Succeeded => env.status.progress.hooks.steps[at].succeed(),
            Seen::Running if !is_late => {
                self.save(claim, &before, &mut env).await?;
                return Ok(Some(Next::After(GOING_WAIT)));
            }
            _ => {
                let text = self.told(cluster, &env, step, is_late).await?;
                return self.hook_failed(claim, &before, env, at, text).await;
            }
        }
        self.save(claim, &before, &mut env).await.map(|()| None)
    }

    /// Why a hook failed, with its last lines.
    async fn told(&self, cluster: &dyn Cluster, env: &Environment, step: &Step, is_late: bool) -> Result<String> {
        let mut live = objects(cluster, ("batch/v1", "Job"), env).await?;
        live.extend(objects(cluster, POD, env).await?);
        let held = Held { object: step.object.clone(), uid: String::new(), created_us: 0 };
        let problems = match health::of(&[held], &live) {
            Health::Ready => Vec::new(),
            Health::Progressing(problems) | Health::Degraded(problems) => problems,
        };
        let mut text = match problems.first() {
            Some(problem) => problem.message.clone(),
            None => format!("{} failed.", step.title()),
        };
        if is_late {
            text.push_str(&format!(" It did not end within {} minutes.", step.phase.deadline_us() / 60_000_000));
        }
        if let Some(problem) = problems.first().filter(|problem| !problem.container.is_empty()) {
            let lines = last_lines(cluster, &env.namespace, problem).await;
            let last = &lines[lines.len().saturating_sub(LINES_MAX)..];
            if !last.is_empty() {
                text.push_str(&format!(" Its last lines:\n{}", last.join("\n")));
            }
        }
        Ok(text)
    }

    /// A failed hook fails the rollout; in a teardown it is told, and what follows goes on.
    async fn hook_failed(
        &self,
        claim: &Claim,
        before: &Environment,
        mut env: Environment,
        at: usize,
        text: String,
    ) -> Result<Option<Next>> {
        let (now_us, step) = (self.0.now_us(), env.status.progress.hooks.steps[at].clone());
        env.status.progress.hooks.steps[at].stand = Stand::Failed;
        if step.phase.is_delete() {
            tracing::warn!(env = %env.uid, hook = %step.title(), text, "a hook of the teardown failed");
            teardown::refused(&mut env, &text, now_us);
        } else {
            env.fail(step.phase.aspect(), hook::HOOK_FAILED, &text, now_us + steps::RETRY_US, now_us);
        }
        self.save(claim, before, &mut env).await?;
        if !step.delete.contains(&Delete::Failed) {
            return Ok(None);
        }
        let (before, cluster) = (env.clone(), self.cluster(&env).await?);
        if self.delete_one(claim, cluster.as_ref(), &env, &step.object).await?.is_ok() {
            forget(&mut env, &step.object);
        }
        self.save(claim, &before, &mut env).await.map(|()| None)
    }

    async fn clear_hook(
        &self,
        claim: &Claim,
        cluster: &dyn Cluster,
        mut env: Environment,
        at: usize,
        step: &Step,
    ) -> Result<Option<Next>> {
        let before = env.clone();
        match self.delete_one(claim, cluster, &env, &step.object).await? {
            Ok(Deleted::Going) => return Ok(Some(Next::After(GOING_WAIT))),
            Ok(Deleted::Gone) => forget(&mut env, &step.object),
            Err(refusal) => tracing::warn!(?refusal, hook = %step.title(), "a hook that succeeded is not deleted"),
        }
        env.status.progress.hooks.steps[at].stand = Stand::Done;
        self.save(claim, &before, &mut env).await.map(|()| None)
    }
}

/// A hook's object is gone.
fn forget(env: &mut Environment, object: &crate::model::environment::ObjectRef) {
    env.status.progress.hooks.made.retain(|made| !outcome::same(&made.object, object));
    env.status.inventory.retain(|held| !outcome::same(&held.object, object));
}
