//! Runs, their events, rehearsals and actions.
use serde_json::{Map, Value as Json};
use slipway_kit::error::Result;
use slipway_proto::scaffolding::v1 as pb;

use super::{
    template::{files, finding},
    time, to_map, to_struct,
};
use crate::{
    app::{DryRun, DryStep, NewRun, Rehearsal, RenderedFile},
    model::{
        action::Action,
        run::{Event, Failure, Level, Output, Run, RunState, RunStep, StepState},
    },
};

pub(super) fn run_state(state: RunState) -> pb::RunState {
    match state {
        RunState::Pending => pb::RunState::Pending,
        RunState::Running => pb::RunState::Running,
        RunState::Succeeded => pb::RunState::Succeeded,
        RunState::Failed => pb::RunState::Failed,
        RunState::Cancelled => pb::RunState::Cancelled,
    }
}

fn step_state(state: StepState) -> pb::StepState {
    match state {
        StepState::Pending => pb::StepState::Pending,
        StepState::Running => pb::StepState::Running,
        StepState::Succeeded => pb::StepState::Succeeded,
        StepState::Skipped => pb::StepState::Skipped,
        StepState::Failed => pb::StepState::Failed,
        StepState::Cancelled => pb::StepState::Cancelled,
    }
}

fn failure(failure: Failure) -> pb::RunError {
    pb::RunError { reason: failure.reason, message: failure.message, step: failure.step }
}

fn structure(json: &Json) -> Option<prost_types::Struct> {
    json.as_object().map(to_struct)
}

/// A run as callers read it.
#[must_use]
pub fn run(run: Run) -> pb::Run {
    let template = format!("templates/{}", run.template);
    pb::Run {
        name: run.name(),
        etag: run.etag(),
        revision: format!("{template}/revisions/{}", run.version),
        template,
        uid: run.uid,
        create_time: time(run.create_us),
        update_time: time(run.update_us),
        revision_digest: run.digest,
        parameters: Some(to_struct(&run.parameters)),
        initiator: run.initiator,
        owner: run.owner,
        state: run_state(run.state).into(),
        steps: run.steps.into_iter().map(step).collect(),
        output: run.output.map(output),
        error: run.error.map(failure),
        start_time: run.start_us.and_then(time),
        end_time: run.end_us.and_then(time),
        cancelling: run.cancelling,
        service: run.service,
        repository: run.repository,
    }
}

fn step(step: RunStep) -> pb::RunStep {
    let done = i32::try_from(step.outputs.len()).unwrap_or(i32::MAX);
    pb::RunStep {
        output: structure(&step.output()),
        id: step.id,
        title: step.title,
        action: step.action,
        state: step_state(step.state).into(),
        attempts: step.attempts,
        iterations_done: if step.repeats { done } else { 0 },
        iterations: step.iterations,
        error: step.error.map(failure),
        start_time: step.start_us.and_then(time),
        end_time: step.end_us.and_then(time),
    }
}

fn output(output: Output) -> pb::RunOutput {
    let link = |l: crate::model::run::Link| pb::OutputLink {
        title: l.title,
        url: l.url,
        entity_ref: l.entity_ref,
        icon: l.icon,
    };
    let text = |t: crate::model::run::Text| pb::OutputText { title: t.title, content: t.content, icon: t.icon };
    pb::RunOutput {
        links: output.links.into_iter().map(link).collect(),
        text: output.text.into_iter().map(text).collect(),
        values: Some(to_struct(&output.values)),
    }
}

/// An event as callers read it.
#[must_use]
pub fn run_event(event: Event) -> pb::RunEvent {
    let level = match event.level {
        Level::Debug => pb::EventLevel::Debug,
        Level::Info => pb::EventLevel::Info,
        Level::Warning => pb::EventLevel::Warning,
        Level::Error => pb::EventLevel::Error,
    };
    pb::RunEvent {
        sequence: event.sequence,
        time: time(event.at_us / 1000 * 1000),
        step: event.step,
        level: level.into(),
        message: event.message,
        run_state: event.run_state.map_or(0, |s| run_state(s).into()),
        step_state: event.step_state.map_or(0, |s| step_state(s).into()),
        fields: Some(to_struct(&event.fields)),
    }
}

/// A run to be created.
#[must_use]
pub fn new_run(request: pb::CreateRunRequest) -> NewRun {
    NewRun { template: request.template, parameters: to_map(request.parameters), validate_only: request.validate_only }
}

/// A run to be rehearsed.
///
/// # Errors
/// INVALID_FIELD for paths given twice.
pub fn dry_run(request: pb::DryRunRequest) -> Result<DryRun> {
    Ok(DryRun { template: request.template, files: files(request.files)?, parameters: to_map(request.parameters) })
}

/// A rehearsal as callers read it.
#[must_use]
pub fn rehearsal(rehearsal: Rehearsal, include_content: bool) -> pb::DryRunResponse {
    let file = |f: RenderedFile| pb::RenderedFile {
        path: f.path,
        mode: f.file.mode(),
        sha256: f.file.sha256(),
        size_bytes: i64::try_from(f.file.content.len()).unwrap_or(i64::MAX),
        content: if include_content { f.file.content.to_vec() } else { Vec::new() },
        simulated: f.simulated,
    };
    let step = |s: DryStep| pb::DryRunStep {
        id: s.id,
        title: s.title,
        action: s.action,
        runs: s.runs,
        inputs: s.inputs.iter().map(|i: &Map<String, Json>| to_struct(i)).collect(),
        effects: s.effects,
        simulated: s.simulated,
        missing_permission: s.missing_permission,
    };
    pb::DryRunResponse {
        revision: rehearsal.revision,
        parameters: Some(to_struct(&rehearsal.parameters)),
        files: rehearsal.files.into_iter().map(file).collect(),
        steps: rehearsal.steps.into_iter().map(step).collect(),
        findings: rehearsal.findings.into_iter().map(finding).collect(),
        output: Some(output(rehearsal.output)),
    }
}

/// An action as callers read it.
#[must_use]
pub fn action(action: &Action) -> pb::Action {
    pb::Action {
        name: format!("actions/{}", action.id),
        id: action.id.to_owned(),
        description: action.description.to_owned(),
        input_schema_json: (action.input)().to_string(),
        output_schema_json: (action.output)().to_string(),
        effects: action.effects.to_owned(),
        permission: action.permission.to_owned(),
        dry_run: true,
    }
}
