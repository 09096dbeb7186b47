//! What every adapter answers alike.
use slipway_kit::{
    files::FilePath,
    git::{CommitRange, RefName, Sha},
    scm::{
        ClosePullRequest, DeployState, Filed, PULL_REQUEST_UNKNOWN, PullRequest, REPOSITORY_NAME_INVALID,
        REPOSITORY_TAKEN, REPOSITORY_UNKNOWN, Report, Scm,
    },
};

use super::{Desk, author, new_pull, new_repository, push};

/// As far as whole seconds tell.
fn coarse(mut pull: PullRequest) -> PullRequest {
    let cut = |us: i64| us - us.rem_euclid(1_000_000);
    (pull.created_us, pull.opened_us, pull.updated_us) =
        (cut(pull.created_us), cut(pull.opened_us), cut(pull.updated_us));
    (pull.closed_us, pull.merged_us) = (pull.closed_us.map(cut), pull.merged_us.map(cut));
    if !pull.open {
        // When a closed one was last opened is nobody's question.
        pull.opened_us = pull.created_us;
    }
    pull
}

async fn same_pull(desk: &Desk, number: i64) -> PullRequest {
    let model = desk.model.pull_request("acme/app", number).await.unwrap().unwrap();
    let seen = desk.scm.pull_request("acme/app", number).await.unwrap().unwrap();
    assert_eq!(coarse(seen.clone()), coarse(model), "{}", desk.name);
    seen
}

fn close(number: i64, merge: bool) -> ClosePullRequest {
    ClosePullRequest { number, merge, author: author() }
}

#[tokio::test]
async fn repositories_are_found_by_name_and_by_id() {
    for desk in Desk::all().await {
        desk.model.create_repository(&new_repository("acme/zoo", "run-2")).await.unwrap();
        let found = desk.scm.repository("acme/app").await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.default_branch.as_str()), ("acme/app", "main"), "{}", desk.name);
        assert_eq!((found.description.as_str(), found.marker.as_str()), ("A test", "run-1"), "{}", desk.name);
        assert_eq!(desk.scm.repository_by_id(&found.id).await.unwrap().unwrap(), found);
        let names: Vec<String> = desk.scm.repositories().await.unwrap().into_iter().map(|r| r.name).collect();
        assert_eq!(names, ["acme/app", "acme/zoo"], "{}", desk.name);
        assert_eq!(desk.scm.repository("acme/none").await.unwrap(), None);
        assert_eq!(desk.scm.repository_by_id("12").await.unwrap(), None);
        for bad in ["x", "../x", "a/../b", "a/b/c", "-a/b", "a/.b", "a/b.git"] {
            assert!(desk.scm.repository(bad).await.unwrap_err().is(&REPOSITORY_NAME_INVALID), "{} {bad}", desk.name);
        }
    }
}

#[tokio::test]
async fn a_pull_request_is_seen_through_its_life() {
    for desk in Desk::all().await {
        let (model, name) = (&desk.model, desk.name);
        model.open_pull_request("acme/app", &new_pull("feature/one", "1")).await.unwrap();
        let opened = same_pull(&desk, 1).await;
        assert!(opened.open && !opened.fork && opened.head_exists, "{name}");
        desk.later();
        let sha = model.push_to("acme/app", &push("feature/one", "2", false)).await.unwrap();
        assert_eq!(same_pull(&desk, 1).await.head_sha, sha.to_string(), "{name}");
        desk.later();
        let forced = model.push_to("acme/app", &push("feature/one", "3", true)).await.unwrap();
        assert_eq!(same_pull(&desk, 1).await.head_sha, forced.to_string(), "{name}");
        desk.later();
        model.label_pull_request("acme/app", 1, &["other".to_owned()], true).await.unwrap();
        let labelled = same_pull(&desk, 1).await;
        assert!(labelled.draft && labelled.labels == ["other"], "{name}");
        desk.later();
        model.close_pull_request("acme/app", &close(1, false)).await.unwrap();
        let closed = same_pull(&desk, 1).await;
        assert!(!closed.open && closed.merged_us.is_none(), "{name}");
        desk.later();
        model.reopen_pull_request("acme/app", 1).await.unwrap();
        let reopened = same_pull(&desk, 1).await;
        assert!(reopened.open && Some(reopened.opened_us) > closed.closed_us, "{name}");
        desk.later();
        model.close_pull_request("acme/app", &close(1, true)).await.unwrap();
        let merged = same_pull(&desk, 1).await;
        assert!(merged.merged_us.is_some() && merged.merge_sha.is_some(), "{name}");
        assert_eq!(desk.scm.pull_request("acme/app", 2).await.unwrap(), None, "{name}");
        assert!(desk.scm.pull_request("acme/none", 1).await.unwrap_err().is(&REPOSITORY_UNKNOWN), "{name}");
        assert!(desk.scm.open_pull_requests("acme/none").await.unwrap_err().is(&REPOSITORY_UNKNOWN), "{name}");
    }
}

