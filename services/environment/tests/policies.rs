//! Manifest policies as callers see them, on every engine: read by everybody, changed by platform administrators, tried on samples, and
//! kept to by the next check.
#![allow(clippy::unwrap_used)]
mod support;

use slipway_environment::{
    app::{App, For},
    wire::policy as wire,
};
use slipway_kit::{
    caller::{Caller, Role},
    error::Result,
    serve::Call,
};
use slipway_proto::environment::v1 as pb;
use support::{ann, caller, databases, shop, stranger};

const NAME: &str = "manifestPolicies/development";
const REPLICAS: &str = "package team.replicas\nviolation contains {\"document\": at, \"path\": \"/spec/replicas\", \"message\": \"at most 3\"} if {\n\
    some at, doc in input.documents\n doc.spec.replicas > 3\n}\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: LoadBalancer, replicas: 9}\n";

fn call(who: Caller, method: &str) -> Call {
    let method = format!("/slipway.environment.v1.ManifestPolicyService/{method}");
    Call::for_test(who, Box::leak(method.into_boxed_str()))
}

fn root() -> Caller {
    caller("user:default/root", &[], &[Role::PlatformAdmin])
}

fn update(policy: pb::ManifestPolicy) -> pb::UpdateManifestPolicyRequest {
    let manifest_policy = Some(pb::ManifestPolicy { name: NAME.to_owned(), ..policy });
    pb::UpdateManifestPolicyRequest { manifest_policy, sample_documents: SERVICE.to_owned(), ..Default::default() }
}

fn wished() -> pb::ManifestPolicy {
    let rule = pb::RegoRule {
        id: "replicas".to_owned(),
        sentence: "At most three replicas.".to_owned(),
        remedy: "Ask for fewer.".to_owned(),
        source: REPLICAS.to_owned(),
    };
    pb::ManifestPolicy {
        disabled_rules: vec!["service-exposure".to_owned()],
        allowed_kinds: vec!["cert-manager.io/Certificate".to_owned()],
        rego_rules: vec![rule],
        ..Default::default()
    }
}

async fn change(
    app: &App,
    who: Caller,
    request: pb::UpdateManifestPolicyRequest,
) -> Result<(pb::ManifestPolicy, Vec<pb::ManifestViolation>)> {
    let change = wire::change(request)?;
    let tier = change.tier;
    let (kept, found) = app.update_policy(&call(who, "UpdateManifestPolicy"), change).await?;
    Ok((wire::render(tier, &kept), wire::violations(found, &kept.policy)))
}

async fn check(app: &App, who: Caller, text: &str) -> Vec<String> {
    let (tier, docs) = (wire::tier(NAME).unwrap(), wire::documents("documents", text).unwrap());
    let found = app.check_manifests(&call(who, "CheckManifests"), tier, docs, &For::default()).await.unwrap();
    found.into_iter().map(|v| format!("{} {} {}", v.id, v.document, v.path)).collect()
}

