//! The loop that makes status equal spec: load, observe, let the model decide ONE action, do it, save (ENV-121 to ENV-124).
//!
//! Owns the order of these and the fencing of every write; the effects of each target stand in files of their own. Refuses to remember
//! anything that matters between two looks: killed anywhere, the next look rereads everything and goes on.
mod apply;
mod budget_turn;
mod doze;
mod git;
mod hooks;
mod lanes;
mod look;
mod teardown;

use std::time::Duration;

use async_trait::async_trait;
use slipway_kit::{
    error::{CONFLICT, DEPENDENCY_UNAVAILABLE, Error, Result},
    worker::{Claim, Handler, Next},
};

use crate::{
    app::{App, For, WORK_ENVIRONMENT},
    error::{CLUSTER_UNREACHABLE, SUPERSEDED},
    model::{
        budget,
        condition::{Aspect, Verdict},
        environment::{Environment, Target},
        guardrails,
        hold::Gate,
        hook,
        layout::{self, Address, Routes},
        manifest::Doc,
        observed::Seen,
        policy,
        preflight::{self, Fit},
        preview::{self, Reading},
        progress::TeardownStep,
        receipt, rollout,
        step::{self, Action, Facts},
        values::{self, Forced},
    },
    world::{Fault, Job, cluster::Version},
};

/// Most steps of one look; more would be a loop.
const STEPS_MAX: usize = 40;
/// How often it is looked whether what is bound exists by now.
const SECRETS_EVERY: Duration = Duration::from_secs(10);
/// What the secrets service answers where something is bound and a fork asks.
const FORK_NO_SECRETS: &str = "FORK_NO_SECRETS";

/// The handler of environments.
pub struct Reconciler(pub App);

/// What is known while one item is worked on; forgotten after it.
#[derive(Default)]
struct Known {
    reading: Option<(Reading, i64, i64)>,
    seen: Option<(Seen, i64)>,
    silence: Option<Error>,
    token: u64,
}

#[async_trait]
impl Handler for Reconciler {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        if claim.kind == WORK_ENVIRONMENT {
            return self.visit(claim).await;
        }
        tokio::time::timeout(lanes::BUDGET, self.visit(claim)).await.unwrap_or(Ok(Next::After(lanes::OVERTIME_WAIT)))
    }
}

/// A cluster that says when to come again is not asked sooner; everything else backs off.
fn wait_as_told(error: Error) -> Result<Next> {
    match error.retry_after() {
        Some(after_ms) if !error.kind().is_definite() => {
            tracing::info!(?error, after_ms, "asked to wait");
            Ok(Next::After(Duration::from_millis(after_ms.clamp(100, 300_000))))
        }
        _ => Err(error),
    }
}

impl Reconciler {
    /// Works on one environment until there is nothing to do for now.
    async fn visit(&self, claim: &Claim) -> Result<Next> {
        let mut known = Known::default();
        for _ in 0..STEPS_MAX {
            let Some(mut env) = self.0.store.by_uid(&self.0.store.db, &claim.id).await? else { return Ok(Next::Done) };
            if let Some(next) = self.change_lane(claim, &env).await? {
                return Ok(next);
            }
            let before = env.clone();
            let action = self.decide(&mut known, &mut env).await?;
            match self.advance(claim, &mut known, &before, env, action).await {
                Ok(Some(next)) => return Ok(next),
                Ok(None) => {}
                // A call changed the environment meanwhile: decide again on what it is now.
                Err(error) if error.is(&CONFLICT) => {}
                Err(error) if error.is(&SUPERSEDED) => return Ok(Next::After(Duration::from_secs(5))),
                Err(error) => return wait_as_told(error),
            }
        }
        Ok(Next::After(Duration::from_secs(1)))
    }

