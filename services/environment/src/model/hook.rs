//! Hooks of charts: which run, in which order, once each, and what happens to them afterwards (ENV-75).
//!
//! Owns the reading of Helm's annotations and the journal of hooks. Refuses hooks of tests and of rollbacks: the first never run, of
//! the second the user is told.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    condition::Aspect,
    environment::{Environment, ObjectRef},
    layout,
    manifest::{self, Doc},
    rollout,
    step::{Action, BLOCKED_US, Facts, RETRY_US, rest},
};

const HOOK: &str = "/metadata/annotations/helm.sh~1hook";
const WEIGHT: &str = "/metadata/annotations/helm.sh~1hook-weight";
const DELETE: &str = "/metadata/annotations/helm.sh~1hook-delete-policy";
const KEEP: &str = "/metadata/annotations/helm.sh~1resource-policy";
/// Longest part of a chart's name in the name of an object that is numbered.
const NAME_MAX: usize = 50;
/// Reason of a generation whose hook failed.
pub const HOOK_FAILED: &str = "HOOK_FAILED";
const KNOWN: [&str; 11] = [
    "pre-install",
    "pre-upgrade",
    "post-install",
    "post-upgrade",
    "pre-delete",
    "post-delete",
    "pre-rollback",
    "post-rollback",
    "test",
    "test-success",
    "test-failure",
];

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the workloads.
    Pre,
    /// Once they are healthy.
    Post,
    /// Before anything is taken away.
    PreDelete,
    /// After the workloads are.
    PostDelete,
}

impl Phase {
    fn of(event: &str, is_upgrade: bool) -> Option<Self> {
        match (event, is_upgrade) {
            ("pre-install", false) | ("pre-upgrade", true) => Some(Phase::Pre),
            ("post-install", false) | ("post-upgrade", true) => Some(Phase::Post),
            ("pre-delete", _) => Some(Phase::PreDelete),
            ("post-delete", _) => Some(Phase::PostDelete),
            _ => None,
        }
    }

    /// Whether it belongs to a teardown, which nothing may hold up for ever.
    pub fn is_delete(self) -> bool {
        matches!(self, Phase::PreDelete | Phase::PostDelete)
    }

    /// The aspect that a failure is told with.
    pub fn aspect(self) -> Aspect {
        if self == Phase::Pre { Aspect::Applied } else { Aspect::Healthy }
    }

    /// How long a hook may take.
    pub fn deadline_us(self) -> i64 {
        if self.is_delete() { BLOCKED_US } else { rollout::PROGRESS_DEADLINE_US }
    }
}

/// When a hook's object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delete {
    /// Before the next one of its name is made.
    BeforeCreation,
    /// When the hooks of its phase succeeded.
    Succeeded,
    /// When it failed.
    Failed,
}

/// How far a hook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stand {
    /// It has not begun.
    #[default]
    Todo,
    /// It may be in the cluster.
    Begun,
    /// It succeeded, and is to be deleted with the others of its phase.
    Succeeded,
    /// Nothing is left to do.
    Done,
    /// It failed.
    Failed,
}

/// One hook of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The object; jobs and pods are numbered by the generation.
    pub object: ObjectRef,
    /// Its name in the chart.
    pub base: String,
    /// When it runs.
    pub phase: Phase,
    /// Helm's weight.
    pub weight: i64,
    /// When it is deleted.
    pub delete: Vec<Delete>,
    /// How far it is.
    pub stand: Stand,
    /// When it began, in microseconds.
    pub begun_us: i64,
}

impl Step {
    /// `Kind/name`.
    pub fn title(&self) -> String {
        format!("{}/{}", self.object.kind, self.object.name)
    }

    /// Whether it runs to an end; anything else is done once it is there.
    pub fn runs(&self) -> bool {
        matches!(self.object.kind.as_str(), "Job" | "Pod")
    }

    /// It came to its end as wanted.
    pub fn succeed(&mut self) {
        self.stand = if self.delete.contains(&Delete::Succeeded) { Stand::Succeeded } else { Stand::Done };
    }
}

/// An object that a hook left in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Which.
    pub object: ObjectRef,
    /// Its name in the chart.
    pub base: String,
}

/// The journal of hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// Generation that the steps are of.
    pub generation: i64,
    /// Whether that generation is an upgrade.
    pub is_upgrade: bool,
    /// Whether a generation came up once: what follows upgrades it.
    pub is_installed: bool,
    /// The hooks, in the order in which they run.
    pub steps: Vec<Step>,
    /// What hooks left in the cluster.
    pub made: Vec<Made>,
}

