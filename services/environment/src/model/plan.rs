//! What is applied, in which order and form: from the files of a render to documents (ENV-60, ENV-66, ENV-75, ENV-81).
//!
//! Owns the choice between sleeping and running forms, names that change with the generation, and the pods that admission is asked
//! about. Refuses guard rails: they have their own step.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    environment::{Environment, ObjectRef, Power},
    guardrails, hook, layout,
    manifest::{self, Doc},
    sleep,
    tier::Tier,
};

/// Annotation with the fencing number of who wrote an object last (ENV-50).
pub const EPOCH: &str = "slipway.dev/epoch";

/// What a generation applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The documents in the order of application.
    pub docs: Vec<Doc>,
    /// Everything that belongs to the generation, applied now or not.
    pub objects: Vec<ObjectRef>,
    /// What of it stays when it is wanted no more.
    pub kept: Vec<ObjectRef>,
}

/// The plan of a generation from its rendered files.
///
/// # Errors
/// What does not parse; a render that was kept always does.
pub fn of(env: &Environment, files: &[(String, String)]) -> Result<Plan, String> {
    let mut docs = manifest::of_files(files)?;
    docs.retain(|doc| !guardrails::is_rail(doc) && !hook::is_hook(doc));
    for doc in &mut docs {
        number(doc, env.generation);
    }
    let progress = &env.status.progress;
    let is_running = progress.applied > 0 && progress.power == Power::Awake && env.power == Power::Awake;
    let mut docs = match env.power {
        Power::Asleep => sleep::asleep(docs),
        Power::Awake => sleep::awake(docs, &progress.replicas, is_running),
    };
    docs.sort_by_key(|doc| layout::rank(&manifest::kind(doc).to_lowercase()));
    let objects = docs.iter().map(manifest::object).collect();
    let stays = |doc: &&Doc| hook::is_kept(doc) && env.tier != Tier::Development;
    let kept = docs.iter().filter(stays).map(manifest::object).collect();
    // A job runs once in a generation: neither sleep, wake nor a repair starts it again.
    if progress.applied == env.generation {
        docs.retain(|doc| manifest::kind(doc) != "Job");
    }
    Ok(Plan { docs, objects, kept })
}

/// Names a job by its generation: the template of one that exists cannot change (ENV-75).
fn number(doc: &mut Doc, generation: i64) {
    if manifest::kind(doc) == "Job" {
        let name: String = manifest::name(doc).chars().take(50).collect();
        doc["metadata"]["name"] = json!(format!("{}-g{generation}", name.trim_end_matches('-')));
    }
}

/// Stamps who writes it.
pub fn stamp(doc: &mut Doc, epoch: i64) {
    manifest::stamp(doc, "annotations", [(EPOCH, epoch.to_string())]);
}

/// One pod of each workload, with the title of the workload: what admission is asked about before anything is applied (ENV-66).
pub fn pods(docs: &[Doc]) -> Vec<(String, Doc)> {
    docs.iter().filter(|doc| manifest::kind(doc) != "Pod").filter_map(pod).collect()
}

fn pod(doc: &Doc) -> Option<(String, Doc)> {
    let (path, spec) = manifest::pod_spec(doc)?;
    let mut spec = spec.clone();
    let fields = spec.as_object_mut()?;
    // The chart's own account is not there yet, and no rule of admission that we ask about rests on it.
    fields.remove("serviceAccount");
    fields.insert("serviceAccountName".to_owned(), json!("default"));
    fields.insert("automountServiceAccountToken".to_owned(), json!(false));
    if matches!(manifest::kind(doc), "Job" | "CronJob") {
        fields.entry("restartPolicy").or_insert_with(|| json!("Never"));
    }
    let labels = path.strip_suffix("/spec").and_then(|template| doc.pointer(&format!("{template}/metadata/labels")));
    let name: String = manifest::name(doc).chars().take(50).collect();
    let metadata = json!({
        "name": format!("{}-admission", name.trim_end_matches(['-', '.'])),
        "namespace": manifest::text(doc, "/metadata/namespace"),
        "labels": labels.cloned().unwrap_or(Value::Null),
    });
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
    if pod["metadata"]["labels"].is_null() {
        pod["metadata"]["labels"] = json!({});
    }
    Some((manifest::title(doc), pod))
}

/// Replicas to be remembered when an environment falls asleep: what runs now, unless it sleeps already.
pub fn remembered(env: &Environment, live: &BTreeMap<String, i64>) -> Option<BTreeMap<String, i64>> {
    let falls_asleep = env.power == Power::Asleep && env.status.progress.power == Power::Awake;
    (falls_asleep && env.status.progress.applied > 0).then(|| live.clone())
}
