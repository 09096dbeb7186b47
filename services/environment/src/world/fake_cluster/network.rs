//! Controllers of Services and routes.
//!
//! Owns addresses, EndpointSlices with the ready pods, and what a Gateway controller says of routes. Refuses traffic: nothing listens.
use serde_json::{Value, json};

use super::{
    fields::Managers,
    objects::{is_going, owner, reference, selects, uid},
    state::{GatewayPlan, State},
};
use crate::model::{
    environment::ObjectRef,
    manifest::{self, Doc},
};

/// One step in a namespace.
pub fn step(state: &mut State, namespace: &str) {
    for service in state.objects.of_kind(namespace, "v1", "Service") {
        if !is_going(&service) {
            serve(state, &service);
        }
    }
    for kind in ["HTTPRoute", "GRPCRoute"] {
        for route in state.objects.of_kind(namespace, "gateway.networking.k8s.io/v1", kind) {
            attach(state, &route);
        }
    }
    for gateway in state.objects.of_kind(namespace, "gateway.networking.k8s.io/v1", "Gateway") {
        program(state, &gateway);
    }
    for ingress in state.objects.of_kind(namespace, "networking.k8s.io/v1", "Ingress") {
        if state.gateway == GatewayPlan::Accepts {
            state.objects.set_status(&ingress, json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}));
        }
    }
}

/// A pod as its probes see it: where policies are enforced, one that tries to reach a pod of another namespace is not ready once either
/// namespace is walled.
pub fn as_reached(state: &State, mut pod: Doc) -> Doc {
    if !state.enforces_policies || manifest::kind(&pod) != "Pod" {
        return pod;
    }
    let namespace = manifest::text(&pod, "/metadata/namespace").to_owned();
    let is_walled = |namespace: &str| {
        let policies = state.objects.of_kind(namespace, "networking.k8s.io/v1", "NetworkPolicy");
        policies.iter().any(|policy| policy["spec"]["podSelector"] == json!({}))
    };
    let all = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    for container in all {
        let command = container["readinessProbe"]["exec"]["command"].to_string();
        let spaces = state.objects.namespaces();
        let home = spaces.into_iter().find(|space| {
            let pods = state.objects.of_kind(space, "v1", "Pod");
            pods.iter().any(|p| {
                p.pointer("/status/podIP")
                    .and_then(Value::as_str)
                    .is_some_and(|ip| command.contains(&format!(" {ip} ")))
            })
        });
        let is_cut = home.is_some_and(|home| home != namespace && (is_walled(&home) || is_walled(&namespace)));
        let statuses = pod.pointer_mut("/status/containerStatuses").and_then(Value::as_array_mut);
        for status in statuses.into_iter().flatten().filter(|status| is_cut && status["name"] == container["name"]) {
            status["ready"] = json!(false);
        }
    }
    pod
}

fn serve(state: &mut State, service: &Doc) {
    if service["spec"].get("clusterIP").is_none() && service["spec"]["type"] != "ExternalName" {
        let n = state.next();
        state.objects.edit(&reference(service), |doc| {
            doc["spec"]["clusterIP"] = json!(format!("10.96.{}.{}", n / 250 % 250, n % 250 + 1));
        });
    }
    let Some(selector) = service["spec"].get("selector") else { return };
    let namespace = manifest::text(service, "/metadata/namespace");
    let pods = state.objects.of_kind(namespace, "v1", "Pod");
    let chosen: Vec<&Doc> = pods.iter().filter(|pod| selects(Some(selector), pod)).collect();
    let endpoints: Vec<Value> = chosen.iter().filter_map(|pod| endpoint(pod)).collect();
    let ports = ports(service, chosen.first().copied());
    let slices = state.objects.of_kind(namespace, "discovery.k8s.io/v1", "EndpointSlice");
    if let Some(slice) = slices.iter().find(|slice| owner(slice) == uid(service)) {
        state.objects.edit(&reference(slice), |doc| {
            doc["endpoints"] = json!(endpoints);
            doc["ports"] = json!(ports);
        });
        return;
    }
    let name = manifest::name(service);
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("kubernetes.io/service-name".to_owned(), json!(name));
    labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), json!("endpointslice-controller.k8s.io"));
    let doc = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{name}-{:05x}", state.next()), "namespace": namespace, "labels": labels,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": uid(service), "controller": true}]},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    // A namespace that ends refuses it, rightly.
    let _ = state.create(doc, Managers::new());
}

