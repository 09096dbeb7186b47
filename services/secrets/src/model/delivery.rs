//! Delivery: the Kubernetes Secrets of an environment as they shall be, and what of those that stand is ours (SEC-41).
//!
//! Owns when a Secret is ours, and the bytes that are sent. Refuses to touch another's, and a `Debug` that shows a value.
use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use slipway_kit::error::{Error, Result};
use zeroize::Zeroizing;

use super::name::{Path, is_key};

/// Label with the uid of the environment an object belongs to (ENV-50).
pub const LABEL_ENVIRONMENT: &str = "slipway.dev/env-uid";
/// Annotation with the binding's generation; what has none was not delivered by us.
pub const ANNOTATION_GENERATION: &str = "slipway.dev/binding-generation";

/// How every body begins, up to its type.
const HEAD: &str = r#"{"apiVersion":"v1","kind":"Secret","type":""#;

/// The one key of an image pull secret.
pub const PULL_KEY: &str = ".dockerconfigjson";

/// Type of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values of a binding.
    Bound,
    /// Logins of registries that images are pulled with.
    Pull,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Bound => "Opaque",
            Kind::Pull => "kubernetes.io/dockerconfigjson",
        }
    }

    fn may_have(self, key: &str) -> bool {
        match self {
            Kind::Bound => is_key(key),
            Kind::Pull => key == PULL_KEY,
        }
    }
}

/// How a cluster is reached: a reference, never a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Name of a kubeconfig file below `credentials_root`.
    KubeconfigFile(String),
    /// The ServiceAccount of our pod.
    InCluster,
}

/// Where Secrets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Id of the cluster.
    pub cluster: String,
    /// How it is reached.
    pub access: Access,
    /// Namespace.
    pub namespace: String,
    /// Uid the namespace must have.
    pub namespace_uid: String,
}

impl Place {
    /// Name of the place in records.
    pub fn name(&self) -> String {
        format!("clusters/{}/namespaces/{}", self.cluster, self.namespace)
    }
}

/// A Secret in a cluster, by its metadata alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Version of the object; changes with every write.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Stored {
    /// Whether we delivered it to this environment.
    pub fn is_ours(&self, environment_uid: &str) -> bool {
        self.annotations.contains_key(ANNOTATION_GENERATION)
            && self.labels.get(LABEL_ENVIRONMENT).is_some_and(|uid| uid == environment_uid)
    }
}

/// A Secret as it shall be.
pub struct Wanted {
    /// Type.
    pub kind: Kind,
    /// Name: the id of the binding.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Generation of the binding.
    pub generation: i64,
    /// Versions that values were taken of.
    pub versions: BTreeMap<Path, i64>,
    /// Values by key.
    pub values: BTreeMap<String, SecretString>,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wanted({}, ***)", self.name)
    }
}

impl Wanted {
    fn metadata(&self, at: Option<&Stored>) -> serde_json::Value {
        let mut metadata = json!({
            "name": self.name,
            "labels": self.labels,
            "annotations": { ANNOTATION_GENERATION: self.generation.to_string() },
        });
        if let Some(stored) = at {
            metadata["uid"] = json!(stored.uid);
            metadata["resourceVersion"] = json!(stored.resource_version);
        }
        metadata
    }

    /// The object without any value, which takes the name.
    pub fn claim(&self) -> Vec<u8> {
        let word = self.kind.word();
        // Without its one key a pull secret is refused.
        let data = match self.kind {
            Kind::Bound => String::new(),
            Kind::Pull => format!(r#","data":{{"{PULL_KEY}":"e30="}}"#),
        };
        format!(r#"{HEAD}{word}","metadata":{}{data}}}"#, self.metadata(None)).into_bytes()
    }

    /// The whole object for the one that stands: with its uid and version as preconditions. The only plaintext copy is wiped.
    pub fn body(&self, at: &Stored) -> Result<Zeroizing<Vec<u8>>> {
        let metadata = format!(r#"{}","metadata":{}"#, self.kind.word(), self.metadata(Some(at)));
        // All space at once: a vector that grows would leave copies behind.
        let longest = |(key, value): (&String, &SecretString)| key.len() + value.expose_secret().len() * 4 / 3 + 16;
        let size = HEAD.len() + metadata.len() + 16 + self.values.iter().map(longest).sum::<usize>();
        let mut body = Zeroizing::new(Vec::with_capacity(size));
        body.extend_from_slice(HEAD.as_bytes());
        body.extend_from_slice(metadata.as_bytes());
        body.extend_from_slice(b",\"data\":{");
        for (at, (key, value)) in self.values.iter().enumerate() {
            if !self.kind.may_have(key) {
                return Err(Error::internal("a binding's key does not follow the grammar"));
            }
            body.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
            body.extend_from_slice(key.as_bytes());
            body.extend_from_slice(b"\":\"");
            append_base64(&mut body, value.expose_secret().as_bytes())?;
            body.push(b'"');
        }
        body.extend_from_slice(b"}}");
        Ok(body)
    }
}

fn append_base64(body: &mut Vec<u8>, value: &[u8]) -> Result<()> {
    let start = body.len();
    body.resize(start + value.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(value, &mut body[start..]).map(drop).map_err(|_| Error::internal("the space is too small"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(values: &[(&str, &str)]) -> Wanted {
        Wanted {
            kind: Kind::Bound,
            name: "db".to_owned(),
            labels: BTreeMap::from([(LABEL_ENVIRONMENT.to_owned(), "e".to_owned())]),
            generation: 3,
            versions: BTreeMap::new(),
            values: values.iter().map(|(k, v)| ((*k).to_owned(), SecretString::from(*v))).collect(),
        }
    }

    #[test]
    fn the_body_is_one_object_with_its_preconditions() {
        let at = Stored {
            name: "db".to_owned(),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            ..Stored::default()
        };
        for values in [&[][..], &[("A", "x")], &[("A", ""), ("B", "ü\"\n"), ("C.d-e", "1234")]] {
            let want = wanted(values);
            let body = want.body(&at).unwrap();
            let doc: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(doc["metadata"]["uid"], "u");
            assert_eq!(doc["metadata"]["resourceVersion"], "7");
            assert_eq!(doc["metadata"]["annotations"][ANNOTATION_GENERATION], "3");
            let data = doc["data"].as_object().unwrap();
            assert_eq!(data.len(), values.len());
            for (key, value) in values {
                assert_eq!(STANDARD.decode(data[*key].as_str().unwrap()).unwrap(), value.as_bytes());
            }
            let claim: serde_json::Value = serde_json::from_slice(&want.claim()).unwrap();
            assert!(claim.get("data").is_none() && claim["metadata"].get("uid").is_none());
            assert_eq!(format!("{want:?}"), "Wanted(db, ***)");
        }
        assert!(wanted(&[("a\"b", "x")]).body(&at).is_err());
    }

    #[test]
    fn only_what_we_delivered_to_this_environment_is_ours() {
        let pair = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        let mut stored = Stored {
            labels: pair(LABEL_ENVIRONMENT, "e"),
            annotations: pair(ANNOTATION_GENERATION, "1"),
            ..Stored::default()
        };
        assert!(stored.is_ours("e") && !stored.is_ours("f"));
        stored.annotations.clear();
        assert!(!stored.is_ours("e"));
    }
}
