//! What the environment service is told when it starts.
//!
//! Owns fields, units and defaults. Refuses values that could only fail later.
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures::future::BoxFuture;
use serde::Deserialize;
use slipway_kit::{
    check::Check,
    db::DbConfig,
    error::{Result, Violations},
    program::{Configured, tool},
    scm::ScmConfig,
};

use crate::model::{
    budget::{Amount, Limits, cpu_milli, memory_bytes},
    environment::{Environment, Target},
    guardrails::Profile,
    layout::Gateway,
    tier::Tier,
};
use crate::world::connections::Rules;

/// Configuration of the environment service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the data is.
    pub database: DbConfig,
    /// SCM connections by id.
    pub scm: BTreeMap<String, ScmConfig>,
    /// Directory of the GitOps repositories, `<cluster>.git` each; made if missing.
    pub gitops_root: PathBuf,
    /// Absolute path of helm; SLIPWAY_HELM or PATH if left out.
    #[serde(default)]
    pub helm: Option<PathBuf>,
    /// Absolute path of git; SLIPWAY_GIT or PATH if left out.
    #[serde(default)]
    pub git: Option<PathBuf>,
    /// Clusters that manifests are published for; the first is the default.
    #[serde(default = "clusters")]
    pub clusters: Vec<String>,
    /// Directory of kubeconfig files that registered clusters name.
    #[serde(default)]
    pub credentials_root: Option<PathBuf>,
    /// Domain that hosts of environments are one label below.
    #[serde(default = "domain")]
    pub preview_domain: String,
    /// `http` or `https`, for the addresses that are shown.
    #[serde(default = "scheme")]
    pub preview_scheme: String,
    /// Port of the built-in proxy, shown in the addresses of environments that are applied; none if it is the scheme's own.
    #[serde(default)]
    pub preview_port: Option<u16>,
    /// The Gateway that routes are attached to.
    #[serde(default)]
    pub gateway: Gateway,
    /// Registries, or parts of them, that images may come from; any if empty.
    #[serde(default)]
    pub image_registries: Vec<String>,
    /// Numbers of the guard rails by tier, where they differ from the built-in ones.
    #[serde(default)]
    pub profiles: BTreeMap<Tier, Profile>,
    /// Directory of the credentials that stored SCM connections name files of; `credentials` beside `gitops_root` if left out.
    #[serde(default)]
    pub credentials_dir: Option<PathBuf>,
    /// Directory of the mirrors of stored SCM connections; `mirrors` beside `gitops_root` if left out.
    #[serde(default)]
    pub mirrors_root: Option<PathBuf>,
    /// Hosts that stored SCM connections may reach, `https://host[:port]` each, then networks such as `10.0.0.0/8` that its
    /// addresses may lie in besides public ones.
    #[serde(default = "scm_hosts")]
    pub scm_hosts: Vec<String>,
    /// Environments worked on at one time.
    #[serde(default = "workers")]
    pub workers: usize,
    /// How often clusters are looked through for namespaces that belong to no environment, in seconds.
    #[serde(default = "sweep_seconds")]
    pub sweep_seconds: u64,
    /// What teams and their services may use, where nobody gave a team other numbers.
    #[serde(default)]
    pub budgets: Budgets,
}

/// What teams and their services may use (ENV-12).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// A team.
    pub team: Budget,
    /// Each service.
    pub service: Budget,
}

/// Numbers of one budget.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Previews.
    pub previews: i64,
    /// Requested processors of all that is awake, as Kubernetes writes it.
    pub cpu: String,
    /// Requested memory of all that is awake.
    pub memory: String,
}

impl Default for Budgets {
    fn default() -> Self {
        let of =
            |previews, cpu: &str, memory: &str| Budget { previews, cpu: cpu.to_owned(), memory: memory.to_owned() };
        Self { team: of(30, "64", "128Gi"), service: of(15, "32", "64Gi") }
    }
}

impl Budget {
    fn check(&self, v: &mut Violations, field: &str) {
        v.check((0..=10_000).contains(&self.previews), format!("{field}.previews"), "0 to 10000");
        v.check(cpu_milli(&self.cpu).is_some(), format!("{field}.cpu"), "must be a quantity such as 16 or 1500m");
        v.check(memory_bytes(&self.memory).is_some(), format!("{field}.memory"), "must be a quantity such as 32Gi");
    }

    fn amount(&self) -> Amount {
        let (cpu, memory) = (cpu_milli(&self.cpu).unwrap_or(0), memory_bytes(&self.memory).unwrap_or(0));
        Amount { previews: self.previews, cpu, memory }
    }
}

fn sweep_seconds() -> u64 {
    60
}

fn clusters() -> Vec<String> {
    vec!["local".to_owned()]
}

fn domain() -> String {
    "preview.localhost".to_owned()
}

fn scheme() -> String {
    "http".to_owned()
}

fn scm_hosts() -> Vec<String> {
    vec!["https://api.github.com".to_owned(), "https://github.com".to_owned()]
}

fn workers() -> usize {
    4
}

