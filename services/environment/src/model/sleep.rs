//! The form in which documents sleep, and in which they wake (ENV-81, ENV-113, ENV-114).
//!
//! Owns the two transformations of what was rendered. Refuses to lose anything: both begin from the render, so that the rendered form
//! is kept by construction.
use std::collections::BTreeMap;

use serde_json::json;

use super::manifest::{self, Doc};

/// Annotation with the replicas that the rendered form wants.
pub const REPLICAS: &str = "slipway.dev/replicas";
/// A node label that no node has: where pods of sleeping DaemonSets would go.
const NOWHERE: &str = "slipway.dev/asleep";

/// Whether a kind scales others, and would wake what sleeps.
fn scales(kind: &str) -> bool {
    matches!(kind, "HorizontalPodAutoscaler" | "ScaledObject")
}

fn has_replicas(kind: &str) -> bool {
    matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController")
}

/// The documents as they sleep: nothing runs, nothing is started, nothing scales.
pub fn asleep(docs: Vec<Doc>) -> Vec<Doc> {
    let stays = |doc: &Doc| !scales(manifest::kind(doc)) && manifest::kind(doc) != "Pod";
    docs.into_iter().filter(stays).map(sleeping).collect()
}

fn sleeping(mut doc: Doc) -> Doc {
    match manifest::kind(&doc) {
        kind if has_replicas(kind) => {
            let replicas = doc.pointer("/spec/replicas").and_then(serde_json::Value::as_i64);
            if let Some(replicas) = replicas {
                manifest::stamp(&mut doc, "annotations", [(REPLICAS, replicas.to_string())]);
            }
            doc["spec"]["replicas"] = json!(0);
        }
        "CronJob" => doc["spec"]["suspend"] = json!(true),
        "DaemonSet" => doc["spec"]["template"]["spec"]["nodeSelector"][NOWHERE] = json!("true"),
        _ => {}
    }
    doc
}

/// The documents as they run. What an autoscaler scales keeps the number it has (ENV-81); `stored` is what ran before the sleep, and
/// counts where the render says nothing or an autoscaler would have the word; `is_running` tells whether they run already.
pub fn awake(docs: Vec<Doc>, stored: &BTreeMap<String, i64>, is_running: bool) -> Vec<Doc> {
    let scaled: Vec<String> = docs.iter().filter(|doc| scales(manifest::kind(doc))).map(target).collect();
    let wake = |mut doc: Doc| {
        if !has_replicas(manifest::kind(&doc)) || doc["spec"].is_null() {
            return doc;
        }
        let title = manifest::title(&doc);
        let is_scaled = scaled.contains(&title);
        if is_scaled && is_running {
            if let Some(spec) = doc["spec"].as_object_mut() {
                spec.remove("replicas");
            }
        } else if (is_scaled || doc["spec"]["replicas"].is_null())
            && let Some(replicas) = stored.get(&title).filter(|n| **n > 0)
        {
            doc["spec"]["replicas"] = json!(replicas);
        }
        doc
    };
    docs.into_iter().map(wake).collect()
}

/// `Kind/name` of what an autoscaler scales; a ScaledObject means a Deployment unless it says otherwise.
fn target(doc: &Doc) -> String {
    let kind = manifest::text(doc, "/spec/scaleTargetRef/kind");
    let kind = if kind.is_empty() { "Deployment" } else { kind };
    format!("{kind}/{}", manifest::text(doc, "/spec/scaleTargetRef/name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docs() -> Vec<Doc> {
        vec![
            json!({"kind": "Deployment", "metadata": {"name": "api"}, "spec": {"replicas": 3}}),
            json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}}),
            json!({"kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {}}),
            json!({"kind": "CronJob", "metadata": {"name": "night"}, "spec": {"schedule": "0 0 * * *"}}),
            json!({"kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": {"template": {"spec": {}}}}),
            json!({"kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
                "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}}}),
            json!({"kind": "Service", "metadata": {"name": "api"}, "spec": {"ports": []}}),
        ]
    }

    fn replicas(docs: &[Doc]) -> Vec<(String, Option<i64>)> {
        let scaled = docs.iter().filter(|doc| has_replicas(manifest::kind(doc)));
        scaled.map(|doc| (manifest::title(doc), doc["spec"]["replicas"].as_i64())).collect()
    }

    #[test]
    fn nothing_runs_in_a_sleeping_form_and_the_rest_stands() {
        let slept = asleep(docs());
        assert!(replicas(&slept).iter().all(|(_, n)| *n == Some(0)));
        assert_eq!(slept.iter().map(manifest::kind).filter(|kind| scales(kind)).count(), 0);
        assert_eq!(slept[0]["metadata"]["annotations"][REPLICAS], "3");
        assert_eq!(slept[3]["spec"]["suspend"], true);
        assert_eq!(slept[4]["spec"]["template"]["spec"]["nodeSelector"][NOWHERE], "true");
        assert_eq!(slept.last(), docs().last());
    }

    #[test]
    fn waking_restores_what_the_render_says_and_else_what_ran() {
        let stored = BTreeMap::from([("StatefulSet/db".to_owned(), 2), ("Deployment/web".to_owned(), 7)]);
        let of = |title: &str, n| (title.to_owned(), n);
        let woken = replicas(&awake(docs(), &stored, false));
        assert_eq!(
            woken,
            [of("Deployment/api", Some(3)), of("Deployment/web", Some(7)), of("StatefulSet/db", Some(2))]
        );
        // While it runs the autoscaler has the word.
        let running = replicas(&awake(docs(), &stored, true));
        assert_eq!(running[1], of("Deployment/web", None));
    }
}
