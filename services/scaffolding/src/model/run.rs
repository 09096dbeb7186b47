//! Runs and their steps: the nouns, and what may come next (SCF-51, SCF-57).
//!
//! Owns states and the decision; refuses effects, clocks and evaluation of templates.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::template::Template;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunState {
    /// Stored, not begun.
    Pending,
    /// A worker executes it.
    Running,
    /// Every step succeeded or was skipped.
    Succeeded,
    /// A step failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RunState {
    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, RunState::Succeeded | RunState::Failed | RunState::Cancelled)
    }

    /// The word in the database and in filters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Pending => "PENDING",
            RunState::Running => "RUNNING",
            RunState::Succeeded => "SUCCEEDED",
            RunState::Failed => "FAILED",
            RunState::Cancelled => "CANCELLED",
        }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// A worker executes it.
    Running,
    /// Its effect stands.
    Succeeded,
    /// Its condition was false.
    Skipped,
    /// Its action failed.
    Failed,
    /// Never begun, or without effect, because the run failed or was cancelled.
    Cancelled,
}

impl StepState {
    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(self, StepState::Pending | StepState::Running)
    }
}

/// Why a run or a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable word.
    pub reason: String,
    /// Sentence for people.
    pub message: String,
    /// Step that failed.
    pub step: String,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStep {
    /// Id, unique in the run.
    pub id: String,
    /// Title for people.
    pub title: String,
    /// Action.
    pub action: String,
    /// State.
    pub state: StepState,
    /// How often it was begun, over all iterations.
    pub attempts: i32,
    /// Whether it repeats over `each`.
    pub repeats: bool,
    /// Outputs of finished iterations; a plain step has one iteration.
    pub outputs: Vec<Json>,
    /// Iterations of a step with `each`, once known.
    pub iterations: i32,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When it began, in microseconds.
    pub start_us: Option<i64>,
    /// When it ended, in microseconds.
    pub end_us: Option<i64>,
}

impl RunStep {
    /// What later steps and callers see as its output.
    #[must_use]
    pub fn output(&self) -> Json {
        if self.repeats {
            return serde_json::json!({ "iterations": self.outputs });
        }
        self.outputs.first().cloned().unwrap_or(Json::Null)
    }
}

/// Result as the template declares it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Links to what was made.
    pub links: Vec<Link>,
    /// Texts to show.
    pub text: Vec<Text>,
    /// Every other key.
    pub values: Map<String, Json>,
}

/// A link of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Link {
    /// Title.
    pub title: String,
    /// Address.
    pub url: String,
    /// Entity.
    pub entity_ref: String,
    /// Icon.
    pub icon: String,
}

/// A text of an output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Text {
    /// Title.
    pub title: String,
    /// Markdown.
    pub content: String,
    /// Icon.
    pub icon: String,
}

/// One durable execution of a template revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Stable id, UUIDv7.
    pub uid: String,
    /// Counts changes; the etag.
    pub changes: i64,
    /// When it was created, in microseconds.
    pub create_us: i64,
    /// When it last changed, in microseconds.
    pub update_us: i64,
    /// Id of the template.
    pub template: String,
    /// Version of the pinned revision.
    pub version: String,
    /// Digest of that revision.
    pub digest: String,
    /// Parameters, defaults applied.
    pub parameters: Map<String, Json>,
    /// Who started it.
    pub initiator: String,
    /// Credential it was started with.
    pub credential: String,
    /// Owning group; empty if the template asks for none.
    pub owner: String,
    /// State.
    pub state: RunState,
    /// Steps in order.
    pub steps: Vec<RunStep>,
    /// Result, once it has succeeded.
    pub output: Option<Output>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// When it began to execute.
    pub start_us: Option<i64>,
    /// When it ended.
    pub end_us: Option<i64>,
    /// Whether it was asked to cancel.
    pub cancelling: bool,
    /// Registered service; empty if none.
    pub service: String,
    /// Created repository as `<connection>/<owner>/<name>`; empty if none.
    pub repository: String,
    /// First commit of that repository; empty if none.
    pub commit: String,
    /// Sequence of its last event.
    pub events: i64,
}

