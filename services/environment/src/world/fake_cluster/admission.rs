//! What the pretended cluster lets in: defaults of limit ranges, Pod Security, quotas.
//!
//! Owns these admissions in the order and the words of Kubernetes. Refuses nothing that Kubernetes would let in.
use serde_json::Value;

use super::{
    kinds::{Kinds, group},
    objects::Objects,
};
use crate::model::{
    manifest::{self, Doc},
    quantity::{self, Milli},
    refusal::Refusal,
};

/// Admits a new object: pods get their defaults, quotas must have room.
pub fn admit(objects: &Objects, kinds: &Kinds, doc: &mut Doc, resource: &str) -> Result<(), Refusal> {
    let namespace = manifest::text(doc, "/metadata/namespace").to_owned();
    if manifest::kind(doc) == "Pod" {
        let ranges = objects.of_kind(&namespace, "v1", "LimitRange");
        fill_in(doc, &ranges);
        let labels = objects.namespace(&namespace).and_then(|ns| ns.pointer("/metadata/labels")).cloned();
        pod_security(doc, &labels.unwrap_or_default())?;
    }
    for quota in objects.of_kind(&namespace, "v1", "ResourceQuota") {
        let used = |key: &str| used(objects, kinds, &namespace, key);
        fits(&quota, doc, resource, &used)?;
    }
    Ok(())
}

fn containers_mut(pod: &mut Doc) -> impl Iterator<Item = &mut Value> {
    let spec = pod["spec"].as_object_mut().into_iter().flat_map(|spec| spec.iter_mut());
    spec.filter(|(key, _)| matches!(key.as_str(), "containers" | "initContainers"))
        .filter_map(|(_, list)| list.as_array_mut())
        .flatten()
}

fn containers(pod: &Doc) -> impl Iterator<Item = &Value> {
    let lists = ["initContainers", "containers"].into_iter().filter_map(|key| pod["spec"][key].as_array());
    lists.flatten()
}

/// What containers get that do not say what they need: a request is its limit, then the defaults of the namespace.
fn fill_in(pod: &mut Doc, ranges: &[Doc]) {
    let limits = ranges.iter().filter_map(|range| range.pointer("/spec/limits")?.as_array()).flatten();
    let of_container: Vec<&Value> = limits.filter(|limit| limit["type"] == "Container").collect();
    for container in containers_mut(pod) {
        if !container.is_object() {
            continue;
        }
        request_limits(container);
        for limit in &of_container {
            for (field, from) in [("limits", &limit["default"]), ("requests", &limit["defaultRequest"])] {
                for (resource, value) in from.as_object().into_iter().flatten() {
                    if container["resources"][field].get(resource).is_none() {
                        container["resources"][field][resource] = value.clone();
                    }
                }
            }
        }
        request_limits(container);
    }
}

fn request_limits(container: &mut Value) {
    let limits = container["resources"]["limits"].as_object().cloned().unwrap_or_default();
    for (resource, value) in limits {
        if container["resources"]["requests"].get(&resource).is_none() {
            container["resources"]["requests"][resource] = value;
        }
    }
}

/// What breaks the level of the namespace, as Kubernetes says it.
fn pod_security(pod: &Doc, labels: &Value) -> Result<(), Refusal> {
    let label = |name: &str| labels.get(format!("pod-security.kubernetes.io/{name}")).and_then(Value::as_str);
    let level = label("enforce").unwrap_or("privileged");
    let mut broken = Vec::new();
    if matches!(level, "baseline" | "restricted") {
        baseline(pod, &mut broken);
    }
    if level == "restricted" {
        restricted(pod, &mut broken);
    }
    if broken.is_empty() {
        return Ok(());
    }
    let version = label("enforce-version").unwrap_or("latest");
    let text = format!(
        "pods \"{}\" is forbidden: violates PodSecurity \"{level}:{version}\": {}",
        manifest::name(pod),
        broken.join(", ")
    );
    Err(Refusal::PodSecurity(text))
}

fn named(pod: &Doc, bad: impl Fn(&Value) -> bool) -> Vec<&str> {
    containers(pod).filter(|c| bad(c)).filter_map(|c| c["name"].as_str()).collect()
}

