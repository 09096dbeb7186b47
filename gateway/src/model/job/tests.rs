//! Claims and subjects, good and bad, and the terms they meet.
#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::model::trust::{Runner, Terms};

fn claims() -> Value {
    json!({
        "repository": "octo/hello", "repository_id": "74", "repository_owner": "octo", "repository_owner_id": "65",
        "event_name": "pull_request", "ref": "refs/pull/7/merge", "ref_protected": "false", "head_ref": "feature",
        "base_ref": "main", "job_workflow_ref": "octo/hello/.github/workflows/ci.yaml@refs/pull/7/merge",
        "workflow_ref": "octo/hello/.github/workflows/ci.yaml@refs/pull/7/merge", "runner_environment": "github-hosted",
        "sub": "repo:octo/hello:pull_request",
    })
}

fn read(claims: &Value) -> Result<JobClaims, &'static str> {
    let (issuer, subject) = ("i".to_owned(), claims["sub"].as_str().unwrap().to_owned());
    let claims = claims.as_object().unwrap().clone();
    JobClaims::read(&Verified { issuer, subject, expires_seconds: 0, issued_seconds: 0, claims })
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut all = claims();
    for (name, value) in changes {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(*name)),
            value => all[*name] = value.clone(),
        }
    }
    all
}

#[test]
fn a_pull_requests_job_is_bound_to_its_number() {
    let job = read(&claims()).unwrap();
    assert_eq!((job.repository_id, job.owner_id, job.pull_request), (74, 65, Some(7)));
    let pushed = with(&[
        ("event_name", json!("push")),
        ("ref", json!("refs/heads/main")),
        ("sub", json!("repo:octo/hello:ref:refs/heads/main")),
        ("ref_protected", json!("true")),
        ("head_ref", json!("")),
    ]);
    let job = read(&pushed).unwrap();
    assert_eq!((job.pull_request, job.ref_protected), (None, true));
}

#[test]
fn claims_of_another_type_or_form_are_not_absent_ones() {
    for (name, value) in [
        ("repository_id", json!(74)),
        ("repository_id", json!("074")),
        ("repository_id", json!("74 ")),
        ("repository_id", json!("")),
        ("repository_id", json!("-74")),
        ("repository_id", json!("9999999999999999999")),
        ("repository_id", Value::Null),
        ("repository_owner_id", Value::Null),
        ("repository_owner_id", json!(65)),
        ("repository", Value::Null),
        ("repository", json!("hello")),
        ("repository", json!("octo/hello/x")),
        ("repository_owner", json!("Octo")),
        ("repository_owner", json!(["octo"])),
        ("event_name", Value::Null),
        ("ref", Value::Null),
        ("ref", json!("refs/pull/7/head")),
        ("ref", json!("refs/pull/07/merge")),
        ("ref", json!("refs/pull//merge")),
        ("ref", json!("refs/heads/main")),
        ("ref_protected", json!(true)),
        ("ref_protected", json!("TRUE")),
        ("environment", json!(1)),
        ("job_workflow_ref", Value::Null),
        ("runner_environment", Value::Null),
        ("workflow_ref", json!("octo/hello2/.github/workflows/ci.yaml@refs/heads/main")),
        ("workflow_ref", json!("octo/hello-evil/.github/workflows/ci.yaml@refs/heads/main")),
    ] {
        assert!(read(&with(&[(name, value.clone())])).is_err(), "{name} {value}");
    }
}

#[test]
fn a_run_of_a_fork_has_no_identity() {
    for (name, value) in [
        ("head_repository", json!("eve/hello")),
        ("head_repository_id", json!("75")),
        ("head_repository_id", json!(74)),
        ("head_repository_owner_id", json!("66")),
        ("head_ref", json!("eve:feature")),
        ("fork", json!(true)),
        ("fork", json!("true")),
        ("head_repository_fork", json!("true")),
    ] {
        assert_eq!(read(&with(&[(name, value.clone())])), Err("fork"), "{name} {value}");
    }
    assert!(read(&with(&[("head_repository_id", json!("74")), ("fork", json!(false))])).is_ok());
}