impl Config {
    /// Defaults around what has none.
    pub fn new(database: DbConfig, scm: BTreeMap<String, ScmConfig>, gitops_root: PathBuf) -> Self {
        Self {
            database,
            scm,
            gitops_root,
            helm: None,
            git: None,
            clusters: clusters(),
            credentials_root: None,
            preview_domain: domain(),
            preview_scheme: scheme(),
            preview_port: None,
            gateway: Gateway::default(),
            image_registries: Vec::new(),
            profiles: BTreeMap::new(),
            credentials_dir: None,
            mirrors_root: None,
            scm_hosts: scm_hosts(),
            workers: workers(),
            budgets: Budgets::default(),
            sweep_seconds: sweep_seconds(),
        }
    }

    /// Every broken rule at once.
    ///
    /// # Errors
    /// INVALID_FIELD.
    pub fn validate(&self) -> Result<()> {
        let mut v = Violations::new();
        let label = |text: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !text.is_empty()
                && text.len() <= 63
                && text.chars().all(plain)
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        v.check(!self.clusters.is_empty(), "clusters", "at least one");
        for (at, cluster) in self.clusters.iter().enumerate() {
            v.check(label(cluster), format!("clusters[{at}]"), "must be a DNS label");
        }
        v.check(self.preview_domain.split('.').all(label), "preview_domain", "must be a domain");
        v.check(matches!(self.preview_scheme.as_str(), "http" | "https"), "preview_scheme", "http or https");
        for (tier, profile) in &self.profiles {
            for file in profile.pull_secret_files.iter().filter(|file| !slipway_credentials::is_registry_file(file)) {
                let rule = format!("{file:?} must be a DNS label and `.json`");
                v.add(format!("profiles.{}.pull_secret_files", tier.word()), rule);
            }
        }
        v.check((1..=64).contains(&self.workers), "workers", "1 to 64");
        self.budgets.team.check(&mut v, "budgets.team");
        self.budgets.service.check(&mut v, "budgets.service");
        v.check((5..=3600).contains(&self.sweep_seconds), "sweep_seconds", "5 to 3600");
        v.finish()
    }

    /// What stored SCM connections may reach.
    pub fn scm_rules(&self) -> Rules {
        let beside = |name: &str| self.gitops_root.with_file_name(name);
        Rules {
            hosts: self.scm_hosts.clone(),
            credentials: self.credentials_dir.clone().unwrap_or_else(|| beside("credentials")),
            mirrors: self.mirrors_root.clone().unwrap_or_else(|| beside("mirrors")),
            git: self.git.clone(),
        }
    }

    /// What the decisions need of it.
    pub fn platform(&self) -> Platform {
        Platform {
            clusters: self.clusters.clone(),
            domain: self.preview_domain.clone(),
            scheme: self.preview_scheme.clone(),
            port: self.preview_port,
            gateway: self.gateway.clone(),
            registries: self.image_registries.clone(),
            profiles: self.profiles.clone(),
            budgets: Limits { team: self.budgets.team.amount(), service: self.budgets.service.amount() },
            sweep_every: Duration::from_secs(self.sweep_seconds),
        }
    }
}

/// The platform around environments.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Clusters; the first is the default.
    pub clusters: Vec<String>,
    /// Domain of the hosts.
    pub domain: String,
    /// Scheme of the addresses.
    pub scheme: String,
    /// Port of the built-in proxy.
    pub port: Option<u16>,
    /// The Gateway.
    pub gateway: Gateway,
    /// Registries that images may come from.
    pub registries: Vec<String>,
    /// Guard rails that differ from the built-in ones.
    pub profiles: BTreeMap<Tier, Profile>,
    /// What teams and their services may use, unless they have numbers of their own.
    pub budgets: Limits,
    /// How often clusters are looked through for orphans.
    pub sweep_every: Duration,
}

impl Platform {
    /// The reserved host of a label.
    pub fn host(&self, label_id: &str) -> String {
        format!("{label_id}.{}", self.domain)
    }

    /// The address of an environment; with the proxy's port where the proxy is in front of it.
    pub fn url(&self, env: &Environment) -> String {
        let own = match self.scheme.as_str() {
            "https" => 443,
            _ => 80,
        };
        let port = self.port.filter(|port| *port != own && env.target == Target::Apply);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}", self.scheme, self.host(&env.label_id))
    }

    /// The guard rails of a tier.
    pub fn profile(&self, tier: Tier) -> Profile {
        self.profiles.get(&tier).cloned().unwrap_or_else(|| Profile::of(tier))
    }

    /// The guard rails of an environment: those of its tier, and half of them for a fork.
    pub fn profile_of(&self, env: &Environment) -> Profile {
        let profile = self.profile(env.tier);
        if env.spec.source.fork { profile.quarantined() } else { profile }
    }
}

impl Configured for Config {
    fn database(&self) -> &DbConfig {
        &self.database
    }

    fn validate(&self) -> Result<()> {
        Self::validate(self)
    }

    fn examine(&self) -> BoxFuture<'_, Vec<Check>> {
        Box::pin(async { vec![tool("git", self.git.as_deref()), tool("helm", self.helm.as_deref())] })
    }
}