fn say(broken: &mut Vec<String>, names: &[&str], what: &str, must: &str) {
    if !names.is_empty() {
        let word = if names.len() == 1 { "container" } else { "containers" };
        let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        broken.push(format!("{what} ({word} {} must {must})", names.join(", ")));
    }
}

/// What may be said for the whole pod, too.
fn say_of_pod(broken: &mut Vec<String>, names: &[&str], what: &str, must: &str) {
    let mut said = Vec::new();
    say(&mut said, names, what, must);
    broken.extend(said.into_iter().map(|text| text.replacen("(container", "(pod or container", 1)));
}

fn baseline(pod: &Doc, broken: &mut Vec<String>) {
    let spec = &pod["spec"];
    let on = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|key| spec[*key] == true);
    let on: Vec<_> = on.map(|key| format!("{key}=true")).collect();
    if !on.is_empty() {
        broken.push(format!("host namespaces ({})", on.join(", ")));
    }
    let privileged = named(pod, |c| c["securityContext"]["privileged"] == true);
    say(broken, &privileged, "privileged", "not set securityContext.privileged=true");
    let volumes = spec["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let host: Vec<_> =
        volumes.iter().filter(|v| v.get("hostPath").is_some()).filter_map(|v| v["name"].as_str()).collect();
    if !host.is_empty() {
        broken.push(format!("hostPath volumes (volume \"{}\")", host.join("\", \"")));
    }
    let ports = |c: &Value| {
        c["ports"].as_array().is_some_and(|ports| ports.iter().any(|p| p["hostPort"].as_i64().unwrap_or(0) != 0))
    };
    let host_ports = named(pod, ports);
    say(broken, &host_ports, "hostPort", "not use a hostPort");
}

