//! Runs, one decision at a time: intent, effect, outcome, next (SCF-51, SCF-53).
//!
//! Owns the order of writes: nothing outside is done before its intent stands, nothing is repeated before it was looked for, and
//! every write is conditional on the claim. Refuses input: everything is read anew.
mod effects;
mod save;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value as Json};
use slipway_kit::{
    clock::Clock,
    error::{CONFLICT, Result},
    worker::{Claim, Handler, Next as Work},
};

use crate::{
    model::{
        context::{self, Scene},
        files::sha256,
        run::{Event, Failure, Level, Next, Run, RunState, StepState},
        template::Step,
    },
    store::{Effect, Store, Tree, Trees},
    world::{Forge, Siblings},
};
use save::Also;

/// Kind of work of a run.
pub const KIND: &str = "run";
/// Time of one effect; shorter than what is surely left of a lease between two heartbeats.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Attempts at an effect that fails for a passing reason (SCF-58).
const ATTEMPTS_MAX: i64 = 5;
/// Tries after somebody else changed the run.
const CONFLICTS_MAX: usize = 20;

/// Works on runs.
pub struct Reconciler {
    /// Rows.
    pub store: Store,
    /// Source provider.
    pub forge: Arc<dyn Forge>,
    /// Catalog and gateway.
    pub siblings: Arc<dyn Siblings>,
    /// Parsed templates.
    pub trees: Trees,
    /// Current time.
    pub clock: Clock,
}

/// What comes after one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Later(Duration),
    Done,
}

