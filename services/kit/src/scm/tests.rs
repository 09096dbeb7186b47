//! The contract of the SCM port, run on the adapter `local` with real repositories.
#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    files::WorkDir,
    git::{Author, FileChange, Git, RefName, Sha},
};

fn git_of(scm: &Scm) -> &Git {
    match &scm.0.adapter {
        Adapter::Local(local) => &local.git,
        Adapter::Github(_) => unreachable!("local only"),
    }
}

fn author() -> Author {
    Author::new("ann", "ann@example.com", 1_700_000_000)
}

fn write(path: &str, text: &str) -> FileChange {
    FileChange::write(FilePath::parse(path).unwrap(), text)
}

fn new_repository(name: &str, marker: &str) -> NewRepository {
    NewRepository {
        name: name.to_owned(),
        description: "A test".to_owned(),
        default_branch: "main".to_owned(),
        marker: marker.to_owned(),
        files: vec![write("README.md", "hello\n")],
        message: "Begin\n".to_owned(),
        author: author(),
    }
}

fn new_pull(branch: &str, files: Vec<FileChange>) -> OpenPullRequest {
    OpenPullRequest {
        title: format!("Change {branch}"),
        branch: branch.to_owned(),
        head_repository: None,
        base: None,
        files,
        draft: false,
        labels: vec!["preview".to_owned()],
        author: author(),
    }
}

fn push(branch: &str, text: &str, force: bool) -> PushTo {
    PushTo {
        branch: branch.to_owned(),
        files: vec![write("a", text)],
        message: "More\n".to_owned(),
        force,
        author: author(),
    }
}

async fn fresh() -> (WorkDir, Scm) {
    let dir = WorkDir::temporary().unwrap();
    let scm = Scm::open("local", &ScmConfig::local(dir.path().join("scm"))).await.unwrap();
    scm.create_repository(&new_repository("acme/app", "run-1")).await.unwrap();
    (dir, scm)
}

#[tokio::test]
async fn a_repository_is_made_once_and_adopted_by_its_marker() {
    let (_dir, scm) = fresh().await;
    let first = scm.repository("acme/app").await.unwrap().unwrap();
    assert!(first.id.parse::<i64>().unwrap() > 0);
    assert_eq!((first.default_branch.as_str(), first.description.as_str(), first.archived), ("main", "A test", false));
    let again = scm.create_repository(&new_repository("acme/app", "run-1")).await.unwrap();
    assert_eq!(again, first);
    for other in ["run-2", ""] {
        assert!(scm.create_repository(&new_repository("acme/app", other)).await.unwrap_err().is(&REPOSITORY_TAKEN));
    }
    assert_eq!(scm.repository_by_id(&first.id).await.unwrap().unwrap().name, "acme/app");
    assert_eq!(scm.repository("acme/none").await.unwrap(), None);
    assert_eq!(scm.repositories().await.unwrap(), [first]);
    for bad in ["x", "../x", "a/../b", "a/b/c", "-a/b", "a/.b", "a/b.git", "a_b/c"] {
        assert!(scm.repository(bad).await.unwrap_err().is(&REPOSITORY_NAME_INVALID), "{bad}");
    }
}

#[tokio::test]
async fn a_repository_half_made_by_a_killed_process_is_finished() {
    let (dir, scm) = fresh().await;
    // Killed after the directory appeared and before the first commit.
    let meta = r#"{"id":7,"description":"d","archived":false,"created_us":1,"marker":"run-9"}"#;
    let path = FilePath::parse("acme/half.git").unwrap();
    git_of(&scm).init_bare_with(&path, "main", &[("slipway.json", meta.as_bytes())]).await.unwrap();
    // Killed before that: only a hidden directory is left, which no listing shows.
    std::fs::create_dir_all(dir.path().join("scm/.new-1")).unwrap();
    let made = scm.create_repository(&new_repository("acme/half", "run-9")).await.unwrap();
    assert_eq!(made.id, "7");
    assert!(scm.git("acme/half").await.unwrap().branch_head("main").await.unwrap().is_some());
    assert_eq!(scm.repositories().await.unwrap().len(), 2);
    // One put there by hand gets an id that stays.
    git_of(&scm).init_bare(&FilePath::parse("acme/hand.git").unwrap(), "trunk").await.unwrap();
    let hand = scm.repository("acme/hand").await.unwrap().unwrap();
    assert_eq!((hand.default_branch.as_str(), hand.marker.as_str()), ("trunk", ""));
    assert_eq!(scm.repository("acme/hand").await.unwrap().unwrap(), hand);
}

