//! Rendered documents: reading them from YAML, naming them, writing them again.
//!
//! Owns what a Kubernetes document is here: JSON with kind, apiVersion and a name. Refuses to know which ones are allowed.
use serde_json::{Map, Value};

use super::environment::ObjectRef;

/// Most documents one render may have (ENV-71).
pub const DOCUMENTS_MAX: usize = 2000;
/// Largest render in bytes (ENV-71).
pub const BYTES_MAX: usize = 16 << 20;

/// One Kubernetes object.
pub type Doc = Value;

/// Reads the documents of a YAML stream; empty ones are left out and lists are taken apart.
///
/// # Errors
/// What does not parse, in one line.
pub fn parse(text: &str) -> Result<Vec<Doc>, String> {
    read(text, false)
}

/// Reads documents that a caller wrote, within bounds on nesting, anchors and nodes.
///
/// # Errors
/// What does not parse, in one line.
pub fn parse_foreign(text: &str) -> Result<Vec<Doc>, String> {
    read(text, true)
}

fn read(text: &str, is_bounded: bool) -> Result<Vec<Doc>, String> {
    let mut options = serde_saphyr::Options::default();
    // What Kubernetes reads: `0644` is octal, as in Go.
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    if !is_bounded {
        options.budget = None;
    }
    let all: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|e| e.to_string().lines().take(3).collect::<Vec<_>>().join(" "))?;
    let mut docs = Vec::new();
    for doc in all {
        match doc {
            Value::Null => {}
            Value::Object(map) if map.is_empty() => {}
            Value::Object(mut map) if map.get("kind").and_then(Value::as_str) == Some("List") => {
                if let Some(Value::Array(items)) = map.remove("items") {
                    docs.extend(items);
                }
            }
            other => docs.push(other),
        }
    }
    Ok(docs)
}

/// Every document of a render's files, in their order.
///
/// # Errors
/// What does not parse; a render that was kept always does.
pub fn of_files(files: &[(String, String)]) -> Result<Vec<Doc>, String> {
    let parsed = files.iter().map(|(_, text)| parse(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(parsed.into_iter().flatten().collect())
}

/// Writes one document as YAML.
pub fn emit(doc: &Doc) -> String {
    // A value made of JSON has no form that YAML cannot say.
    serde_saphyr::to_string(doc).unwrap_or_else(|_| doc.to_string())
}

/// Text at a path of keys; empty if there is none.
pub fn text<'a>(doc: &'a Doc, pointer: &str) -> &'a str {
    doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The kind; empty if it has none.
pub fn kind(doc: &Doc) -> &str {
    text(doc, "/kind")
}

/// The name; empty if it has none.
pub fn name(doc: &Doc) -> &str {
    text(doc, "/metadata/name")
}

/// `Kind/name`, as people write it.
pub fn title(doc: &Doc) -> String {
    let or = |word: &str| if word.is_empty() { "?".to_owned() } else { word.to_owned() };
    format!("{}/{}", or(kind(doc)), or(name(doc)))
}

/// Which object a document describes.
pub fn object(doc: &Doc) -> ObjectRef {
    ObjectRef {
        api_version: text(doc, "/apiVersion").to_owned(),
        kind: kind(doc).to_owned(),
        namespace: text(doc, "/metadata/namespace").to_owned(),
        name: name(doc).to_owned(),
    }
}

/// Whether a kind brings requests to a service.
pub fn is_route(kind: &str) -> bool {
    matches!(kind, "HTTPRoute" | "GRPCRoute" | "Ingress")
}

/// Puts entries into a map of metadata (`labels`, `annotations`), over what is there.
pub fn stamp<'a>(doc: &mut Doc, field: &str, entries: impl IntoIterator<Item = (&'a str, String)>) {
    let Some(root) = doc.as_object_mut() else { return };
    let metadata = root.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let map = metadata.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !map.is_object() {
        *map = Value::Object(Map::new());
    }
    if let Some(map) = map.as_object_mut() {
        map.extend(entries.into_iter().map(|(key, value)| (key.to_owned(), Value::String(value))));
    }
}

/// The pod specification inside a workload, with its path.
pub fn pod_spec(doc: &Doc) -> Option<(&'static str, &Value)> {
    let path = match kind(doc) {
        "Pod" => "/spec",
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" | "ReplicationController" => {
            "/spec/template/spec"
        }
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    doc.pointer(path).map(|spec| (path, spec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_survive_the_way_through_yaml() {
        let text = "# Source: x\n---\nkind: A\nmetadata: {name: a, annotations: {on: \"yes\", n: \"0644\", v: \"1.0\", t: \"12:30\", e: \"1e3\"}}\n\
            ---\n---\nkind: List\nitems:\n- {kind: B, mode: 0644, big: 9007199254740993, f: 1.5, n: null, l: []}\n---\nkind: C\nscript: |\n  a\n\n   b: c\n  - \"x\"\nlong: \"x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x\"\n";
        let docs = parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(docs.len(), 3);
        assert_eq!(docs[1]["mode"], 0o644);
        assert_eq!(docs[1]["big"], 9_007_199_254_740_993_i64);
        assert_eq!(docs[2]["script"], "a\n\n b: c\n- \"x\"\n");
        assert_eq!(docs[0].pointer("/metadata/annotations/n").and_then(Value::as_str), Some("0644"));
        for doc in &docs {
            assert_eq!(parse(&emit(doc)), Ok(vec![doc.clone()]), "{}", emit(doc));
        }
        assert!(parse("a: [").is_err());
        assert_eq!(title(&docs[0]), "A/a");
    }
}