/// What a look shows of a hook that runs; one that is not there shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It runs.
    Running,
    /// It came to its end.
    Succeeded,
    /// It failed.
    Failed,
}

/// Whether a document is a hook.
pub fn is_hook(doc: &Doc) -> bool {
    !manifest::text(doc, HOOK).is_empty()
}

fn words<'a>(doc: &'a Doc, pointer: &str) -> impl Iterator<Item = &'a str> {
    manifest::text(doc, pointer).split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// What is wrong with the annotations of a hook.
pub fn fault(doc: &Doc) -> Option<String> {
    let unknown = words(doc, HOOK).find(|event| !KNOWN.contains(event));
    let weight = manifest::text(doc, WEIGHT);
    let is_number = weight.is_empty() || weight.parse::<i32>().is_ok();
    let policy = words(doc, DELETE).find(|word| delete(word).is_none());
    match (unknown, is_number, policy) {
        (Some(event), ..) => Some(format!("HOOK_NOT_SUPPORTED: there is no hook {event:?}")),
        (_, false, _) => Some("HOOK_NOT_SUPPORTED: helm.sh/hook-weight must be a number in quotes".to_owned()),
        (.., Some(word)) => Some(format!("HOOK_NOT_SUPPORTED: there is no delete policy {word:?}")),
        _ => None,
    }
}

fn delete(word: &str) -> Option<Delete> {
    match word {
        "before-hook-creation" => Some(Delete::BeforeCreation),
        "hook-succeeded" => Some(Delete::Succeeded),
        "hook-failed" => Some(Delete::Failed),
        _ => None,
    }
}

/// Titles of hooks that never run although somebody may expect it: those of rollbacks.
pub fn not_run(docs: &[Doc]) -> Vec<String> {
    let rolls_back = |doc: &&Doc| words(doc, HOOK).any(|event| event.ends_with("-rollback"));
    docs.iter().filter(rolls_back).map(manifest::title).collect()
}

/// Whether an object stays where it is when nobody wants it any more (`helm.sh/resource-policy: keep`).
pub fn is_kept(doc: &Doc) -> bool {
    manifest::text(doc, KEEP) == "keep"
}

/// The hooks among the documents of a generation, in the order in which they run: by weight, then kind, then name.
pub fn steps(docs: &[Doc], generation: i64, is_upgrade: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for doc in docs.iter().filter(|doc| is_hook(doc)) {
        let mut phases: Vec<Phase> = words(doc, HOOK).filter_map(|event| Phase::of(event, is_upgrade)).collect();
        phases.sort();
        phases.dedup();
        let mut policies: Vec<Delete> = words(doc, DELETE).filter_map(delete).collect();
        if policies.is_empty() {
            policies.push(Delete::BeforeCreation);
        }
        for phase in phases {
            steps.push(Step {
                object: manifest::object(&numbered(doc.clone(), generation)),
                base: manifest::name(doc).to_owned(),
                phase,
                weight: manifest::text(doc, WEIGHT).parse().unwrap_or(0),
                delete: policies.clone(),
                stand: Stand::Todo,
                begun_us: 0,
            });
        }
    }
    let rank = |step: &Step| layout::rank(&step.object.kind.to_lowercase());
    steps.sort_by(|a, b| {
        (a.phase, a.weight, rank(a), &a.object.name).cmp(&(b.phase, b.weight, rank(b), &b.object.name))
    });
    steps
}

/// What runs gets a name of its generation: what ran once does not run again under its name.
fn numbered(mut doc: Doc, generation: i64) -> Doc {
    if matches!(manifest::kind(&doc), "Job" | "Pod") {
        let name: String = manifest::name(&doc).chars().take(NAME_MAX).collect();
        doc["metadata"]["name"] = json!(format!("{}-g{generation}", name.trim_end_matches(['-', '.'])));
    }
    doc
}

/// The document of a hook. Its end must be seen, so that it does not tidy itself away.
pub fn document(docs: Vec<Doc>, step: &Step, generation: i64) -> Option<Doc> {
    let is_it = |doc: &Doc| is_hook(doc) && manifest::kind(doc) == step.object.kind && manifest::name(doc) == step.base;
    let mut doc = numbered(docs.into_iter().find(is_it)?, generation);
    if manifest::kind(&doc) == "Job"
        && let Some(spec) = doc["spec"].as_object_mut()
    {
        spec.remove("ttlSecondsAfterFinished");
    }
    Some(doc)
}

impl Hooks {
    /// Whether a generation upgrades what is there; once it was said it stays so for this generation.
    pub fn upgrades(&self, generation: i64) -> bool {
        if self.generation == generation { self.is_upgrade } else { self.is_installed }
    }

