//! Whose lines are read: from a workload, a pod or a container to the containers of pods.
//!
//! Owns the choice and its bound. Refuses a name that is not there, with what is.
use std::collections::BTreeSet;

use super::manifest::{self, Doc, text};

/// Most containers read at one time.
pub const STREAMS_MAX: usize = 20;

/// What is wanted; empty parts mean any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `name` or `Kind/name`.
    pub workload: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

/// One container of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

/// Why nothing can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The workload or pod is not there; in words.
    Unknown(String),
    /// No pod of the choice has the container; in words.
    Container(String),
}

/// The containers to read, pods that run first, newest first.
///
/// # Errors
/// What is not there, with what is.
pub fn choose(live: &[Doc], wanted: &Wanted) -> Result<Vec<Stream>, Fault> {
    let mut pods: Vec<&Doc> = live.iter().filter(|doc| manifest::kind(doc) == "Pod").collect();
    if !wanted.pod.is_empty() {
        let names = names(pods.iter().copied());
        pods.retain(|pod| manifest::name(pod) == wanted.pod);
        if pods.is_empty() {
            return Err(Fault::Unknown(format!("there is no pod {:?}; there are: {names}", wanted.pod)));
        }
    }
    if !wanted.workload.is_empty() {
        let owners = owners(live, &wanted.workload)?;
        pods.retain(|pod| owners.contains(uid(pod)) || is_owned(pod, &owners));
    }
    pods.sort_by(|a, b| {
        let key = |pod: &Doc| text(pod, "/status/phase") != "Running";
        key(a)
            .cmp(&key(b))
            .then_with(|| created(b).cmp(created(a)))
            .then_with(|| manifest::name(a).cmp(manifest::name(b)))
    });
    let mut streams: Vec<Stream> = pods.iter().flat_map(|pod| streams(pod)).collect();
    if !wanted.container.is_empty() {
        let known: BTreeSet<String> = streams.iter().map(|stream| stream.container.clone()).collect();
        streams.retain(|stream| stream.container == wanted.container);
        if streams.is_empty() && !known.is_empty() {
            let known: Vec<String> = known.into_iter().collect();
            return Err(Fault::Container(format!("must be one of {}", known.join(", "))));
        }
    } else {
        streams.retain(|stream| !is_silent_init(live, stream));
    }
    streams.truncate(STREAMS_MAX);
    Ok(streams)
}

fn uid(doc: &Doc) -> &str {
    text(doc, "/metadata/uid")
}

fn created(doc: &Doc) -> &str {
    text(doc, "/metadata/creationTimestamp")
}

fn is_owned(doc: &Doc, owners: &BTreeSet<&str>) -> bool {
    let of = doc.pointer("/metadata/ownerReferences").and_then(Doc::as_array).into_iter().flatten();
    of.into_iter().any(|owner| owners.contains(text(owner, "/uid")))
}

fn names<'a>(docs: impl Iterator<Item = &'a Doc>) -> String {
    let names: Vec<String> = docs.take(20).map(|doc| manifest::name(doc).to_owned()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Uids of the workload and of the ReplicaSets between it and its pods.
fn owners<'a>(live: &'a [Doc], workload: &str) -> Result<BTreeSet<&'a str>, Fault> {
    let (kind, name) = workload.split_once('/').map_or(("", workload), |(kind, name)| (kind, name));
    let runs = |doc: &&Doc| manifest::pod_spec(doc).is_some() && manifest::kind(doc) != "Pod";
    let is_wanted =
        |doc: &&Doc| manifest::name(doc) == name && (kind.is_empty() || manifest::kind(doc).eq_ignore_ascii_case(kind));
    let mut owners: BTreeSet<&str> = live.iter().filter(runs).filter(is_wanted).map(uid).collect();
    if owners.is_empty() {
        let known = live.iter().filter(runs).filter(|doc| manifest::kind(doc) != "ReplicaSet").map(manifest::title);
        let known: Vec<String> = known.take(20).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Fault::Unknown(format!("there is no workload {workload:?}; there are: {known}")));
    }
    let sets: Vec<&str> = live.iter().filter(runs).filter(|doc| is_owned(doc, &owners)).map(uid).collect();
    owners.extend(sets);
    Ok(owners)
}

