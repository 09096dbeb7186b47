//! Names of repositories in any spelling, and their one canonical form `<connection>/<owner>/<name>`. Refuses to guess an owner.

/// Canonical form of a repository: without scheme and `.git`; `owner/name` belongs to the connection `default`.
pub fn canonical(text: &str, default: &str) -> String {
    let mut name = text.trim();
    for scheme in ["scm://", "https://", "http://", "ssh://"] {
        name = name.strip_prefix(scheme).unwrap_or(name);
    }
    let name = name.strip_prefix("git@").unwrap_or(name).trim_end_matches('/');
    let name = name.strip_suffix(".git").unwrap_or(name).replacen(':', "/", 1);
    if name.matches('/').count() == 1 { format!("{default}/{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn every_spelling_has_one_form() {
        for (text, want) in [
            ("shop/checkout", "local/shop/checkout"),
            ("scm://local/shop/checkout", "local/shop/checkout"),
            ("local/shop/checkout", "local/shop/checkout"),
            ("https://github.com/shop/checkout.git", "github.com/shop/checkout"),
            ("git@github.com:shop/checkout.git", "github.com/shop/checkout"),
            ("checkout", "checkout"),
        ] {
            assert_eq!(canonical(text, "local"), want, "{text}");
        }
    }
}