fn restricted(pod: &Doc, broken: &mut Vec<String>) {
    let context = &pod["spec"]["securityContext"];
    let escalates = named(pod, |c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    say(broken, &escalates, "allowPrivilegeEscalation != false", "set securityContext.allowPrivilegeEscalation=false");
    let keeps = |c: &Value| {
        let dropped = c["securityContext"]["capabilities"]["drop"].as_array();
        !dropped.is_some_and(|all| all.iter().any(|cap| cap == "ALL"))
    };
    say(broken, &named(pod, keeps), "unrestricted capabilities", "set securityContext.capabilities.drop=[\"ALL\"]");
    let root = named(pod, |c| match &c["securityContext"]["runAsNonRoot"] {
        Value::Null => context["runAsNonRoot"] != true,
        own => own != true,
    });
    say_of_pod(broken, &root, "runAsNonRoot != true", "set securityContext.runAsNonRoot=true");
    let fine = |kind: &Value| kind == "RuntimeDefault" || kind == "Localhost";
    let loose = named(pod, |c| match &c["securityContext"]["seccompProfile"]["type"] {
        Value::Null => !fine(&context["seccompProfile"]["type"]),
        own => !fine(own),
    });
    let must = "set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    say_of_pod(broken, &loose, "seccompProfile", must);
}

/// What an object counts as for a quota's key; `None` if it does not count.
pub fn counts(doc: &Doc, resource: &str, key: &str) -> Option<Milli> {
    let api_group = group(manifest::text(doc, "/apiVersion"));
    let full = if api_group.is_empty() { resource.to_owned() } else { format!("{resource}.{api_group}") };
    if key.strip_prefix("count/") == Some(&full) || (api_group.is_empty() && key == resource) {
        let is_over = manifest::kind(doc) == "Pod" && is_over(doc) && key == "pods";
        return (!is_over).then_some(1_000);
    }
    match (manifest::kind(doc), key) {
        ("Service", "services.loadbalancers") => (doc["spec"]["type"] == "LoadBalancer").then_some(1_000),
        ("Service", "services.nodeports") => {
            matches!(doc["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer")).then_some(1_000)
        }
        ("PersistentVolumeClaim", "requests.storage") => {
            quantity::parse(manifest::text(doc, "/spec/resources/requests/storage"))
        }
        ("Pod", _) if !is_over(doc) => pod_amount(doc, key),
        _ => None,
    }
}

fn is_over(pod: &Doc) -> bool {
    matches!(manifest::text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn compute(key: &str) -> Option<(&'static str, &str)> {
    match key {
        "cpu" | "memory" => Some(("requests", key)),
        _ => match key.split_once('.')? {
            ("requests", "storage") => None,
            ("requests", resource) => Some(("requests", resource)),
            ("limits", resource) => Some(("limits", resource)),
            _ => None,
        },
    }
}

fn amount(value: &Value) -> Option<Milli> {
    match value {
        Value::String(text) => quantity::parse(text),
        Value::Number(number) => quantity::parse(&number.to_string()),
        _ => None,
    }
}

/// Sum of the containers, or the largest ordinary init container on top of the restartable ones before it.
fn pod_amount(pod: &Doc, key: &str) -> Option<Milli> {
    let (field, resource) = compute(key)?;
    let list = |name: &str| pod["spec"][name].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |c: &Value| amount(&c["resources"][field][resource]).unwrap_or(0);
    let (mut beside, mut highest) = (0, 0);
    for init in list("initContainers") {
        if init["restartPolicy"] == "Always" {
            beside += one(init);
            highest = highest.max(beside);
        } else {
            highest = highest.max(beside + one(init));
        }
    }
    let running: Milli = list("containers").iter().map(one).sum::<Milli>() + beside;
    Some(running.max(highest))
}

/// What is used of a quota's key in its namespace.
pub fn used(objects: &Objects, kinds: &Kinds, namespace: &str, key: &str) -> Milli {
    let resource = |doc: &Doc| kinds.get(manifest::text(doc, "/apiVersion"), manifest::kind(doc));
    let counted = objects.all(namespace).filter_map(|doc| counts(doc, &resource(doc)?.resource, key));
    counted.sum()
}

/// An amount as Kubernetes would write it for this key.
pub fn word(key: &str, milli: Milli) -> String {
    if key.ends_with("cpu") {
        if milli % 1_000 == 0 { (milli / 1_000).to_string() } else { quantity::cores(milli) }
    } else if key.ends_with("memory") || key.ends_with("storage") {
        quantity::bytes(milli)
    } else {
        (milli / 1_000).to_string()
    }
}

fn fits(quota: &Doc, doc: &Doc, resource: &str, used: &dyn Fn(&str) -> Milli) -> Result<(), Refusal> {
    let wanted = quota["spec"]["hard"].as_object().cloned().unwrap_or_default();
    let asked: Vec<(&String, Milli)> =
        wanted.keys().filter_map(|key| Some((key, counts(doc, resource, key)?))).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let Some(hard) = quota["status"]["hard"].as_object() else { return Err(Refusal::QuotaPending) };
    if asked.iter().any(|(key, _)| !hard.contains_key(*key)) {
        return Err(Refusal::QuotaPending);
    }
    let title = format!("{resource} \"{}\" is forbidden", manifest::name(doc));
    let name = manifest::name(quota);
    must_say(doc, &asked, &format!("{title}: failed quota: {name}"))?;
    let over: Vec<_> = asked
        .iter()
        .filter_map(|(key, asked)| {
            let used = used(key);
            let hard = amount(&hard[*key]).unwrap_or(0);
            (*asked > 0 && used + asked > hard).then_some((*key, *asked, used, hard))
        })
        .collect();
    if over.is_empty() {
        return Ok(());
    }
    let list = |amounts: Vec<Milli>| {
        let rows = over.iter().zip(amounts).map(|(row, amount)| format!("{}={}", row.0, word(row.0, amount)));
        rows.collect::<Vec<_>>().join(",")
    };
    let requested = list(over.iter().map(|row| row.1).collect());
    let used = list(over.iter().map(|row| row.2).collect());
    let limited = list(over.iter().map(|row| row.3).collect());
    let text = format!("{title}: exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}");
    Err(Refusal::Quota(text))
}

/// A pod must say what a quota counts.
fn must_say(doc: &Doc, asked: &[(&String, Milli)], title: &str) -> Result<(), Refusal> {
    if manifest::kind(doc) != "Pod" {
        return Ok(());
    }
    let lacks = |key: &str| {
        let (field, resource) = compute(key)?;
        let silent = named(doc, |c| c["resources"][field].get(resource).is_none());
        (!silent.is_empty()).then(|| format!("{key} for: {}", silent.join(",")))
    };
    let missing: Vec<_> = asked.iter().filter_map(|(key, _)| lacks(key)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::Quota(format!("{title}: must specify {}", missing.join("; "))))
}
