//! Rehearsing a run without a write anywhere (SCF-90, SCF-91).
use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value as Json, json};
use slipway_kit::{
    authz::Facts,
    error::{Error, INVALID_FIELD, Result},
    id,
    serve::Call,
};

use super::{App, templates::refused};
use crate::{
    model::{
        action::{self, Publish},
        context::{self, ROOTS, Scene},
        entity::catalog_ref,
        files::{Files, digest},
        finding::{Finding, Severity},
        lint::lint,
        lock,
        run::{Failure, Output, Run, RunStep, StepState},
        template::{DOCUMENT, Step},
        templating::{Stop, Syntax, uses},
    },
    store::Tree,
};

/// A run to be rehearsed.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// Template or revision; empty when files are given.
    pub template: String,
    /// A tree that is not published; empty when a template is given.
    pub files: Files,
    /// Parameters as given.
    pub parameters: Map<String, Json>,
}

/// What a run would do.
#[derive(Clone, Debug, Default)]
pub struct Rehearsal {
    /// Revision; empty for an uploaded tree.
    pub revision: String,
    /// Parameters, defaults applied.
    pub parameters: Map<String, Json>,
    /// Resulting tree.
    pub files: Vec<RenderedFile>,
    /// Steps in order.
    pub steps: Vec<DryStep>,
    /// What would be refused or remarked.
    pub findings: Vec<Finding>,
    /// Output of the template.
    pub output: Output,
}

/// A file of the resulting tree.
#[derive(Clone, Debug)]
pub struct RenderedFile {
    /// Path.
    pub path: String,
    /// Content and mode.
    pub file: crate::model::files::File,
    /// Whether a real run gives other bytes.
    pub simulated: bool,
}

/// What one step would do.
#[derive(Clone, Debug, Default)]
pub struct DryStep {
    /// Id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Action.
    pub action: String,
    /// Whether it would run.
    pub runs: bool,
    /// Rendered inputs.
    pub inputs: Vec<Map<String, Json>>,
    /// Effects in words.
    pub effects: String,
    /// Whether its input depends on simulated outputs.
    pub simulated: bool,
    /// Permission the caller lacks.
    pub missing_permission: String,
}

/// Commit that stands for one that does not exist yet.
const SIMULATED_COMMIT: &str = "0000000000000000000000000000000000000000";

