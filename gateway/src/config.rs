//! Settings of the gateway.
//!
//! Refuses a listener beyond loopback without TLS, webhooks without a usable secret, and issuers that are not told apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use serde::Deserialize;
use slipway_kit::{
    db::DbConfig,
    error::{Result, Violations},
    program::Configured,
};

use crate::{
    app::rates::Rates,
    model::{
        jwt::{Algorithm, IssuerRules, claims::MAX_LIFE_SECONDS},
        principal::Mapping,
    },
    world::issuer::Speaks,
};

/// Everything the gateway is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where access data is kept.
    pub database: DbConfig,
    /// Address to listen on; without TLS it must be of loopback.
    #[serde(default = "loopback")]
    pub listen: SocketAddr,
    /// Certificate and key, to listen with TLS.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// File with the key under which platform tokens are hashed; made at the first start.
    pub token_key_file: PathBuf,
    /// Identity providers, by an id of our choice.
    #[serde(default)]
    pub issuers: BTreeMap<String, Issuer>,
    /// Hosts and networks that issuers' keys may be fetched from although they are not public, for example
    /// `http://127.0.0.1:8080`.
    #[serde(default)]
    pub issuer_hosts: Vec<String>,
    /// Webhook endpoints `/webhooks/<source>`, by source.
    #[serde(default)]
    pub webhooks: BTreeMap<String, Webhook>,
    /// How often a principal may call.
    #[serde(default)]
    pub limits: Rates,
    /// The proxy in front of the hosts of one domain; none if absent.
    #[serde(default)]
    pub proxy: Option<Proxy>,
}

/// The proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Domain below which hosts are the proxy's; not one of the platform's own hosts.
    pub domain: String,
    /// How long a request waits for a host that wakes, in seconds; pages do not wait.
    #[serde(default = "hold")]
    pub hold_seconds: u64,
    /// How long a connection to an address may take, in milliseconds.
    #[serde(default = "connect")]
    pub connect_timeout_ms: u64,
    /// How long an answer may take to begin, in seconds, once the request stands still.
    #[serde(default = "answer")]
    pub answer_seconds: u64,
    /// How long a body may stand still, in seconds.
    #[serde(default = "idle")]
    pub idle_seconds: u64,
    /// Requests going on at one host.
    #[serde(default = "requests")]
    pub requests_per_host: usize,
    /// How long a connection that changed its protocol may stand still, in seconds; an hour, as tunnels have at ingress controllers.
    #[serde(default = "tunnel_idle")]
    pub tunnel_idle_seconds: u64,
    /// Connections with a changed protocol, in all.
    #[serde(default = "tunnels")]
    pub tunnels: usize,
    /// Address at which browsers reach the platform itself, where they sign in; browsers cannot sign in if absent. The hosts of the
    /// domain are taken to have its scheme and port.
    #[serde(default)]
    pub platform_url: Option<String>,
}

impl Proxy {
    /// The defaults on a domain.
    #[must_use]
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into(),
            hold_seconds: hold(),
            connect_timeout_ms: connect(),
            answer_seconds: answer(),
            idle_seconds: idle(),
            requests_per_host: requests(),
            tunnel_idle_seconds: tunnel_idle(),
            tunnels: tunnels(),
            platform_url: None,
        }
    }
}

fn hold() -> u64 {
    10
}

fn connect() -> u64 {
    1_000
}

fn answer() -> u64 {
    60
}

fn idle() -> u64 {
    300
}

fn requests() -> usize {
    256
}

fn tunnel_idle() -> u64 {
    3600
}

fn tunnels() -> usize {
    1024
}

