//! Lines of containers without what looks like a secret.
//!
//! Owns what looks like one: authorization headers, tokens of known shapes, key material, values of keys that name a secret, passwords
//! in addresses. Refuses to be a proof: a program that writes a secret in words of its own is not caught.

/// Longest line that is shown, in characters.
pub const LINE_MAX: usize = 4096;
const HIDDEN: &str = "***";

/// Words that make the value after `=` or `:` a secret, in lower case.
const KEYS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "credential",
    "authorization",
];
/// How tokens of known shapes begin.
const TOKENS: [&str; 11] =
    ["slw_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hvs.", "xoxb-", "eyJ"];
/// Shortest rest of a token after its beginning.
const TOKEN_REST_MIN: usize = 8;

/// Redacts the lines of one container in order; remembers whether it is inside key material.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    is_in_pem: bool,
}

impl Redactor {
    /// The line as it may be shown; `None` for a line that was nothing but key material.
    pub fn line(&mut self, line: &str) -> Option<String> {
        if self.is_in_pem {
            let end = line.find("-----END ")?;
            self.is_in_pem = false;
            let rest = line[end..].trim_start_matches("-----END ").split_once("-----").map_or("", |(_, rest)| rest);
            return (!rest.trim().is_empty()).then(|| self.shown(rest));
        }
        Some(self.shown(line))
    }

    fn shown(&mut self, line: &str) -> String {
        let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').take(LINE_MAX * 4).collect();
        let line = userinfo(&tokens(&values(&self.pem(&line))));
        match line.char_indices().nth(LINE_MAX) {
            Some((at, _)) => format!("{}… (cut)", &line[..at]),
            None => line,
        }
    }

    /// Key material within a line, or from here on.
    fn pem(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(begin) = rest.find("-----BEGIN ") {
            out.push_str(&rest[..begin]);
            out.push_str("[key material]");
            let Some(end) = rest[begin..].find("-----END ") else {
                self.is_in_pem = true;
                return out;
            };
            let after = &rest[begin + end + "-----END ".len()..];
            rest = after.split_once("-----").map_or("", |(_, rest)| rest);
        }
        out.push_str(rest);
        out
    }
}

/// Redacts a text that stands alone.
pub fn text(text: &str) -> String {
    Redactor::default().line(text).unwrap_or_default()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Values after keys that name a secret: `PASSWORD=x`, `"api_key": "x"`, `\"token\":\"x\"`, `Authorization: Bearer x`.
fn values(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        out.push_str(&after[..1]);
        rest = &after[1..];
        let key = before.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\'));
        let key = key.rsplit(|c: char| !is_word(c)).next().unwrap_or_default().to_ascii_lowercase();
        if !KEYS.iter().any(|word| key.contains(word)) && key != "pwd" {
            continue;
        }
        let is_header = key.contains("authorization");
        let lead = rest.len() - rest.trim_start().len();
        out.push_str(&rest[..lead]);
        rest = hide(&mut out, &rest[lead..], is_header);
    }
    out.push_str(rest);
    out
}

/// Hides the value that a text begins with; what follows it.
fn hide<'a>(out: &mut String, value: &'a str, is_header: bool) -> &'a str {
    for quote in ["\\\"", "\"", "'"] {
        let Some(inner) = value.strip_prefix(quote) else { continue };
        out.push_str(quote);
        out.push_str(HIDDEN);
        return closing(inner, quote).map_or("", |end| &inner[end..]);
    }
    let is_end = |c: char| match c {
        ',' | ';' | '&' | '}' | ')' | ']' | '"' | '\'' => true,
        c => c.is_whitespace() && !is_header,
    };
    let end = value.find(is_end).unwrap_or(value.len());
    if end > 0 {
        out.push_str(HIDDEN);
    }
    &value[end..]
}

/// Where a quoted value ends; an escaped quote does not end it.
fn closing(inner: &str, quote: &str) -> Option<usize> {
    let is_escaped = |at: usize| inner[..at].bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
    inner.match_indices(quote).map(|(at, _)| at).find(|at| quote.len() > 1 || !is_escaped(*at))
}

