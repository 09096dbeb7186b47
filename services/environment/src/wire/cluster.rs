//! Clusters on the wire.
//!
//! Owns their rendering and which fields an update may name. Refuses any other field.
use slipway_kit::error::{Result, Violations};
use slipway_proto::environment::v1 as pb;

use super::{environment, time};
use crate::{
    app::{ClusterSpec, Listed},
    model::{
        cluster::{self, Check, CheckVerdict, Cluster},
        environment::Target,
        layout::Routes,
    },
};

const CHANGEABLE: [&str; 8] =
    ["kubeconfig_file", "in_cluster", "target", "tiers", "default", "routing", "check_image", "pull_secret_files"];

/// A cluster as callers read it.
pub fn render(listed: &Listed) -> pb::Cluster {
    match listed {
        Listed::Registered(cluster) => registered(cluster),
        Listed::Configured(id) => pb::Cluster {
            name: format!("clusters/{id}"),
            target: pb::Target::Git.into(),
            configured: true,
            ..Default::default()
        },
    }
}

/// A registered cluster as callers read it.
pub fn registered(cluster: &Cluster) -> pb::Cluster {
    pb::Cluster {
        name: cluster.name(),
        uid: cluster.uid.clone(),
        etag: cluster.etag(),
        create_time: Some(time(cluster.created_us)),
        update_time: Some(time(cluster.updated_us)),
        kubeconfig_file: cluster.kubeconfig_file.clone(),
        in_cluster: cluster.in_cluster,
        target: environment::target_to(cluster.target).into(),
        tiers: cluster.tiers.iter().map(|tier| environment::tier_to(*tier).into()).collect(),
        default: cluster.is_default,
        routing: routing(cluster.routing).into(),
        check_image: cluster.check_image.clone(),
        pull_secret_files: cluster.pull_secret_files.clone(),
        configured: false,
        version: cluster.git_version.clone(),
        checks: cluster.checks.iter().map(check).collect(),
        check_time: (cluster.checked_us > 0).then(|| time(cluster.checked_us)),
        required_role: cluster::roles(),
    }
}

fn check(check: &Check) -> pb::ClusterCheck {
    let verdict = match check.verdict {
        CheckVerdict::Passed => pb::CheckVerdict::Passed,
        CheckVerdict::Warning => pb::CheckVerdict::Warning,
        CheckVerdict::Failed => pb::CheckVerdict::Failed,
        CheckVerdict::Unknown => pb::CheckVerdict::Unknown,
    };
    pb::ClusterCheck {
        check: check.check.clone(),
        verdict: verdict.into(),
        message: check.message.clone(),
        remedy: check.remedy.clone(),
    }
}

fn routing(routes: Routes) -> pb::Routing {
    match routes {
        Routes::Proxy => pb::Routing::PreviewProxy,
        Routes::Gateway => pb::Routing::Gateway,
        Routes::Ingress => pb::Routing::Ingress,
    }
}

/// What a caller sets.
pub fn spec(cluster: &pb::Cluster) -> ClusterSpec {
    ClusterSpec {
        kubeconfig_file: cluster.kubeconfig_file.clone(),
        in_cluster: cluster.in_cluster,
        target: match cluster.target() {
            pb::Target::Git => Target::Git,
            pb::Target::Apply | pb::Target::Unspecified => Target::Apply,
        },
        tiers: cluster.tiers().filter_map(environment::tier_from).collect(),
        is_default: cluster.default,
        routing: match cluster.routing() {
            pb::Routing::Unspecified | pb::Routing::PreviewProxy => Routes::Proxy,
            pb::Routing::Gateway => Routes::Gateway,
            pb::Routing::Ingress => Routes::Ingress,
        },
        check_image: cluster.check_image.clone(),
        pull_secret_files: cluster.pull_secret_files.clone(),
    }
}

/// The id in a name; empty if it is none.
pub fn id(name: &str) -> &str {
    name.strip_prefix("clusters/").unwrap_or_default()
}

/// How an update changes what is there.
///
/// # Errors
/// INVALID_FIELD for a mask that names what cannot be changed.
pub fn change(asked: &pb::Cluster, paths: &[String]) -> Result<impl Fn(ClusterSpec) -> ClusterSpec + use<>> {
    let mut v = Violations::new();
    v.check(!id(&asked.name).is_empty(), "cluster.name", "must be clusters/<id>");
    for path in paths.iter().filter(|path| *path != "*" && !CHANGEABLE.contains(&path.as_str())) {
        v.add("update_mask", format!("cannot change {path:?}; it may name {}", CHANGEABLE.join(", ")));
    }
    v.finish()?;
    let (new, paths) = (spec(asked), paths.to_vec());
    let is_set = move |field: &str, is_given: bool| {
        if paths.is_empty() { is_given } else { paths.iter().any(|path| path == field || path == "*") }
    };
    let routing_given = asked.routing() != pb::Routing::Unspecified;
    let target_given = asked.target() != pb::Target::Unspecified;
    Ok(move |old: ClusterSpec| ClusterSpec {
        kubeconfig_file: if is_set("kubeconfig_file", !new.kubeconfig_file.is_empty()) {
            new.kubeconfig_file.clone()
        } else {
            old.kubeconfig_file
        },
        in_cluster: if is_set("in_cluster", new.in_cluster) { new.in_cluster } else { old.in_cluster },
        target: if is_set("target", target_given) { new.target } else { old.target },
        tiers: if is_set("tiers", !new.tiers.is_empty()) { new.tiers.clone() } else { old.tiers },
        routing: if is_set("routing", routing_given) { new.routing } else { old.routing },
        check_image: if is_set("check_image", !new.check_image.is_empty()) {
            new.check_image.clone()
        } else {
            old.check_image
        },
        pull_secret_files: if is_set("pull_secret_files", !new.pull_secret_files.is_empty()) {
            new.pull_secret_files.clone()
        } else {
            old.pull_secret_files
        },
        is_default: if is_set("default", new.is_default) { new.is_default } else { old.is_default },
    })
}
