//! Path templates of `google.api.http`: `/v1/{name=environments/*}:extend` and what they bind (AIP-127).
//!
//! Refuses templates it does not understand when the routes are built, and encoded slashes in a path, so that no segment can
//! stand for two.

/// One step of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Exactly this text.
    Literal(String),
    /// One segment.
    One,
    /// The rest of the path, one segment or more.
    Rest,
}

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    steps: Vec<Step>,
    verb: String,
    /// Field path, first step, step behind the last.
    variables: Vec<(String, usize, usize)>,
}

/// A path taken apart: decoded segments and, maybe, a verb behind the last colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    segments: Vec<String>,
}

/// Longest path that is looked at, in bytes.
pub const MAX_PATH_BYTES: usize = 4096;

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// What is wrong with it; a defect of the contract.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or_else(|| format!("{text}: no leading slash"))?;
        let (path, verb) = match rest.rfind(':') {
            Some(at) if !rest[at..].contains(['}', '/']) => (&rest[..at], &rest[at + 1..]),
            _ => (rest, ""),
        };
        let mut template = Self { steps: Vec::new(), verb: verb.to_owned(), variables: Vec::new() };
        let mut left = path;
        while !left.is_empty() {
            left = match left.strip_prefix('{') {
                Some(inner) => {
                    let end = inner.find('}').ok_or_else(|| format!("{text}: unclosed variable"))?;
                    let (field, pattern) = inner[..end].split_once('=').unwrap_or((&inner[..end], "*"));
                    let first = template.steps.len();
                    for segment in pattern.split('/') {
                        template.step(segment);
                    }
                    template.variables.push((field.to_owned(), first, template.steps.len()));
                    &inner[end + 1..]
                }
                None => {
                    let end = left.find('/').unwrap_or(left.len());
                    template.step(&left[..end]);
                    &left[end..]
                }
            };
            left = match (left.strip_prefix('/'), left.is_empty()) {
                (Some(next), _) if !next.is_empty() => next,
                (None, true) => "",
                _ => return Err(format!("{text}: stray text behind a segment")),
            };
        }
        let rests = template.steps.iter().filter(|s| **s == Step::Rest).count();
        if template.steps.is_empty() || rests > 1 || (rests == 1 && template.steps.last() != Some(&Step::Rest)) {
            return Err(format!("{text}: `**` only once and last"));
        }
        Ok(template)
    }

    fn step(&mut self, segment: &str) {
        self.steps.push(match segment {
            "*" => Step::One,
            "**" => Step::Rest,
            literal => Step::Literal(literal.to_owned()),
        });
    }

    /// The fields the template binds.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(field, _, _)| field.as_str())
    }

    /// The verb behind the colon; empty if none.
    #[must_use]
    pub fn verb(&self) -> &str {
        &self.verb
    }

    /// What the path binds, or `None` when the template does not match.
    #[must_use]
    pub fn bind(&self, path: &Path) -> Option<Vec<(&str, String)>> {
        let last = path.segments.last()?;
        let cut;
        let segments: Vec<&str> = if self.verb.is_empty() {
            path.segments.iter().map(String::as_str).collect()
        } else {
            cut = last.strip_suffix(&self.verb)?.strip_suffix(':')?;
            let head = &path.segments[..path.segments.len() - 1];
            head.iter().map(String::as_str).chain([cut]).collect()
        };
        let rest = self.steps.last() == Some(&Step::Rest);
        let long_enough = if rest { segments.len() >= self.steps.len() } else { segments.len() == self.steps.len() };
        if !long_enough || segments.iter().any(|s| s.is_empty()) {
            return None;
        }
        let fits = |(step, segment): (&Step, &&str)| match step {
            Step::Literal(text) => text == segment,
            Step::One | Step::Rest => true,
        };
        if !self.steps.iter().zip(&segments).all(fits) {
            return None;
        }
        let bound = |(field, first, end): &(String, usize, usize)| {
            let end = if rest && *end == self.steps.len() { segments.len() } else { *end };
            (field.clone(), segments[*first..end].join("/"))
        };
        let values: Vec<_> = self.variables.iter().map(bound).collect();
        Some(self.variables.iter().zip(values).map(|((field, _, _), (_, value))| (field.as_str(), value)).collect())
    }

    /// The template as OpenAPI writes it: one `{field}` per wildcard, and the schema's pattern is left to the field.
    #[must_use]
    pub fn openapi(&self) -> String {
        let mut out = String::new();
        for (at, step) in self.steps.iter().enumerate() {
            out.push('/');
            match step {
                Step::Literal(text) => out.push_str(text),
                Step::One | Step::Rest => {
                    let wild = |v: &&(String, usize, usize)| v.1 <= at && at < v.2;
                    let (field, first, _) = self.variables.iter().find(wild).cloned().unwrap_or_default();
                    let before = self.steps[first..at].iter().filter(|s| !matches!(s, Step::Literal(_))).count();
                    let number = if before == 0 { String::new() } else { (before + 1).to_string() };
                    out.push_str(&format!("{{{field}{number}}}"));
                }
            }
        }
        if !self.verb.is_empty() {
            out.push(':');
            out.push_str(&self.verb);
        }
        out
    }
}