fn endpoint(pod: &Doc) -> Option<Value> {
    let address = pod.pointer("/status/podIP")?.as_str()?;
    if matches!(manifest::text(pod, "/status/phase"), "Succeeded" | "Failed") {
        return None;
    }
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array)?;
    let is_ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let (name, uid, ends) = (manifest::name(pod), uid(pod), is_going(pod));
    let target = json!({"kind": "Pod", "name": name, "namespace": pod["metadata"]["namespace"], "uid": uid});
    let conditions = json!({"ready": is_ready && !ends, "serving": is_ready, "terminating": ends});
    Some(json!({"addresses": [address], "conditions": conditions, "targetRef": target, "nodeName": "fake"}))
}

fn ports(service: &Doc, pod: Option<&Doc>) -> Vec<Value> {
    let named = |name: &str| {
        let containers = pod?.pointer("/spec/containers")?.as_array()?;
        let ports = containers.iter().filter_map(|c| c["ports"].as_array()).flatten();
        ports.into_iter().find(|port| port["name"] == name).map(|port| port["containerPort"].clone())
    };
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |port: &Value| {
        let number = match &port["targetPort"] {
            Value::String(name) => named(name)?,
            Value::Null => port["port"].clone(),
            number => number.clone(),
        };
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        Some(json!({"name": port["name"].as_str().unwrap_or_default(), "port": number, "protocol": protocol}))
    };
    ports.iter().filter_map(one).collect()
}

/// Says of each parent whether the route is accepted and its backends are there.
fn attach(state: &mut State, route: &Doc) {
    let refused = match &state.gateway {
        GatewayPlan::Silent => return,
        GatewayPlan::Accepts => None,
        GatewayPlan::Refuses(reason) => Some(reason.clone()),
    };
    let namespace = manifest::text(route, "/metadata/namespace");
    let is_missing = |backend: &&Value| {
        let service = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: namespace.to_owned(),
            name: backend["name"].as_str().unwrap_or_default().to_owned(),
        };
        state.objects.get(&service).is_none()
    };
    let rules = route["spec"]["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut backends = rules.iter().filter_map(|rule| rule["backendRefs"].as_array()).flatten();
    let missing = backends.find(is_missing).and_then(|b| b["name"].as_str());
    let condition = |kind: &str, is: bool, reason: &str, message: String| {
        json!({"type": kind, "status": if is { "True" } else { "False" }, "reason": reason, "message": message,
            "observedGeneration": route["metadata"]["generation"]})
    };
    let accepted = match &refused {
        None => condition("Accepted", true, "Accepted", "Route was valid".to_owned()),
        Some(reason) => condition("Accepted", false, reason, "Route was refused".to_owned()),
    };
    let resolved = match missing {
        None => condition("ResolvedRefs", true, "ResolvedRefs", "All references resolved".to_owned()),
        Some(name) => condition("ResolvedRefs", false, "BackendNotFound", format!("service {name} not found")),
    };
    let parents = route["spec"]["parentRefs"].as_array().cloned().unwrap_or_default();
    let parents: Vec<_> = parents
        .iter()
        .map(|parent| json!({"parentRef": parent, "controllerName": "slipway.test/gateway", "conditions": [accepted, resolved]}))
        .collect();
    state.objects.set_status(route, json!({"parents": parents}));
}

fn program(state: &mut State, gateway: &Doc) {
    if state.gateway == GatewayPlan::Silent {
        return;
    }
    let conditions: Vec<_> = ["Accepted", "Programmed"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "reason": kind, "message": "", "observedGeneration": gateway["metadata"]["generation"]}))
        .collect();
    state.objects.set_status(
        gateway,
        json!({"conditions": conditions, "addresses": [{"type": "IPAddress", "value": "203.0.113.7"}]}),
    );
}
