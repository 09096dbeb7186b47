//! References to services in any spelling, and their one canonical form. Refuses to know whether the service exists.

/// Canonical form `kind:namespace/name` of a reference or resource name; `None` if it is neither.
///
/// Kind defaults to `component`, namespace to `default`; `entities/component/default/payments` is read too.
pub fn canonical(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (kind, rest) = match text.strip_prefix("entities/") {
        Some(path) => {
            let (kind, rest) = path.split_once('/')?;
            (kind.to_owned(), rest.to_owned())
        }
        None => match text.split_once(':') {
            Some((kind, rest)) => (kind.to_owned(), rest.to_owned()),
            None => ("component".to_owned(), text),
        },
    };
    let (namespace, name) = rest.split_once('/').unwrap_or(("default", &rest));
    let word = |w: &str| {
        !w.is_empty() && w.len() <= 63 && w.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    (word(&kind) && word(namespace) && word(name)).then(|| format!("{kind}:{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn every_spelling_has_one_form() {
        for text in
            ["checkout", "Checkout", "default/checkout", "component:checkout", "entities/component/default/checkout"]
        {
            assert_eq!(canonical(text).as_deref(), Some("component:default/checkout"), "{text}");
        }
        for text in ["", "a b", "x:", "a/b/c", "entities/component", "component:default/"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