#[tokio::test]
async fn a_pull_request_lives_from_open_to_merge() {
    let (_dir, scm) = fresh().await;
    let opened = scm.open_pull_request("acme/app", &new_pull("feature", vec![write("a", "1")])).await.unwrap();
    assert_eq!((opened.number, opened.open, opened.fork, opened.head_exists), (1, true, false, true));
    assert_ne!(opened.head_sha, opened.base_sha);
    // The same again is the same pull request.
    let again = scm.open_pull_request("acme/app", &new_pull("feature", vec![write("a", "1")])).await.unwrap();
    assert_eq!(again, opened);
    let sha = scm.push_to("acme/app", &push("feature", "2", false)).await.unwrap();
    let pushed = scm.pull_request("acme/app", 1).await.unwrap().unwrap();
    assert_eq!(pushed.head_sha, sha.to_string());
    assert!(pushed.updated_us > opened.updated_us);
    assert_eq!(scm.push_to("acme/app", &push("feature", "2", false)).await.unwrap(), sha);
    let closed = scm
        .close_pull_request("acme/app", &ClosePullRequest { number: 1, merge: true, author: author() })
        .await
        .unwrap();
    assert!(!closed.open && closed.merged_us.is_some() && closed.closed_us == closed.merged_us);
    let repo = scm.git("acme/app").await.unwrap();
    assert_eq!(repo.branch_head("main").await.unwrap().map(|s| s.to_string()), closed.merge_sha);
    let again = scm
        .close_pull_request("acme/app", &ClosePullRequest { number: 1, merge: true, author: author() })
        .await
        .unwrap();
    assert_eq!(again, closed);
    assert_eq!(scm.open_pull_requests("acme/app").await.unwrap(), []);
    assert!(scm.reopen_pull_request("acme/app", 1).await.unwrap_err().is(&PULL_REQUEST_CLOSED));
    assert_eq!(scm.pull_request("acme/app", 2).await.unwrap(), None);
    assert!(scm.pull_request("acme/none", 1).await.unwrap_err().is(&REPOSITORY_UNKNOWN));
}

#[tokio::test]
async fn a_force_push_a_close_and_a_reopening_are_seen() {
    let (_dir, scm) = fresh().await;
    let opened = scm.open_pull_request("acme/app", &new_pull("feature", vec![write("a", "1")])).await.unwrap();
    let forced = scm.push_to("acme/app", &push("feature", "other", true)).await.unwrap();
    let repo = scm.git("acme/app").await.unwrap();
    assert!(!repo.is_ancestor(&Sha::parse(&opened.head_sha).unwrap(), &forced).await.unwrap());
    assert_eq!(repo.refs("refs/slipway/").await.unwrap(), []);
    let closed = scm
        .close_pull_request("acme/app", &ClosePullRequest { number: 1, merge: false, author: author() })
        .await
        .unwrap();
    assert_eq!((closed.head_sha, closed.merged_us), (forced.to_string(), None));
    let reopened = scm.reopen_pull_request("acme/app", 1).await.unwrap();
    assert!(reopened.open && reopened.closed_us.is_none() && reopened.updated_us > closed.closed_us.unwrap());
    // Commits that arrive by plain git are the head at once.
    let new = scm.git("acme/app").await.unwrap();
    let main = new.branch_head("main").await.unwrap().unwrap();
    new.update_ref(&RefName::branch("feature").unwrap(), Some(&main), Some(&forced)).await.unwrap();
    assert_eq!(scm.pull_request("acme/app", 1).await.unwrap().unwrap().head_sha, main.to_string());
    new.update_ref(&RefName::branch("feature").unwrap(), None, Some(&main)).await.unwrap();
    assert!(!scm.pull_request("acme/app", 1).await.unwrap().unwrap().head_exists);
}