#[tokio::test]
async fn every_open_pull_request_is_listed_whatever_the_pages() {
    for desk in Desk::all().await {
        if let Some(server) = &desk.server {
            server.set_page_max(2);
        }
        for n in 1..=7 {
            desk.model.open_pull_request("acme/app", &new_pull(&format!("b{n}"), "1")).await.unwrap();
        }
        desk.model.close_pull_request("acme/app", &close(3, false)).await.unwrap();
        let numbers: Vec<i64> =
            desk.scm.open_pull_requests("acme/app").await.unwrap().into_iter().map(|pull| pull.number).collect();
        assert_eq!(numbers, [1, 2, 4, 5, 6, 7], "{}", desk.name);
    }
}

#[tokio::test]
async fn a_fork_and_a_lost_branch_are_seen() {
    for desk in Desk::all().await {
        desk.model.create_repository(&new_repository("eve/app", "run-2")).await.unwrap();
        let eve = desk.model.git("eve/app").await.unwrap();
        let main = eve.branch_head("main").await.unwrap().unwrap();
        eve.update_ref(&RefName::branch("evil").unwrap(), Some(&main), None).await.unwrap();
        let mut new = new_pull("evil", "1");
        new.head_repository = Some("eve/app".to_owned());
        desk.model.open_pull_request("acme/app", &new).await.unwrap();
        let fork = same_pull(&desk, 1).await;
        assert!(fork.fork && fork.head_repository == "eve/app", "{}", desk.name);
        let head = Sha::parse(&fork.head_sha).unwrap();
        let repo = desk.scm.git_at("acme/app", &head).await.unwrap();
        let file = repo.read_file(&head, &FilePath::parse("a").unwrap(), 10).await.unwrap();
        assert_eq!(file.as_deref(), Some(&b"1"[..]), "{}", desk.name);
        // The branch of another goes while it is open.
        desk.model.open_pull_request("acme/app", &new_pull("short", "1")).await.unwrap();
        let git = desk.model.git("acme/app").await.unwrap();
        let sha = git.branch_head("short").await.unwrap();
        git.update_ref(&RefName::branch("short").unwrap(), None, sha.as_ref()).await.unwrap();
        assert!(!desk.scm.pull_request("acme/app", 2).await.unwrap().unwrap().head_exists, "{}", desk.name);
    }
}

