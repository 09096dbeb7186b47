//! Components that a repository declares in its `catalog-info.yaml` files.
//!
//! Owns only their references. Refuses to believe anything else in them: owner and repository come from the catalog.
use serde_json::Value;

use crate::model::manifest;

/// Canonical references of the components in a file; a file that does not parse declares none.
pub fn components(text: &str) -> Vec<String> {
    let docs = manifest::parse(text).unwrap_or_default();
    docs.iter().filter(|doc| manifest::kind(doc).eq_ignore_ascii_case("component")).filter_map(reference).collect()
}

fn reference(doc: &Value) -> Option<String> {
    let name = manifest::name(doc);
    let namespace = match manifest::text(doc, "/metadata/namespace") {
        "" => "default",
        namespace => namespace,
    };
    let plain = |part: &str| !part.is_empty() && part.len() <= 63 && !part.contains(['/', ':']);
    (plain(name) && plain(namespace)).then(|| format!("component:{namespace}/{name}").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_count() {
        let text = "kind: Component\nmetadata: {name: Payments}\n---\nkind: API\nmetadata: {name: x}\n---\nkind: component\nmetadata: {name: b, namespace: shop}\n";
        assert_eq!(components(text), ["component:default/payments", "component:shop/b"]);
        assert!(components("a: [").is_empty() && components("kind: Component\nmetadata: {name: a/b}\n").is_empty());
    }
}