    /// Reads what is too old to decide on, and lets the model decide.
    async fn decide(&self, known: &mut Known, env: &mut Environment) -> Result<Action> {
        let now_us = self.0.now_us();
        // A reading is never older than ENV-22 permits, nor than the generation it decides on: a call may have read a newer head.
        let stale =
            |at_us: i64, generation: i64| now_us - at_us > step::READING_AGE_MAX_US || generation != env.generation;
        if known.reading.as_ref().is_none_or(|(_, at_us, generation)| stale(*at_us, *generation)) {
            known.reading = Some((self.read(env).await, now_us, env.generation));
        }
        let fixed = Reading::Fixed;
        let seen_reading = known.reading.as_ref().map_or(&fixed, |(reading, ..)| reading);
        let gate = if may_seem_ended(env, seen_reading) { self.0.gate(env).await? } else { Gate::Twice };
        let poll_us = self.0.world.sources.poll_us(&env.spec.source.scm);
        if known.seen.as_ref().is_some_and(|(_, at_us)| now_us - at_us > step::READING_AGE_MAX_US) {
            known.seen = None;
        }
        if known.seen.is_none() && self.0.looked.is_unchanged(env, now_us) {
            known.seen = Some((Seen::Unchanged, now_us));
        }
        let seen = known.seen.as_ref().map(|(seen, _)| seen);
        let sure_us = self.0.clock.sure_us();
        Ok(step::step(env, &Facts { now_us, sure_us, reading: seen_reading, gate: &gate, poll_us, seen }))
    }

    async fn read(&self, env: &Environment) -> Reading {
        if env.retire.is_some() || env.deleted_us.is_some() || !env.kind.follows_pushes() {
            return Reading::Fixed;
        }
        self.0.world.sources.read(&env.spec.source).await
    }

    /// Ends an environment because its source did, if the gate lets it; else a hold stands by now, and the next look sees it.
    async fn end(&self, claim: &Claim, before: &Environment, env: &mut Environment) -> Result<()> {
        let mut tx = self.0.store.db.begin().await?;
        // First the source's turn, then the work: who lets go of a hold locks in this order too.
        self.0.store.hold_turn(&mut tx, &env.spec.source.scm).await?;
        claim.guard(&mut tx).await?;
        if self.0.may_end(&mut tx, before).await? {
            self.0.save_status(&mut tx, before, env).await?;
        }
        tx.commit().await
    }

    /// Saves what the step decided and does its action; `None` means to go on.
    async fn advance(
        &self,
        claim: &Claim,
        known: &mut Known,
        before: &Environment,
        mut env: Environment,
        action: Action,
    ) -> Result<Option<Next>> {
        let is_ended =
            before.retire.is_none() && env.retire.as_ref().is_some_and(|retire| retire.reason.is_by_source());
        if is_ended {
            return self.end(claim, before, &mut env).await.map(|()| None);
        }
        self.save(claim, before, &mut env).await?;
        match action {
            Action::Again => return Ok(None),
            Action::Wait(us) => {
                self.settle(known, &env);
                return Ok(Some(Next::After(Duration::from_micros(us.max(1000).unsigned_abs()))));
            }
            Action::Rest => return Ok(Some(Next::Done)),
            Action::Backoff => {
                let silent = || Error::new(&DEPENDENCY_UNAVAILABLE, "the cluster gives no answer");
                return Err(known.silence.take().unwrap_or_else(silent));
            }
            Action::Look => {
                self.look_at(known, &env).await;
                return Ok(None);
            }
            _ => {}
        }
        // What was seen is over once something is written.
        if !matches!(action, Action::Bind | Action::Render) {
            known.seen = None;
        }
        self.act(claim, env, action).await
    }

    async fn act(&self, claim: &Claim, env: Environment, action: Action) -> Result<Option<Next>> {
        match action {
            Action::Again | Action::Wait(_) | Action::Rest | Action::Look | Action::Backoff => Ok(None),
            Action::Claim => self.claim_budget(claim, env).await,
            Action::Bind => self.bind(claim, env).await,
            Action::Render => self.render(claim, env).await.map(|()| None),
            Action::Publish => self.publish(claim, env).await.map(|()| None),
            Action::Remove => self.remove(claim, env).await.map(|()| None),
            Action::Namespace => self.namespace(claim, env).await,
            Action::Guard => self.guard(claim, env).await,
            Action::Deliver => self.deliver(claim, env).await,
            Action::Hook(phase) => self.hook(claim, env, phase).await,
            Action::Apply => self.apply(claim, env).await,
            Action::Doze => self.doze(claim, env).await,
            Action::Prune => self.prune(claim, env).await,
            Action::Unroute => self.tear(claim, env, TeardownStep::Routes).await,
            Action::Stop => self.tear(claim, env, TeardownStep::Workloads).await,
            Action::Withdraw => self.withdraw(claim, env).await,
            Action::Leave => self.leave(claim, env).await,
            Action::Finish => self.finish(claim, env).await.map(|()| None),
        }
    }

