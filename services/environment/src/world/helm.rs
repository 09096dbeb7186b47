//! Rendering with the real helm as an isolated child (ENV-70 to ENV-73, SAFE-60).
//!
//! Owns the checkout of the chart at its commit, the child's walls and limits, and the comparison of two renders. Refuses every
//! verb but `template`, charts whose schema reaches outside, and renders that differ.
use async_trait::async_trait;
use slipway_kit::{
    error::{Error, Result},
    files::{FILE_TOO_LARGE, FilePath, Mode, PATH_COLLISION, PATH_REFUSED, WorkDir},
    git::{LINK_REFUSED, Repo, Sha},
    subprocess::{self, Limits, Network, Run, TOOL_MISSING, TOOL_OUTPUT_TOO_LARGE, TOOL_TIMEOUT, Tool},
};

use super::{Fault, Job, Renderer, cluster::Version, connections::Connections};
use crate::model::{
    config,
    manifest::{self, Doc},
};

/// Oldest helm that has no known way out of its chart (CVE-2025-55199).
const VERSION_MIN: [u64; 3] = [3, 18, 5];
/// Version of Kubernetes that charts are rendered for.
const KUBE_VERSION: &str = "1.34.0";
/// API groups beyond those of the version itself.
const API_VERSIONS: &[&str] = &["gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1"];
/// Largest file of values.
const VALUES_BYTES_MAX: u64 = 1 << 20;
/// Longest text of helm that is shown.
const MESSAGE_CHARS_MAX: usize = 1500;

/// Helm, and the connections its charts come from.
pub struct Helm {
    tool: Tool,
    scms: Connections,
}

impl Helm {
    /// Takes the program and checks its version.
    ///
    /// # Errors
    /// TOOL_MISSING if it is too old or does not run.
    pub async fn open(tool: Tool, scms: impl Into<Connections>) -> Result<Self> {
        let helm = Self { tool, scms: scms.into() };
        let text = helm.run(None, &["version", "--template={{.Version}}"]).success().await?;
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        if version(&text) < VERSION_MIN {
            return Err(Error::new(&TOOL_MISSING, format!("helm 3.18.5 or newer is needed, found {text:?}")));
        }
        Ok(helm)
    }

    fn run(&self, dir: Option<&WorkDir>, args: &[&str]) -> Run<'_> {
        let limits = Limits {
            wall: std::time::Duration::from_secs(30),
            cpu_seconds: 10,
            // Go reserves far more address space than it uses; what it may write to is what counts.
            address_space_bytes: None,
            data_bytes: Some(512 << 20),
            file_bytes: manifest::BYTES_MAX as u64,
            open_files: 256,
            processes: None,
            stdout_bytes: manifest::BYTES_MAX,
        };
        let run = Run::new(&self.tool)
            .args(args.iter().copied())
            .limits(limits)
            .network(Network::None)
            .env("KUBECONFIG", "/dev/null")
            .env("HELM_NO_PLUGINS", "1")
            .env("GOMEMLIMIT", "400MiB")
            .env("GOMAXPROCS", "2");
        match dir {
            Some(dir) => run.cwd(dir.path()),
            None => run,
        }
    }

    async fn template(
        &self,
        dir: &WorkDir,
        job: &Job<'_>,
        values: &[String],
    ) -> Result<std::result::Result<String, Fault>> {
        let version = job.cluster.map_or(KUBE_VERSION, |cluster| cluster.git_version.trim_start_matches('v'));
        let apis = capabilities(job.cluster);
        let mut args = vec!["template", "--include-crds", "--skip-tests", "--kube-version", version];
        args.extend(apis.iter().flat_map(|api| ["--api-versions", api.as_str()]));
        args.extend(["--namespace", job.namespace]);
        args.extend(values.iter().flat_map(|file| ["--values", file.as_str()]));
        if job.is_upgrade {
            args.push("--is-upgrade");
        }
        let run = self.run(Some(dir), &args).arg("--").operand(job.release).operand("chart");
        match run.output().await {
            Ok(output) if output.code == 0 => match String::from_utf8(output.stdout) {
                Ok(text) => Ok(Ok(text)),
                Err(_) => Ok(fault("CHART_BROKEN", "The rendered text is not UTF-8.")),
            },
            Ok(output) if output.code > 0 && !is_starved(&output.stderr) => {
                Ok(fault("CHART_BROKEN", readable(&output.stderr, dir)))
            }
            // A signal, or a runtime without memory: the limits of SAFE-60 ended it.
            Ok(_) => Ok(fault("RENDER_LIMIT", "Rendering used more than 10 s of processor time or 512 MiB of memory.")),
            Err(error) if error.is(&TOOL_TIMEOUT) => Ok(fault("RENDER_LIMIT", "Rendering took longer than 30 s.")),
            Err(error) if error.is(&TOOL_OUTPUT_TOO_LARGE) => {
                Ok(fault("RENDER_LIMIT", "The manifests are larger than 16 MiB."))
            }
            Err(error) => Err(error),
        }
    }
}

