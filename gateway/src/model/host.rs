//! Which host a request is for, and whether that host is the proxy's.
//!
//! Refuses to choose: a request that names several hosts, or one that cannot be read, is nobody's if the proxy's domain is among them.

/// Longest host with its port, in bytes.
const HOST_BYTES_MAX: usize = 260;

/// What the names in a request say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The request is not for the proxy.
    Elsewhere,
    /// The request names the proxy's domain in a way that has no one meaning.
    Unclear,
    /// The request is for this host below the proxy's domain: its name in lower case, and the port it named.
    Host(String, Option<u16>),
}

/// The domain below which every host is the proxy's.
#[derive(Clone, Debug)]
pub struct Domain(String);

impl Domain {
    /// The domain of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_ascii_lowercase())
    }

    /// What a request claims by the authority of its target (`:authority`, absolute form) and by its `host` headers.
    #[must_use]
    pub fn claim(&self, authority: Option<&str>, hosts: &[&[u8]]) -> Claim {
        let named = || authority.map(str::as_bytes).into_iter().chain(hosts.iter().copied());
        if !named().any(|name| self.touches(name)) {
            return Claim::Elsewhere;
        }
        let mut read: Vec<Option<(String, Option<u16>)>> = named().map(parse).collect();
        read.dedup();
        match &read[..] {
            [Some((name, port))] if hosts.len() <= 1 => {
                let own = name.strip_suffix(&self.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                if own { Claim::Host(name.clone(), *port) } else { Claim::Elsewhere }
            }
            _ => Claim::Unclear,
        }
    }

    fn touches(&self, name: &[u8]) -> bool {
        name.to_ascii_lowercase().windows(self.0.len()).any(|part| part == self.0.as_bytes())
    }
}

fn parse(text: &[u8]) -> Option<(String, Option<u16>)> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= HOST_BYTES_MAX)?;
    let (name, port) = match text.split_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, Some(port.parse().ok()?)),
        Some(_) => return None,
        None => (text, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plain = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.split('.').all(plain).then_some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(authority: Option<&str>, hosts: &[&str]) -> Claim {
        let hosts: Vec<&[u8]> = hosts.iter().map(|h| h.as_bytes()).collect();
        Domain::new("preview.localhost").claim(authority, &hosts)
    }

    #[test]
    fn one_clear_name_is_claimed() {
        let host = |port| Claim::Host("pr-7-x.preview.localhost".to_owned(), port);
        assert_eq!(claim(None, &["PR-7-x.Preview.localhost:8080"]), host(Some(8080)));
        assert_eq!(claim(Some("pr-7-x.preview.localhost"), &[]), host(None));
        assert_eq!(claim(Some("pr-7-x.preview.localhost"), &["pr-7-X.preview.localhost"]), host(None));
        assert_eq!(claim(None, &["pr-7-x.preview.localhost."]), host(None));
        assert!(matches!(claim(None, &["preview.localhost"]), Claim::Host(..)));
    }

    #[test]
    fn others_are_left_alone_and_what_is_unclear_is_nobodys() {
        for other in ["localhost:7070", "127.0.0.1", "preview.localhost.evil.com", "xpreview.localhost", "[::1]:80", ""]
        {
            assert_eq!(claim(None, &[other]), Claim::Elsewhere, "{other}");
        }
        let own = "a.preview.localhost";
        assert_eq!(claim(None, &[own, own]), Claim::Unclear);
        assert_eq!(claim(None, &[own, "localhost"]), Claim::Unclear);
        assert_eq!(claim(Some("localhost"), &[own]), Claim::Unclear);
        assert_eq!(claim(Some(own), &["b.preview.localhost"]), Claim::Unclear);
        for bad in
            ["user@a.preview.localhost", "a.preview.localhost:x", "a.preview.localhost:80:80", "a b.preview.localhost"]
        {
            assert_eq!(claim(None, &[bad]), Claim::Unclear, "{bad}");
        }
    }
}