#[tokio::test]
async fn everybody_reads_platform_administrators_change() {
    for scratch in databases().await {
        let (_, app, _) = shop(&scratch).await;
        let before = app.get_policy(&call(stranger(), "GetManifestPolicy"), wire::tier(NAME).unwrap()).await.unwrap();
        let shown = wire::render(wire::tier(NAME).unwrap(), &before);
        assert_eq!((shown.etag.as_str(), shown.rules.len(), shown.update_time), ("0", 19, None));
        assert!(shown.rules.iter().all(|r| r.enabled && r.built_in && !r.sentence.is_empty() && !r.remedy.is_empty()));
        for who in [stranger(), ann()] {
            let refused = change(&app, who.clone(), update(wished())).await.unwrap_err();
            assert!(refused.is(&slipway_kit::error::PERMISSION_DENIED), "{refused:?}");
            assert_eq!(check(&app, who, SERVICE).await, ["service-exposure Service/a (document 1) /spec/type"]);
        }

        let mut dry = update(wished());
        dry.validate_only = true;
        let (tried, found) = change(&app, root(), dry).await.unwrap();
        assert_eq!((tried.etag.as_str(), tried.rules.len()), ("1", 20));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].rule.as_str(), found[0].message.as_str(), found[0].remedy.as_str()),
            ("replicas", "at most 3", "Ask for fewer.")
        );
        assert_eq!(check(&app, ann(), SERVICE).await.len(), 1, "nothing was stored");

        let (kept, _) = change(&app, root(), update(wished())).await.unwrap();
        assert_eq!((kept.etag.as_str(), kept.updater.as_str()), ("1", "user:default/root"));
        assert!(!kept.rules.iter().find(|r| r.id == "service-exposure").unwrap().enabled);
        assert_eq!(check(&app, ann(), SERVICE).await, ["replicas Service/a (document 1) /spec/replicas"]);
        let certificate = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\n";
        assert_eq!(check(&app, ann(), certificate).await, Vec::<String>::new());

        // One field alone, guarded by what was read.
        let mut one = update(pb::ManifestPolicy { etag: "0".to_owned(), ..Default::default() });
        one.update_mask = Some(prost_types::FieldMask { paths: vec!["rego_rules".to_owned()] });
        let stale = change(&app, root(), one.clone()).await.unwrap_err();
        assert!(stale.is(&slipway_kit::error::ETAG_MISMATCH));
        one.manifest_policy.as_mut().unwrap().etag = "1".to_owned();
        let (now, _) = change(&app, root(), one).await.unwrap();
        assert_eq!((now.etag.as_str(), now.rego_rules.len(), now.disabled_rules.len()), ("2", 0, 1));
        assert_eq!(check(&app, ann(), SERVICE).await, Vec::<String>::new());
        let (reads, staging) = (call(ann(), "GetManifestPolicy"), wire::tier("manifestPolicies/staging").unwrap());
        assert_eq!(app.get_policy(&reads, staging).await.unwrap().revision, 0);
    }
}

#[tokio::test]
async fn mistakes_are_told_all_at_once() {
    let scratch = databases().await.remove(0);
    let (_, app, _) = shop(&scratch).await;
    let mut bad = wished();
    bad.disabled_rules = vec!["hooks".to_owned(), "nothing".to_owned()];
    bad.allowed_kinds.push("v1/Secret".to_owned());
    bad.rego_rules[0].source = "package a\nviolation contains x if { x := http.send({}) }".to_owned();
    bad.rego_rules.push(pb::RegoRule { source: "not rego".to_owned(), ..bad.rego_rules[0].clone() });
    let error = change(&app, root(), update(bad)).await.unwrap_err();
    let fields: Vec<_> = error.violations().iter().map(|(field, _)| field.as_str()).collect();
    let at = |rest: &str| format!("manifest_policy.{rest}");
    let wants = [
        "disabled_rules[0]",
        "disabled_rules[1]",
        "allowed_kinds[1]",
        "rego_rules[1].id",
        "rego_rules[0].source",
        "rego_rules[1].source",
    ];
    assert_eq!(fields, wants.map(at));
    assert!(wire::tier("manifestPolicies/other").unwrap_err().is(&slipway_kit::error::NOT_FOUND));
    let mut mask = update(wished());
    mask.update_mask = Some(prost_types::FieldMask { paths: vec!["rules".to_owned()] });
    assert_eq!(wire::change(mask).unwrap_err().violations()[0].0, "update_mask");
    // YAML that does not parse, and YAML that grows without end.
    let bomb = format!(
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n{}",
        (1..12)
            .map(|n| {
                let one = format!("*a{}", n - 1);
                format!("a{n}: &a{n} [{}]\n", vec![one; 9].join(","))
            })
            .collect::<String>()
    );
    for text in ["a: [", bomb.as_str()] {
        let error = wire::documents("documents", text).unwrap_err();
        assert_eq!(error.violations()[0].0, "documents");
    }
}