/// TLS of the listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// One identity provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// `iss` of its tokens, byte for byte.
    pub issuer: String,
    /// Audience its tokens must name; for jobs the address of this platform, never the provider's default.
    pub audience: String,
    /// Whom its tokens speak for.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Where its keys are; by discovery if absent.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Accepted algorithms of RS256, PS256, ES256, ES384, EdDSA; RS256 for jobs.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// Accepted `typ` headers, in lower case.
    #[serde(default = "types")]
    pub types: Vec<String>,
    /// Accepted `azp` or `client_id`; any if empty.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Whether tokens may name further audiences.
    #[serde(default)]
    pub allow_other_audiences: bool,
    /// Longest life of its tokens, in seconds.
    #[serde(default = "life")]
    pub max_life_seconds: i64,
    /// Claim that names the user.
    #[serde(default = "subject")]
    pub user_claim: String,
    /// End of that claim's value that is cut off, for example `@example.com`.
    #[serde(default)]
    pub user_suffix: String,
    /// Namespace of its users.
    #[serde(default = "namespace")]
    pub user_namespace: String,
    /// Reusable workflows at tags that their repository protects, as `<owner>/<repo>/<path>@refs/tags/<tag>`: what trust entries
    /// may pin beside full commits.
    #[serde(default)]
    pub protected_workflows: Vec<String>,
}

/// Whom the tokens of an issuer speak for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerKind {
    /// Users.
    #[default]
    Users,
    /// Jobs of GitHub Actions, by trust entries.
    GithubActions,
}

/// Longest age of a job's token, in seconds (SAFE-14).
const JOB_AGE_SECONDS: i64 = 600;

/// One webhook endpoint; GitHub's signature is the one kind so far.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// One secret, or two during a rotation, each in a file of at least 32 bytes.
    pub secret_files: Vec<PathBuf>,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn types() -> Vec<String> {
    vec!["jwt".to_owned(), "at+jwt".to_owned()]
}

fn life() -> i64 {
    MAX_LIFE_SECONDS
}

fn subject() -> String {
    "sub".to_owned()
}

fn namespace() -> String {
    "default".to_owned()
}

impl Configured for Config {
    fn database(&self) -> &DbConfig {
        &self.database
    }

    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// INVALID_FIELD with every violation.
    pub fn validate(&self) -> Result<()> {
        let mut wrong = Violations::new();
        let guarded = self.tls.is_some() || self.listen.ip().is_loopback();
        wrong.check(guarded, "listen", "must be a loopback address unless tls is set");
        let names: BTreeSet<&str> = self.issuers.values().map(|i| i.issuer.as_str()).collect();
        wrong.check(names.len() == self.issuers.len(), "issuers", "two entries have the same issuer");
        for (id, issuer) in &self.issuers {
            issuer.validate(&format!("issuers.{id}"), &mut wrong);
        }
        for (source, webhook) in &self.webhooks {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let named = !source.is_empty() && source.len() <= 63 && source.bytes().all(plain);
            wrong.check(named, format!("webhooks.{source}"), "must be named by a-z, 0-9 and -");
            let counted = matches!(webhook.secret_files.len(), 1 | 2);
            wrong.check(counted, format!("webhooks.{source}.secret_files"), "must be one file, or two in a rotation");
        }
        if let Some(proxy) = &self.proxy {
            proxy.validate(&mut wrong);
        }
        wrong.finish()
    }
}

impl Proxy {
    fn validate(&self, wrong: &mut Violations) {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let label = |l: &str| !l.is_empty() && l.bytes().all(plain);
        wrong.check(self.domain.split('.').all(label), "proxy.domain", "must be a domain in lower case");
        let room = |n: usize| (1..=100_000).contains(&n);
        wrong.check(room(self.requests_per_host), "proxy.requests_per_host", "must be 1 to 100000");
        wrong.check(room(self.tunnels), "proxy.tunnels", "must be 1 to 100000");
        wrong.check(self.tunnel_idle_seconds > 0, "proxy.tunnel_idle_seconds", "must be 1 or more");
        let Some(address) = &self.platform_url else { return };
        let url = url::Url::parse(address).ok();
        let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
        let is_here = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let is_plain = url.as_ref().is_some_and(|url| {
            let bare =
                url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
            bare && (url.scheme() == "https" || (url.scheme() == "http" && is_here))
        });
        let text = "must be an https address without a path; http only of this machine";
        wrong.check(is_plain, "proxy.platform_url", text);
        let own = host == self.domain || host.ends_with(&format!(".{}", self.domain));
        wrong.check(!own, "proxy.platform_url", "must not be a host of the proxy's domain");
    }
}

