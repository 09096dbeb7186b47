//! Rendering a folder of a template into a workspace: what `fetch:template` and `fetch:plain` do (SCF-40 to SCF-44).
//!
//! Owns paths, modes and which files are copied raw; refuses results that break the rules of trees.
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::files::{File, Files, TREE_BYTES_MAX, as_text, matches, problems};
use super::templating::{Code, Engine, Fault, Syntax};

/// Input of `fetch:template`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FetchTemplate {
    /// Folder of the template, such as `./skeleton`.
    pub url: String,
    /// Folder of the workspace; its root if left out.
    #[serde(default)]
    pub target_path: String,
    /// What templates may name below `values`.
    #[serde(default)]
    pub values: Map<String, Json>,
    /// Patterns of files whose content is copied; their paths are rendered.
    #[serde(default)]
    pub copy_without_templating: Vec<String>,
    /// Only files with this extension are rendered, and lose it; `true` means `.njk`.
    #[serde(default)]
    pub template_file_extension: Option<Json>,
    /// Outputs are `{{ cookiecutter.name }}`.
    #[serde(default)]
    pub cookiecutter_compat: bool,
    /// Removes the line break after a tag.
    #[serde(default)]
    pub trim_blocks: bool,
    /// Removes the blanks before a tag that stands first in its line.
    #[serde(default)]
    pub lstrip_blocks: bool,
    /// Replaces files that exist.
    #[serde(default)]
    pub replace: bool,
}

/// Input of `fetch:plain`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FetchPlain {
    /// Folder of the template.
    pub url: String,
    /// Folder of the workspace; its root if left out.
    #[serde(default)]
    pub target_path: String,
}

/// Why a folder could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The source is not a folder of the template.
    Source(String),
    /// A template failed.
    Fault(Box<Fault>),
    /// A resulting path breaks a rule.
    Path(String),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::Fault(Box::new(fault))
    }
}

/// Paths that were written, and remarks of lenient templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Paths in order.
    pub paths: Vec<String>,
    /// Remarks.
    pub warnings: Vec<Fault>,
}

/// Copies a folder of the template as it is.
///
/// # Errors
/// The first thing that is wrong.
pub fn copy(template: &Files, input: &FetchPlain, workspace: &mut Files) -> Result<Written, Refusal> {
    let mut written = Written::default();
    for (relative, file) in folder(template, &input.url)? {
        let path = placed(&input.target_path, relative);
        workspace.insert(path.clone(), file.clone());
        written.paths.push(path);
    }
    checked(workspace, written)
}

/// Renders a folder of the template.
///
/// # Errors
/// The first thing that is wrong.
pub fn render(
    template: &Files,
    input: &FetchTemplate,
    lenient: bool,
    workspace: &mut Files,
) -> Result<Written, Refusal> {
    let mut engine = Engine::new(lenient);
    engine.declare("values", &input.values);
    if input.cookiecutter_compat {
        engine.declare("cookiecutter", &input.values);
    }
    let syntax = Syntax {
        cookiecutter: input.cookiecutter_compat,
        trim_blocks: input.trim_blocks,
        lstrip_blocks: input.lstrip_blocks,
    };
    let extension = extension(input)?;
    let mut written = Written::default();
    let (mut bytes, mut seen) = (0, std::collections::BTreeSet::new());
    for (relative, file) in folder(template, &input.url)? {
        let name = format!("{}/{relative}", input.url.trim_start_matches("./").trim_end_matches('/'));
        let path_syntax = Syntax { cookiecutter: input.cookiecutter_compat, ..Syntax::default() };
        let rendered = engine.render(&format!("path of {name}"), relative, path_syntax)?;
        written.warnings.extend(rendered.warnings);
        let mut path = rendered.text;
        let mut raw = input.copy_without_templating.iter().any(|p| matches(p, relative));
        if let Some(extension) = &extension {
            raw = !path.ends_with(extension.as_str());
            path = path.strip_suffix(extension.as_str()).unwrap_or(&path).to_owned();
        }
        if path.is_empty() || path.starts_with('/') || path.ends_with('/') || path.contains("//") {
            continue;
        }
        let path = placed(&input.target_path, &path);
        let again = !seen.insert(path.clone());
        if workspace.contains_key(&path) && !input.replace && !again {
            continue;
        }
        if again {
            return Err(Refusal::Path(format!("two files of the template become `{path}`")));
        }
        let content = match as_text(&file.content) {
            Some(text) if !raw => {
                let rendered = engine.render(&name, text, syntax)?;
                written.warnings.extend(rendered.warnings);
                rendered.text.into_bytes().into()
            }
            _ => file.content.clone(),
        };
        bytes += content.len();
        if bytes > TREE_BYTES_MAX {
            let message = format!("the files of one step exceed {TREE_BYTES_MAX} bytes");
            return Err(Fault { code: Code::RenderLimit, message, file: name, line: 1, column: 1 }.into());
        }
        workspace.insert(path.clone(), File { executable: file.executable, content });
        written.paths.push(path);
    }
    checked(workspace, written)
}

fn checked(workspace: &Files, written: Written) -> Result<Written, Refusal> {
    match problems(workspace).into_iter().next() {
        Some((path, rule)) => Err(Refusal::Path(if path.is_empty() { rule } else { format!("`{path}`: {rule}") })),
        None => Ok(written),
    }
}

fn extension(input: &FetchTemplate) -> Result<Option<String>, Refusal> {
    match &input.template_file_extension {
        None | Some(Json::Null | Json::Bool(false)) => Ok(None),
        Some(Json::Bool(true)) => Ok(Some(".njk".to_owned())),
        Some(Json::String(text)) if !text.is_empty() => Ok(Some(format!(".{}", text.trim_start_matches('.')))),
        Some(_) => Err(Refusal::Source("templateFileExtension must be true or an extension".to_owned())),
    }
}

fn placed(target: &str, relative: &str) -> String {
    match target.trim_start_matches("./").trim_matches('/') {
        "" | "." => relative.to_owned(),
        target => format!("{target}/{relative}"),
    }
}

/// Files below a folder of the template, with their paths in it.
fn folder<'f>(template: &'f Files, url: &str) -> Result<Vec<(&'f str, &'f File)>, Refusal> {
    if url.contains("://") || url.starts_with('/') || url.split('/').any(|p| p == "..") {
        return Err(Refusal::Source(format!("`{url}`: only folders of the template itself can be fetched")));
    }
    let below = url.trim_start_matches("./").trim_matches('/');
    let prefix = if below.is_empty() || below == "." { String::new() } else { format!("{below}/") };
    let found: Vec<_> = template.iter().filter_map(|(path, file)| Some((path.strip_prefix(&prefix)?, file))).collect();
    if found.is_empty() { Err(Refusal::Source(format!("the template has no folder `{url}`"))) } else { Ok(found) }
}
