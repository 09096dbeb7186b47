//! The lint of a template tree: what publishing refuses or remarks (SCF-3, SCF-22, SCF-30).
//!
//! Owns judgement without running anything but the template's own tests; refuses to guess what a computed name means.
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::context::{self, ROOTS, Scene};
use super::files::{Files, as_text, matches, problems};
use super::finding::{Finding, Severity};
use super::run::{Run, StepState};
use super::skeleton::FetchTemplate;
use super::template::{DOCUMENT, Step, Template};
use super::templating::{Syntax, Use, uses};
use super::{action, parameters};

/// Steps of a list may name what `each` gives.
const EACH: &str = "each";

/// Parses and lints a tree: the template if it may be published, and every finding.
#[must_use]
pub fn lint(files: &Files) -> (Option<Template>, Vec<Finding>) {
    let mut findings: Vec<Finding> = problems(files)
        .into_iter()
        .map(|(path, rule)| Finding::new(Severity::Error, "PATH_INVALID", &path, rule))
        .collect();
    let template = match Template::parse(files) {
        Ok(template) => template,
        Err(found) => {
            findings.extend(found);
            return (None, findings);
        }
    };
    let mut lint = Lint { template: &template, files, findings, used: BTreeSet::new() };
    lint.schemas();
    lint.steps();
    lint.unused();
    lint.ownership();
    if !lint.findings.iter().any(Finding::is_error) {
        lint.tests();
    }
    let findings = lint.findings;
    let refused = findings.iter().any(Finding::is_error);
    (if refused { None } else { Some(template) }, findings)
}

struct Lint<'t> {
    template: &'t Template,
    files: &'t Files,
    findings: Vec<Finding>,
    used: BTreeSet<String>,
}