#[tokio::test]
async fn a_fork_is_seen_as_one() {
    let (_dir, scm) = fresh().await;
    scm.create_repository(&new_repository("eve/app", "run-2")).await.unwrap();
    let mut new = new_pull("evil", vec![write("a", "1")]);
    new.head_repository = Some("eve/app".to_owned());
    // The branch of the fork grows from the fork's own history.
    let eve = scm.git("eve/app").await.unwrap();
    let main = eve.branch_head("main").await.unwrap().unwrap();
    eve.update_ref(&RefName::branch("evil").unwrap(), Some(&main), None).await.unwrap();
    let opened = scm.open_pull_request("acme/app", &new).await.unwrap();
    assert!(opened.fork);
    assert_eq!(opened.head_repository, "eve/app");
    assert!(scm.git("acme/app").await.unwrap().has_commit(&Sha::parse(&opened.head_sha).unwrap()).await.unwrap());
    let sha = scm.push_to("eve/app", &push("evil", "2", false)).await.unwrap();
    assert_eq!(scm.refresh_pull_request("acme/app", 1).await.unwrap().head_sha, sha.to_string());
}

#[tokio::test]
async fn many_writers_get_many_numbers() {
    let (_dir, scm) = fresh().await;
    let tasks = (0..6).map(|n| {
        let scm = scm.clone();
        tokio::spawn(async move {
            let new = new_pull(&format!("b{n}"), vec![write("a", &n.to_string())]);
            scm.open_pull_request("acme/app", &new).await.unwrap().number
        })
    });
    let mut numbers: Vec<i64> = futures::future::join_all(tasks).await.into_iter().map(|n| n.unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(scm.open_pull_requests("acme/app").await.unwrap().len(), 6);
}

#[tokio::test]
async fn deliveries_have_the_shape_of_github() {
    let (_dir, scm) = fresh().await;
    let repository = scm.repository("acme/app").await.unwrap().unwrap();
    let pull = scm.open_pull_request("acme/app", &new_pull("feature", vec![write("a", "1")])).await.unwrap();
    let hook = pull_request_hook(&repository, &pull, Action::Opened);
    let body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
    assert_eq!(hook.event, "pull_request");
    assert_eq!(body["action"], "opened");
    assert_eq!(body["repository"]["id"].as_i64().unwrap().to_string(), repository.id);
    assert_eq!(body["pull_request"]["head"]["sha"], pull.head_sha);
    assert_eq!(body["pull_request"]["head"]["repo"]["id"], body["repository"]["id"]);
    assert_eq!(body["pull_request"]["merged_at"], serde_json::Value::Null);
    let info = scm.git("acme/app").await.unwrap().commit_info(&Sha::parse(&pull.head_sha).unwrap()).await.unwrap();
    let hook = push_hook(&repository, "feature", "", &pull.head_sha, &[info], false);
    let body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
    assert_eq!((hook.event, body["ref"].as_str().unwrap()), ("push", "refs/heads/feature"));
    assert_eq!(body["head_commit"]["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(body["before"], "0".repeat(40));
}

#[test]
fn urls_name_connection_and_repository() {
    assert_eq!(parse_url("scm://local/acme/app"), Some(("local".to_owned(), "acme/app".to_owned())));
    assert_eq!(parse_url("scm://local/acme/app/tree/main"), Some(("local".to_owned(), "acme/app".to_owned())));
    for bad in ["https://x/a/b", "scm://local", "scm://local/a", "scm://local/../x"] {
        assert_eq!(parse_url(bad), None, "{bad}");
    }
}
