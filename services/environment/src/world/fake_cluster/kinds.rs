//! The kinds that the pretended cluster serves.
//!
//! Owns names of resources and whether they live in namespaces. Refuses schemas: what is not served is unknown, all else is stored.
use std::collections::BTreeMap;

/// How a kind is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Name of the resource, `deployments`.
    pub resource: String,
    /// Whether its objects live in namespaces.
    pub is_namespaced: bool,
}

/// Built in: group and version, kind, resource; a leading `/` marks what has no namespace.
const BUILT_IN: &[(&str, &str, &str)] = &[
    ("v1", "Namespace", "/namespaces"),
    ("v1", "Node", "/nodes"),
    ("v1", "PersistentVolume", "/persistentvolumes"),
    ("v1", "Pod", "pods"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "LimitRange", "limitranges"),
    ("v1", "ResourceQuota", "resourcequotas"),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("v1", "Event", "events"),
    ("apps/v1", "Deployment", "deployments"),
    ("apps/v1", "ReplicaSet", "replicasets"),
    ("apps/v1", "StatefulSet", "statefulsets"),
    ("apps/v1", "DaemonSet", "daemonsets"),
    ("batch/v1", "Job", "jobs"),
    ("batch/v1", "CronJob", "cronjobs"),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    ("networking.k8s.io/v1", "Ingress", "ingresses"),
    ("networking.k8s.io/v1", "IngressClass", "/ingressclasses"),
    ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "/clusterroles"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "/clusterrolebindings"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "/customresourcedefinitions"),
    ("gateway.networking.k8s.io/v1", "GatewayClass", "/gatewayclasses"),
    ("gateway.networking.k8s.io/v1", "Gateway", "gateways"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes"),
];

/// Kinds by group and version, and kind.
#[derive(Clone, Debug)]
pub struct Kinds(BTreeMap<(String, String), Served>);

impl Default for Kinds {
    fn default() -> Self {
        let mut kinds = Self(BTreeMap::new());
        for (api_version, kind, resource) in BUILT_IN {
            kinds.serve(api_version, kind, resource.trim_start_matches('/'), !resource.starts_with('/'));
        }
        kinds
    }
}

impl Kinds {
    /// Begins to serve a kind, as a CRD does.
    pub fn serve(&mut self, api_version: &str, kind: &str, resource: &str, is_namespaced: bool) {
        let served = Served { resource: resource.to_owned(), is_namespaced };
        self.0.insert((api_version.to_owned(), kind.to_owned()), served);
    }

    /// Serves every kind of a group no more.
    pub fn unserve(&mut self, group: &str) {
        self.0.retain(|(api_version, _), _| self::group(api_version) != group);
    }

    /// How a kind is served; `None` if it is not.
    pub fn get(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.0.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// Every `group/version/Kind` and `group/version`, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.keys().map(|(api_version, kind)| format!("{api_version}/{kind}")).collect();
        names.extend(self.0.keys().map(|(api_version, _)| api_version.clone()));
        names.sort();
        names.dedup();
        names
    }
}

/// The group of a group and version; empty for the first one.
pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