impl Lint<'_> {
    /// Adds a finding about a value of the document.
    fn add(&mut self, severity: Severity, code: &str, pointer: &str, message: impl std::fmt::Display) {
        let (line, column) = self.template.places.at(pointer);
        self.findings.push(Finding::new(severity, code, DOCUMENT, format!("{pointer}: {message}")).at(line, column));
    }

    fn schemas(&mut self) {
        for (i, page) in self.template.pages.iter().enumerate() {
            let at = format!("/spec/parameters/{i}");
            if let Err(message) = parameters::compile(&page.schema) {
                self.add(Severity::Error, "SCHEMA_INVALID", &at, message);
            }
            for (pointer, schema) in parameters::walk(&page.schema, &at) {
                self.schema(&pointer, &schema);
            }
        }
    }

    fn schema(&mut self, pointer: &str, schema: &Map<String, Json>) {
        let is = |key: &str, value: &str| schema.get(key).and_then(Json::as_str) == Some(value);
        if is("ui:widget", "password") || is("ui:field", "Secret") {
            let rule = "parameters are not secret; bind secrets to the service later";
            self.add(Severity::Error, "SECRET_IN_PARAMETERS", pointer, rule);
        }
        if schema.contains_key("slipway:when") {
            let rule = "`slipway:when` is not supported by this version of the platform";
            self.add(Severity::Error, "NOT_SUPPORTED", pointer, rule);
        }
        if schema.get("$ref").and_then(Json::as_str).is_some_and(|r| !r.starts_with('#')) {
            self.add(Severity::Error, "SCHEMA_INVALID", pointer, "`$ref` may only point into the same schema");
        }
    }

    fn steps(&mut self) {
        let template = self.template;
        for (index, step) in template.steps.iter().enumerate() {
            let at = format!("/spec/steps/{index}");
            let Some(action) = action::find(&step.action) else {
                let rule = format!("there is no action `{}`", step.action);
                self.add(Severity::Error, "ACTION_UNKNOWN", &format!("{at}/action"), rule);
                continue;
            };
            self.input_keys(&at, step, &(action.input)());
            let mut roots = ROOTS.to_vec();
            if step.each.is_some() {
                roots.push(EACH);
            }
            let earlier = &template.steps[..index];
            self.strings(&format!("{at}/input"), &Json::Object(step.input.clone()), &roots, earlier);
            step.condition.iter().for_each(|c| self.strings(&format!("{at}/if"), c, &roots, earlier));
            step.each.iter().for_each(|e| self.strings(&format!("{at}/each"), e, &ROOTS, earlier));
            if step.condition == Some(json!(false)) {
                self.add(Severity::Warning, "STEP_UNREACHABLE", &format!("{at}/if"), "the step never runs");
            }
            if step.action == "fetch:template" {
                self.skeleton(step);
            }
        }
        self.strings("/spec/output", &Json::Object(template.output.clone()), &ROOTS, &template.steps);
    }

    fn input_keys(&mut self, at: &str, step: &Step, schema: &Json) {
        let known = schema["properties"].as_object().cloned().unwrap_or_default();
        for key in step.input.keys().filter(|k| !known.contains_key(*k)) {
            let rule = format!("`{}` takes no input `{key}`", step.action);
            self.add(Severity::Error, "INPUT_UNKNOWN", &format!("{at}/input/{key}"), rule);
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if !step.input.contains_key(key) {
                let rule = format!("`{}` needs the input `{key}`", step.action);
                self.add(Severity::Error, "INPUT_MISSING", &format!("{at}/input"), rule);
            }
        }
    }

    fn strings(&mut self, at: &str, value: &Json, roots: &[&str], earlier: &[Step]) {
        match value {
            Json::String(source) => self.string(at, source, roots, earlier),
            Json::Array(items) => {
                items.iter().enumerate().for_each(|(i, v)| self.strings(&format!("{at}/{i}"), v, roots, earlier));
            }
            Json::Object(map) => map.iter().for_each(|(key, value)| {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                self.string(&at, key, roots, earlier);
                self.strings(&at, value, roots, earlier);
            }),
            _ => {}
        }
    }

    fn string(&mut self, at: &str, source: &str, roots: &[&str], earlier: &[Step]) {
        if !source.contains("${{") && !source.contains("{%") {
            return;
        }
        let found = match uses(DOCUMENT, source, Syntax::default(), roots, self.template.lenient) {
            Ok(found) => found,
            Err(fault) => return self.add(Severity::Error, fault.code.as_str(), at, fault.message),
        };
        let names = parameters::names(&self.template.pages);
        for Use { root, key, .. } in found.members {
            match root.as_str() {
                "parameters" if key.is_empty() => self.used.extend(names.iter().cloned()),
                "parameters" if names.contains(&key) => {
                    self.used.insert(key);
                }
                "parameters" if !self.template.lenient => {
                    self.add(Severity::Error, "PARAMETER_UNKNOWN", at, format!("there is no parameter `{key}`"));
                }
                "steps" if !key.is_empty() && !earlier.iter().any(|s| s.id == key) => {
                    self.add(Severity::Error, "STEP_UNKNOWN", at, format!("no step `{key}` runs before"));
                }
                _ => {}
            }
        }
        for _ in found.mixed_comparisons {
            self.add(Severity::Warning, "MIXED_COMPARISON", at, "a text is never equal to a number here");
        }
    }

    /// Checks every file a `fetch:template` step renders, as far as that needs no values.
    fn skeleton(&mut self, step: &Step) {
        let plain = |key: &str| step.input.get(key).cloned().unwrap_or(Json::Null);
        let Some(url) = step.input.get("url").and_then(Json::as_str).filter(|u| !u.contains("${{")) else { return };
        let shape = FetchTemplate {
            copy_without_templating: serde_json::from_value(plain("copyWithoutTemplating")).unwrap_or_default(),
            cookiecutter_compat: plain("cookiecutterCompat") == json!(true),
            ..FetchTemplate::default()
        };
        if !matches!(plain("templateFileExtension"), Json::Null | Json::Bool(false)) {
            return;
        }
        let folder = format!("{}/", url.trim_start_matches("./").trim_matches('/'));
        let declared: BTreeSet<String> =
            plain("values").as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
        let syntax = Syntax { cookiecutter: shape.cookiecutter_compat, ..Syntax::default() };
        let files = self.files;
        for (path, file) in files.iter().filter(|(p, _)| p.starts_with(&folder)) {
            let relative = &path[folder.len()..];
            self.skeleton_text(path, relative, syntax, &declared);
            if shape.copy_without_templating.iter().any(|p| matches(p, relative)) {
                continue;
            }
            if let Some(text) = as_text(&file.content) {
                self.workflow(path, relative, text);
                self.skeleton_text(path, text, syntax, &declared);
            }
        }
    }

    fn skeleton_text(&mut self, path: &str, source: &str, syntax: Syntax, declared: &BTreeSet<String>) {
        let roots = if syntax.cookiecutter { &["values", "cookiecutter"][..] } else { &["values"][..] };
        match uses(path, source, syntax, roots, self.template.lenient) {
            Err(fault) => self.findings.push(fault.into()),
            Ok(found) => {
                let unknown = found.members.iter().filter(|u| !u.key.is_empty() && !declared.contains(&u.key));
                for Use { root, key, line, column } in unknown.filter(|_| !self.template.lenient) {
                    let message = format!("`{root}.{key}` is not among the values of the step");
                    self.findings
                        .push(Finding::new(Severity::Error, "UNDECLARED_NAME", path, message).at(*line, *column));
                }
                for (line, column) in found.mixed_comparisons {
                    let message = "a text is never equal to a number here";
                    self.findings
                        .push(Finding::new(Severity::Warning, "MIXED_COMPARISON", path, message).at(line, column));
                }
            }
        }
    }

    fn workflow(&mut self, path: &str, relative: &str, text: &str) {
        if !relative.starts_with(".github/workflows/") {
            return;
        }
        for (i, line) in text.lines().enumerate() {
            if ["${{ github.", "${{ secrets.", "${{ matrix."].iter().any(|w| line.contains(w))
                && !text.contains("{% raw")
            {
                let message = "this belongs to the workflow, not to the template: list the file under copyWithoutTemplating, or use raw";
                self.findings.push(Finding::new(Severity::Error, "WORKFLOW_EXPRESSION", path, message).at(i + 1, 1));
            }
        }
    }

    fn unused(&mut self) {
        for name in parameters::names(&self.template.pages) {
            if !self.used.contains(&name) {
                self.add(
                    Severity::Info,
                    "PARAMETER_UNUSED",
                    "/spec/parameters",
                    format!("no step uses the parameter `{name}`"),
                );
            }
        }
    }

    fn ownership(&mut self) {
        let folders: Vec<String> =
            self.template.steps.iter().filter(|s| s.action.starts_with("fetch:")).filter_map(folder_of).collect();
        if folders.is_empty() {
            return;
        }
        let all: Vec<&str> =
            folders.iter().flat_map(|f| self.files.keys().filter_map(move |p| p.strip_prefix(f.as_str()))).collect();
        for (pattern, _) in &self.template.ownership {
            // A path with a condition in its name matches by what stands around the condition.
            let hit = all.iter().any(|p| matches(pattern, p) || p.contains("{%") && matches(pattern, &plain_name(p)));
            if !hit && !pattern.starts_with(".slipway/") {
                self.findings.push(Finding::new(
                    Severity::Warning,
                    "OWNERSHIP_EMPTY",
                    DOCUMENT,
                    format!("ownership `{pattern}` matches no file"),
                ));
            }
        }
    }

    /// Renders every declared test up to its first step with an effect outside.
    fn tests(&mut self) {
        let template = self.template;
        for (i, (name, given)) in template.tests.iter().enumerate() {
            let at = format!("/spec/slipway/tests/{i}");
            let checked = parameters::check(&template.pages, given);
            for (field, rule) in checked.violations {
                self.add(Severity::Error, "TEST_FAILED", &at, format!("test {name}: {field}: {rule}"));
            }
            if let Err(message) = rehearse(template, self.files, &checked.values) {
                self.add(Severity::Error, "TEST_FAILED", &at, format!("test {name}: {message}"));
            }
        }
    }
}