fn streams(pod: &Doc) -> Vec<Stream> {
    let of = |pointer: &str| {
        let containers = pod.pointer(pointer).and_then(Doc::as_array).into_iter().flatten();
        let names: Vec<String> = containers.map(|container| text(container, "/name").to_owned()).collect();
        names
    };
    let all = of("/spec/containers").into_iter().chain(of("/spec/initContainers"));
    all.map(|container| Stream { pod: manifest::name(pod).to_owned(), container }).collect()
}

/// Whether it is an init container that has done its work: asked for by name, its lines are still there.
fn is_silent_init(live: &[Doc], stream: &Stream) -> bool {
    let pod = live.iter().find(|doc| manifest::kind(doc) == "Pod" && manifest::name(doc) == stream.pod);
    let statuses = pod.and_then(|pod| pod.pointer("/status/initContainerStatuses")?.as_array()).into_iter().flatten();
    statuses.into_iter().any(|status| {
        text(status, "/name") == stream.container
            && status.pointer("/state/terminated/exitCode").and_then(Doc::as_i64) == Some(0)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live() -> Vec<Doc> {
        let pod = |name: &str, owner: &str, at: &str| {
            json!({"kind": "Pod", "metadata": {"name": name, "uid": name, "creationTimestamp": at, "ownerReferences": [{"uid": owner}]},
                "spec": {"containers": [{"name": "app"}, {"name": "proxy"}], "initContainers": [{"name": "migrate"}]},
                "status": {"phase": "Running", "initContainerStatuses": [{"name": "migrate", "state": {"terminated": {"exitCode": 0}}}]}})
        };
        vec![
            json!({"kind": "Deployment", "metadata": {"name": "api", "uid": "d"}, "spec": {"template": {"spec": {}}}}),
            json!({"kind": "ReplicaSet", "metadata": {"name": "api-1", "uid": "rs", "ownerReferences": [{"uid": "d"}]}, "spec": {"template": {"spec": {}}}}),
            json!({"kind": "StatefulSet", "metadata": {"name": "db", "uid": "s"}, "spec": {"template": {"spec": {}}}}),
            pod("api-1-a", "rs", "2026-11-25T07:00:00Z"),
            pod("api-1-b", "rs", "2026-11-25T07:10:00Z"),
            pod("db-0", "s", "2026-11-25T07:20:00Z"),
        ]
    }

    fn chosen(workload: &str, pod: &str, container: &str) -> Result<Vec<String>, Fault> {
        let wanted = Wanted { workload: workload.to_owned(), pod: pod.to_owned(), container: container.to_owned() };
        choose(&live(), &wanted).map(|all| all.iter().map(|s| format!("{}/{}", s.pod, s.container)).collect())
    }

    #[test]
    fn a_workload_is_its_pods_and_a_pod_its_containers() {
        let api = ["api-1-b/app", "api-1-b/proxy", "api-1-a/app", "api-1-a/proxy"].map(str::to_owned).to_vec();
        assert_eq!(chosen("api", "", ""), Ok(api.clone()));
        assert_eq!(chosen("deployment/api", "", ""), Ok(api));
        assert_eq!(chosen("", "db-0", "app"), Ok(vec!["db-0/app".to_owned()]));
        assert_eq!(chosen("", "db-0", "migrate"), Ok(vec!["db-0/migrate".to_owned()]));
        assert_eq!(chosen("", "", "").map(|all| all.len()), Ok(6));
        assert_eq!(chosen("db", "api-1-a", ""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_there_names_what_is() {
        let unknown = |text: &str| Err(Fault::Unknown(text.to_owned()));
        assert_eq!(
            chosen("web", "", ""),
            unknown("there is no workload \"web\"; there are: Deployment/api, StatefulSet/db")
        );
        assert_eq!(chosen("", "x", ""), unknown("there is no pod \"x\"; there are: api-1-a, api-1-b, db-0"));
        assert_eq!(chosen("api", "", "ap"), Err(Fault::Container("must be one of app, migrate, proxy".to_owned())));
    }
}
