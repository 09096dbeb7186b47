//! What keeps a container from running.
//!
//! Owns the words of the kubelet (waiting reasons, exit codes) and what they mean. Refuses what a container wrote itself: its
//! termination message may hold anything, and its log is read elsewhere, redacted.
use super::{CONFIG_ERROR, CRASH_LOOP, Finding, IMAGE_PULL, OOM_KILLED, condition, number, pods::finding};
use crate::model::manifest::{Doc, text, title};

/// Longest text of the kubelet that is repeated.
const TEXT_MAX: usize = 400;

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub container: String,
    pub exit_code: i32,
    pub restarts: i64,
    is_out_of_memory: bool,
}

impl Ended {
    /// `ended with exit code 127: the command was not found`.
    pub fn says(&self) -> String {
        if self.is_out_of_memory {
            return format!("was killed for using more memory than its limit (exit code {})", self.exit_code);
        }
        let meaning = match self.exit_code {
            0 => ": it ended without an error, though it should run on",
            126 => ": the command cannot be executed",
            127 => ": the command was not found",
            134 => ": it aborted (SIGABRT)",
            137 => ": it was killed (SIGKILL), often by a failing liveness probe or a slow end",
            139 => ": it touched memory that is not its own (SIGSEGV)",
            143 => ": it was asked to end (SIGTERM), often by a failing liveness probe",
            _ => "",
        };
        format!("ended with exit code {}{meaning}", self.exit_code)
    }

    /// The reason that tells it.
    pub fn reason(&self) -> &'static str {
        if self.is_out_of_memory { OOM_KILLED } else { CRASH_LOOP }
    }
}

/// A container that runs and is not ready.
pub(super) struct Running {
    pub name: String,
    /// Whether the pod was ready since it began to run.
    pub has_answered: bool,
    pub restarts: i64,
    /// `readiness probe GET :8080/healthz`, if it has one.
    pub probe: Option<String>,
}

/// Every container that says what is wrong with it.
pub(super) fn look(pod: &Doc) -> Vec<Finding> {
    statuses(pod).filter_map(|status| one(pod, status)).collect()
}

/// The first container that runs without being ready.
pub(super) fn unready(pod: &Doc) -> Option<Running> {
    let status = array(pod, "/status/containerStatuses").iter().find(|status| {
        status.pointer("/state/running").is_some() && status.pointer("/ready").and_then(Doc::as_bool) != Some(true)
    })?;
    let spec = array(pod, "/spec/containers").iter().find(|spec| name_of(spec) == name_of(status));
    let is_started = status.pointer("/started").and_then(Doc::as_bool) == Some(true);
    let probe = spec.and_then(|spec| match spec.pointer("/startupProbe").filter(|_| !is_started) {
        Some(startup) => Some(format!("startup probe{}", target(startup))),
        None => spec.pointer("/readinessProbe").map(|probe| format!("readiness probe{}", target(probe))),
    });
    Some(Running {
        name: name_of(status).to_owned(),
        has_answered: has_answered(pod, status),
        restarts: number(status, "/restartCount"),
        probe,
    })
}

/// How the container that decides ended: the first one with an error, else the first that ended at all.
pub(super) fn ended(pod: &Doc) -> Option<Ended> {
    let all: Vec<Ended> = statuses(pod).filter_map(end_of).collect();
    all.iter().find(|ended| ended.exit_code != 0).or(all.first()).cloned()
}