impl Path {
    /// Takes a request path apart; `None` if it is too long, not UTF-8, or hides a slash or control character.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix('/').filter(|_| path.len() <= MAX_PATH_BYTES)?;
        let segments = rest.split('/').map(decode).collect::<Option<Vec<_>>>()?;
        Some(Self { segments })
    }
}

/// Percent-decodes one segment of a path.
fn decode(segment: &str) -> Option<String> {
    let text = percent(segment, false)?;
    let plain = !text.contains('/') && !text.chars().any(char::is_control) && text != "." && text != "..";
    plain.then_some(text)
}

/// Percent-decodes; `plus` reads `+` as a space, as in a query. `None` for broken escapes and bytes that are no UTF-8.
#[must_use]
pub fn percent(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok().filter(|d| !d.starts_with('+'))?, 16).ok()?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bind(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        let template = Template::parse(template).unwrap();
        let bound = template.bind(&Path::parse(path)?)?;
        Some(bound.into_iter().map(|(f, v)| (f.to_owned(), v)).collect())
    }

    #[test]
    fn templates_bind_what_they_name() {
        let cases = [
            ("/v1/{name=environments/*}", "/v1/environments/a", Some("environments/a")),
            ("/v1/{name=environments/*}", "/v1/environments/a/b", None),
            ("/v1/{name=environments/*}", "/v1/environments/", None),
            ("/v1/{name=environments/*}", "/v1/environments", None),
            ("/v1/{name=environments/*}:extend", "/v1/environments/a:extend", Some("environments/a")),
            ("/v1/{name=environments/*}:extend", "/v1/environments/a:wait", None),
            ("/v1/{name=environments/*}:extend", "/v1/environments/:extend", None),
            ("/v1/{name=entities/*/*/*}:overview", "/v1/entities/c/d/e:overview", Some("entities/c/d/e")),
            ("/v1/{parent=templates/*}/revisions", "/v1/templates/go/revisions", Some("templates/go")),
            ("/v1/{name}", "/v1/a%20b", Some("a b")),
            ("/v1/{name=files/**}", "/v1/files/a/b/c", Some("files/a/b/c")),
            ("/v1/{name=environments/*}", "/v1/environments/a%2Fb", None),
            ("/v1/{name=environments/*}", "/v1/environments/%zz", None),
            ("/v1/{name=environments/*}", "/v1/environments/%ff", None),
            ("/v1/{name=environments/*}", "/v1/environments/..", None),
            ("/v1/{name=environments/*}", "/v1/environments/%2e%2e", None),
            ("/v1/{name=environments/*}", "/v1/Environments/a", None),
        ];
        for (template, path, want) in cases {
            let got = bind(template, path).map(|b| b[0].1.clone());
            assert_eq!(got.as_deref(), want, "{template} {path}");
        }
        assert_eq!(bind("/v1/tokens", "/v1/tokens"), Some(vec![]));
        assert_eq!(bind("/v1/entities:batchGet", "/v1/entities:batchGet"), Some(vec![]));
    }

    #[test]
    fn broken_templates_are_defects_of_the_contract() {
        for text in ["v1", "/v1/{name", "/", "/v1/{a=**}/b", "/v1/{a=*}b/c", "/v1/"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn openapi_paths_name_each_wildcard() {
        let path = |t: &str| Template::parse(t).unwrap().openapi();
        assert_eq!(path("/v1/{name=environments/*}:extend"), "/v1/environments/{name}:extend");
        assert_eq!(path("/v1/{name=entities/*/*/*}"), "/v1/entities/{name}/{name2}/{name3}");
        assert_eq!(path("/v1/{parent=templates/*}/revisions"), "/v1/templates/{parent}/revisions");
    }

    #[test]
    fn queries_decode_plus_and_percent() {
        assert_eq!(percent("a+b%20c", true).as_deref(), Some("a b c"));
        assert_eq!(percent("a+b", false).as_deref(), Some("a+b"));
        assert_eq!(percent("%+1", true), None);
        assert_eq!(percent("%4", true), None);
    }
}
