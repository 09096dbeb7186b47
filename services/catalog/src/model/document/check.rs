//! The checks of one document, in the order of CAT-11: root, envelope, formats, kind, relations.
//!
//! Each check tells everything it finds; what a broken part would have said is left out.

use std::collections::BTreeMap;

use super::Head;
use crate::model::{
    entity_ref::{EntityRef, PartialRef, RefError},
    finding::{Findings, pointer_to, shown},
    format,
    kind::{self, Kind},
    relation::{Edge, Relation},
    schema, tier,
    yaml::{Node, Value},
};

/// Lifecycles that need no remark (CAT-15).
const LIFECYCLES: &[&str] = &["experimental", "production", "deprecated"];

/// Checks a document; answers its reference, if the envelope allows one, and what could be read of it.
pub(super) fn run(root: &Node, findings: &mut Findings) -> (Option<EntityRef>, Head) {
    let mut check = Check { root, findings, head: Head::default() };
    let identity = check.run();
    (identity, check.head)
}

struct Check<'a> {
    root: &'a Node,
    findings: &'a mut Findings,
    head: Head,
}

impl Check<'_> {
    fn run(&mut self) -> Option<EntityRef> {
        if !matches!(self.root.value, Value::Map(_)) {
            let message = format!("the document must be a mapping, not {}", self.root.noun());
            self.findings.error("ROOT_NOT_MAPPING", "", self.root.at, message);
            return None;
        }
        let identity = self.envelope();
        self.foreign_fields();
        self.metadata();
        let known = self.kind();
        if let Some(spec) = self.root.get("spec") {
            schema::is_map(spec, "/spec", self.findings);
        }
        (self.head.tier, self.head.tier_source) = tier::read(self.root, self.findings);
        if let Some(known) = known {
            self.spec(known, identity.as_ref());
        }
        identity
    }

    fn envelope(&mut self) -> Option<EntityRef> {
        let root = self.root;
        let mut field = |map: &Node, parent: &str, name: &str| match map.get(name) {
            Some(node) => schema::text(node, &pointer_to(parent, name), self.findings).map(str::to_owned),
            None => {
                schema::missing(map.at, parent, name, self.findings);
                None
            }
        };
        let (api_version, kind) = (field(root, "", "apiVersion"), field(root, "", "kind"));
        let name = match root.get("metadata") {
            Some(metadata) if matches!(metadata.value, Value::Map(_)) => field(metadata, "/metadata", "name"),
            Some(metadata) => {
                schema::wrong_type(metadata, "/metadata", "a mapping", self.findings);
                None
            }
            None => {
                schema::missing(root.at, "", "metadata", self.findings);
                None
            }
        };
        let namespace = root.at_path(&["metadata", "namespace"]).and_then(Node::text).filter(|t| !t.is_empty());
        self.head.namespace = namespace.unwrap_or("default").to_owned();
        self.head.api_version = api_version?;
        self.head.kind = kind?;
        self.head.name = name?;
        Some(EntityRef::new(&self.head.kind, &self.head.namespace, &self.head.name))
    }

    fn foreign_fields(&mut self) {
        for entry in self.root.entries() {
            if !["apiVersion", "kind", "metadata", "spec"].contains(&entry.key.as_str()) {
                let message = format!(
                    "{} is not a field of a document; apiVersion, kind, metadata and spec are",
                    shown(&entry.key)
                );
                self.findings.error("FOREIGN_FIELD", &pointer_to("", &entry.key), entry.key_at, message);
            }
        }
    }

    fn metadata(&mut self) {
        self.formatted(
            "apiVersion",
            "",
            format::is_api_version,
            "an optional lower-case domain and `/`, then letters and digits, as in `backstage.io/v1alpha1`",
        );
        self.formatted("kind", "", format::is_kind, "a letter, then letters and digits, at most 63");
        let Some(metadata) = self.root.get("metadata").filter(|m| matches!(m.value, Value::Map(_))) else { return };
        self.formatted_in(
            metadata,
            "name",
            format::is_name,
            "1 to 63 of letters, digits, `-`, `_` and `.`, the first and last a letter or digit",
        );
        if let Some(node) = metadata.get("namespace") {
            schema::text(node, "/metadata/namespace", self.findings);
        }
        self.formatted_in(
            metadata,
            "namespace",
            format::is_dns_label,
            "1 to 63 of lower-case letters, digits and `-`, the first and last not `-`",
        );
        for name in ["title", "uid", "etag"] {
            if let Some(node) = metadata.get(name) {
                schema::text(node, &pointer_to("/metadata", name), self.findings);
            }
        }
        if let Some(node) = metadata.get("description").filter(|n| n.text().is_none()) {
            schema::wrong_type(node, "/metadata/description", "a string", self.findings);
        }
        self.head.labels = self.strings(metadata, "labels");
        self.head.annotations = self.strings(metadata, "annotations");
        self.tags(metadata);
        self.links(metadata);
        let text = |name| metadata.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        (self.head.title, self.head.description) = (text("title"), text("description"));
    }

    fn formatted(&mut self, name: &str, parent: &str, good: fn(&str) -> bool, rule: &str) {
        self.format_of(self.root.get(name), &pointer_to(parent, name), good, rule);
    }

    fn formatted_in(&mut self, map: &Node, name: &str, good: fn(&str) -> bool, rule: &str) {
        self.format_of(map.get(name), &pointer_to("/metadata", name), good, rule);
    }

    /// A wrong type or an empty string has been told already.
    fn format_of(&mut self, node: Option<&Node>, pointer: &str, good: fn(&str) -> bool, rule: &str) {
        let Some((node, text)) = node.and_then(|n| n.text().map(|t| (n, t))) else { return };
        if !text.is_empty() && !good(text) {
            let message = format!("`{}` {} must be {rule}", schema::dotted(pointer), shown(text));
            self.findings.error("FORMAT_INVALID", pointer, node.at, message);
        }
    }

    fn strings(&mut self, metadata: &Node, name: &str) -> BTreeMap<String, String> {
        let pointer = pointer_to("/metadata", name);
        let Some(node) = metadata.get(name) else { return BTreeMap::new() };
        if !schema::is_map(node, &pointer, self.findings) {
            return BTreeMap::new();
        }
        let mut all = BTreeMap::new();
        for entry in node.entries() {
            let at = pointer_to(&pointer, &entry.key);
            if !format::is_key(&entry.key) {
                let message =
                    format!("the key {} must be a name, or a lower-case domain, `/` and a name", shown(&entry.key));
                self.findings.error("KEY_INVALID", &at, entry.key_at, message);
            }
            match entry.node.text() {
                None => schema::wrong_type(&entry.node, &at, "a string", self.findings),
                Some(text) if name == "labels" && !format::is_label_value(text) => {
                    let message = format!(
                        "the label value {} must be empty or at most 63 of letters, digits, `-`, `_` and `.`",
                        shown(text)
                    );
                    self.findings.error("LABEL_VALUE_INVALID", &at, entry.node.at, message);
                }
                Some(text) => drop(all.insert(entry.key.clone(), text.to_owned())),
            }
        }
        all
    }

    fn tags(&mut self, metadata: &Node) {
        let Some(node) = metadata.get("tags") else { return };
        if !schema::is_list(node, "/metadata/tags", self.findings) {
            return;
        }
        for (at, item) in node.items().iter().enumerate() {
            let pointer = format!("/metadata/tags/{at}");
            let Some(text) = schema::text(item, &pointer, self.findings) else { continue };
            if format::is_tag(text) {
                self.head.tags.push(text.to_owned());
            } else {
                let message = format!(
                    "the tag {} must be lower-case letters, digits, `+`, `#` and `:` in groups joined by single `-`, at most 63",
                    shown(text)
                );
                self.findings.error("TAG_INVALID", &pointer, item.at, message);
            }
        }
    }

    fn links(&mut self, metadata: &Node) {
        let Some(node) = metadata.get("links") else { return };
        if !schema::is_list(node, "/metadata/links", self.findings) {
            return;
        }
        for (at, link) in node.items().iter().enumerate() {
            let pointer = format!("/metadata/links/{at}");
            if schema::is_map(link, &pointer, self.findings) {
                self.link(link, &pointer);
            }
        }
    }

    fn link(&mut self, link: &Node, pointer: &str) {
        match link.get("url") {
            None => schema::missing(link.at, pointer, "url", self.findings),
            Some(url) => {
                let at = pointer_to(pointer, "url");
                let Some(text) = schema::text(url, &at, self.findings) else { return };
                if !format::is_url(text) {
                    self.findings.error("LINK_INVALID", &at, url.at, format!("{} is not a URL", shown(text)));
                } else if ["javascript:", "data:", "vbscript:"]
                    .iter()
                    .any(|s| text.trim_start().to_ascii_lowercase().starts_with(s))
                {
                    self.findings.warn(
                        "LINK_UNSAFE",
                        &at,
                        url.at,
                        format!("{} can run code and is never shown as a link", shown(text)),
                    );
                }
            }
        }
        for name in ["title", "icon", "type"] {
            let Some(node) = link.get(name) else { continue };
            let at = pointer_to(pointer, name);
            if let Some(text) = schema::text(node, &at, self.findings).filter(|t| name != "type" && t.trim().is_empty())
            {
                self.findings.error(
                    "FIELD_EMPTY",
                    &at,
                    node.at,
                    format!("`{}` {} must not be blank", schema::dotted(&at), shown(text)),
                );
            }
        }
    }

    fn kind(&mut self) -> Option<&'static Kind> {
        let node = self.root.get("kind")?;
        let name = node.text().filter(|t| !t.is_empty())?;
        let Some(known) = kind::by_name(name) else {
            let hint = kind::guess(name).map_or(String::new(), |k| format!(": did you mean `{k}`?"));
            self.findings.error(
                "KIND_UNKNOWN",
                "/kind",
                node.at,
                format!("the kind {} is not known{hint}", shown(name)),
            );
            return None;
        };
        let version = self.root.get("apiVersion")?;
        let text = version.text().filter(|t| !t.is_empty())?;
        if !known.api_versions.contains(&text) {
            let message =
                format!("{} has the apiVersion {}, not {}", known.name, known.api_versions.join(" or "), shown(text));
            self.findings.error("KIND_UNKNOWN", "/apiVersion", version.at, message);
        }
        Some(known)
    }

    fn spec(&mut self, known: &'static Kind, identity: Option<&EntityRef>) {
        let Some(spec) = self.root.get("spec") else {
            schema::missing(self.root.at, "", "spec", self.findings);
            return;
        };
        if !matches!(spec.value, Value::Map(_)) {
            return;
        }
        for field in known.fields {
            schema::field(spec, "/spec", field, self.findings);
            let (Some(relation), Some(node)) = (field.relation, spec.get(field.name)) else { continue };
            let pointer = pointer_to("/spec", field.name);
            match &node.value {
                Value::Text(_) => self.edge(node, &pointer, relation, identity, field.name),
                Value::List(items) => {
                    for (at, item) in items.iter().enumerate() {
                        self.edge(item, &format!("{pointer}/{at}"), relation, identity, field.name);
                    }
                }
                _ => {}
            }
        }
        self.head.edges.sort();
        self.head.edges.dedup();
        let text = |name| spec.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        (self.head.kind_type, self.head.lifecycle) = (text("type"), text("lifecycle"));
        self.head.profile_name =
            spec.at_path(&["profile", "displayName"]).and_then(Node::text).unwrap_or_default().to_owned();
        if let Some(node) = spec
            .get("lifecycle")
            .filter(|_| !self.head.lifecycle.is_empty() && !LIFECYCLES.contains(&self.head.lifecycle.as_str()))
        {
            let message =
                format!("the lifecycle {} is not one of {}", shown(&self.head.lifecycle), LIFECYCLES.join(", "));
            self.findings.info("LIFECYCLE_UNUSUAL", "/spec/lifecycle", node.at, message);
        }
    }

    fn edge(&mut self, node: &Node, pointer: &str, relation: &Relation, identity: Option<&EntityRef>, field: &str) {
        let Some(text) = node.text().filter(|t| !t.is_empty()) else { return };
        let parsed = PartialRef::parse(text)
            .and_then(|p| p.complete(relation.default_kind, &self.head.namespace).map(|full| (p, full)));
        let (written, target) = match parsed {
            Ok(both) => both,
            Err(error) => {
                let code = if error == RefError::KindMissing { "REF_KIND_MISSING" } else { "REF_INVALID" };
                self.findings.error(code, pointer, node.at, format!("the reference {} {}", shown(text), error.rule()));
                return;
            }
        };
        self.doubt(&written, &target, node, pointer, relation, identity);
        let target = target.as_str().to_owned();
        match field {
            "owner" => self.head.owner.clone_from(&target),
            "system" => self.head.system.clone_from(&target),
            _ => {}
        }
        self.head.edges.push(Edge { relation: relation.forward.to_owned(), target });
    }

    fn doubt(
        &mut self,
        written: &PartialRef,
        target: &EntityRef,
        node: &Node,
        pointer: &str,
        relation: &Relation,
        identity: Option<&EntityRef>,
    ) {
        let possible = format::is_name(&written.name)
            && written.namespace.as_deref().is_none_or(|n| format::is_dns_label(&n.to_lowercase()))
            && written.kind.as_deref().is_none_or(format::is_kind);
        if !possible {
            let message = format!("no entity can be called {}", shown(target.as_str()));
            self.findings.warn_of("REF_UNRESOLVABLE", pointer, node.at, message, target.as_str());
        }
        if identity == Some(target) {
            self.findings.warn_of("SELF_REFERENCE", pointer, node.at, "the document refers to itself", target.as_str());
        }
        if !relation.expected.is_empty() && !relation.expected.contains(&target.kind()) {
            let message = format!(
                "{} is a {}, where a {} is expected",
                shown(target.as_str()),
                target.kind(),
                relation.expected.join(" or ")
            );
            self.findings.warn_of("RELATION_TARGET_KIND", pointer, node.at, message, target.as_str());
        }
    }
}