    /// Takes the hooks of a rendered generation. What ran of it already does not run again; what failed does.
    pub fn take(&mut self, generation: i64, is_upgrade: bool, mut steps: Vec<Step>) {
        if self.generation == generation {
            for step in &mut steps {
                let ran = self.steps.iter().find(|old| old.object == step.object && old.phase == step.phase);
                if let Some(ran) = ran.filter(|old| old.stand != Stand::Failed) {
                    (step.stand, step.begun_us) = (ran.stand, ran.begun_us);
                }
            }
        }
        (self.generation, self.is_upgrade, self.steps) = (generation, is_upgrade, steps);
    }

    /// The namespace went, and what was installed in it.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The hook that something has to be done about, if its phase is not over.
    pub fn next(&self, phase: Phase) -> Option<usize> {
        let of_phase = || self.steps.iter().enumerate().filter(move |(_, step)| step.phase == phase);
        let is_open = |step: &Step| match step.stand {
            Stand::Todo | Stand::Begun => true,
            Stand::Failed => !phase.is_delete(),
            Stand::Succeeded | Stand::Done => false,
        };
        let open = of_phase().find(|(_, step)| is_open(step));
        open.or_else(|| of_phase().find(|(_, step)| step.stand == Stand::Succeeded)).map(|(at, _)| at)
    }

    /// Whether an object is a hook's.
    pub fn has_made(&self, object: &ObjectRef) -> bool {
        self.made.iter().any(|made| super::outcome::same(&made.object, object))
    }

    /// What has to go before a hook begins: one of its own name, and by its policy those of generations before.
    pub fn before(&self, step: &Step) -> Vec<ObjectRef> {
        let goes = |made: &&Made| {
            let is_same = made.object.kind == step.object.kind && made.base == step.base;
            is_same && step.runs() && (made.object == step.object || step.delete.contains(&Delete::BeforeCreation))
        };
        self.made.iter().filter(goes).map(|made| made.object.clone()).collect()
    }
}

/// Decides what happens about the hooks of a phase; `None` once it is over.
pub fn step(env: &mut Environment, facts: &Facts<'_>, phase: Phase, seen: &BTreeMap<String, Seen>) -> Option<Action> {
    let hooks = &mut env.status.progress.hooks;
    if hooks.generation != env.generation && !phase.is_delete() {
        return None;
    }
    let step = hooks.next(phase).and_then(|at| hooks.steps.get_mut(at))?;
    match (step.stand, seen.get(&step.title())) {
        (Stand::Begun, Some(Seen::Running)) if facts.now_us - step.begun_us < phase.deadline_us() => {
            Some(Action::Wait(rollout::look_after_us(facts.now_us - step.begun_us)))
        }
        (Stand::Failed, _) if env.status.conditions.holds(Aspect::Stalled, env.generation) => Some(rest(env, facts)),
        (Stand::Failed, _) => {
            let text = format!("The hook {} failed; a push or RetryEnvironment runs it again.", step.title());
            env.fail(phase.aspect(), HOOK_FAILED, &text, facts.now_us + RETRY_US, facts.now_us);
            Some(Action::Again)
        }
        _ => Some(Action::Hook(phase)),
    }
}

/// What is seen of the hooks that may run.
pub fn seen(hooks: &Hooks, live: &[Doc]) -> BTreeMap<String, Seen> {
    let begun = hooks.steps.iter().filter(|step| step.stand == Stand::Begun && step.runs());
    begun.filter_map(|step| Some((step.title(), judge(find(live, &step.object)?)))).collect()
}

fn find<'a>(live: &'a [Doc], object: &ObjectRef) -> Option<&'a Doc> {
    live.iter().find(|doc| manifest::kind(doc) == object.kind && manifest::name(doc) == object.name)
}

/// How far what runs is.
pub fn judge(doc: &Doc) -> Seen {
    let conditions = doc.pointer("/status/conditions").and_then(Doc::as_array).map(Vec::as_slice).unwrap_or_default();
    let holds = |of: &str| conditions.iter().any(|c| c["type"] == of && c["status"] == "True");
    match (manifest::kind(doc), manifest::text(doc, "/status/phase")) {
        ("Job", _) if holds("Complete") => Seen::Succeeded,
        ("Job", _) if holds("Failed") => Seen::Failed,
        ("Pod", "Succeeded") => Seen::Succeeded,
        ("Pod", "Failed") => Seen::Failed,
        _ => Seen::Running,
    }
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
