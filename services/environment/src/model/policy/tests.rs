//! The policy on documents that break one rule each, and on one that breaks none.
use super::*;

const DIGEST: &str = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static OPEN: Policy =
    Policy { disabled: std::collections::BTreeSet::new(), kinds: std::collections::BTreeSet::new(), rego: Vec::new() };

fn rules<'a>(registries: &'a [String]) -> Rules<'a> {
    Rules {
        namespace: "shop-pr-1-aaaaa",
        tier: Tier::Development,
        host: "pr-1-shop.preview.localhost",
        fork: false,
        registries,
        policy: &OPEN,
    }
}

fn parsed(text: &str) -> Vec<Doc> {
    manifest::parse(&text.replace("DIGEST", DIGEST)).unwrap_or_else(|e| panic!("{e}"))
}

fn deployment(pod: &str) -> String {
    format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{template: {{spec: {pod}}}}}\n")
}

fn object(api: &str, kind: &str, rest: &str) -> String {
    format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\n{rest}\n")
}

type Case = (String, String);

fn kinds_and_metadata() -> Vec<Case> {
    vec![
        (object("v1", "Namespace", ""), "/kind".into()),
        (object("rbac.authorization.k8s.io/v1", "ClusterRole", ""), "/kind".into()),
        (object("apiextensions.k8s.io/v1", "CustomResourceDefinition", ""), "/kind".into()),
        (object("example.com/v1", "Widget", ""), "/kind".into()),
        (object("v1", "ResourceQuota", ""), "/kind".into()),
        (object("v1", "LimitRange", ""), "/kind".into()),
        (object("apps/v1beta1", "Deployment", ""), "/apiVersion".into()),
        (object("batch/v2alpha1", "CronJob", ""), "/apiVersion".into()),
        (object("other.example/v1", "Deployment", ""), "/kind".into()),
        (
            object("apps/v1", "StatefulSet", "spec: {volumeClaimTemplates: [{metadata: {name: v, labels: {slipway.dev/team: x}}}]}"),
            "/spec/volumeClaimTemplates/0/metadata/labels/slipway.dev/team".into(),
        ),
        ("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: slipway-deny-all}\n".into(), "/metadata/name".into()),
        (object("external-secrets.io/v1", "ExternalSecret", ""), "/kind".into()),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {metadata: {labels: {slipway.dev/team: x}}}}\n".into(), "/spec/template/metadata/labels/slipway.dev/team".into()),
        ("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, annotations: {nginx.ingress.kubernetes.io/server-snippet: x}}\n".into(), "/metadata/annotations/nginx.ingress.kubernetes.io/server-snippet".into()),
        (object("v1", "Secret", "data: {a: eA==}"), "/kind".into()),
        ("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\n".into(), "/metadata/name".into()),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: slipway-x}\n".into(), "/metadata/name".into()),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ../x}\n".into(), "/metadata/name".into()),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: kube-system}\n".into(),
            "/metadata/namespace".into(),
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, finalizers: [x]}\n".into(),
            "/metadata/finalizers".into(),
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {slipway.dev/team: x}}\n".into(),
            "/metadata/labels/slipway.dev/team".into(),
        ),
        (
            "apiVersion: batch/v1\nkind: Job\nmetadata: {name: a, annotations: {helm.sh/hook: pre-flight}}\n".into(),
            "/metadata/annotations/helm.sh/hook".into(),
        ),
    ]
}

fn pods() -> Vec<Case> {
    let pod = |extra: &str| deployment(&format!("{{containers: [{{name: c, image: xDIGEST}}], {extra}}}"));
    let container = |extra: &str| deployment(&format!("{{containers: [{{name: c, image: xDIGEST, {extra}}}]}}"));
    let spec = "/spec/template/spec";
    vec![
        (pod("hostNetwork: true"), format!("{spec}/hostNetwork")),
        (pod("hostPID: true"), format!("{spec}/hostPID")),
        (pod("priorityClassName: system-node-critical"), format!("{spec}/priorityClassName")),
        (pod("hostIPC: true"), format!("{spec}/hostIPC")),
        (pod("automountServiceAccountToken: true"), format!("{spec}/automountServiceAccountToken")),
        (pod("volumes: [{name: v, hostPath: {path: /}}]"), format!("{spec}/volumes/0/hostPath")),
        (
            pod("volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]"),
            format!("{spec}/volumes/0/projected/sources/0/serviceAccountToken"),
        ),
        (container("securityContext: {privileged: true}"), format!("{spec}/containers/0/securityContext/privileged")),
        (
            container("securityContext: {capabilities: {add: [NET_ADMIN]}}"),
            format!("{spec}/containers/0/securityContext/capabilities/add"),
        ),
        (container("ports: [{containerPort: 1, hostPort: 1}]"), format!("{spec}/containers/0/ports/0/hostPort")),
        (deployment("{initContainers: [{name: i, image: busybox:1}]}"), format!("{spec}/initContainers/0/image")),
    ]
}