impl Run {
    /// Resource name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("runs/{}", self.uid)
    }

    /// Version of this state.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.changes)
    }

    /// Whether a step has failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.steps.iter().any(|s| s.state == StepState::Failed)
    }

    /// Ends the run: what was not begun is cancelled. Answers the events that tell it.
    pub fn finish(&mut self, state: RunState, now_us: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for step in self.steps.iter_mut().filter(|s| !s.state.is_ended()) {
            step.state = StepState::Cancelled;
            step.end_us = Some(now_us);
            events.push(Event::new(Level::Info, &step.id, "Not run").step(StepState::Cancelled));
        }
        self.state = state;
        self.end_us = Some(now_us);
        self.cancelling = false;
        let (level, text) = match (state, &self.error) {
            (RunState::Failed, Some(error)) => (Level::Error, format!("The run failed: {}", error.message)),
            (RunState::Failed, None) => (Level::Error, "The run failed".to_owned()),
            (RunState::Cancelled, _) => (Level::Warning, "The run was cancelled".to_owned()),
            _ => (Level::Info, "The run succeeded".to_owned()),
        };
        events.push(Event::new(level, "", &text).run(state));
        events
    }

    /// The steps a new run of a template has.
    #[must_use]
    pub fn steps_of(template: &Template) -> Vec<RunStep> {
        let step = |s: &super::template::Step| RunStep {
            id: s.id.clone(),
            title: s.title.clone(),
            action: s.action.clone(),
            state: StepState::Pending,
            attempts: 0,
            repeats: s.each.is_some(),
            outputs: Vec::new(),
            iterations: 0,
            error: None,
            start_us: None,
            end_us: None,
        };
        template.steps.iter().map(step).collect()
    }

    /// What a worker does next. `conditions` are the steps' `if` as written.
    #[must_use]
    pub fn next(&self, template: &Template) -> Next {
        if self.state.is_ended() {
            return Next::Nothing;
        }
        if self.state == RunState::Pending && !self.cancelling {
            return Next::Begin;
        }
        let Some((index, step)) = self.steps.iter().enumerate().find(|(_, s)| !s.state.is_ended()) else {
            let failed = self.has_failed();
            let cancelled = self.steps.iter().any(|s| s.state == StepState::Cancelled);
            return Next::End(match (failed, cancelled) {
                (true, _) => RunState::Failed,
                (_, true) => RunState::Cancelled,
                _ => RunState::Succeeded,
            });
        };
        if self.cancelling {
            return if step.state == StepState::Running { Next::Settle(index) } else { Next::Close(index) };
        }
        let condition = template.steps.get(index).and_then(|s| s.condition.as_ref());
        if self.has_failed() && step.state == StepState::Pending && !runs_after_failure(condition) {
            return Next::Close(index);
        }
        Next::Step(index)
    }
}

/// Whether a step's `if` asks for it after an earlier failure (SCF-9).
fn runs_after_failure(condition: Option<&Json>) -> bool {
    condition.and_then(Json::as_str).is_some_and(|text| text.contains("always(") || text.contains("failure("))
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the run has ended.
    Nothing,
    /// Mark it as running.
    Begin,
    /// Evaluate and execute the step, or its next iteration.
    Step(usize),
    /// The run is cancelled while the step may have had its effect: look, and do nothing.
    Settle(usize),
    /// Close a step that will not run.
    Close(usize),
    /// End the run.
    End(RunState),
}

/// How important an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// For the curious.
    Debug,
    /// Progress.
    Info,
    /// Worth a look.
    Warning,
    /// A failure.
    Error,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the run, from 1; 0 until it is stored.
    pub sequence: i64,
    /// When, in microseconds.
    pub at_us: i64,
    /// Step; empty for the run itself.
    pub step: String,
    /// Importance.
    pub level: Level,
    /// Sentence for people, without control codes.
    pub message: String,
    /// State of the run after it, if that changed.
    pub run_state: Option<RunState>,
    /// State of the step after it, if that changed.
    pub step_state: Option<StepState>,
    /// Facts for programs.
    pub fields: Map<String, Json>,
}

/// Longest message of an event in characters.
const MESSAGE_CHARS_MAX: usize = 4000;

impl Event {
    /// An event of a run or, with a step, of that step.
    #[must_use]
    pub fn new(level: Level, step: &str, message: &str) -> Event {
        let clean = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
        Event {
            sequence: 0,
            at_us: 0,
            step: step.to_owned(),
            level,
            message: message.chars().take(MESSAGE_CHARS_MAX).map(clean).collect(),
            run_state: None,
            step_state: None,
            fields: Map::new(),
        }
    }

    /// The same with the run's new state.
    #[must_use]
    pub fn run(mut self, state: RunState) -> Event {
        self.run_state = Some(state);
        self
    }

    /// The same with the step's new state.
    #[must_use]
    pub fn step(mut self, state: StepState) -> Event {
        self.step_state = Some(state);
        self
    }

    /// The same with a fact.
    #[must_use]
    pub fn field(mut self, key: &str, value: impl Into<Json>) -> Event {
        self.fields.insert(key.to_owned(), value.into());
        self
    }
}
