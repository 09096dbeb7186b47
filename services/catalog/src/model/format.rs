//! Formats of names, keys, values and tags (CAT-12), as pure predicates.
//!
//! Owns the character rules; refuses to know which field is being checked.

fn length(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
}

fn joined(text: &str, separators: &[u8]) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || separators.contains(b))
}

/// `metadata.name`, and the name part of keys: 1–63 of `[A-Za-z0-9._-]`, first and last alphanumeric.
pub fn is_name(text: &str) -> bool {
    length(text, 63) && joined(text, b"._-")
}

/// A lower-case DNS label of 1–63 characters.
pub fn is_dns_label(text: &str) -> bool {
    length(text, 63) && joined(text, b"-") && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// A lower-case DNS subdomain of 1–253 characters.
pub fn is_dns_subdomain(text: &str) -> bool {
    length(text, 253) && text.split('.').all(is_dns_label)
}

/// `apiVersion`: optional subdomain and `/`, then 1–63 letters or digits.
pub fn is_api_version(text: &str) -> bool {
    let (prefix, version) = match text.split_once('/') {
        Some((prefix, version)) => (Some(prefix), version),
        None => (None, text),
    };
    prefix.is_none_or(is_dns_subdomain) && length(version, 63) && version.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// `kind`: a letter, then letters or digits, 1–63.
pub fn is_kind(text: &str) -> bool {
    length(text, 63)
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
}

/// Key of a label or annotation: `[subdomain/]name`.
pub fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name(name),
        None => is_name(text),
    }
}

/// Value of a label: empty or a name.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// A tag: groups of `[a-z0-9:+#]` joined by single `-`, 1–63.
pub fn is_tag(text: &str) -> bool {
    let group = |g: &str| {
        !g.is_empty() && g.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b":+#".contains(&b))
    };
    length(text, 63) && text.split('-').all(group)
}

/// A URL by the WHATWG algorithm, without a base.
pub fn is_url(text: &str) -> bool {
    url::Url::parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(check: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(check(text), "`{text}` is good");
        }
        for text in bad {
            assert!(!check(text), "`{text}` is bad");
        }
    }

    #[test]
    fn names() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        table(
            is_name,
            &["a", "A.b_c-9", "a..b", "a--b", &longest],
            &["", "-a", "a-", ".a", "a b", "ä", "a/b", &too_long],
        );
        table(is_dns_label, &["a", "a--b", "0", &longest], &["", "Default", "a.b", "-a", "a-", "a_b", &too_long]);
    }

    #[test]
    fn versions_and_kinds() {
        table(
            is_api_version,
            &["v1", "backstage.io/v1alpha1", "a-b.c/1", "V1"],
            &["", "a/b/c", "/v1", "a/", "A.b/v1", "v-1", "v.1"],
        );
        table(is_kind, &["Component", "API", "a1"], &["", "1a", "a-b", "Ä", "a b"]);
    }

    #[test]
    fn keys_and_values() {
        table(
            is_key,
            &["Foo", "x_y", "foo.com/x", "a-b.c/X.y"],
            &["", "Foo.com/x", "a/b/c", "/x", "foo..com/x", "foo/", "a b"],
        );
        table(is_label_value, &["", "yes", "on", "1_000", "A"], &["a b", "-a", "a/b"]);
    }

    #[test]
    fn tags_and_links() {
        table(is_tag, &["c++", "c#", "a:b", "a-b-c", "java", "2"], &["C", "a--b", "a_b", "a.b", "-a", "a-", "", "ä"]);
        table(
            is_url,
            &["https://a/b", "mailto:x@y", "javascript:alert(1)", "a:b"],
            &["foo", "//x", "http://", "https://a b", ""],
        );
    }
}