impl Config {
    /// Every issuer of jobs, with its workflows whose tags are protected.
    #[must_use]
    pub fn protected_workflows(&self) -> BTreeMap<String, Vec<String>> {
        let jobs = self.issuers.iter().filter(|(_, issuer)| issuer.kind == IssuerKind::GithubActions);
        jobs.map(|(id, issuer)| (id.clone(), issuer.protected_workflows.clone())).collect()
    }
}

impl Issuer {
    fn validate(&self, at: &str, wrong: &mut Violations) {
        wrong.check(!self.issuer.is_empty(), format!("{at}.issuer"), "must not be empty");
        wrong.check(!self.audience.is_empty(), format!("{at}.audience"), "must not be empty");
        let jobs = self.kind == IssuerKind::GithubActions;
        let known =
            (jobs || !self.algorithms.is_empty()) && self.algorithms.iter().all(|a| Algorithm::named(a).is_some());
        wrong.check(known, format!("{at}.algorithms"), "must be some of RS256, PS256, ES256, ES384, EdDSA");
        let lived = (1..=MAX_LIFE_SECONDS).contains(&self.max_life_seconds);
        wrong.check(lived, format!("{at}.max_life_seconds"), "must be 1 to 86400");
        wrong.check(!self.user_claim.is_empty(), format!("{at}.user_claim"), "must not be empty");
        wrong.check(!self.types.is_empty(), format!("{at}.types"), "must not be empty");
        if jobs {
            self.validate_jobs(at, wrong);
        }
        let listed = jobs || self.protected_workflows.is_empty();
        wrong.check(listed, format!("{at}.protected_workflows"), "is for the kind github-actions");
    }

    fn validate_jobs(&self, at: &str, wrong: &mut Violations) {
        let id = at.strip_prefix("issuers.").unwrap_or(at);
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let named = id.len() <= 63 && !id.starts_with('-') && id.bytes().all(plain);
        wrong.check(named, at, "must be named by up to 63 of a-z, 0-9 and -");
        // The default audience of GitHub is the address of the repository's owner: every job of that owner can have it.
        let host = |text: &str| url::Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
        let ours = host(&self.audience).is_some_and(|h| {
            let default = h == "github.com" || h.ends_with(".ghe.com");
            !default && (Some(&h) != host(&self.issuer).as_ref() || h == "127.0.0.1")
        });
        wrong.check(ours, format!("{at}.audience"), "must be the address of this platform, not one of the provider");
        wrong.check(!self.allow_other_audiences, format!("{at}.allow_other_audiences"), "is not for jobs");
    }

    /// What its tokens must look like.
    #[must_use]
    pub fn rules(&self) -> IssuerRules {
        IssuerRules {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            algorithms: match self.algorithms.as_slice() {
                [] => vec![Algorithm::Rs256],
                named => named.iter().filter_map(|a| Algorithm::named(a)).collect(),
            },
            types: self.types.clone(),
            clients: self.clients.clone(),
            allow_other_audiences: self.allow_other_audiences,
            max_life_seconds: self.max_life_seconds,
            max_age_seconds: (self.kind == IssuerKind::GithubActions).then_some(JOB_AGE_SECONDS),
        }
    }

