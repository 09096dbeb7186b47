//! A template as template.yaml declares it (SCF-1, SCF-4, SCF-7).
//!
//! Owns the shape of the document; refuses what no run could execute, all findings at once.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::files::{Files, as_text};
use super::finding::{Finding, Severity};
use super::places::Places;

/// Name of the document.
pub const DOCUMENT: &str = "template.yaml";
const API_VERSION: &str = "scaffolder.backstage.io/v1beta3";
const VERSION_ANNOTATION: &str = "backstage.io/template-version";
const LENIENT_ANNOTATION: &str = "slipway.dev/templating";
/// Most steps of a template.
const STEPS_MAX: usize = 100;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// `metadata.name`, lower case.
    pub id: String,
    /// `metadata.title`, or the name.
    pub title: String,
    /// `metadata.description`.
    pub description: String,
    /// `spec.type`.
    pub kind: String,
    /// Canonical reference of the owning group; empty for the platform's own.
    pub owner: String,
    /// `metadata.tags`.
    pub tags: Vec<String>,
    /// Semantic version.
    pub version: semver::Version,
    /// Whether `spec.slipway.version` is stated, so that instances carry a lock file.
    pub locked: bool,
    /// Undeclared names are empty text instead of errors.
    pub lenient: bool,
    /// Pages of parameters.
    pub pages: Vec<Page>,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// `spec.output` as written.
    pub output: Map<String, Json>,
    /// `spec.slipway.ownership`: pattern and class, first match wins.
    pub ownership: Vec<(String, Class)>,
    /// `spec.slipway.required_paths`.
    pub required_paths: Vec<String>,
    /// `spec.slipway.tests`: names and parameters.
    pub tests: Vec<(String, Map<String, Json>)>,
    /// Where the document's values stand.
    pub places: Places,
}

/// One page of parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Title.
    pub title: String,
    /// JSON Schema with `ui:*` keys.
    pub schema: Map<String, Json>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Id, unique.
    pub id: String,
    /// Title for people.
    pub title: String,
    /// Action.
    pub action: String,
    /// Input as written.
    pub input: Map<String, Json>,
    /// `if` as written; none if absent.
    pub condition: Option<Json>,
    /// `each` as written; none if absent.
    pub each: Option<Json>,
}

/// Who has the last word on a file (SCF-113).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Overwritten by updates.
    Platform,
    /// Merged three ways.
    Merged,
    /// Delivered once.
    User,
}

impl Class {
    /// The word in template.yaml and in the lock.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Platform => "platform",
            Class::Merged => "merged",
            Class::User => "user",
        }
    }
}

impl Template {
    /// Canonical reference of the template's entity.
    #[must_use]
    pub fn entity_ref(&self) -> String {
        format!("template:default/{}", self.id)
    }

    /// Class of a path: the first matching pattern, else the user's.
    #[must_use]
    pub fn class_of(&self, path: &str) -> Class {
        let found = self.ownership.iter().find(|(pattern, _)| super::files::matches(pattern, path));
        found.map_or(Class::User, |(_, class)| *class)
    }