struct Stage<'a> {
    tree: &'a Tree,
    parameters: &'a Map<String, Json>,
    initiator: &'a str,
    run: String,
    steps: Vec<RunStep>,
    workspace: Files,
    /// Steps whose output is simulated.
    simulated: BTreeSet<String>,
    /// Files that depend on simulated values.
    simulated_files: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl App {
    /// Rehearses a run.
    pub async fn dry_run(&self, call: &Call, wanted: DryRun) -> Result<Rehearsal> {
        call.check(&Facts::default())?;
        let (revision, digest, tree, findings) = self.staged(&wanted).await?;
        let accepted = self.accept(call, &tree, &wanted.parameters).await?;
        let (app, caller, shared) = (self.clone(), call.clone(), Arc::clone(&tree));
        let work = move || {
            let owner = accepted.owner;
            let mut stage = Stage {
                tree: &shared,
                parameters: &accepted.values,
                initiator: &caller.caller.principal,
                run: id::uuid7(),
                steps: Run::steps_of(&shared.template),
                workspace: Files::new(),
                simulated: BTreeSet::new(),
                simulated_files: BTreeSet::new(),
                findings,
            };
            let mut steps = Vec::new();
            for (index, step) in shared.template.steps.iter().enumerate() {
                let mut dry = stage.step(&app, index, step, &digest);
                let facts = Facts { owner: (!owner.is_empty()).then_some(owner.as_str()), ..Facts::default() };
                let needed = action::find(&step.action).map_or("", |a| a.permission);
                if dry.runs && !needed.is_empty() && !caller.allows(needed, &facts) {
                    needed.clone_into(&mut dry.missing_permission);
                }
                steps.push(dry);
            }
            stage.finish(revision, steps)
        };
        let stop = Stop::default();
        let _given_up = stop.on_drop();
        let mut done = tokio::task::spawn_blocking(move || stop.within(work)).await.map_err(Error::internal)?;
        self.warn_of_taken(&mut done).await;
        Ok(done)
    }

    /// Says which repositories exist already, to those who may create them; a provider that is away is not asked twice.
    async fn warn_of_taken(&self, done: &mut Rehearsal) {
        let publishing =
            done.steps.iter().filter(|s| s.runs && s.action == "publish:git" && s.missing_permission.is_empty());
        let names = publishing.flat_map(|s| &s.inputs).filter_map(|i| action::input::<Publish>(i).ok()?.name().ok());
        for name in names.collect::<BTreeSet<_>>() {
            if let Ok(Some(_)) = self.forge.find(&name).await {
                let text = format!("repository {name} exists: a run would end with REPOSITORY_TAKEN");
                done.findings.push(Finding::new(Severity::Warning, "REPOSITORY_TAKEN", DOCUMENT, text));
            }
        }
    }

    async fn staged(&self, wanted: &DryRun) -> Result<(String, String, Arc<Tree>, Vec<Finding>)> {
        match (wanted.template.is_empty(), wanted.files.is_empty()) {
            (false, true) => {
                let (revision, tree) = self.chosen(&wanted.template).await?;
                Ok((revision.name(), revision.digest.clone(), tree, revision.findings))
            }
            (true, false) => {
                let files = wanted.files.clone();
                let stop = Stop::default();
                let _given_up = stop.on_drop();
                let work = move || stop.within(|| lint(&files));
                let (template, findings) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
                if template.is_none() {
                    return Err(refused(&findings));
                }
                let tree = Arc::new(Tree::new(wanted.files.clone())?);
                Ok((String::new(), digest(&wanted.files), tree, findings))
            }
            _ => {
                let error = Error::new(&INVALID_FIELD, "invalid: template, files");
                Err(error
                    .violation("template", "give either a template or files")
                    .violation("files", "give either a template or files"))
            }
        }
    }
}