fn fault<T>(reason: &'static str, message: impl Into<String>) -> std::result::Result<T, Fault> {
    Err(Fault { reason, message: message.into() })
}

/// What charts see as capabilities: every served kind and its group and version, beyond what helm knows of the version itself.
fn capabilities(cluster: Option<&Version>) -> Vec<String> {
    let Some(cluster) = cluster else { return API_VERSIONS.iter().map(|api| (*api).to_owned()).collect() };
    let groups = cluster.apis.iter().filter_map(|api| api.rsplit_once('/').map(|(group, _)| group.to_owned()));
    let mut all: Vec<String> = cluster.apis.iter().cloned().chain(groups).collect();
    all.sort();
    all.dedup();
    all
}

/// The first three numbers of a version such as `v4.3` or `v3.18.5+g1`.
fn version(text: &str) -> [u64; 3] {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    [0; 3].map(|_: u64| numbers.next().unwrap_or(0))
}

/// Whether the child's runtime could not get memory or threads.
fn is_starved(stderr: &str) -> bool {
    ["fatal error: ", "runtime: ", "runtime/cgo: "].iter().any(|start| stderr.starts_with(start))
}

/// Helm's message without paths of this machine.
/// What helm adds that is of no use to who did not call it.
const DEBUG_HINT: &str = "Use --debug flag to render out invalid YAML";

fn readable(stderr: &str, dir: &WorkDir) -> String {
    let text = stderr.replace(&format!("{}/", dir.path().display()), "");
    let text = text.replace(DEBUG_HINT, "");
    text.trim().chars().take(MESSAGE_CHARS_MAX).collect()
}

#[async_trait]
impl Renderer for Helm {
    async fn render(&self, job: &Job<'_>) -> Result<std::result::Result<Vec<Doc>, Fault>> {
        let scm = self.scms.scm(&job.source.scm)?;
        let repo = scm.git_at(&job.source.repository, &Sha::parse(job.source.chart_sha())?).await?;
        let dir = WorkDir::temporary()?;
        let values = match prepare(&repo, &dir, job).await {
            Ok(Ok(values)) => values,
            Ok(Err(fault)) => return Ok(Err(fault)),
            Err(error) if is_users(&error) => return Ok(fault("CHART_REFUSED", error.message())),
            Err(error) => return Err(error),
        };
        let (first, second) = match (self.template(&dir, job, &values).await?, self.template(&dir, job, &values).await?)
        {
            (Ok(first), Ok(second)) => (first, second),
            (Err(fault), _) | (_, Err(fault)) => return Ok(Err(fault)),
        };
        let docs = match manifest::parse(&first) {
            Ok(docs) => docs,
            Err(text) => return Ok(fault("CHART_BROKEN", format!("The rendered YAML does not parse: {text}"))),
        };
        if first != second {
            return Ok(fault("NOT_DETERMINISTIC", differing(&docs, &second)));
        }
        Ok(Ok(docs))
    }
}

fn is_users(error: &Error) -> bool {
    [&FILE_TOO_LARGE, &PATH_REFUSED, &PATH_COLLISION, &LINK_REFUSED].into_iter().any(|reason| error.is(reason))
}

