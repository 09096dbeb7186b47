//! What only a provider has: credentials that end, conditional requests, renames, permissions, comments of others.
use slipway_kit::{
    error::INVALID_FIELD,
    scm::{
        Check, DeployState, Report, SCM_CREDENTIAL_UNREADABLE, SCM_UNAUTHORIZED, SCM_UNSUPPORTED, Scm, ScmConfig,
        Verdict,
    },
};
use slipway_test_github::{Fault, LOGIN, TOKEN};

use super::{Desk, new_pull, push};

#[tokio::test]
async fn what_did_not_change_costs_nothing_of_the_limit() {
    for desk in [Desk::github().await, Desk::installed().await] {
        for n in 1..=3 {
            desk.model.open_pull_request("acme/app", &new_pull(&format!("b{n}"), "1")).await.unwrap();
        }
        let first = desk.scm.open_pull_requests("acme/app").await.unwrap();
        assert_eq!(desk.server().not_modified(), 0);
        for times in 1..=3 {
            assert_eq!(desk.scm.open_pull_requests("acme/app").await.unwrap(), first, "{}", desk.name);
            assert_eq!(desk.server().not_modified(), times, "{}", desk.name);
        }
        desk.later();
        let sha = desk.model.push_to("acme/app", &push("b2", "2", false)).await.unwrap();
        let after = desk.scm.open_pull_requests("acme/app").await.unwrap();
        assert_eq!(after[1].head_sha, sha.to_string(), "{}", desk.name);
        assert_eq!(desk.server().not_modified(), 3, "{}", desk.name);
    }
}

#[tokio::test]
async fn an_installations_token_is_kept_renewed_and_replaced() {
    let desk = Desk::installed().await;
    for _ in 0..3 {
        desk.scm.repository("acme/app").await.unwrap().unwrap();
    }
    assert_eq!(desk.server().asked("token"), 1, "one token for many calls");
    // One that is taken back is replaced once, also for git.
    desk.server().revoke_tokens();
    desk.scm.git("acme/app").await.unwrap();
    assert_eq!(desk.server().asked("token"), 2);
    // One that ends soon is renewed before it ends.
    desk.server().set_token_seconds(200);
    desk.server().revoke_tokens();
    for _ in 0..2 {
        desk.scm.repository("acme/app").await.unwrap().unwrap();
    }
    assert!(desk.server().asked("token") >= 4, "{}", desk.server().asked("token"));
    desk.server().fail("token", Fault::NotFound);
    desk.server().revoke_tokens();
    assert!(desk.scm.repository("acme/app").await.unwrap_err().is(&SCM_UNAUTHORIZED));
}

#[tokio::test]
async fn a_renamed_repository_is_followed_on_the_same_host() {
    let desk = Desk::github().await;
    desk.model.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap();
    let before = desk.scm.repository("acme/app").await.unwrap().unwrap();
    desk.server().rename("acme/app", "other/app2").await;
    let after = desk.scm.repository("acme/app").await.unwrap().unwrap();
    assert_eq!((after.id.as_str(), after.name.as_str()), (before.id.as_str(), "other/app2"));
    assert!(desk.scm.pull_request("acme/app", 1).await.unwrap().unwrap().open);
    assert_eq!(desk.scm.repository_by_id(&before.id).await.unwrap(), Some(after));
    // The mirror is the repository's, whatever its name.
    let repo = desk.scm.git("other/app2").await.unwrap();
    assert!(repo.dir().ends_with(format!("{}.git", before.id)));
    desk.server().archive("other/app2");
    assert!(desk.scm.repository("other/app2").await.unwrap().unwrap().archived);
}

fn failing(checks: &[Check]) -> Vec<&str> {
    checks.iter().filter(|check| check.verdict == Verdict::Failed).map(|check| check.name.as_str()).collect()
}

#[tokio::test]
async fn a_test_of_the_connection_names_each_missing_permission() {
    let app = Desk::installed().await;
    assert_eq!(failing(&app.scm.test_connection().await), Vec::<&str>::new());
    app.server().set_permission("deployments", "read");
    app.server().set_permission("pull_requests", "none");
    app.server().set_permission("administration", "none");
    let checks = app.scm.test_connection().await;
    assert_eq!(failing(&checks), ["permission.pull_requests.write", "permission.deployments.write"]);
    assert!(checks.iter().any(|c| c.name == "permission.administration.write" && c.verdict == Verdict::Unknown));
    assert!(checks.iter().all(|c| (c.verdict == Verdict::Passed) == c.remedy.is_empty()), "{checks:?}");

    let token = Desk::github().await;
    assert_eq!(failing(&token.scm.test_connection().await), Vec::<&str>::new());
    token.server().set_permission("deployments", "read");
    assert_eq!(failing(&token.scm.test_connection().await), ["permission.deployments.write"]);
    token.server().set_permission("deployments", "none");
    token.server().set_permission("pull_requests", "none");
    let checks = token.scm.test_connection().await;
    let missing = ["permission.pull_requests.read", "permission.deployments.read", "permission.deployments.write"];
    assert_eq!(failing(&checks), missing);
    assert_eq!(token.server().deployments("production"), [], "nothing was changed while trying");
    token.server().set_scopes("read:org");
    assert_eq!(failing(&token.scm.test_connection().await), ["permission.repo.scope"]);
    token.server().fail("*", Fault::Unauthorized);
    assert_eq!(failing(&token.scm.test_connection().await), ["credential"]);
    assert_eq!(failing(&Desk::local().await.scm.test_connection().await), Vec::<&str>::new());
}

