//! The actions a step may use: their names, schemas and inputs, and those that need nothing but the workspace (SCF-70, SCF-71).
//!
//! Owns what an action takes and gives; refuses effects outside the run, which stand in `reconcile` and `world`.
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value as Json, json};

use super::files::{File, Files};
use super::run::Failure;
use super::skeleton::{self, FetchPlain, FetchTemplate, Refusal};
use super::template::Template;

/// An action as callers read it.
#[derive(Clone, Debug)]
pub struct Action {
    /// Id as steps write it.
    pub id: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it changes outside the run, in words; empty if nothing.
    pub effects: &'static str,
    /// Permission its initiator needs when it runs; empty if none.
    pub permission: &'static str,
    /// JSON Schema of the input.
    pub input: fn() -> Json,
    /// JSON Schema of the output.
    pub output: fn() -> Json,
}

/// Every action, ordered by id.
pub const ACTIONS: [Action; 6] = [
    Action {
        id: "catalog:register",
        description: "Registers the catalog file of a repository and waits until its entity is served.",
        effects: "Registers a location in the catalog.",
        permission: "locations.register",
        input: || {
            object(
                &[
                    ("repoContentsUrl", text()),
                    ("catalogInfoPath", text()),
                    ("catalogInfoUrl", text()),
                    ("optional", flag()),
                ],
                &[],
            )
        },
        output: || object(&[("entityRef", text()), ("catalogInfoUrl", text()), ("location", text())], &[]),
    },
    Action {
        id: "catalog:write",
        description: "Writes an entity as a catalog file into the workspace.",
        effects: "",
        permission: "",
        input: || object(&[("entity", json!({"type": "object"})), ("filePath", text())], &["entity"]),
        output: || object(&[], &[]),
    },
    Action {
        id: "debug:log",
        description: "Writes a message, and the workspace's paths if asked, to the run's events.",
        effects: "",
        permission: "",
        input: || object(&[("message", text()), ("listWorkspace", flag())], &[]),
        output: || object(&[], &[]),
    },
    Action {
        id: "fetch:plain",
        description: "Copies a folder of the template into the workspace as it is.",
        effects: "",
        permission: "",
        input: || object(&[("url", text()), ("targetPath", text())], &["url"]),
        output: || object(&[], &[]),
    },
    Action {
        id: "fetch:template",
        description: "Renders a folder of the template into the workspace.",
        effects: "",
        permission: "",
        input: fetch_template_schema,
        output: || object(&[], &[]),
    },
    Action {
        id: "publish:git",
        description: "Creates a repository whose first commit is the workspace.",
        effects: "Creates a repository at the source provider and pushes its first commit.",
        permission: "runs.create",
        input: publish_schema,
        output: || {
            object(
                &[("remoteUrl", text()), ("repoContentsUrl", text()), ("commitHash", text()), ("repository", text())],
                &[],
            )
        },
    },
];

/// The action of that id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|a| a.id == id)
}

fn text() -> Json {
    json!({"type": "string"})
}

fn flag() -> Json {
    json!({"type": "boolean"})
}

fn object(properties: &[(&str, Json)], required: &[&str]) -> Json {
    let properties: Map<String, Json> = properties.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn fetch_template_schema() -> Json {
    let list = json!({"type": "array", "items": {"type": "string"}});
    let extension = json!({"type": ["boolean", "string"]});
    let properties = [
        ("url", text()),
        ("targetPath", text()),
        ("values", json!({"type": "object"})),
        ("copyWithoutTemplating", list),
        ("templateFileExtension", extension),
        ("cookiecutterCompat", flag()),
        ("trimBlocks", flag()),
        ("lstripBlocks", flag()),
        ("replace", flag()),
    ];
    object(&properties, &["url"])
}

fn publish_schema() -> Json {
    let properties = [
        ("repository", text()),
        ("repoUrl", text()),
        ("description", text()),
        ("defaultBranch", text()),
        ("gitCommitMessage", text()),
        ("gitAuthorName", text()),
        ("gitAuthorEmail", text()),
        ("sourcePath", text()),
    ];
    object(&properties, &[])
}

/// Input of `publish:git`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Publish {
    /// `owner/name`.
    pub repository: String,
    /// `host?owner=…&repo=…`, as Backstage writes it; the host is not looked at.
    pub repo_url: String,
    /// One sentence about the repository.
    pub description: Option<String>,
    /// Branch of the first commit.
    pub default_branch: Option<String>,
    /// First line of the commit message.
    pub git_commit_message: Option<String>,
    /// Name of the author.
    pub git_author_name: Option<String>,
    /// Mail address of the author.
    pub git_author_email: Option<String>,
    /// Folder of the workspace that becomes the repository; all of it if left out.
    pub source_path: Option<String>,
}