    /// A look that left nothing to do need not be repeated before something changes.
    fn settle(&self, known: &Known, env: &Environment) {
        if matches!(known.seen, Some((Seen::Live(_), _))) && env.is_settled() {
            self.0.looked.settle(env, known.token, self.0.now_us());
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
            Err(error) if env.spec.source.fork && error.reason().name == FORK_NO_SECRETS => {
                step::withheld(&mut env, self.0.now_us());
                self.save(claim, &before, &mut env).await.map(|()| None)
            }
            Err(error) => {
                let text = "The secrets service does not answer; nothing is rendered without knowing what is bound.";
                let told = (Aspect::SecretsReady, DEPENDENCY_UNAVAILABLE.name);
                self.unavailable(claim, &before, env, told, text).await?;
                Err(error)
            }
        }
    }

    async fn unavailable(
        &self,
        claim: &Claim,
        before: &Environment,
        mut env: Environment,
        (aspect, reason): (Aspect, &str),
        text: &str,
    ) -> Result<()> {
        step::unavailable(&mut env, aspect, reason, text, self.0.now_us());
        self.save(claim, before, &mut env).await
    }

    async fn render(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let before = env.clone();
        let rendered = match self.rendered(&env).await {
            Ok(rendered) => rendered,
            Err(error) => {
                let text = format!("Rendering is not possible now: {}", error.message());
                let reason =
                    if error.is(&CLUSTER_UNREACHABLE) { rollout::UNREACHABLE } else { DEPENDENCY_UNAVAILABLE.name };
                self.unavailable(claim, &before, env, (Aspect::Rendered, reason), &text).await?;
                return Err(error);
            }
        };
        let now_us = self.0.now_us();
        let mut tx = self.0.store.db.begin().await?;
        claim.guard(&mut tx).await?;
        match rendered {
            Ok(Complete { files, note, routes, needed, hooks }) => {
                budget::needs(&mut env, needed);
                let is_upgrade = env.status.progress.hooks.upgrades(env.generation);
                env.status.progress.hooks.take(env.generation, is_upgrade, hooks);
                self.0.store.keep_render(&mut tx, &env.uid, env.generation, &files).await?;
                self.0.store.keep_routes(&mut tx, &env.uid, &routes).await?;
                step::rendered(&mut env, &layout::digest(&files), files.len(), now_us);
                if let Some(note) = note {
                    let at = env.at(now_us);
                    let (reason, text) = note;
                    env.status.conditions.set(Aspect::PolicyPassed, Verdict::True, reason, text, at);
                }
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
    async fn rendered(&self, env: &Environment) -> Result<std::result::Result<Complete, (Aspect, Fault)>> {
        let platform = self.0.platform();
        let host = platform.host(&env.label_id);
        let config = env.spec.config.as_ref().map_err(|fault| Error::internal(fault.clone()))?;
        let cluster = match env.target {
            Target::Git => None,
            Target::Apply => Some(self.0.world.clusters.open(&env.cluster).await?.version().await?),
        };
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
            is_upgrade: env.status.publication.is_some() || env.status.progress.hooks.upgrades(env.generation),
            cluster: cluster.as_ref(),
        };
        let docs = match self.0.world.renderer.render(&job).await? {
            Ok(docs) => docs,
            Err(fault) => return Ok(Err((Aspect::Rendered, fault))),
        };
        let of = For { namespace: env.namespace.clone(), host: host.clone(), fork: env.spec.source.fork };
        let violations = self.0.violations(env.tier, &docs, &of).await?;
        if !violations.is_empty() {
            let fault = Fault { reason: "POLICY_VIOLATION", message: policy::message(&violations) };
            return Ok(Err((Aspect::PolicyPassed, fault)));
        }
        let address =
            Address { host: &host, gateway: &platform.gateway, routes: self.routes(env, cluster.as_ref()).await? };
        let routes = layout::files(&layout::unserved(env, &address, &docs));
        let docs = layout::complete(env, &platform.profile_of(env), &address, docs);
        Ok(fitted(env, docs)
            .map(|complete| Complete { routes, ..complete })
            .map_err(|fault| (Aspect::PolicyPassed, fault)))
    }

    /// What brings requests: with the target git the chart's and the platform's routes are published as ever; a registered cluster
    /// says it, any other is asked what it serves.
    async fn routes(&self, env: &Environment, cluster: Option<&Version>) -> Result<Routes> {
        let Some(version) = cluster else { return Ok(Routes::Gateway) };
        let registered = self.0.store.cluster(&self.0.store.db, &env.cluster).await?;
        Ok(registered.map_or_else(|| Routes::of(&version.apis), |cluster| cluster.routing))
    }

    /// Receipt, tombstone and the end of the life in one transaction.
    async fn finish(&self, claim: &Claim, mut env: Environment) -> Result<()> {
        let (before, now_us) = (env.clone(), self.0.now_us());
        step::finished(&mut env, now_us);
        let mut tx = self.0.store.db.begin().await?;
        claim.guard(&mut tx).await?;
        self.0.store.insert_receipt(&mut tx, &receipt::of(&env, now_us)).await?;
        if let Some(tombstone) = env.tombstone() {
            self.0.store.bury(&mut tx, &env.key, &tombstone).await?;
        }
        self.0.store.drop_render(&mut tx, &env.uid).await?;
        self.0.store.drop_deletion(&mut tx, &env.uid).await?;
        self.0.save_status(&mut tx, &before, &mut env).await?;
        tx.commit().await
    }
}

/// Whether its source may end it: only then the gate is asked.
fn may_seem_ended(env: &Environment, reading: &Reading) -> bool {
    let is_unwanted = |head| preview::unwanted(head, env.spec.source.pull_request.is_some()).is_some();
    env.retire.is_none()
        && match reading {
            Reading::Ended { .. } => true,
            Reading::Open(head) => is_unwanted(head),
            Reading::Fixed | Reading::Unknown { .. } => false,
        }
}

/// The files of a generation, and what people should know about how it will be rolled out.
struct Complete {
    files: Vec<(String, String)>,
    note: Option<(&'static str, String)>,
    needed: budget::Amount,
    hooks: Vec<hook::Step>,
    /// Routes that are not applied: the built-in proxy reads them.
    routes: Vec<(String, String)>,
}

/// Checks the quota before anything is applied (ENV-65); with the target git somebody else applies, and decides.
fn fitted(env: &Environment, docs: Vec<Doc>) -> std::result::Result<Complete, Fault> {
    let (cpu, memory) = preflight::steady(&docs);
    let needed = budget::Amount { previews: 0, cpu, memory };
    let is_upgrade = env.status.progress.hooks.upgrades(env.generation);
    let hooks = hook::steps(&docs, env.generation, is_upgrade);
    let (docs, mut note) = match env.target {
        // Who applies what is published runs no hooks of ours.
        Target::Git if docs.iter().any(hook::is_hook) => {
            let message = "Hooks run only where the platform applies; with the target git make it a Job.".to_owned();
            return Err(Fault { reason: "HOOK_NOT_SUPPORTED", message });
        }
        Target::Git => (docs, None),
        Target::Apply => match preflight::check(&docs, env.tier, &preflight::Amounts::new()) {
            Fit::Fits => (docs, None),
            Fit::RollWithoutSurge { docs, text } => (docs, Some(("ROLLS_WITHOUT_SURGE", text))),
            Fit::TooSmall(message) => return Err(Fault { reason: "QUOTA_TOO_SMALL", message }),
            Fit::NoRoomToUpdate(message) => return Err(Fault { reason: "QUOTA_NO_ROOM_TO_UPDATE", message }),
        },
    };
    let not_run = hook::not_run(&docs);
    if !not_run.is_empty() && note.is_none() {
        note = Some(("HOOKS_NOT_RUN", format!("Hooks of a rollback are not run: {}.", not_run.join(", "))));
    }
    Ok(Complete { files: layout::files(&docs), note, needed, hooks, routes: Vec::new() })
}