    /// Whom its tokens speak for.
    #[must_use]
    pub fn speaks(&self) -> Speaks {
        if self.kind == IssuerKind::GithubActions {
            return Speaks::Job;
        }
        let (claim, suffix) = (self.user_claim.clone(), self.user_suffix.clone());
        Speaks::User(Mapping { claim, suffix, namespace: self.user_namespace.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WHOLE: &str = r#"
        listen = "0.0.0.0:8443"
        token_key_file = "/data/token.key"
        issuer_hosts = ["https://keys.corp.example 10.0.0.0/8"]
        [database]
        engine = "sqlite"
        path = "/data/gateway.db"
        [tls]
        certificate_file = "/tls/cert.pem"
        key_file = "/tls/key.pem"
        [issuers.corp]
        issuer = "https://id.corp.example"
        audience = "slipway"
        algorithms = ["RS256", "EdDSA"]
        user_claim = "email"
        user_suffix = "@corp.example"
        [webhooks.local]
        secret_files = ["/data/hook"]
        [limits]
        reads_per_second = 5
    "#;

    fn parse(text: &str) -> Result<Config> {
        let config: Config = slipway_kit::config::parse(text)?;
        config.validate()?;
        Ok(config)
    }

    #[test]
    fn a_whole_configuration_is_read_with_its_defaults() {
        let config = parse(WHOLE).unwrap();
        let issuer = &config.issuers["corp"];
        assert_eq!((issuer.max_life_seconds, issuer.user_namespace.as_str()), (86_400, "default"));
        assert_eq!(issuer.rules().algorithms, [Algorithm::Rs256, Algorithm::EdDsa]);
        assert_eq!((config.limits.reads_per_second.get(), config.limits.read_burst.get()), (5, 100));
    }

    #[test]
    fn jobs_have_an_audience_of_ours() {
        let jobs = |audience: &str, more: &str| {
            let issuer = format!(
                "[issuers.github]\nkind = \"github-actions\"\nissuer = \"https://token.actions.githubusercontent.com\"\n\
                 audience = \"{audience}\"\n{more}\n[webhooks.local]"
            );
            parse(&WHOLE.replace("[webhooks.local]", &issuer))
        };
        let config = jobs("https://slipway.corp.example", "").unwrap();
        let rules = config.issuers["github"].rules();
        assert_eq!((rules.algorithms, rules.max_age_seconds), (vec![Algorithm::Rs256], Some(600)));
        assert_eq!(config.issuers["github"].speaks(), Speaks::Job);
        assert_eq!(config.issuers["corp"].rules().max_age_seconds, None);
        for audience in [
            "https://github.com/octo",
            "https://octo.ghe.com/x",
            "https://token.actions.githubusercontent.com/x",
            "octo",
        ] {
            assert!(jobs(audience, "").is_err(), "{audience}");
        }
        assert!(jobs("https://slipway.corp.example", "allow_other_audiences = true").is_err());
        assert!(jobs("https://slipway.corp.example", "algorithms = [\"HS256\"]").is_err());
    }

    #[test]
    fn unsafe_and_unknown_settings_are_refused() {
        let tls = "[tls]\n        certificate_file = \"/tls/cert.pem\"\n        key_file = \"/tls/key.pem\"";
        for (from, to) in [
            (tls, ""),
            ("algorithms = [\"RS256\", \"EdDSA\"]", "algorithms = [\"HS256\"]"),
            ("algorithms = [\"RS256\", \"EdDSA\"]", "algorithms = [\"none\"]"),
            ("algorithms = [\"RS256\", \"EdDSA\"]", "algorithms = []"),
            ("audience = \"slipway\"", "audience = \"\""),
            ("secret_files = [\"/data/hook\"]", "secret_files = []"),
            ("[webhooks.local]", "[webhooks.\"a/b\"]"),
            ("reads_per_second = 5", "reads_per_second = 0"),
            ("reads_per_second = 5", "authentication = false"),
            ("[issuers.corp]", "allow_unsafe = true\n[issuers.corp]"),
        ] {
            assert!(WHOLE.contains(from), "{from}");
            assert!(parse(&WHOLE.replace(from, to)).is_err(), "{to}");
        }
        let twice = format!(
            "{WHOLE}\n[issuers.again]\nissuer = \"https://id.corp.example\"\naudience = \"x\"\nalgorithms = [\"RS256\"]"
        );
        assert!(parse(&twice).is_err());
    }
}
