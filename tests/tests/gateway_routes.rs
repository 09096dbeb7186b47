//! Hosts by the Gateway API on a real cluster: a preview is READY once the Gateway's controller took its route, and says in the
//! controller's words why not.
//!
//! Owns the controller: the test itself, which sets what a controller would set. Refuses to carry requests: no controller of the Gateway
//! API is at hand.
#![allow(clippy::unwrap_used, missing_docs)]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use slipway_proto::environment::v1::{self as environment, EnvironmentState as State};
use slipway_proto::resource::v1::{Condition, ConditionStatus};
use slipway_tests::cluster::Cluster;
use slipway_tests::main_job::eventually;
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::preview_job::{PreviewJob, host};
use slipway_tests::program;

/// Name of the test as a controller.
const CONTROLLER: &str = "slipway.test/controller";

/// What the controller says of a route: status and message of `Accepted` and of `ResolvedRefs`.
struct Said<'a> {
    accepted: (&'a str, &'a str),
    resolved: (&'a str, &'a str),
    /// How many versions ago it looked.
    behind: i64,
}

const FINE: Said<'static> = Said { accepted: ("True", ""), resolved: ("True", ""), behind: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_ready_once_the_gateway_took_its_route_and_says_why_not() {
    let story = "routes of the Gateway API";
    if !program::have(story, &["git", "helm", "go", "kubectl"]) {
        return;
    }
    let Some(cluster) = Cluster::with_images(story) else { return };
    let platform = Platform::start(Engine::Sqlite).unwrap();
    let routing = environment::Routing::Gateway;
    let this = PreviewJob::begin_routed(&platform.handle(), cluster, "routed", routing).await.unwrap();
    let told = routed(&this).await;
    told.unwrap_or_else(|e| panic!("{e:?}\n{}", platform.log()));
}

async fn routed(this: &PreviewJob) -> Result<()> {
    a_gateway(&this.cluster)?;
    let (number, sha) = this.open("faster", "docs/faster.md=faster")?;
    let image = this.build(&sha)?;
    let asked = this.ensure(number, &sha, &image).await?;
    let waiting = not_routed(this, &asked.name, "no Gateway has answered yet").await?;
    ensure!(waiting.state() != State::Ready, "ready without a route");
    let route = the_route(this, &waiting)?;

    // An answer to what was before is no answer.
    say(this, &route, &Said { behind: 1, ..FINE })?;
    not_routed(this, &asked.name, "has not yet said Accepted of this version").await?;
    say(this, &route, &Said { accepted: ("False", "no listener takes hosts of preview.localhost"), ..FINE })?;
    not_routed(this, &asked.name, "not Accepted: no listener takes hosts of preview.localhost").await?;
    say(this, &route, &Said { resolved: ("False", "the Service is not there"), ..FINE })?;
    let refused = not_routed(this, &asked.name, "not ResolvedRefs: the Service is not there").await?;
    ensure!(refused.state() != State::Ready, "ready with a refused route");

    say(this, &route, &FINE)?;
    let env = this.ready(&asked.name, &sha).await?;
    let said = condition(&env)?;
    ensure!((said.reason.as_str(), said.status()) == ("ROUTED", ConditionStatus::True), "{said:?}");

    // What a Gateway took it may let go of.
    say(this, &route, &Said { accepted: ("False", "the listener was removed"), ..FINE })?;
    let lost = not_routed(this, &asked.name, "the listener was removed").await?;
    ensure!(condition(&lost)?.reason == "ROUTE_LOST" && lost.state() != State::Ready, "{:#?}", lost.conditions);
    say(this, &route, &FINE)?;
    this.ready(&asked.name, &sha).await?;

    this.close(number)?;
    let gone = this.job.deleted(&asked.name).await?;
    let receipt = this.job.receipt(&gone.uid).await?;
    let mut routes = receipt.objects.iter().filter(|object| object.kind == "HTTPRoute");
    ensure!(routes.any(|object| object.delete_time.is_some()), "{:#?}", receipt.objects);
    Ok(())
}

/// The Gateway that the platform's routes are attached to.
fn a_gateway(cluster: &Cluster) -> Result<()> {
    let group = "gateway.networking.k8s.io";
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gateway"}}))?;
    cluster.apply(&json!({
        "apiVersion": format!("{group}/v1"), "kind": "GatewayClass", "metadata": {"name": "test"},
        "spec": {"controllerName": CONTROLLER},
    }))?;
    cluster.apply(&json!({
        "apiVersion": format!("{group}/v1"), "kind": "Gateway", "metadata": {"name": "public", "namespace": "gateway"},
        "spec": {"gatewayClassName": "test", "listeners": [{
            "name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}},
        }]},
    }))
}

/// The preview's route; it is attached to the Gateway, for the preview's host.
fn the_route(this: &PreviewJob, env: &environment::Environment) -> Result<Value> {
    let all = ["get", "httproutes", "--namespace", &env.namespace, "--output", "json"];
    let mut all: Value = serde_json::from_str(&this.cluster.kubectl(&all)?)?;
    let all = all["items"].as_array_mut().context("no list")?;
    ensure!(all.len() == 1, "not one route: {all:#?}");
    let route = all.remove(0);
    let parent = &route["spec"]["parentRefs"][0];
    ensure!((&parent["namespace"], &parent["name"]) == (&json!("gateway"), &json!("public")), "{parent}");
    let host = host(env)?;
    let host = host.split(':').next().unwrap_or_default();
    ensure!(route["spec"]["hostnames"] == json!([host]), "{}", route["spec"]);
    Ok(route)
}

/// Sets the status of the route, as the controller of the Gateway does.
fn say(this: &PreviewJob, route: &Value, said: &Said<'_>) -> Result<()> {
    let (name, namespace) = (&route["metadata"]["name"], &route["metadata"]["namespace"]);
    let (name, namespace) = (name.as_str().context("no name")?, namespace.as_str().context("no namespace")?);
    let now = this.cluster.get(namespace, &format!("httproute/{name}"))?;
    let generation = now["metadata"]["generation"].as_i64().context("no generation")? - said.behind;
    let condition = |kind: &str, (status, message): (&str, &str)| {
        json!({
            "type": kind, "status": status, "message": message, "reason": if status == "True" { kind } else { "Refused" },
            "observedGeneration": generation, "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    };
    let status = json!({"status": {"parents": [{
        "parentRef": route["spec"]["parentRefs"][0], "controllerName": CONTROLLER,
        "conditions": [condition("Accepted", said.accepted), condition("ResolvedRefs", said.resolved)],
    }]}});
    let (route, status) = (format!("httproute/{name}"), status.to_string());
    let patch = ["patch", &route, "--namespace", namespace, "--subresource=status", "--type=merge", "--patch", &status];
    this.cluster.kubectl(&patch).map(drop)
}

/// Waits until the environment says with these words that its host is not routed.
async fn not_routed(this: &PreviewJob, name: &str, words: &str) -> Result<environment::Environment> {
    let told = |env: &environment::Environment| {
        condition(env).is_ok_and(|said| said.status() == ConditionStatus::False && said.message.contains(words))
    };
    eventually(words, || this.job.environment(name), told).await
}

fn condition(env: &environment::Environment) -> Result<&Condition> {
    let found = env.conditions.iter().find(|condition| condition.r#type == "Routed");
    found.with_context(|| format!("nothing is said of routes: {:#?}", env.conditions))
}