fn folder_of(step: &Step) -> Option<String> {
    let url = step.input.get("url")?.as_str()?;
    Some(format!("{}/", url.trim_start_matches("./").trim_matches('/')))
}

/// A file name without the tags and outputs in it.
fn plain_name(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(start) = rest.find("{%") {
        out.push_str(&rest[..start]);
        rest = rest[start..].find("%}").map_or("", |end| &rest[start + end + 2..]);
    }
    out + rest
}

/// Renders the workspace of a run up to its first step with an effect outside.
fn rehearse(template: &Template, files: &Files, values: &Map<String, Json>) -> Result<Files, String> {
    let mut steps = Run::steps_of(template);
    let mut workspace = Files::new();
    for (i, step) in template.steps.iter().enumerate() {
        let scene = Scene { template, parameters: values, run: "test", initiator: "user:default/test", steps: &steps };
        let mut engine = context::engine(&scene);
        let items = context::iterations(&engine, step).map_err(|f| f.message)?;
        for item in items {
            if let Some(item) = item {
                engine.provide(EACH, &item);
            }
            if !context::runs(&engine, step).map_err(|f| f.message)? {
                continue;
            }
            let input = context::input(&engine, step).map_err(|f| f.message)?;
            match action::local(&step.action, &input, template, files, &mut workspace).map_err(|f| f.message)? {
                Some(done) => steps[i].outputs.push(done.output),
                None => return Ok(workspace),
            }
        }
        steps[i].state = StepState::Succeeded;
    }
    Ok(workspace)
}
