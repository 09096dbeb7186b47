//! Manifest policies on the wire.
//!
//! Owns both directions. Refuses names of no tier, masks of other fields, and documents that do not parse.
use slipway_kit::error::{Error, NOT_FOUND, Result, Violations};
use slipway_proto::environment::v1 as pb;

use crate::{
    app::{For, PolicyChange, policy_name},
    model::{
        manifest::{self, Doc},
        policy::{
            Violation,
            catalog::{Kept, Policy, RULES, RegoRule},
        },
        tier::Tier,
    },
};

/// Every tier, in the order of lists.
pub const TIERS: [Tier; 3] = [Tier::Development, Tier::Staging, Tier::Production];
/// Most documents of a caller in one check.
const DOCUMENTS_MAX: usize = 500;
/// Fields that can be changed.
const FIELDS: [&str; 3] = ["disabled_rules", "allowed_kinds", "rego_rules"];

/// The tier that a resource name says.
pub fn tier(name: &str) -> Result<Tier> {
    let found = TIERS.into_iter().find(|tier| policy_name(*tier) == name);
    found.ok_or_else(|| {
        Error::new(&NOT_FOUND, "there are policies of development, staging and production")
            .resource("slipway.dev/ManifestPolicy", name)
    })
}

/// A policy with its rules.
pub fn render(tier: Tier, kept: &Kept) -> pb::ManifestPolicy {
    let built_in = RULES.iter().map(|rule| pb::ManifestRule {
        id: rule.id.to_owned(),
        sentence: rule.sentence.to_owned(),
        remedy: rule.remedy.to_owned(),
        built_in: true,
        essential: rule.essential,
        enabled: kept.policy.holds(rule),
    });
    let added = kept.policy.rego.iter().map(|rule| pb::ManifestRule {
        id: rule.id.clone(),
        sentence: rule.sentence.clone(),
        remedy: rule.remedy.clone(),
        built_in: false,
        essential: false,
        enabled: true,
    });
    pb::ManifestPolicy {
        name: policy_name(tier),
        etag: kept.etag(),
        update_time: (kept.updated_us != 0).then(|| super::time(kept.updated_us)),
        updater: kept.updater.clone(),
        rules: built_in.chain(added).collect(),
        disabled_rules: kept.policy.disabled.iter().cloned().collect(),
        allowed_kinds: kept.policy.kinds.iter().cloned().collect(),
        rego_rules: kept.policy.rego.iter().map(rego_to).collect(),
    }
}

fn rego_to(rule: &RegoRule) -> pb::RegoRule {
    let RegoRule { id, sentence, remedy, source } = rule.clone();
    pb::RegoRule { id, sentence, remedy, source }
}

fn rego_from(rule: pb::RegoRule) -> RegoRule {
    RegoRule { id: rule.id, sentence: rule.sentence, remedy: rule.remedy, source: rule.source }
}

/// Violations with what to do about each.
pub fn violations(found: Vec<Violation>, policy: &Policy) -> Vec<pb::ManifestViolation> {
    let remedy = |id: &str| {
        let built_in = RULES.iter().find(|rule| rule.id == id).map(|rule| rule.remedy.to_owned());
        built_in.or_else(|| policy.rego.iter().find(|rule| rule.id == id).map(|rule| rule.remedy.clone()))
    };
    found
        .into_iter()
        .map(|v| pb::ManifestViolation {
            remedy: remedy(&v.id).unwrap_or_default(),
            rule: v.id,
            document: v.document,
            path: v.path,
            message: v.rule,
        })
        .collect()
}

/// A change as asked for.
pub fn change(request: pb::UpdateManifestPolicyRequest) -> Result<PolicyChange> {
    let wished = request.manifest_policy.unwrap_or_default();
    let tier = tier(&wished.name)?;
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let all = paths.is_empty() || paths.iter().any(|path| path == "*");
    let mut v = Violations::new();
    let known = paths.iter().all(|path| path == "*" || FIELDS.contains(&path.as_str()));
    v.check(known, "update_mask", format!("may name {}", FIELDS.join(", ")));
    v.finish()?;
    let samples = documents("sample_documents", &request.sample_documents)?;
    Ok(PolicyChange {
        tier,
        etag: wished.etag,
        fields: FIELDS.into_iter().filter(|field| all || paths.iter().any(|path| path == field)).collect(),
        policy: Policy {
            disabled: wished.disabled_rules.into_iter().collect(),
            kinds: wished.allowed_kinds.into_iter().collect(),
            rego: wished.rego_rules.into_iter().map(rego_from).collect(),
        },
        samples,
        validate_only: request.validate_only,
    })
}

/// What the documents of a check are for.
pub fn purpose(request: &pb::CheckManifestsRequest) -> For {
    For { namespace: request.namespace.clone(), host: request.host.clone(), fork: request.fork }
}

/// Documents that a caller wrote.
pub fn documents(field: &str, text: &str) -> Result<Vec<Doc>> {
    let parsed = manifest::parse_foreign(text);
    let mut v = Violations::new();
    match &parsed {
        Ok(docs) => v.check(docs.len() <= DOCUMENTS_MAX, field, format!("at most {DOCUMENTS_MAX} documents")),
        Err(fault) => v.add(field, format!("must be YAML: {fault}")),
    }
    v.finish()?;
    parsed.map_err(Error::internal)
}
