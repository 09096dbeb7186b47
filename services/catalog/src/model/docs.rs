//! Documentation of a service, from its document and the APIs it provides (CAT-114).

use serde_json::Value as Json;

/// One piece of documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doc {
    /// `techdocs`, `docs`, `runbook` or `api`.
    pub kind: &'static str,
    /// Title, if given.
    pub title: String,
    /// URL, techdocs reference, path or reference of the API.
    pub target: String,
    /// Format of an API's definition.
    pub format: &'static str,
}

/// Documentation named by the document itself.
pub fn of_document(document: &Json) -> Vec<Doc> {
    let annotation = |key: &str| document["metadata"]["annotations"][key].as_str().map(str::to_owned);
    let doc = |kind, title: &str, target| Doc { kind, title: title.to_owned(), target, format: "" };
    let mut all = Vec::new();
    all.extend(annotation("backstage.io/techdocs-ref").map(|t| doc("techdocs", "", t)));
    all.extend(annotation("slipway.dev/runbook").map(|t| doc("runbook", "", t)));
    for link in document["metadata"]["links"].as_array().into_iter().flatten() {
        let kind = match link["type"].as_str() {
            Some("docs" | "doc") => "docs",
            Some("runbook") => "runbook",
            Some("api") => "api",
            _ => continue,
        };
        let url = link["url"].as_str().unwrap_or_default();
        if url.starts_with("https://") || url.starts_with("http://") {
            all.push(doc(kind, link["title"].as_str().unwrap_or_default(), url.to_owned()));
        }
    }
    all
}

/// Documentation by an API the service provides.
pub fn of_api(identity: &str, title: &str, api_type: &str) -> Doc {
    let format = match api_type.to_ascii_lowercase().as_str() {
        "openapi" => "openapi",
        "asyncapi" => "asyncapi",
        "graphql" => "graphql",
        "grpc" => "grpc",
        _ => "other",
    };
    Doc { kind: "api", title: title.to_owned(), target: identity.to_owned(), format }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_and_unrelated_links_are_left_out() {
        let document = serde_json::json!({"metadata": {
            "annotations": {"backstage.io/techdocs-ref": "dir:."},
            "links": [{"url": "https://r", "type": "runbook", "title": "R"}, {"url": "javascript:x", "type": "docs"}, {"url": "https://x"}],
        }});
        let got: Vec<_> = of_document(&document).into_iter().map(|d| (d.kind, d.target)).collect();
        assert_eq!(got, [("techdocs", "dir:.".to_owned()), ("runbook", "https://r".to_owned())]);
        assert_eq!(of_api("api:default/x", "X", "gRPC").format, "grpc");
    }
}