fn array<'a>(doc: &'a Doc, pointer: &str) -> &'a [Doc] {
    doc.pointer(pointer).and_then(Doc::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn name_of(doc: &Doc) -> &str {
    text(doc, "/name")
}

fn statuses(pod: &Doc) -> impl Iterator<Item = &Doc> {
    array(pod, "/status/initContainerStatuses").iter().chain(array(pod, "/status/containerStatuses"))
}

fn target(probe: &Doc) -> String {
    let port = |at: &str| match probe.pointer(at) {
        Some(Doc::String(port)) => port.clone(),
        Some(port) => port.to_string(),
        None => "?".to_owned(),
    };
    if probe.pointer("/httpGet").is_some() {
        let path = Some(text(probe, "/httpGet/path")).filter(|path| !path.is_empty()).unwrap_or("/");
        format!(" GET :{}{path}", port("/httpGet/port"))
    } else if probe.pointer("/tcpSocket").is_some() {
        format!(" on TCP port {}", port("/tcpSocket/port"))
    } else if probe.pointer("/grpc").is_some() {
        format!(" on gRPC port {}", port("/grpc/port"))
    } else {
        String::new()
    }
}

fn end_of(status: &Doc) -> Option<Ended> {
    let end = status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated"))?;
    Some(Ended {
        container: name_of(status).to_owned(),
        exit_code: i32::try_from(number(end, "/exitCode")).unwrap_or(i32::MAX),
        restarts: number(status, "/restartCount"),
        is_out_of_memory: text(end, "/reason") == "OOMKilled",
    })
}

fn one(pod: &Doc, status: &Doc) -> Option<Finding> {
    let is_ready = status.pointer("/ready").and_then(Doc::as_bool) == Some(true);
    let is_done = status.pointer("/state/terminated/exitCode").and_then(Doc::as_i64) == Some(0);
    let is_init = array(pod, "/status/initContainerStatuses").iter().any(|init| name_of(init) == name_of(status));
    let ends_by_design = is_init || matches!(text(pod, "/spec/restartPolicy"), "Never" | "OnFailure");
    if is_ready || (is_done && ends_by_design) || has_answered(pod, status) {
        return None;
    }
    let container = name_of(status);
    let words = shorten(text(status, "/state/waiting/message"));
    let about = |reason, is_hard, message: String| {
        let mut finding = finding(pod, reason, is_hard, format!("{}: container {container} {message}", title(pod)));
        finding.problem.container = container.to_owned();
        finding.problem.restarts = number(status, "/restartCount");
        Some(finding)
    };
    match text(status, "/state/waiting/reason") {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ImageInspectError"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "InvalidImageName"
        | "SignatureValidationFailed" => {
            let image = image(pod, status);
            // The node itself pulls too much at once; it goes on by itself.
            let is_passing = words.contains("pull QPS exceeded");
            about(IMAGE_PULL, !is_passing, format!("cannot get its image {image}: {}", pull(&words)))
        }
        "CreateContainerConfigError" => about(CONFIG_ERROR, true, format!("cannot be configured: {}", config(&words))),
        reason @ ("CreateContainerError"
        | "RunContainerError"
        | "PreCreateHookError"
        | "PostStartHookError"
        | "StartError") => about(CONFIG_ERROR, true, format!("cannot be started ({reason}): {words}.")),
        waiting => {
            let ended = end_of(status)?;
            // Between two tries of a loop it runs or waits for a moment; one end alone may be a slow neighbour.
            let is_hard = waiting == "CrashLoopBackOff" || ended.restarts >= 2;
            let restarts = match ended.restarts {
                0 => String::new(),
                1 => "; it was restarted once".to_owned(),
                n => format!("; it was restarted {n} times"),
            };
            let mut finding = about(ended.reason(), is_hard, format!("{}{restarts}.", ended.says()))?;
            finding.problem.exit_code = Some(ended.exit_code);
            Some(finding)
        }
    }
}

/// Whether the pod was ready after this container began to run: its last end is then an old story. Times of the cluster compare as text.
fn has_answered(pod: &Doc, status: &Doc) -> bool {
    let since = text(status, "/state/running/startedAt");
    let changed = condition(pod, "Ready").map(|c| text(c, "/lastTransitionTime")).unwrap_or_default();
    !since.is_empty() && changed > since
}

fn image<'a>(pod: &'a Doc, status: &'a Doc) -> &'a str {
    let specs = array(pod, "/spec/initContainers").iter().chain(array(pod, "/spec/containers"));
    let spec = specs.into_iter().find(|spec| name_of(spec) == name_of(status));
    spec.map_or_else(|| text(status, "/image"), |spec| text(spec, "/image"))
}

/// Why an image cannot be pulled, in words where the registry's are well known.
fn pull(words: &str) -> String {
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if has(&["not found", "manifest unknown", "NotFound"]) {
        "the registry has no such image.".to_owned()
    } else if has(&["401", "403 Forbidden", "unauthorized", "authorization failed", "denied", "no basic auth"]) {
        "the registry does not let this cluster pull it.".to_owned()
    } else if has(&["no such host", "connection refused", "i/o timeout", "dial tcp"]) {
        "the registry cannot be reached from the node.".to_owned()
    } else if words.is_empty() {
        "the node gives no reason.".to_owned()
    } else {
        format!("{words}.")
    }
}

/// Which reference of a container leads nowhere.
fn config(words: &str) -> String {
    let quoted = |prefix: &str| {
        let rest = words.strip_prefix(prefix)?;
        rest.strip_suffix("\" not found").map(str::to_owned)
    };
    if let Some(secret) = quoted("secret \"") {
        return format!("the Secret {secret} does not exist.");
    }
    if let Some(map) = quoted("configmap \"") {
        return format!("the ConfigMap {map} does not exist.");
    }
    if let Some((key, place)) = words.strip_prefix("couldn't find key ").and_then(|rest| rest.split_once(" in ")) {
        let (kind, object) = place.split_once(' ').unwrap_or(("", place));
        let object = object.rsplit('/').next().unwrap_or(object);
        return format!("the {kind} {object} has no key {key}.");
    }
    if words.contains("runAsNonRoot") {
        return format!("its image runs as root, which this namespace does not allow: {words}.");
    }
    format!("{words}.")
}

fn shorten(words: &str) -> String {
    let words = words.trim().trim_end_matches('.');
    match words.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.to_owned(),
    }
}
