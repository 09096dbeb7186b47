//! An environment for tests of the model and beyond.
//!
//! Owns one preview that everything else of a test is told against. Refuses to be used by what runs.
use std::collections::BTreeMap;

use super::{
    super::{
        budget::{Amount, Claim},
        config::Config,
        tier::Tier,
    },
    Environment, Kind, Power, Source, Spec, Status, Target,
};

/// A preview of pull request 7 with its image, before its first look at anything.
pub fn preview() -> Environment {
    let digest = format!("sha256:{}", "a".repeat(64));
    Environment {
        uid: "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b".to_owned(),
        label_id: "pr-7-payments".to_owned(),
        key: "pr:local/1:7:component:default/payments".to_owned(),
        kind: Kind::PullRequest,
        tier: Tier::Development,
        service: "component:default/payments".to_owned(),
        service_uid: "5e1c0f0a-0000-4000-8000-000000000001".to_owned(),
        owner: "group:default/shop".to_owned(),
        service_tier: "standard".to_owned(),
        label: String::new(),
        user: String::new(),
        cluster: "local".to_owned(),
        namespace: "payments-pr-7-h4vyy".to_owned(),
        spec: Spec {
            source: Source {
                scm: "local".to_owned(),
                repository: "acme/payments".to_owned(),
                repository_id: "1".to_owned(),
                folder: String::new(),
                pull_request: Some(7),
                branch: "feature".to_owned(),
                head_sha: "a".repeat(40),
                base_sha: "b".repeat(40),
                fork: false,
            },
            images: BTreeMap::from([("app".to_owned(), format!("ghcr.io/acme/payments@{digest}"))]),
            ttl_us: None,
            idle_us: None,
            config: Ok(Config::default()),
        },
        generation: 1,
        status: Status {
            claim: Claim { is_counted: true, held: Some(Amount::default()), ..Claim::default() },
            ..Status::default()
        },
        expire_us: Some(1_000_000_000_000),
        retire: None,
        version: 1,
        created_us: 1,
        updated_us: 1,
        deleted_us: None,
        target: Target::Git,
        power: Power::Awake,
        used_us: 1,
        pin: None,
        approval: None,
    }
}