fn reach_and_rights() -> Vec<Case> {
    let policy = |spec: &str| {
        format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: np}}\nspec: {spec}\n")
    };
    let role = |rule: &str| {
        format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: r}}\nrules: [{rule}]\n")
    };
    vec![
        (object("v1", "Service", "spec: {type: LoadBalancer}"), "/spec/type".into()),
        (object("v1", "Service", "spec: {type: NodePort}"), "/spec/type".into()),
        (object("v1", "Service", "spec: {type: ExternalName}"), "/spec/type".into()),
        (object("v1", "Service", "spec: {externalIPs: [1.2.3.4]}"), "/spec/externalIPs".into()),
        (
            object("gateway.networking.k8s.io/v1", "HTTPRoute", "spec: {hostnames: [evil.example]}"),
            "/spec/hostnames/0".into(),
        ),
        (object("gateway.networking.k8s.io/v1", "HTTPRoute", "spec: {rules: []}"), "/spec/hostnames".into()),
        (object("networking.k8s.io/v1", "Ingress", "spec: {rules: [{http: {}}]}"), "/spec/rules/0/host".into()),
        (
            object(
                "gateway.networking.k8s.io/v1",
                "HTTPRoute",
                "spec: {hostnames: [pr-1-shop.preview.localhost], rules: [{filters: [{requestMirror: {backendRef: {name: x, namespace: other}}}]}]}",
            ),
            "/spec/rules/0/filters/0/requestMirror/backendRef/namespace".into(),
        ),
        (
            object("monitoring.coreos.com/v1", "ServiceMonitor", "spec: {namespaceSelector: {any: true}}"),
            "/spec/namespaceSelector/any".into(),
        ),
        (policy("{egress: [{}]}"), "/spec/egress/0/to".into()),
        (policy("{ingress: [{from: [{namespaceSelector: {}}]}]}"), "/spec/ingress/0/from/0/namespaceSelector".into()),
        (
            policy("{egress: [{to: [{namespaceSelector: {matchLabels: {}}}]}]}"),
            "/spec/egress/0/to/0/namespaceSelector".into(),
        ),
        (
            policy("{egress: [{to: [{namespaceSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]}]}"),
            "/spec/egress/0/to/0/namespaceSelector".into(),
        ),
        (policy("{egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"), "/spec/egress/0/to/0/ipBlock".into()),
        (role("{apiGroups: [''], resources: [secrets], verbs: [get]}"), "/rules/0/resources/0".into()),
        (role("{apiGroups: [''], resources: [pods], verbs: ['*']}"), "/rules/0/verbs/0".into()),
        (role("{apiGroups: ['*'], resources: [pods], verbs: [get]}"), "/rules/0/apiGroups/0".into()),
        (
            object("rbac.authorization.k8s.io/v1", "RoleBinding", "roleRef: {kind: ClusterRole, name: admin}"),
            "/roleRef".into(),
        ),
    ]
}

#[test]
fn each_rule_is_told_with_its_path() {
    for (text, path) in [kinds_and_metadata(), pods(), reach_and_rights()].concat() {
        let found = check(&parsed(&text), &rules(&[]));
        let paths: Vec<_> = found.iter().map(|v| v.path.as_str()).collect();
        assert_eq!(paths, [path.as_str()], "{text}");
        assert!(found[0].document.ends_with("(document 1)"));
    }
}

