//! The entity a catalog file declares first.
use serde_json::Value as Json;

/// Canonical reference of the first document of a catalog file; none if it is not one.
#[must_use]
pub fn catalog_ref(content: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(content).ok()?;
    let documents: Vec<Json> = serde_saphyr::from_multiple(text).ok()?;
    let first = documents.into_iter().find(Json::is_object)?;
    let metadata = first.get("metadata")?;
    let kind = first.get("kind")?.as_str()?;
    let namespace = metadata.get("namespace").and_then(Json::as_str).unwrap_or("default");
    let name = metadata.get("name")?.as_str()?;
    Some(format!("{kind}:{namespace}/{name}").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::catalog_ref;

    #[test]
    fn the_first_document_names_the_entity() {
        let text = b"---\nkind: Component\nmetadata: { name: Payments }\n---\nkind: API\nmetadata: { name: other }\n";
        assert_eq!(catalog_ref(text).as_deref(), Some("component:default/payments"));
        assert_eq!(catalog_ref(b"kind: [x"), None);
        assert_eq!(catalog_ref(b"hello"), None);
    }
}