impl Publish {
    /// `owner/name` in whichever way it is given.
    ///
    /// # Errors
    /// INVALID_INPUT without a name.
    pub fn name(&self) -> Result<String, Failure> {
        if !self.repository.is_empty() {
            return Ok(self.repository.clone());
        }
        let query = self.repo_url.split_once('?').map(|(_, q)| q).unwrap_or_default();
        let part = |key: &str| {
            url::form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == key).map(|(_, v)| v.into_owned())
        };
        match (part("owner"), part("repo")) {
            (Some(owner), Some(repo)) => Ok(format!("{owner}/{repo}")),
            _ => Err(invalid("name the repository as `repository: owner/name`, or by `repoUrl`")),
        }
    }
}

/// Input of `catalog:register`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Register {
    /// `repoContentsUrl` of a publishing step.
    pub repo_contents_url: String,
    /// File below it.
    pub catalog_info_path: Option<String>,
    /// Both in one address.
    pub catalog_info_url: String,
    /// Whether a failure is only remarked.
    pub optional: bool,
}

/// Input of `catalog:write`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Write {
    /// The entity.
    pub entity: Map<String, Json>,
    /// File; `catalog-info.yaml` if left out.
    pub file_path: Option<String>,
}

/// Input of `debug:log`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Log {
    /// The message.
    pub message: Json,
    /// Whether to list the workspace.
    pub list_workspace: bool,
}

/// Reads an input.
///
/// # Errors
/// INVALID_INPUT with the key that is wrong.
pub fn input<T: DeserializeOwned>(input: &Map<String, Json>) -> Result<T, Failure> {
    // A key without a value is a key left out, as a template writes it for an unset parameter.
    let given: Map<String, Json> =
        input.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
    serde_json::from_value(Json::Object(given)).map_err(|e| invalid(&e.to_string()))
}

/// The failure of an input that its action does not take.
#[must_use]
pub fn invalid(message: &str) -> Failure {
    Failure { reason: "INVALID_INPUT".to_owned(), message: message.to_owned(), step: String::new() }
}

/// What an action that touches only the workspace did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// Its output.
    pub output: Json,
    /// Messages for the run's events, the first lines of each.
    pub notes: Vec<String>,
    /// Whether it delivered files of the template, so that the lock is written anew.
    pub delivered: bool,
}

/// Executes an action that touches only the workspace; none if the action has effects outside.
///
/// # Errors
/// Why it failed.
pub fn local(
    action: &str,
    given: &Map<String, Json>,
    template: &Template,
    tree: &Files,
    workspace: &mut Files,
) -> Result<Option<Done>, Failure> {
    let nothing = Json::Object(Map::new());
    Ok(Some(match action {
        "fetch:template" => {
            let wanted: FetchTemplate = input(given)?;
            let written = skeleton::render(tree, &wanted, template.lenient, workspace).map_err(refused)?;
            let mut notes = vec![format!("{} files rendered", written.paths.len())];
            notes.extend(written.warnings.iter().map(ToString::to_string));
            Done { output: nothing, notes, delivered: true }
        }
        "fetch:plain" => {
            let wanted: FetchPlain = input(given)?;
            let written = skeleton::copy(tree, &wanted, workspace).map_err(refused)?;
            Done { output: nothing, notes: vec![format!("{} files copied", written.paths.len())], delivered: false }
        }
        "catalog:write" => {
            let wanted: Write = input(given)?;
            let path = wanted.file_path.unwrap_or_else(|| "catalog-info.yaml".to_owned());
            let path = path.trim_start_matches("./").trim_start_matches('/').to_owned();
            let text = serde_saphyr::to_string(&Json::Object(wanted.entity)).map_err(|e| invalid(&e.to_string()))?;
            workspace.insert(path.clone(), File::plain(text));
            if let Some((path, rule)) = super::files::problems(workspace).into_iter().next() {
                return Err(invalid(&format!("`{path}`: {rule}")));
            }
            Done { output: nothing, notes: vec![format!("{path} written")], delivered: false }
        }
        "debug:log" => {
            let wanted: Log = input(given)?;
            let message = wanted.message.as_str().map_or_else(|| wanted.message.to_string(), str::to_owned);
            let mut notes = if wanted.message.is_null() { Vec::new() } else { vec![message] };
            if wanted.list_workspace {
                notes.push(workspace.keys().cloned().collect::<Vec<_>>().join("\n"));
            }
            Done { output: nothing, notes, delivered: false }
        }
        _ => return Ok(None),
    }))
}

fn refused(refusal: Refusal) -> Failure {
    let (reason, message) = match refusal {
        Refusal::Source(message) => ("SOURCE_INVALID", message),
        Refusal::Path(message) => ("PATH_INVALID", message),
        Refusal::Fault(fault) => (fault.code.as_str(), fault.to_string()),
    };
    Failure { reason: reason.to_owned(), message, step: String::new() }
}
