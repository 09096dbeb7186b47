//! Placeholders: a mapping with the one key `$text`, `$json` or `$yaml` stands for the content of another file (CAT-11, step 3).
//!
//! Owns finding and filling them. Refuses to fetch: the app reads the files.

use super::{
    finding::{Findings, Span, pointer_to, shown},
    yaml::{self, Node, Value},
};

/// How the content of the file is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As one string.
    Text,
    /// As JSON.
    Json,
    /// As one YAML document.
    Yaml,
}

/// One placeholder of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholder {
    /// Where it stands in the document.
    pub pointer: String,
    /// How the content is taken.
    pub form: Form,
    /// The file as written, relative to the document's own file.
    pub target: String,
    /// Place of the target.
    pub at: Span,
}

fn form_of(node: &Node) -> Option<(Form, &Node)> {
    let [entry] = node.entries() else { return None };
    let form = match entry.key.as_str() {
        "$text" => Form::Text,
        "$json" => Form::Json,
        "$yaml" => Form::Yaml,
        _ => return None,
    };
    entry.node.text().map(|_| (form, &entry.node))
}

/// Every placeholder below a node, in the order written.
pub fn find(root: &Node) -> Vec<Placeholder> {
    fn walk(node: &Node, pointer: &str, found: &mut Vec<Placeholder>) {
        if let Some((form, target)) = form_of(node) {
            let text = target.text().unwrap_or_default().to_owned();
            found.push(Placeholder { pointer: pointer.to_owned(), form, target: text, at: target.at });
            return;
        }
        for entry in node.entries() {
            walk(&entry.node, &pointer_to(pointer, &entry.key), found);
        }
        for (at, item) in node.items().iter().enumerate() {
            walk(item, &format!("{pointer}/{at}"), found);
        }
    }
    let mut found = Vec::new();
    walk(root, "", &mut found);
    found
}

/// Puts content where a placeholder stands; content that does not parse is an error.
pub fn fill(root: &mut Node, placeholder: &Placeholder, content: &str, findings: &mut Findings) {
    let refused = |findings: &mut Findings, why: &str| {
        let message = format!("the content of {} {why}", shown(&placeholder.target));
        findings.error("PLACEHOLDER_INVALID", &placeholder.pointer, placeholder.at, message);
    };
    let value = match placeholder.form {
        Form::Text => Value::Text(content.to_owned()),
        Form::Json | Form::Yaml => {
            let chunks = yaml::split(content);
            let mut inner = Findings::default();
            let parsed = match chunks.as_slice() {
                [one]
                    if placeholder.form == Form::Yaml || serde_json::from_str::<serde_json::Value>(content).is_ok() =>
                {
                    yaml::parse(one, &mut inner)
                }
                _ => None,
            };
            match parsed.filter(|_| !inner.has_error()) {
                Some(node) => node.value,
                None => return refused(findings, "does not parse as one document"),
            }
        }
    };
    if let Some(node) = locate(root, &placeholder.pointer) {
        // What was read stands, for positions, where the placeholder stood.
        *node = moved(Node { at: placeholder.at, value }, placeholder.at);
    }
}

fn moved(node: Node, at: Span) -> Node {
    let value = match node.value {
        Value::List(items) => Value::List(items.into_iter().map(|n| moved(n, at)).collect()),
        Value::Map(entries) => {
            let place = |e: yaml::Entry| yaml::Entry { key_at: at, node: moved(e.node, at), ..e };
            Value::Map(entries.into_iter().map(place).collect())
        }
        other => other,
    };
    Node { at, value }
}

fn locate<'n>(root: &'n mut Node, pointer: &str) -> Option<&'n mut Node> {
    pointer.split('/').skip(1).try_fold(root, |node, token| {
        let key = token.replace("~1", "/").replace("~0", "~");
        match &mut node.value {
            Value::Map(entries) => entries.iter_mut().find(|e| e.key == key).map(|e| &mut e.node),
            Value::List(items) => items.get_mut(key.parse::<usize>().ok()?),
            _ => None,
        }
    })
}

/// A path relative to the folder of a file, as a path from the same top; `None` if it is absolute or leaves the top.
pub fn resolve(file: &str, target: &str) -> Option<String> {
    if target.starts_with('/') || target.contains("://") || target.contains('\\') {
        return None;
    }
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree(text: &str) -> Node {
        yaml::parse(&yaml::split(text)[0], &mut Findings::default()).unwrap()
    }

    #[test]
    fn only_mappings_of_one_known_key_are_placeholders() {
        let root = tree("a: {$text: ./x.txt}\nb: {$text: x, c: d}\ne: [{$json: y.json}, {$foo: z}]\nf: {$text: 1}\n");
        let found: Vec<_> = find(&root).into_iter().map(|p| (p.pointer, p.target)).collect();
        assert_eq!(found, [("/a".into(), "./x.txt".into()), ("/e/0".into(), "y.json".into())]);
    }

    #[test]
    fn content_takes_the_place() {
        let mut root = tree("a: {$text: x}\nb: {$json: x}\nc: {$yaml: x}\nd: {$json: x}\n");
        let mut findings = Findings::default();
        let contents = ["k: {v: 1}\n", "{\"k\": [true]}", "k: {v: 1}\n", "k: v"];
        for (placeholder, content) in find(&root).iter().zip(contents) {
            fill(&mut root, placeholder, content, &mut findings);
        }
        let want = r#"{"a":"k: {v: 1}\n","b":{"k":[true]},"c":{"k":{"v":1}},"d":{"$json":"x"}}"#;
        assert_eq!(root.to_json().to_string(), want);
        let findings = findings.finish();
        assert_eq!(
            (findings.len(), findings[0].code.as_str(), findings[0].pointer.as_str()),
            (1, "PLACEHOLDER_INVALID", "/d")
        );
    }

    #[test]
    fn paths_stay_below_the_top() {
        let table = [
            ("catalog-info.yaml", "./api.yaml", Some("api.yaml")),
            ("a/b/c.yaml", "../x/y.yaml", Some("a/x/y.yaml")),
            ("a.yaml", "../x", None),
            ("a/b.yaml", "../../x", None),
            ("a.yaml", "/etc/passwd", None),
            ("a.yaml", "https://x/y", None),
            ("a.yaml", "a\\b", None),
            ("a/b.yaml", "..", None),
        ];
        for (file, target, want) in table {
            assert_eq!(resolve(file, target).as_deref(), want, "{file} {target}");
        }
    }
}