#[test]
fn both_live_subjects_agree_with_the_claims_and_the_withdrawn_one_is_refused() {
    for good in [
        "repo:octo/hello:pull_request",
        "repo:octo@65/hello@74:pull_request",
        "repo:octo/hello:pull_request:job_workflow_ref:x",
        "repository_id:74:whatever",
    ] {
        assert!(read(&with(&[("sub", json!(good))])).is_ok(), "{good}");
    }
    for bad in [
        "repo:octo-65/hello-74:pull_request",
        "repo:octo@65/hello@75:pull_request",
        "repo:octo@66/hello@74:pull_request",
        "repo:octo@65/hello:pull_request",
        "repo:octo/hello@74:pull_request",
        "repo:Octo/hello:pull_request",
        "repo:octo/hello2:pull_request",
        "repo:octo/hello",
        "repo:octo/hello:",
        "repo::pull_request",
        "repo:octo/hello:ref:refs/pull/7/merge",
        "repo:octo/hello:ref:refs/heads/main",
        "repo:octo/hello:environment:production",
        "repo:octo/hello:environment:",
    ] {
        assert_eq!(read(&with(&[("sub", json!(bad))])), Err("subject"), "{bad}");
    }
    let place = |environment: &str, sub: &str| {
        read(&with(&[("environment", json!(environment)), ("sub", json!(format!("repo:octo/hello:{sub}")))])).is_ok()
    };
    assert!(place("prod", "environment:prod") && place("a:b", "environment:a%3Ab"));
    assert!(
        !place("prod", "environment:Prod") && !place("prod", "environment:prod2") && !place("prod", "pull_request")
    );
}

#[test]
fn a_repository_whose_name_ends_in_numbers_keeps_its_own_subject() {
    let named = with(&[
        ("repository", json!("octo-65/hello-74")),
        ("repository_owner", json!("octo-65")),
        ("workflow_ref", Value::Null),
        ("sub", json!("repo:octo-65/hello-74:pull_request")),
    ]);
    assert!(read(&named).is_ok());
}

fn terms() -> Terms {
    Terms { owner_id: 65, refs: vec!["refs/pull/*/merge".into()], permissions: vec!["a.b".into()], ..Terms::default() }
}

#[test]
fn every_condition_of_an_entry_must_hold() {
    let job = read(&claims()).unwrap();
    assert_eq!(terms().admit(&job), Ok(()));
    let workflow = format!("octo/flows/.github/workflows/deploy.yaml@{}", "a".repeat(40));
    for (terms, cause) in [
        (Terms { owner_id: 66, ..terms() }, "trust: owner"),
        (Terms { events: vec!["push".into()], ..terms() }, "trust: event"),
        (Terms { events: vec!["Pull_request".into()], ..terms() }, "trust: event"),
        (Terms { refs: vec![], ..terms() }, "trust: ref"),
        (Terms { refs: vec!["refs/heads/*".into()], ..terms() }, "trust: ref"),
        (Terms { refs: vec!["refs/pull/7/mergex".into()], ..terms() }, "trust: ref"),
        (Terms { ref_protected: true, ..terms() }, "trust: ref"),
        (Terms { environment: "preview".into(), ..terms() }, "trust: environment"),
        (Terms { workflow, ..terms() }, "trust: workflow"),
        (Terms { runner: Runner::SelfHosted, ..terms() }, "trust: runner"),
    ] {
        assert_eq!(terms.admit(&job), Err(cause));
    }
    for event in ["pull_request_target", "workflow_run", "issue_comment"] {
        let other = JobClaims { event: event.into(), ..job.clone() };
        assert_eq!(terms().admit(&other), Err("trust: event"), "{event}");
        let listed = Terms { events: vec![event.into()], ..terms() };
        assert_eq!(listed.admit(&other), Ok(()));
    }
}

#[test]
fn a_workflow_is_pinned_or_refused() {
    let tags = ["octo/flows/.github/workflows/deploy.yaml@refs/tags/v1".to_owned()];
    let faults = |workflow: &str| {
        let mut wrong = slipway_kit::error::Violations::new();
        Terms { workflow: workflow.into(), ..terms() }.check(&tags, &mut wrong);
        !wrong.is_empty()
    };
    let path = "octo/flows/.github/workflows/deploy.yaml";
    assert!(!faults("") && !faults(&tags[0]) && !faults(&format!("{path}@{}", "a".repeat(40))));
    for bad in ["@refs/heads/main", "@refs/tags/v2", "@v1", "", "@aaaa"] {
        assert!(faults(&format!("{path}{bad}")), "{bad}");
    }
    assert!(faults(&format!("{path}@{}", "A".repeat(40))) && faults(&format!("flows@{}", "a".repeat(40))));
}

#[test]
fn principal_and_credential_read_back() {
    use crate::model::trust::{credential, of_credential, of_principal, principal};
    for pull in [None, Some(7)] {
        assert_eq!(of_principal(&principal("github", 74, pull)), Some(("github", 74, pull)));
    }
    assert_eq!(principal("github", 74, Some(7)), "ci:github/74/pulls/7");
    for none in ["user:default/ann", "ci:github", "ci:github/x", "ci:github/1/pulls/x"] {
        assert_eq!(of_principal(none), None, "{none}");
    }
    let text = credential(["abcdefgh", "ijklmnop"].into_iter());
    assert_eq!(of_credential(&text), Some(vec!["abcdefgh", "ijklmnop"]));
    assert_eq!(of_credential("tokens/abcdefgh"), None);
}
