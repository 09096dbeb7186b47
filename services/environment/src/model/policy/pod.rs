//! Rules for pods and what is inside them.
//!
//! Owns host access, privileges, service-account tokens and images. Refuses images that are not pinned by digest.
use serde_json::Value;

use super::{
    Faults, Rules,
    catalog::{FORKS, HOST_ACCESS, IMAGE_REGISTRIES, IMAGES_PINNED, PRIVILEGES, SERVICE_ACCOUNT_TOKENS},
    is_empty, is_true, items,
};
use crate::model::{
    manifest::{self, Doc},
    values::pinned,
};

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

pub(super) fn check(doc: &Doc, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    if manifest::kind(doc) == "ServiceAccount" {
        let mounts = is_true(doc, "/automountServiceAccountToken");
        faults.check(
            &SERVICE_ACCOUNT_TOKENS,
            !mounts,
            "/automountServiceAccountToken",
            "service-account tokens are not mounted",
        );
        faults.check(
            &SERVICE_ACCOUNT_TOKENS,
            doc.pointer("/secrets").is_none_or(is_empty),
            "/secrets",
            "service-account tokens are not kept in Secrets",
        );
    }
    let Some((path, spec)) = manifest::pod_spec(doc) else { return };
    for field in ["hostNetwork", "hostPID", "hostIPC", "automountServiceAccountToken"] {
        let rule = if field == "automountServiceAccountToken" { &SERVICE_ACCOUNT_TOKENS } else { &HOST_ACCESS };
        faults.check(rule, !is_true(spec, &format!("/{field}")), format!("{path}/{field}"), "is not allowed");
    }
    if spec.get("hostUsers") == Some(&Value::Bool(true)) {
        faults.add(&HOST_ACCESS, format!("{path}/hostUsers"), "is not allowed");
    }
    faults.check(
        &HOST_ACCESS,
        spec.get("nodeName").is_none_or(is_empty),
        format!("{path}/nodeName"),
        "pods are placed by the scheduler",
    );
    let class = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default();
    let rule = "classes of the system put pods before the cluster's own";
    faults.check(&HOST_ACCESS, !class.starts_with("system-"), format!("{path}/priorityClassName"), rule);
    volumes(path, spec, rules, faults);
    windows(path, spec, faults);
    for list in CONTAINERS {
        for (at, container) in items(spec, &format!("/{list}")) {
            check_container(&format!("{path}/{list}/{at}"), container, rules, faults);
        }
    }
}

fn volumes(path: &str, spec: &Value, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    for (at, volume) in items(spec, "/volumes") {
        let at = format!("{path}/volumes/{at}");
        faults.check(
            &HOST_ACCESS,
            volume.get("hostPath").is_none(),
            format!("{at}/hostPath"),
            "files of the node are not reachable",
        );
        faults.check(
            &FORKS,
            !(rules.fork && volume.get("secret").is_some()),
            format!("{at}/secret"),
            "FORK_NO_SECRETS: a fork gets no secrets",
        );
        for (source, entry) in items(volume, "/projected/sources") {
            let at = format!("{at}/projected/sources/{source}");
            let token = entry.get("serviceAccountToken").is_none();
            faults.check(
                &SERVICE_ACCOUNT_TOKENS,
                token,
                format!("{at}/serviceAccountToken"),
                "service-account tokens are not mounted",
            );
            faults.check(
                &FORKS,
                !(rules.fork && entry.get("secret").is_some()),
                format!("{at}/secret"),
                "FORK_NO_SECRETS: a fork gets no secrets",
            );
        }
    }
}

fn windows(path: &str, holder: &Value, faults: &mut Faults<'_>) {
    let at = "/securityContext/windowsOptions/hostProcess";
    faults.check(&HOST_ACCESS, !is_true(holder, at), format!("{path}{at}"), "is not allowed");
}

fn check_container(path: &str, container: &Value, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    for field in ["privileged", "allowPrivilegeEscalation"] {
        let at = format!("/securityContext/{field}");
        faults.check(&PRIVILEGES, !is_true(container, &at), format!("{path}{at}"), "is not allowed");
    }
    let added = container.pointer("/securityContext/capabilities/add").is_none_or(is_empty);
    faults.check(
        &PRIVILEGES,
        added,
        format!("{path}/securityContext/capabilities/add"),
        "capabilities may be dropped, never added",
    );
    let mount = container.pointer("/securityContext/procMount").and_then(Value::as_str).unwrap_or("Default");
    faults.check(&PRIVILEGES, mount == "Default", format!("{path}/securityContext/procMount"), "must be Default");
    windows(path, container, faults);
    for (at, port) in items(container, "/ports") {
        let open = port.get("hostPort").is_none_or(|p| p == &Value::from(0));
        faults.check(&HOST_ACCESS, open, format!("{path}/ports/{at}/hostPort"), "ports of the node are not reachable");
    }
    image(path, container, rules, faults);
    if rules.fork {
        for (at, _) in items(container, "/envFrom").filter(|(_, e)| e.get("secretRef").is_some()) {
            faults.add(&FORKS, format!("{path}/envFrom/{at}/secretRef"), "FORK_NO_SECRETS: a fork gets no secrets");
        }
        for (at, _) in items(container, "/env").filter(|(_, e)| e.pointer("/valueFrom/secretKeyRef").is_some()) {
            faults.add(
                &FORKS,
                format!("{path}/env/{at}/valueFrom/secretKeyRef"),
                "FORK_NO_SECRETS: a fork gets no secrets",
            );
        }
    }
}

fn image(path: &str, container: &Value, rules: &Rules<'_>, faults: &mut Faults<'_>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let Ok((repository, _)) = pinned(image) else {
        faults.add(
            &IMAGES_PINNED,
            format!("{path}/image"),
            format!("IMAGE_NOT_PINNED: {image:?} must be <repository>@sha256:<64 hex>"),
        );
        return;
    };
    let allowed = |prefix: &String| {
        let prefix = prefix.trim_end_matches('/');
        repository == prefix || repository.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
    };
    let fits = rules.registries.is_empty() || rules.registries.iter().any(allowed);
    faults.check(
        &IMAGE_REGISTRIES,
        fits,
        format!("{path}/image"),
        format!("{repository} is in none of the allowed registries"),
    );
}