#[test]
fn all_violations_are_told_at_once() {
    let text = deployment(
        "{hostNetwork: true, containers: [{name: c, image: 'x:latest', securityContext: {privileged: true}}]}",
    );
    let text = format!("{text}---\napiVersion: v1\nkind: Node\nmetadata: {{name: np}}\n");
    let found = check(&parsed(&text), &rules(&[]));
    assert_eq!(found.len(), 4, "{}", message(&found));
    assert!(message(&found).contains("Node/np (document 2) /kind"));
}

#[test]
fn a_fork_gets_no_secrets_and_registries_are_a_list() {
    let text = deployment("{containers: [{name: c, image: ghcr.io/a/bDIGEST, envFrom: [{secretRef: {name: s}}]}]}");
    let docs = parsed(&text);
    assert_eq!(check(&docs, &rules(&[])), []);
    let fork = Rules { fork: true, ..rules(&[]) };
    assert!(check(&docs, &fork)[0].rule.starts_with("FORK_NO_SECRETS"));
    assert_eq!(check(&docs, &rules(&["ghcr.io/a".to_owned()])), []);
    assert_eq!(check(&docs, &rules(&["ghcr.io/ab".to_owned(), "ghcr.io/a/bb".to_owned()])).len(), 1);
}

#[test]
fn the_same_object_twice_is_refused() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    assert_eq!(check(&parsed(text), &rules(&[])).len(), 1);
}

#[test]
fn every_violation_names_a_rule_and_every_rule_is_broken_by_some_case() {
    let mut seen = std::collections::BTreeSet::new();
    for (text, _) in [kinds_and_metadata(), pods(), reach_and_rights()].concat() {
        seen.extend(check(&parsed(&text), &rules(&["x".to_owned()])).into_iter().map(|v| v.id));
    }
    let registries = ["y".to_owned()];
    let fork = Rules { fork: true, ..rules(&registries) };
    let text = deployment("{containers: [{name: c, image: xDIGEST, envFrom: [{secretRef: {name: s}}]}]}");
    seen.extend(check(&parsed(&text), &fork).into_iter().map(|v| v.id));
    let all: std::collections::BTreeSet<_> = catalog::RULES.iter().map(|rule| rule.id.to_owned()).collect();
    assert_eq!(seen, all);
}

#[test]
fn the_platform_team_switches_off_what_is_not_essential() {
    let service = parsed(&object("v1", "Service", "spec: {type: LoadBalancer}"));
    let certificate = parsed(&object("cert-manager.io/v1", "Certificate", ""));
    let node = parsed(&object("v1", "Node", ""));
    let all = catalog::RULES.iter().map(|rule| rule.id.to_owned()).collect();
    let policy = Policy { disabled: all, kinds: ["cert-manager.io/Certificate".to_owned()].into(), rego: Vec::new() };
    let open = Rules { policy: &policy, ..rules(&[]) };
    assert_eq!(check(&service, &rules(&[]))[0].id, "service-exposure");
    assert_eq!(check(&service, &open), []);
    assert_eq!(check(&certificate, &rules(&[])).len(), 1);
    assert_eq!(check(&certificate, &open), []);
    assert_eq!(check(&node, &open)[0].id, "known-kinds");

    let faults = |policy: &Policy| {
        let mut violations = slipway_kit::error::Violations::new();
        policy.check(&mut violations);
        violations.finish().err().map(|e| e.violations().len()).unwrap_or_default()
    };
    let essential = catalog::RULES.iter().filter(|rule| rule.essential).count();
    assert_eq!(faults(&policy), essential);
    let kinds = ["Node", "a.example/Node", "v1/Secret", "a.example/ResourceQuota", "/Widget", "a.example/Widget"];
    let kinds = Policy { kinds: kinds.map(str::to_owned).into(), ..Policy::default() };
    assert_eq!(faults(&kinds), 5);
    let rego = |id: &str| catalog::RegoRule {
        id: id.to_owned(),
        sentence: String::new(),
        remedy: String::new(),
        source: String::new(),
    };
    assert_eq!(faults(&Policy { rego: vec![rego("a"), rego("a"), rego("hooks")], ..Policy::default() }), 2);
    assert_eq!(faults(&Policy { disabled: ["nothing".to_owned()].into(), ..Policy::default() }), 1);
}