#[async_trait]
impl Handler for Reconciler {
    async fn handle(&self, claim: &Claim) -> Result<Work> {
        let mut conflicts = 0;
        loop {
            match self.advance(claim).await {
                Ok(Progress::More) => conflicts = 0,
                Ok(Progress::Later(wait)) => return Ok(Work::After(wait)),
                Ok(Progress::Done) => return Ok(Work::Done),
                // Somebody asked to cancel: read again and decide anew.
                Err(error) if error.is(&CONFLICT) && conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// A step at hand: its place in the run, its iteration, and its rendered input.
struct Act<'a> {
    index: usize,
    step: &'a Step,
    iteration: usize,
    last: bool,
    input: Map<String, Json>,
}

impl Reconciler {
    /// Reads everything, decides one thing, does it, saves it.
    async fn advance(&self, claim: &Claim) -> Result<Progress> {
        let Some(run) = self.store.run(self.store.db(), &claim.id).await? else { return Ok(Progress::Done) };
        let tree = self.trees.load(&self.store, &run.template, &run.version, &run.digest).await?;
        match run.next(&tree.template) {
            Next::Nothing => Ok(Progress::Done),
            Next::Begin => self.begin(claim, run).await,
            Next::Step(index) => self.step(claim, run, &tree, index).await,
            Next::Settle(index) => self.settle(claim, run, &tree, index).await,
            Next::Close(index) => self.close(claim, run, index, StepState::Cancelled, "not run").await,
            Next::End(state) => self.end(claim, run, &tree, state).await,
        }
    }

    async fn begin(&self, claim: &Claim, mut run: Run) -> Result<Progress> {
        run.state = RunState::Running;
        run.start_us = Some(self.clock.now_us());
        let event = Event::new(Level::Info, "", "The run begins").run(RunState::Running);
        self.save(claim, run, vec![event], Also::default()).await
    }

    async fn step(&self, claim: &Claim, mut run: Run, tree: &Arc<Tree>, index: usize) -> Result<Progress> {
        let Some(step) = tree.template.steps.get(index) else { return Ok(Progress::Done) };
        let mut engine = context::engine(&scene(&run, tree));
        let items = match context::iterations(&engine, step) {
            Ok(items) => items,
            Err(failure) => return self.fail(claim, run, index, failure).await,
        };
        let iteration = run.steps[index].outputs.len();
        run.steps[index].iterations =
            if step.each.is_some() { i32::try_from(items.len()).unwrap_or(i32::MAX) } else { 0 };
        let Some(item) = items.get(iteration) else {
            return self.close(claim, run, index, StepState::Skipped, "Nothing to repeat over").await;
        };
        if let Some(item) = item {
            engine.provide("each", item);
        }
        match context::runs(&engine, step) {
            Err(failure) => return self.fail(claim, run, index, failure).await,
            Ok(false) => return self.skip(claim, run, index, iteration + 1 == items.len()).await,
            Ok(true) => {}
        }
        match context::input(&engine, step) {
            Err(failure) => self.fail(claim, run, index, failure).await,
            Ok(input) => {
                let act = Act { index, step, iteration, last: iteration + 1 == items.len(), input };
                self.act(claim, run, tree, act).await
            }
        }
    }

    /// Writes the intent, looks and acts, writes the outcome.
    async fn act(&self, claim: &Claim, mut run: Run, tree: &Arc<Tree>, act: Act<'_>) -> Result<Progress> {
        let before = self.store.effect(self.store.db(), &run.uid, &act.step.id, act.iteration).await?;
        let attempts = before.as_ref().map_or(0, |e| e.attempts) + 1;
        let effect = Effect {
            input_digest: sha256(Json::Object(act.input.clone()).to_string().as_bytes()),
            key: sha256(format!("{}/{}/{}", run.uid, act.step.id, act.iteration).as_bytes()),
            attempts,
            outcome: String::new(),
        };
        let mut events = Vec::new();
        let shown = &mut run.steps[act.index];
        shown.attempts += 1;
        if shown.state == StepState::Pending {
            shown.state = StepState::Running;
            shown.start_us = Some(self.clock.now_us());
            events
                .push(Event::new(Level::Info, &shown.id, &format!("{} begins", shown.title)).step(StepState::Running));
        } else if before.is_some() {
            events.push(
                Event::new(Level::Info, &shown.id, "Looking for what an earlier attempt left")
                    .field("attempt", attempts),
            );
        }
        let also = Also { intend: Some((&act, &effect)), ..Also::default() };
        let run = self.keep(claim, run, events, also).await?;
        claim.may_start(EFFECT_TIMEOUT)?;
        match self.perform(&run, tree, &act, &effect).await {
            Ok(done) => self.conclude(claim, run, tree, &act, done).await,
            Err(effects::Problem::Failed(failure)) => self.fail(claim, run, act.index, failure).await,
            Err(effects::Problem::Passing(error)) if attempts < ATTEMPTS_MAX => {
                tracing::warn!(run = %run.uid, step = %act.step.id, attempts, ?error, "an effect failed for a passing reason");
                let text = format!("{} ({}); trying again", error.message(), error.reason().name);
                let event = Event::new(Level::Warning, &act.step.id, &text).field("attempt", attempts);
                self.save(claim, run, vec![event], Also::default()).await?;
                Ok(Progress::Later(Duration::from_secs(1 << attempts.clamp(0, 5))))
            }
            Err(effects::Problem::Passing(error)) => self.fail(claim, run, act.index, effects::failure(&error)).await,
            Err(effects::Problem::Lost(error)) => Err(error),
        }
    }

    async fn skip(&self, claim: &Claim, mut run: Run, index: usize, last: bool) -> Result<Progress> {
        if !run.steps[index].repeats {
            return self.close(claim, run, index, StepState::Skipped, "Skipped: its condition does not hold").await;
        }
        run.steps[index].outputs.push(Json::Null);
        if last {
            return self.close(claim, run, index, StepState::Succeeded, "Done").await;
        }
        self.save(claim, run, Vec::new(), Also::default()).await
    }

    async fn close(&self, claim: &Claim, mut run: Run, index: usize, state: StepState, text: &str) -> Result<Progress> {
        let step = &mut run.steps[index];
        step.state = state;
        step.end_us = Some(self.clock.now_us());
        let event = Event::new(Level::Info, &step.id, text).step(state);
        self.save(claim, run, vec![event], Also::default()).await
    }

    async fn fail(&self, claim: &Claim, mut run: Run, index: usize, mut failure: Failure) -> Result<Progress> {
        let step = &mut run.steps[index];
        failure.step.clone_from(&step.id);
        step.state = StepState::Failed;
        step.end_us = Some(self.clock.now_us());
        step.error = Some(failure.clone());
        let iteration = step.outputs.len();
        let event = Event::new(Level::Error, &step.id, &failure.message)
            .step(StepState::Failed)
            .field("reason", failure.reason.clone());
        let id = step.id.clone();
        run.error.get_or_insert(failure);
        self.save(claim, run, vec![event], Also { conclude: Some((&id, iteration, "FAILED")), ..Also::default() }).await
    }

    async fn conclude(
        &self,
        claim: &Claim,
        mut run: Run,
        tree: &Arc<Tree>,
        act: &Act<'_>,
        done: effects::Effected,
    ) -> Result<Progress> {
        let id = act.step.id.clone();
        let mut events: Vec<Event> = done.notes.iter().map(|note| Event::new(Level::Info, &id, note)).collect();
        let workspace = done.workspace.map(|files| effects::with_lock(files, done.delivered, &run, tree));
        let step = &mut run.steps[act.index];
        step.outputs.push(done.output);
        if act.last {
            step.state = StepState::Succeeded;
            step.end_us = Some(self.clock.now_us());
            events.push(Event::new(Level::Info, &id, &format!("{} is done", step.title)).step(StepState::Succeeded));
        }
        if let Some((repository, commit)) = done.repository {
            (run.repository, run.commit) = (repository, commit);
        }
        if let Some(service) = done.service {
            run.service = service;
        }
        let also = Also {
            conclude: Some((&id, act.iteration, "SUCCEEDED")),
            workspace: workspace.as_ref(),
            ..Also::default()
        };
        self.save(claim, run, events, also).await
    }

    /// The run is cancelled, and the step may have had its effect: it counts if it stands.
    async fn settle(&self, claim: &Claim, run: Run, tree: &Arc<Tree>, index: usize) -> Result<Progress> {
        let Some(step) = tree.template.steps.get(index) else { return Ok(Progress::Done) };
        let engine = context::engine(&scene(&run, tree));
        if let Ok(input) = context::input(&engine, step) {
            let act = Act { index, step, iteration: run.steps[index].outputs.len(), last: true, input };
            match self.left_behind(&run, &act).await {
                Ok(Some(done)) => return self.conclude(claim, run, tree, &act, done).await,
                Err(effects::Problem::Passing(error) | effects::Problem::Lost(error)) => return Err(error),
                Ok(None) | Err(effects::Problem::Failed(_)) => {}
            }
        }
        self.close(claim, run, index, StepState::Cancelled, "Cancelled").await
    }

    async fn end(&self, claim: &Claim, mut run: Run, tree: &Arc<Tree>, state: RunState) -> Result<Progress> {
        let mut state = state;
        if state == RunState::Succeeded {
            match context::output(&context::engine(&scene(&run, tree)), &tree.template) {
                Ok(output) => run.output = Some(output),
                Err(failure) => {
                    state = RunState::Failed;
                    run.error = Some(failure);
                }
            }
        }
        let events = run.finish(state, self.clock.now_us());
        self.save(claim, run, events, Also { finished: true, ..Also::default() }).await
    }
}

/// What the strings of a run's steps speak of.
fn scene<'a>(run: &'a Run, tree: &'a Tree) -> Scene<'a> {
    Scene {
        template: &tree.template,
        parameters: &run.parameters,
        run: &run.uid,
        initiator: &run.initiator,
        steps: &run.steps,
    }
}
