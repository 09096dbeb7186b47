//! What the strings of a template's steps may name, and how conditions and repetitions are read (SCF-8 to SCF-11).
//!
//! Owns the context of steps; refuses evaluation by itself, which is the engine's.
use serde_json::{Map, Value as Json, json};

use super::parameters::complete;
use super::run::{Failure, Link, Output, RunStep, Text};
use super::template::{DOCUMENT, Step, Template};
use super::templating::{Engine, Fault};

/// Most iterations of a step (SCF-8).
pub const ITERATIONS_MAX: usize = 100;
/// Roots that every string of a step may name.
pub const ROOTS: [&str; 5] = ["parameters", "steps", "user", "environment", "context"];

/// Who and what a run's strings speak of.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The template.
    pub template: &'a Template,
    /// Parameters, defaults applied.
    pub parameters: &'a Map<String, Json>,
    /// Uid of the run.
    pub run: &'a str,
    /// Who started it.
    pub initiator: &'a str,
    /// Steps with their outputs so far.
    pub steps: &'a [RunStep],
}

/// The engine with the context of a scene.
#[must_use]
pub fn engine(scene: &Scene<'_>) -> Engine {
    let mut engine = Engine::new(scene.template.lenient);
    engine.declare("parameters", &complete(&scene.template.pages, scene.parameters));
    let outputs = scene.steps.iter().map(|s| (s.id.clone(), json!({ "output": s.output() })));
    engine.declare("steps", &outputs.collect());
    let name = scene.initiator.rsplit('/').next().unwrap_or_default();
    let user = json!({ "ref": scene.initiator, "entity": { "metadata": { "name": name } } });
    engine.provide("user", &user);
    engine.provide("environment", &json!({ "parameters": {} }));
    engine.provide("context", &json!({ "task": { "id": scene.run } }));
    engine.set_failed(scene.steps.iter().any(|s| s.state == super::run::StepState::Failed));
    engine
}

/// A failure of a template in a step.
#[must_use]
pub fn failure(fault: &Fault) -> Failure {
    Failure { reason: fault.code.as_str().to_owned(), message: fault.to_string(), step: String::new() }
}

fn place(step: &Step, key: &str) -> String {
    format!("{DOCUMENT}: step {}: {key}", step.id)
}

/// Items of a step's `each`, as `each` in its strings; one item without a value for a plain step.
///
/// # Errors
/// Why `each` gives no list.
pub fn iterations(engine: &Engine, step: &Step) -> Result<Vec<Option<Json>>, Failure> {
    let Some(each) = &step.each else { return Ok(vec![None]) };
    let value = engine.json(&place(step, "each"), each).map_err(|f| failure(&f))?;
    let items: Vec<_> = match value {
        Json::Array(items) => items.into_iter().enumerate().map(|(i, v)| Some(json!({"key": i, "value": v}))).collect(),
        Json::Object(map) => map.into_iter().map(|(k, v)| Some(json!({"key": k, "value": v}))).collect(),
        Json::Null => Vec::new(),
        _ => return Err(super::action::invalid("`each` must give a list or an object")),
    };
    if items.len() > ITERATIONS_MAX {
        return Err(super::action::invalid(&format!(
            "`each` gives {} items, at most {ITERATIONS_MAX} are taken",
            items.len()
        )));
    }
    Ok(items)
}

/// Whether a step, or an iteration of it, runs (SCF-9).
///
/// # Errors
/// A failure of the condition.
pub fn runs(engine: &Engine, step: &Step) -> Result<bool, Failure> {
    let Some(condition) = &step.condition else { return Ok(true) };
    Ok(holds(&engine.json(&place(step, "if"), condition).map_err(|f| failure(&f))?))
}

/// false, null, "", 0 and an empty list do not hold; everything else does.
fn holds(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(value) => *value,
        Json::Number(value) => value.as_f64() != Some(0.0),
        Json::String(value) => !value.is_empty() && value != "false",
        Json::Array(items) => !items.is_empty(),
        Json::Object(_) => true,
    }
}

/// The rendered input of a step.
///
/// # Errors
/// A failure of one of its strings.
pub fn input(engine: &Engine, step: &Step) -> Result<Map<String, Json>, Failure> {
    match engine.json(&place(step, "input"), &Json::Object(step.input.clone())).map_err(|f| failure(&f))? {
        Json::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// The output a template declares.
///
/// # Errors
/// A failure of one of its strings.
pub fn output(engine: &Engine, template: &Template) -> Result<Output, Failure> {
    let mut out = Output::default();
    for (key, value) in &template.output {
        let place = format!("{DOCUMENT}: output/{key}");
        match key.as_str() {
            "links" => out.links = list::<Link>(engine, &place, value)?,
            "text" => out.text = list::<Text>(engine, &place, value)?,
            _ => {
                out.values.insert(key.clone(), engine.json(&place, value).map_err(|f| failure(&f))?);
            }
        }
    }
    Ok(out)
}

fn list<T: serde::de::DeserializeOwned>(engine: &Engine, place: &str, value: &Json) -> Result<Vec<T>, Failure> {
    let mut all = Vec::new();
    for item in value.as_array().into_iter().flatten() {
        let Json::Object(mut item) = item.clone() else { continue };
        if let Some(condition) = item.remove("if")
            && !holds(&engine.json(place, &condition).map_err(|f| failure(&f))?)
        {
            continue;
        }
        let rendered = engine.json(place, &Json::Object(item)).map_err(|f| failure(&f))?;
        let texts = rendered.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null());
        let texts: Map<String, Json> = texts.map(|(k, v)| (k.clone(), v.clone())).collect();
        all.push(
            serde_json::from_value(Json::Object(texts))
                .map_err(|e| super::action::invalid(&format!("{place}: {e}")))?,
        );
    }
    Ok(all)
}