#[tokio::test]
async fn a_comment_of_another_with_our_marker_is_left_alone() {
    for desk in [Desk::github().await, Desk::installed().await] {
        desk.model.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap();
        let id = desk.scm.repository("acme/app").await.unwrap().unwrap().id;
        desk.server().comment_as(&id, 1, "eve", "click here <!-- slipway:environment:pr-1-app -->");
        let report = Report {
            environment: "pr-1-app".to_owned(),
            number: Some(1),
            sha: "a".repeat(40),
            state: DeployState::Success,
            url: String::new(),
            summary: "x".repeat(300),
            comment: "ours".to_owned(),
        };
        for _ in 0..2 {
            desk.scm.report("acme/app", &report).await.unwrap();
        }
        let comments = desk.server().comments(1);
        assert_eq!((comments.len(), comments[0].0.as_str()), (2, "eve"), "{}", desk.name);
        assert!(comments[0].1.starts_with("click here") && comments[1].1.starts_with("ours"), "{}", desk.name);
        assert!(comments[1].0 == LOGIN || comments[1].0 == "slipway[bot]");
    }
}

#[tokio::test]
async fn credentials_are_in_no_error_and_no_debug_print() {
    let desk = Desk::github().await;
    let config = desk.server().with_token("odd");
    let file = config.token_file.clone().unwrap();
    std::fs::write(&file, "two words canary-in-file\n").unwrap();
    let scm = Scm::open("odd", &config).await.unwrap();
    let error = scm.repository("acme/app").await.unwrap_err();
    assert!(error.is(&SCM_CREDENTIAL_UNREADABLE) && !format!("{error:?}").contains("canary"), "{error:?}");
    std::fs::remove_file(&file).unwrap();
    assert!(scm.repository("acme/app").await.unwrap_err().is(&SCM_CREDENTIAL_UNREADABLE));
    let app = desk.server().with_app("odd2");
    std::fs::write(app.private_key_file.as_ref().unwrap(), "-----BEGIN RSA PRIVATE KEY-----\ncanary\n").unwrap();
    let scm = Scm::open("odd", &app).await.unwrap();
    let error = scm.repository("acme/app").await.unwrap_err();
    assert!(error.is(&SCM_CREDENTIAL_UNREADABLE) && !format!("{error:?}").contains("canary"), "{error:?}");
    assert!(!format!("{config:?}{app:?}").contains("canary"));
    for fault in [Fault::Unauthorized, Fault::Forbidden, Fault::RedirectAway, Fault::Html, Fault::CutBody] {
        desk.server().fail("pulls", fault);
        let error = desk.scm.open_pull_requests("acme/app").await.unwrap_err();
        assert!(!format!("{error:?}").contains(TOKEN), "{error:?}");
    }
    // Nor on the disk of the mirror.
    desk.server().heal();
    let dir = desk.scm.git("acme/app").await.unwrap().dir().to_owned();
    for file in ["config", "HEAD"] {
        assert!(!std::fs::read_to_string(dir.join(file)).unwrap().contains(TOKEN));
    }
}

#[tokio::test]
async fn a_connection_says_at_once_what_its_configuration_lacks() {
    let desk = Desk::github().await;
    let good = desk.server().with_token("good");
    for bad in [
        ScmConfig { token_file: None, ..good.clone() },
        ScmConfig { app_id: Some(1), ..good.clone() },
        ScmConfig { api_url: Some("ftp://x".to_owned()), ..good.clone() },
        ScmConfig { api_url: Some("https://user:pass@x/".to_owned()), ..good.clone() },
        ScmConfig { git_url: Some("nonsense".to_owned()), ..good.clone() },
    ] {
        assert!(Scm::open("bad", &bad).await.is_err_and(|error| error.is(&INVALID_FIELD)), "{bad:?}");
    }
    let error = desk.scm.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap_err();
    assert!(error.is(&SCM_UNSUPPORTED));
}