async fn text(scm: &Scm, sha: &Sha, path: &str) -> Option<String> {
    let repo = scm.git_at("acme/app", sha).await.unwrap();
    let file = repo.read_file(sha, &FilePath::parse(path).unwrap(), 100).await.unwrap();
    file.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn files_and_history_are_read_at_any_commit() {
    for desk in Desk::all().await {
        let (model, scm, name) = (&desk.model, &desk.scm, desk.name);
        model.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap();
        let first = model.git("acme/app").await.unwrap().branch_head("feature").await.unwrap().unwrap();
        assert_eq!(text(scm, &first, "a").await.as_deref(), Some("1"), "{name}");
        assert_eq!(text(scm, &first, "none").await, None, "{name}");
        let second = model.push_to("acme/app", &push("feature", "2", true)).await.unwrap();
        let repo = scm.git("acme/app").await.unwrap();
        assert_eq!(repo.branch_head("feature").await.unwrap().as_ref(), Some(&second), "{name}");
        assert_eq!(text(scm, &second, "a").await.as_deref(), Some("2"), "{name}");
        // What was replaced by force is still there for who shows it.
        assert_eq!(text(scm, &first, "a").await.as_deref(), Some("1"), "{name}");
        let range = CommitRange { from: None, to: second.clone(), path: None, limit: 10 };
        let theirs = model.git("acme/app").await.unwrap().commits(&range).await.unwrap();
        assert_eq!(repo.commits(&range).await.unwrap(), theirs, "{name}");
        // Many branches at once, and one that goes.
        for n in 0..20 {
            let main = repo.branch_head("main").await.unwrap();
            let git = model.git("acme/app").await.unwrap();
            git.update_ref(&RefName::branch(&format!("many/{n}")).unwrap(), main.as_ref(), None).await.unwrap();
        }
        let git = model.git("acme/app").await.unwrap();
        git.update_ref(&RefName::branch("feature").unwrap(), None, Some(&second)).await.unwrap();
        let repo = scm.git("acme/app").await.unwrap();
        assert_eq!(repo.refs("refs/heads/").await.unwrap().len(), 21, "{name}");
        assert!(scm.git("acme/none").await.is_err_and(|error| error.is(&REPOSITORY_UNKNOWN)), "{name}");
    }
}

#[tokio::test]
async fn a_repository_is_made_once_with_the_same_commit() {
    let mut heads = Vec::new();
    for desk in Desk::all().await {
        let new = new_repository("acme/made", "run-9");
        let made = desk.scm.create_repository(&new).await.unwrap();
        assert_eq!(desk.scm.create_repository(&new).await.unwrap(), made, "{}", desk.name);
        assert_eq!((made.marker.as_str(), made.description.as_str()), ("run-9", "A test"), "{}", desk.name);
        let other = new_repository("acme/made", "run-10");
        assert!(desk.scm.create_repository(&other).await.unwrap_err().is(&REPOSITORY_TAKEN), "{}", desk.name);
        let head = desk.model.git("acme/made").await.unwrap().branch_head("main").await.unwrap().unwrap();
        heads.push(head.to_string());
    }
    heads.dedup();
    assert_eq!(heads.len(), 1, "{heads:?}");
}

fn report(sha: &str, state: DeployState, comment: &str) -> Report {
    Report {
        environment: "pr-1-app".to_owned(),
        number: Some(1),
        sha: sha.to_owned(),
        state,
        url: "http://pr-1-app.preview.localhost".to_owned(),
        summary: "It answers.".to_owned(),
        comment: comment.to_owned(),
    }
}

#[tokio::test]
async fn one_comment_and_one_deployment_are_kept_up_to_date() {
    for desk in Desk::all().await {
        let (scm, name) = (&desk.scm, desk.name);
        desk.model.open_pull_request("acme/app", &new_pull("feature", "1")).await.unwrap();
        let first =
            desk.model.git("acme/app").await.unwrap().branch_head("feature").await.unwrap().unwrap().to_string();
        assert_eq!(scm.filed("acme/app", 1, "pr-1-app").await.unwrap(), Filed::default(), "{name}");
        for _ in 0..2 {
            scm.report("acme/app", &report(&first, DeployState::InProgress, "It is being made.")).await.unwrap();
        }
        scm.report("acme/app", &report(&first, DeployState::Success, "It answers.")).await.unwrap();
        let filed = scm.filed("acme/app", 1, "pr-1-app").await.unwrap();
        assert_eq!((filed.comment.as_deref(), filed.state.as_str(), filed.active), (Some("It answers."), "success", 1));
        assert_eq!(
            (filed.sha.as_str(), filed.url.as_str()),
            (first.as_str(), "http://pr-1-app.preview.localhost"),
            "{name}"
        );
        let second = desk.model.push_to("acme/app", &push("feature", "2", false)).await.unwrap().to_string();
        scm.report("acme/app", &report(&second, DeployState::Success, "The new one answers.")).await.unwrap();
        let filed = scm.filed("acme/app", 1, "pr-1-app").await.unwrap();
        assert_eq!((filed.sha.as_str(), filed.active), (second.as_str(), 1), "{name}");
        scm.report("acme/app", &report(&second, DeployState::Inactive, "It is gone.")).await.unwrap();
        let filed = scm.filed("acme/app", 1, "pr-1-app").await.unwrap();
        assert_eq!(
            (filed.comment.as_deref(), filed.state.as_str(), filed.active),
            (Some("It is gone."), "inactive", 0)
        );
        if let Some(server) = &desk.server {
            assert_eq!(server.comments(1).len(), 1, "{name}");
            assert_eq!(server.deployments("pr-1-app").len(), 2, "{name}");
        }
        let mut unknown = report(&second, DeployState::Success, "x");
        unknown.number = Some(77);
        if desk.server.is_none() {
            assert!(scm.report("acme/app", &unknown).await.unwrap_err().is(&PULL_REQUEST_UNKNOWN), "{name}");
        }
    }
}