/// Puts chart and values into the directory; answers the names of the files of values, later wins.
async fn prepare(repo: &Repo, dir: &WorkDir, job: &Job<'_>) -> Result<std::result::Result<Vec<String>, Fault>> {
    let sha = Sha::parse(job.source.chart_sha())?;
    let path = config::in_folder(&job.source.folder, &job.config.chart.path);
    let chart = FilePath::parse("chart")?;
    dir.create_dir(&chart)?;
    let checkout = repo.checkout(&sha, Some(&FilePath::parse(&path)?), &dir.open_dir(&chart)?).await?;
    if checkout.files == 0 {
        return Ok(fault("CHART_MISSING", format!("There is no chart at {path} in commit {sha}.")));
    }
    if let Some(file) = outside_reference(dir)? {
        return Ok(fault("CHART_REFUSED", format!("{file} refers to a schema outside of itself.")));
    }
    let (mut names, mut missing) = (Vec::new(), Vec::new());
    for (at, file) in job.config.value_files(job.tier, job.is_preview).iter().enumerate() {
        let path = config::in_folder(&job.source.folder, file);
        match repo.read_file(&sha, &FilePath::parse(&path)?, VALUES_BYTES_MAX).await? {
            Some(bytes) => {
                let name = format!("values-{at}.yaml");
                dir.write_scratch(&FilePath::parse(&name)?, &bytes, Mode::Private)?;
                names.push(name);
            }
            None => missing.push(path),
        }
    }
    if !missing.is_empty() {
        return Ok(fault("VALUES_MISSING", format!("There is no {} in commit {sha}.", missing.join(", "))));
    }
    let overlay = "platform.json";
    dir.write_scratch(&FilePath::parse(overlay)?, job.overlay.to_string().as_bytes(), Mode::Private)?;
    names.push(overlay.to_owned());
    Ok(Ok(names))
}

/// The first schema of values with a reference that is not local to its document.
fn outside_reference(dir: &WorkDir) -> Result<Option<String>> {
    for entry in dir.list()? {
        if entry.path.file_name() != "values.schema.json" {
            continue;
        }
        let bytes = dir.read(&entry.path, VALUES_BYTES_MAX)?;
        let is_local = serde_json::from_slice(&bytes).is_ok_and(|schema| refers_inside(&schema));
        if !is_local {
            return Ok(Some(entry.path.to_string()));
        }
    }
    Ok(None)
}

fn refers_inside(schema: &serde_json::Value) -> bool {
    match schema {
        serde_json::Value::Object(map) => map.iter().all(|(key, value)| {
            let outward =
                (key == "$ref" || key == "$dynamicRef") && value.as_str().is_some_and(|v| !v.starts_with('#'));
            !outward && refers_inside(value)
        }),
        serde_json::Value::Array(items) => items.iter().all(refers_inside),
        _ => true,
    }
}

/// Which documents came out differently the second time.
fn differing(first: &[Doc], second: &str) -> String {
    let second = manifest::parse(second).unwrap_or_default();
    let names: Vec<String> = first
        .iter()
        .enumerate()
        .filter(|(at, doc)| second.get(*at) != Some(doc))
        .map(|(_, doc)| {
            match paths_differing(doc, second.iter().find(|d| manifest::title(d) == manifest::title(doc))) {
                paths if paths.is_empty() => manifest::title(doc),
                paths => format!("{} at {}", manifest::title(doc), paths.join(", ")),
            }
        })
        .take(20)
        .collect();
    format!("Two renders of the same input differ (random values, times, generated keys): {}.", names.join("; "))
}

fn paths_differing(a: &Doc, b: Option<&Doc>) -> Vec<String> {
    fn walk(a: &serde_json::Value, b: &serde_json::Value, at: &str, found: &mut Vec<String>) {
        use serde_json::Value::{Array, Object};
        match (a, b) {
            (Object(a), Object(b)) if a.len() == b.len() => {
                for (key, value) in a {
                    walk(value, b.get(key).unwrap_or(&serde_json::Value::Null), &format!("{at}/{key}"), found);
                }
            }
            (Array(a), Array(b)) if a.len() == b.len() => {
                for (index, (a, b)) in a.iter().zip(b).enumerate() {
                    walk(a, b, &format!("{at}/{index}"), found);
                }
            }
            (a, b) if a != b => found.push(at.to_owned()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Some(b) = b {
        walk(a, b, "", &mut found);
    }
    found.truncate(10);
    found
}

/// A renderer for a machine without helm: everything else works, and the condition says what is missing.
pub struct NoHelm;

#[async_trait]
impl Renderer for NoHelm {
    async fn render(&self, _: &Job<'_>) -> Result<std::result::Result<Vec<Doc>, Fault>> {
        Err(Error::new(&subprocess::TOOL_MISSING, "helm was not found; install it or set SLIPWAY_HELM"))
    }
}