impl Stage<'_> {
    fn step(&mut self, app: &App, index: usize, step: &Step, digest: &str) -> DryStep {
        let mut dry = DryStep {
            id: step.id.clone(),
            title: step.title.clone(),
            action: step.action.clone(),
            effects: action::find(&step.action).map_or("", |a| a.effects).to_owned(),
            simulated: self.depends(step),
            ..DryStep::default()
        };
        match self.iterate(app, index, step, &mut dry) {
            Ok(delivered) => {
                self.steps[index].state = if dry.runs { StepState::Succeeded } else { StepState::Skipped };
                if delivered && self.tree.template.locked {
                    self.lock(digest);
                }
            }
            Err(failure) => {
                self.steps[index].state = StepState::Failed;
                self.findings.push(Finding::new(
                    Severity::Error,
                    &failure.reason,
                    DOCUMENT,
                    format!("step {}: {}", step.id, failure.message),
                ));
            }
        }
        if dry.simulated || !dry.effects.is_empty() {
            self.simulated.insert(step.id.clone());
        }
        dry
    }

    fn iterate(
        &mut self,
        app: &App,
        index: usize,
        step: &Step,
        dry: &mut DryStep,
    ) -> std::result::Result<bool, Failure> {
        let failed = self.steps.iter().any(|s| s.state == StepState::Failed);
        if failed
            && !step
                .condition
                .as_ref()
                .and_then(Json::as_str)
                .is_some_and(|c| c.contains("always(") || c.contains("failure("))
        {
            return Ok(false);
        }
        let steps = self.steps.clone();
        let scene = Scene {
            template: &self.tree.template,
            parameters: self.parameters,
            run: &self.run,
            initiator: self.initiator,
            steps: &steps,
        };
        let mut engine = context::engine(&scene);
        let mut delivered = false;
        for item in context::iterations(&engine, step)? {
            if let Some(item) = item {
                engine.provide("each", &item);
            }
            if !context::runs(&engine, step)? {
                continue;
            }
            dry.runs = true;
            let input = context::input(&engine, step)?;
            dry.inputs.push(input.clone());
            let before = self.workspace.clone();
            let output = match action::local(
                &step.action,
                &input,
                &self.tree.template,
                &self.tree.files,
                &mut self.workspace,
            )? {
                Some(done) => {
                    delivered |= done.delivered;
                    done.output
                }
                None => self.simulate(app, &step.action, &input)?,
            };
            if dry.simulated {
                let changed = self.workspace.iter().filter(|(path, file)| before.get(*path) != Some(file));
                self.simulated_files.extend(changed.map(|(path, _)| path.clone()));
            }
            self.steps[index].outputs.push(output);
        }
        Ok(delivered)
    }

    /// Output of an action with an effect, as its schema promises it.
    fn simulate(&self, app: &App, action: &str, given: &Map<String, Json>) -> std::result::Result<Json, Failure> {
        if action == "publish:git" {
            let name = action::input::<Publish>(given)?.name()?;
            let url = app.forge.url(&name);
            let repository = format!("{}/{name}", app.forge.connection());
            return Ok(
                json!({ "remoteUrl": url, "repoContentsUrl": url, "commitHash": SIMULATED_COMMIT, "repository": repository }),
            );
        }
        let path = given.get("catalogInfoPath").and_then(Json::as_str).unwrap_or("/catalog-info.yaml");
        let file = self.workspace.get(path.trim_start_matches('/'));
        let entity_ref = file.and_then(|f| catalog_ref(&f.content)).unwrap_or_default();
        let contents = given.get("repoContentsUrl").and_then(Json::as_str).unwrap_or_default();
        let info = format!("{}/{}", contents.trim_end_matches('/'), path.trim_start_matches('/'));
        Ok(json!({ "entityRef": entity_ref, "catalogInfoUrl": info, "location": "" }))
    }

    /// Whether a step names the output of a simulated one.
    fn depends(&self, step: &Step) -> bool {
        let mut texts = vec![Json::Object(step.input.clone())];
        texts.extend(step.condition.clone());
        texts.extend(step.each.clone());
        texts.iter().any(|t| self.names_simulated(t))
    }

    fn names_simulated(&self, value: &Json) -> bool {
        match value {
            Json::String(source) if source.contains("${{") || source.contains("{%") => {
                let roots: Vec<&str> = ROOTS.into_iter().chain(["each"]).collect();
                let found = uses(DOCUMENT, source, Syntax::default(), &roots, true).unwrap_or_default();
                let mut members = found.members.iter();
                members.any(|u| {
                    u.root == "context" || u.root == "steps" && (u.key.is_empty() || self.simulated.contains(&u.key))
                })
            }
            Json::Array(items) => items.iter().any(|v| self.names_simulated(v)),
            Json::Object(map) => map.values().any(|v| self.names_simulated(v)),
            _ => false,
        }
    }

    fn lock(&mut self, digest: &str) {
        let run = format!("runs/{}", self.run);
        let lineage = lock::Lineage {
            template: &self.tree.template,
            digest,
            answers: self.parameters,
            run: &run,
            created: "1970-01-01T00:00:00Z",
            initiator: self.initiator,
        };
        let text = lock::render(&lineage, &self.workspace);
        self.workspace.insert(lock::PATH.to_owned(), crate::model::files::File::plain(text));
        self.simulated_files.insert(lock::PATH.to_owned());
    }

    fn finish(mut self, revision: String, steps: Vec<DryStep>) -> Rehearsal {
        let all = std::mem::take(&mut self.steps);
        let scene = Scene {
            template: &self.tree.template,
            parameters: self.parameters,
            run: &self.run,
            initiator: self.initiator,
            steps: &all,
        };
        let output = match context::output(&context::engine(&scene), &self.tree.template) {
            Ok(output) => output,
            Err(failure) => {
                if !all.iter().any(|s| s.state == StepState::Failed) {
                    self.findings.push(Finding::new(Severity::Error, &failure.reason, DOCUMENT, failure.message));
                }
                Output::default()
            }
        };
        let simulated = &self.simulated_files;
        let files = self.workspace.iter().map(|(path, file)| RenderedFile {
            path: path.clone(),
            file: file.clone(),
            simulated: simulated.contains(path),
        });
        Rehearsal {
            revision,
            parameters: self.parameters.clone(),
            files: files.collect(),
            steps,
            findings: self.findings,
            output,
        }
    }
}