/// Tokens of known shapes, and what follows `Bearer` and `Basic`.
fn tokens(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut is_scheme = false;
    for word in line.split_inclusive(|c: char| !(is_word(c) || matches!(c, '+' | '/' | '~'))) {
        let body = word.trim_end_matches(|c: char| !(is_word(c) || matches!(c, '+' | '/' | '~')));
        let tail = &word[body.len()..];
        let known = TOKENS.iter().filter_map(|prefix| Some((body.find(prefix)?, *prefix))).min();
        let hides = known.filter(|(at, prefix)| body.len() - at - prefix.len() >= TOKEN_REST_MIN);
        match hides {
            Some((at, prefix)) => out.push_str(&format!("{}{prefix}{HIDDEN}", &body[..at])),
            None if is_scheme && body.len() >= TOKEN_REST_MIN => out.push_str(HIDDEN),
            None => out.push_str(body),
        }
        out.push_str(tail);
        if !body.is_empty() {
            is_scheme = matches!(body.to_ascii_lowercase().as_str(), "bearer" | "basic") && tail.starts_with(' ');
        }
    }
    out
}

/// Passwords in addresses: `postgres://user:x@host`.
fn userinfo(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        rest = after;
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?')).unwrap_or(rest.len());
        if let Some(host) = rest[..end].rfind('@')
            && let Some(colon) = rest[..host].find(':')
        {
            out.push_str(&rest[..=colon]);
            out.push_str(HIDDEN);
            rest = &rest[host..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        for (line, want) in [
            ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
            ("authorization=Basic dXNlcjpwYXNz, next=1", "authorization=***, next=1"),
            (r#"{"authorization":"Bearer x y","status":200}"#, r#"{"authorization":"***","status":200}"#),
            ("sent Bearer abcdefghijkl to host", "sent Bearer *** to host"),
            ("DB_PASSWORD=hunter2 DB_HOST=db", "DB_PASSWORD=*** DB_HOST=db"),
            (r#"msg="x" client_secret='a b' n=1"#, r#"msg="x" client_secret='***' n=1"#),
            (r#"{"apiKey": "a\"b", "n": 1}"#, r#"{"apiKey": "***", "n": 1}"#),
            (r#"body "{\"token\":\"abc\",\"n\":1}""#, r#"body "{\"token\":\"***\",\"n\":1}""#),
            ("url?access_token=abc&page=2", "url?access_token=***&page=2"),
            ("using slw_a1b2c3d4e5f6g7 now", "using slw_*** now"),
            ("jwt eyJhbGciOi.eyJzdWIi.c2ln!", "jwt eyJ***!"),
            ("postgres://app:p@ss@db:5432/x?q", "postgres://app:***@db:5432/x?q"),
            ("pwd: x", "pwd: ***"),
            ("k -----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY----- z", "k [key material] z"),
        ] {
            assert_eq!(text(line), want);
        }
    }

    #[test]
    fn what_is_none_stays() {
        for line in
            ["GET /readyz 200 in 3ms", "listening on http://0.0.0.0:8080", "at 10:42:07: done", "key=value", "password"]
        {
            assert_eq!(text(line), line);
        }
    }

    #[test]
    fn key_material_over_several_lines_is_left_out() {
        let mut redactor = Redactor::default();
        let lines = ["a", "-----BEGIN RSA PRIVATE KEY-----", "MIIE", "-----END RSA PRIVATE KEY-----", "b"];
        let shown: Vec<String> = lines.iter().filter_map(|line| redactor.line(line)).collect();
        assert_eq!(shown, ["a", "[key material]", "b"]);
    }

    #[test]
    fn lines_are_bounded_and_move_no_cursor() {
        assert_eq!(text("a\u{1b}[31mb\0"), "a[31mb");
        let long = text(&"ü".repeat(LINE_MAX + 1));
        assert!(long.ends_with("… (cut)") && long.chars().count() == LINE_MAX + 7, "{}", long.chars().count());
    }
}