    /// Parses the document of a tree.
    ///
    /// # Errors
    /// Every finding that keeps it from being a template.
    pub fn parse(files: &Files) -> Result<Template, Vec<Finding>> {
        let error = |code: &str, message: &str| vec![Finding::new(Severity::Error, code, DOCUMENT, message)];
        let Some(file) = files.get(DOCUMENT) else {
            return Err(error("TEMPLATE_MISSING", "the tree has no template.yaml"));
        };
        let Some(text) = as_text(&file.content) else {
            return Err(error("TEMPLATE_SYNTAX", "template.yaml is not text"));
        };
        let document: Json = match serde_saphyr::from_str(text) {
            Ok(document) => document,
            Err(e) => return Err(error("TEMPLATE_SYNTAX", &first_line(&e.to_string()))),
        };
        let mut reader = Reader { findings: Vec::new(), places: Places::of(text) };
        let template = reader.template(&document);
        if reader.findings.is_empty() { Ok(template) } else { Err(reader.findings) }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

struct Reader {
    findings: Vec<Finding>,
    places: Places,
}

impl Reader {
    fn wrong(&mut self, pointer: &str, message: impl std::fmt::Display) {
        let (line, column) = self.places.at(pointer);
        let finding = Finding::new(Severity::Error, "TEMPLATE_INVALID", DOCUMENT, format!("{pointer}: {message}"));
        self.findings.push(finding.at(line, column));
    }

    fn object(&mut self, parent: &Json, key: &str, pointer: &str) -> Map<String, Json> {
        match parent.get(key) {
            None | Some(Json::Null) => Map::new(),
            Some(Json::Object(map)) => map.clone(),
            Some(_) => {
                self.wrong(&format!("{pointer}/{key}"), "must be an object");
                Map::new()
            }
        }
    }

    fn text(&mut self, parent: &Json, key: &str, pointer: &str, required: bool) -> String {
        match parent.get(key) {
            Some(Json::String(text)) if !(required && text.is_empty()) => text.clone(),
            Some(Json::Number(number)) if !required => number.to_string(),
            None | Some(Json::Null) if !required => String::new(),
            _ => {
                self.wrong(
                    &format!("{pointer}/{key}"),
                    if required { "must be a text that is not empty" } else { "must be a text" },
                );
                String::new()
            }
        }
    }

    fn texts(&mut self, parent: &Json, key: &str, pointer: &str) -> Vec<String> {
        match parent.get(key) {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Array(items)) if items.iter().all(Json::is_string) => {
                items.iter().filter_map(|i| i.as_str().map(str::to_owned)).collect()
            }
            Some(_) => {
                self.wrong(&format!("{pointer}/{key}"), "must be a list of texts");
                Vec::new()
            }
        }
    }

    fn template(&mut self, document: &Json) -> Template {
        if document.get("apiVersion").and_then(Json::as_str) != Some(API_VERSION) {
            self.wrong("/apiVersion", format_args!("must be {API_VERSION}"));
        }
        if document.get("kind").and_then(Json::as_str) != Some("Template") {
            self.wrong("/kind", "must be Template");
        }
        let metadata = Json::Object(self.object(document, "metadata", ""));
        let spec = Json::Object(self.object(document, "spec", ""));
        let slipway = Json::Object(self.object(&spec, "slipway", "/spec"));
        let annotations = Json::Object(self.object(&metadata, "annotations", "/metadata"));
        let id = self.text(&metadata, "name", "/metadata", true).to_lowercase();
        if !is_id(&id) {
            self.wrong(
                "/metadata/name",
                "must have 1 to 63 letters, digits, `-`, `_`, `.` and begin and end with a letter or digit",
            );
        }
        let title = self.text(&metadata, "title", "/metadata", false);
        let (version, locked) = self.version(&slipway, &annotations);
        Template {
            title: if title.is_empty() { id.clone() } else { title },
            description: self.text(&metadata, "description", "/metadata", false),
            kind: self.text(&spec, "type", "/spec", true),
            owner: canonical_group(&self.text(&spec, "owner", "/spec", false)),
            tags: self.texts(&metadata, "tags", "/metadata"),
            version,
            locked,
            lenient: annotations.get(LENIENT_ANNOTATION).and_then(Json::as_str) == Some("lenient"),
            pages: self.pages(&spec),
            steps: self.steps(&spec),
            output: self.object(&spec, "output", "/spec"),
            ownership: self.ownership(&slipway),
            required_paths: self.texts(&slipway, "required_paths", "/spec/slipway"),
            tests: self.tests(&slipway),
            places: self.places.clone(),
            id,
        }
    }

    fn version(&mut self, slipway: &Json, annotations: &Json) -> (semver::Version, bool) {
        let stated = self.text(slipway, "version", "/spec/slipway", false);
        let locked = !stated.is_empty();
        let text =
            if locked { stated } else { self.text(annotations, VERSION_ANNOTATION, "/metadata/annotations", false) };
        match semver::Version::parse(&text) {
            Ok(version) => (version, locked),
            Err(_) => {
                self.wrong("/spec/slipway/version", "must be a semantic version such as 1.0.0");
                (semver::Version::new(0, 0, 0), locked)
            }
        }
    }

    fn pages(&mut self, spec: &Json) -> Vec<Page> {
        let list = match spec.get("parameters") {
            None | Some(Json::Null) => Vec::new(),
            Some(Json::Array(pages)) => pages.clone(),
            Some(page) => vec![page.clone()],
        };
        let mut pages = Vec::new();
        for (i, page) in list.into_iter().enumerate() {
            match page {
                Json::Object(schema) => {
                    let title = schema.get("title").and_then(Json::as_str).unwrap_or_default().to_owned();
                    pages.push(Page { title, schema });
                }
                _ => self.wrong(&format!("/spec/parameters/{i}"), "must be a JSON Schema"),
            }
        }
        pages
    }

    fn steps(&mut self, spec: &Json) -> Vec<Step> {
        let Some(Json::Array(list)) = spec.get("steps") else {
            self.wrong("/spec/steps", "must be a list");
            return Vec::new();
        };
        if list.is_empty() || list.len() > STEPS_MAX {
            self.wrong("/spec/steps", format_args!("must have 1 to {STEPS_MAX} steps"));
        }
        let mut steps: Vec<Step> = Vec::new();
        for (i, item) in list.iter().enumerate() {
            let pointer = format!("/spec/steps/{i}");
            let step = self.step(item, i, &pointer);
            if steps.iter().any(|s| s.id == step.id) {
                self.wrong(&format!("{pointer}/id"), format_args!("`{}` is used twice", step.id));
            }
            steps.push(step);
        }
        steps
    }

    fn step(&mut self, item: &Json, i: usize, pointer: &str) -> Step {
        let mut id = self.text(item, "id", pointer, false);
        if id.is_empty() {
            id = format!("step-{}", i + 1);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !id.starts_with(|c: char| c.is_ascii_alphabetic()) || !id.chars().all(plain) || id.len() > 63 {
            self.wrong(
                &format!("{pointer}/id"),
                "must begin with a letter and hold letters, digits, `_`, `-`, at most 63",
            );
        }
        for key in ["approval", "timeout", "retry", "undo"] {
            if item.get(key).is_some() {
                self.wrong(&format!("{pointer}/{key}"), "is not supported by this version of the platform");
            }
        }
        let title = self.text(item, "name", pointer, false);
        Step {
            title: if title.is_empty() { id.clone() } else { title },
            action: self.text(item, "action", pointer, true),
            input: self.object(item, "input", pointer),
            condition: item.get("if").cloned(),
            each: item.get("each").cloned(),
            id,
        }
    }

    fn ownership(&mut self, slipway: &Json) -> Vec<(String, Class)> {
        let mut all = Vec::new();
        let list = slipway.get("ownership").and_then(Json::as_array).cloned().unwrap_or_default();
        for (i, item) in list.iter().enumerate() {
            let pointer = format!("/spec/slipway/ownership/{i}");
            let pattern = self.text(item, "path", &pointer, true);
            let class = match item.get("class").and_then(Json::as_str) {
                Some("platform") => Class::Platform,
                Some("merged") => Class::Merged,
                Some("user") => Class::User,
                _ => {
                    self.wrong(&format!("{pointer}/class"), "must be platform, merged or user");
                    Class::User
                }
            };
            all.push((pattern, class));
        }
        all
    }

    fn tests(&mut self, slipway: &Json) -> Vec<(String, Map<String, Json>)> {
        let list = slipway.get("tests").and_then(Json::as_array).cloned().unwrap_or_default();
        let mut all = Vec::new();
        for (i, item) in list.iter().enumerate() {
            let pointer = format!("/spec/slipway/tests/{i}");
            all.push((self.text(item, "name", &pointer, true), self.object(item, "parameters", &pointer)));
        }
        all
    }
}

fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: char| c.is_ascii_alphanumeric();
    id.len() <= 63 && id.starts_with(edge) && id.ends_with(edge) && id.chars().all(plain)
}

/// A group in any spelling as `group:namespace/name`, lower case; empty stays empty.
#[must_use]
pub fn canonical_group(text: &str) -> String {
    let text = text.trim().to_lowercase();
    if text.is_empty() {
        return text;
    }
    let (kind, rest) = text.split_once(':').unwrap_or(("group", &text));
    let (namespace, name) = rest.split_once('/').unwrap_or(("default", rest));
    format!("{kind}:{namespace}/{name}")
}
