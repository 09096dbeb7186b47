//! Bound secrets as they stand in a namespace: names, uids and versions, never a value.
//!
//! Owns what counts as a change of them, and how that reaches the pods (SEC-26, SEC-45): as a hash of counters on pod templates.
//! Refuses values and hashes of values.
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    environment::{Held, ObjectRef},
    manifest::{self, Doc},
};

/// Annotation on pod templates that changes when what is delivered changes.
pub const HASH: &str = "slipway.dev/secrets-hash";

/// Kinds whose pods follow a changed template.
const ROLLING: [&str; 3] = ["DaemonSet", "Deployment", "StatefulSet"];

/// One Secret that stands in the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredSecret {
    /// Name.
    pub name: String,
    /// Uid in the cluster.
    pub uid: String,
    /// Generation of the binding.
    pub generation: i64,
    /// Path and version of each secret that keys were taken of, sorted.
    pub versions: Vec<(String, i64)>,
}

/// Everything that was delivered to an environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The Secrets, sorted by name.
    pub secrets: Vec<DeliveredSecret>,
    /// The image pull secrets, sorted by name; they roll nothing.
    #[serde(default)]
    pub pull: Vec<DeliveredSecret>,
}

impl Delivered {
    /// Hash over names, generations and version numbers; empty if nothing is bound. The uid is left out: a Secret that was deleted
    /// and delivered again rolls nothing.
    pub fn hash(&self) -> String {
        if self.secrets.is_empty() {
            return String::new();
        }
        let mut hash = Sha256::new();
        for secret in &self.secrets {
            hash.update(format!("{}\n{}\n", secret.name, secret.generation));
            for (path, version) in &secret.versions {
                hash.update(format!("{path}\n{version}\n"));
            }
            hash.update([0]);
        }
        hex::encode(&hash.finalize()[..16])
    }

    /// The Secrets as objects of the inventory.
    pub fn held(&self, namespace: &str, now_us: i64) -> Vec<Held> {
        let object = |name: &str| ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let held = |s: &DeliveredSecret| Held { object: object(&s.name), uid: s.uid.clone(), created_us: now_us };
        self.secrets.iter().chain(&self.pull).map(held).collect()
    }

    /// Whether a Secret of this name was delivered.
    pub fn has(&self, name: &str) -> bool {
        self.secrets.iter().chain(&self.pull).any(|secret| secret.name == name)
    }

    /// Writes the hash on every pod template that rolls, so that a changed value reaches the pods by one rollout.
    pub fn stamp(&self, docs: &mut [Doc]) {
        let hash = self.hash();
        if hash.is_empty() {
            return;
        }
        for doc in docs.iter_mut().filter(|doc| ROLLING.contains(&manifest::kind(doc))) {
            let Some(Value::Object(template)) = doc.pointer_mut("/spec/template") else { continue };
            let metadata = template.entry("metadata").or_insert_with(|| json!({}));
            if metadata.get("annotations").is_none_or(Value::is_null) {
                metadata["annotations"] = json!({});
            }
            metadata["annotations"][HASH] = json!(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(uid: &str, generation: i64, version: i64) -> Delivered {
        let versions = vec![("secrets/pay-aaaaa/development".to_owned(), version)];
        Delivered {
            secrets: vec![DeliveredSecret { name: "db".to_owned(), uid: uid.to_owned(), generation, versions }],
            pull: Vec::new(),
        }
    }

    #[test]
    fn only_counters_change_the_hash() {
        let first = delivered("a", 1, 1).hash();
        assert_eq!(first, delivered("b", 1, 1).hash());
        assert_ne!(first, delivered("a", 2, 1).hash());
        assert_ne!(first, delivered("a", 1, 2).hash());
        assert_eq!(Delivered::default().hash(), "");
    }

    #[test]
    fn templates_that_roll_carry_it() {
        let mut docs = vec![
            json!({"kind": "Deployment", "spec": {"template": {"metadata": {"annotations": {"a": "b"}}, "spec": {}}}}),
            json!({"kind": "StatefulSet", "spec": {"template": {"spec": {}}}}),
            json!({"kind": "Job", "spec": {"template": {"spec": {}}}}),
            json!({"kind": "Service", "spec": {}}),
        ];
        let before = docs.clone();
        Delivered::default().stamp(&mut docs);
        assert_eq!(docs, before);
        let told = delivered("a", 1, 1);
        told.stamp(&mut docs);
        assert_eq!(
            docs[0]["spec"]["template"]["metadata"]["annotations"],
            json!({"a": "b", "slipway.dev/secrets-hash": told.hash()})
        );
        assert_eq!(docs[1]["spec"]["template"]["metadata"]["annotations"][HASH], json!(told.hash()));
        assert_eq!(docs[2..], before[2..]);
    }
}
