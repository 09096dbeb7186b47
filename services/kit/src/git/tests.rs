//! Tests of the hardened git on real repositories.
#![allow(clippy::unwrap_used)]
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{error::ALREADY_EXISTS, files::Mode};

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

async fn fresh() -> (WorkDir, Repo) {
    let dir = WorkDir::temporary().unwrap();
    let git = Git::open(Tool::find("git").unwrap(), dir.path()).await.unwrap();
    let repo = git.init_bare(&path("acme/app.git"), "main").await.unwrap();
    (dir, repo)
}

fn main_branch() -> RefName {
    RefName::branch("main").unwrap()
}

fn commit(expected: Option<&Sha>, files: Vec<FileChange>) -> Commit {
    Commit {
        branch: main_branch(),
        expected: expected.cloned(),
        files,
        message: "Change something\n\nSlipway-Run: 42".to_owned(),
        author: Author::new("Ann <x>\nEvil", "ann@example.com", 1_700_000_000),
    }
}

#[tokio::test]
async fn a_commit_can_be_read_back_whole() {
    let (_dir, repo) = fresh().await;
    let files = vec![
        FileChange::write(path("README.md"), "hi\n"),
        FileChange::Write { path: path("bin/run me"), bytes: vec![0, 255, 10], executable: true },
        FileChange::write(path("quote\"d/ü.txt"), ""),
    ];
    let made = repo.commit(&commit(None, files)).await.unwrap();
    assert_eq!(repo.branch_head("main").await.unwrap(), Some(made.sha.clone()));
    let listed = repo.list_tree(&made.sha, None).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|e| (e.path.as_str(), e.kind, e.size_bytes)).collect();
    let want = [
        ("README.md", TreeKind::File, 3),
        ("bin/run me", TreeKind::Executable, 3),
        ("quote\"d/ü.txt", TreeKind::File, 0),
    ];
    assert_eq!(seen, want);
    assert_eq!(repo.read_file(&made.sha, &path("bin/run me"), 10).await.unwrap().unwrap(), [0, 255, 10]);
    assert_eq!(repo.read_file(&made.sha, &path("none"), 10).await.unwrap(), None);
    assert_eq!(repo.read_file(&made.sha, &path("bin"), 10).await.unwrap(), None);
    assert!(repo.read_file(&made.sha, &path("README.md"), 2).await.unwrap_err().is(&crate::files::FILE_TOO_LARGE));

    let into = WorkDir::temporary().unwrap();
    let done = repo.checkout(&made.sha, None, &into).await.unwrap();
    assert_eq!(done, Checkout { files: 3, bytes: 6 });
    let mode = std::fs::metadata(into.path().join("bin/run me")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let below = WorkDir::temporary().unwrap();
    repo.checkout(&made.sha, Some(&path("bin")), &below).await.unwrap();
    assert!(below.exists(&path("run me")));

    let info = repo.commit_info(&made.sha).await.unwrap();
    assert_eq!((info.author_name.as_str(), info.committed_seconds), ("Ann xEvil", 1_700_000_000));
    assert_eq!(info.trailer("slipway-run").as_deref(), Some("42"));
}

#[tokio::test]
async fn equal_commits_are_one_commit_and_repeats_are_seen() {
    let (_dir, repo) = fresh().await;
    let first = commit(None, vec![FileChange::write(path("a"), "1")]);
    let one = repo.commit(&first).await.unwrap();
    assert_eq!(repo.commit(&first).await.unwrap(), one, "a repeat after a crash finds its own commit");
    let same = repo.commit(&commit(Some(&one.sha), vec![FileChange::write(path("a"), "1")])).await.unwrap();
    assert_eq!(same, Committed { sha: one.sha.clone(), changed: false });

    let two = repo.commit(&commit(Some(&one.sha), vec![FileChange::write(path("a"), "2")])).await.unwrap();
    let late = repo.commit(&commit(Some(&one.sha), vec![FileChange::write(path("a"), "3")])).await.unwrap_err();
    assert!(late.is(&REF_MOVED), "{late}");
    assert_eq!(repo.branch_head("main").await.unwrap(), Some(two.sha.clone()));
    let gone = repo.commit(&commit(Some(&two.sha), vec![FileChange::Remove { path: path("a") }])).await.unwrap();
    assert_eq!(repo.list_tree(&gone.sha, None).await.unwrap(), []);
    assert_eq!(repo.refs("refs/").await.unwrap().len(), 1, "the import leaves no ref of its own");
}

#[tokio::test]
async fn of_concurrent_commits_one_wins() {
    let (_dir, repo) = fresh().await;
    let base = repo.commit(&commit(None, vec![FileChange::write(path("a"), "0")])).await.unwrap();
    let tries = (0..6).map(|i| {
        let (repo, wanted) =
            (repo.clone(), commit(Some(&base.sha), vec![FileChange::write(path("a"), format!("try {i}"))]));
        async move { repo.commit(&wanted).await }
    });
    let done = futures::future::join_all(tries).await;
    assert_eq!(done.iter().filter(|r| r.is_ok()).count(), 1);
    assert!(done.iter().filter_map(|r| r.as_ref().err()).all(|e| e.is(&REF_MOVED)), "{done:?}");
}

#[tokio::test]
async fn history_is_read_with_parents_and_ranges() {
    let (_dir, repo) = fresh().await;
    let mut heads: Vec<Sha> = Vec::new();
    for i in 0..3 {
        let change = vec![FileChange::write(path(if i == 1 { "docs/x" } else { "src/x" }), i.to_string())];
        heads.push(repo.commit(&commit(heads.last(), change)).await.unwrap().sha);
    }
    let range = CommitRange { from: Some(heads[0].clone()), to: heads[2].clone(), path: None, limit: 10 };
    let found = repo.commits(&range).await.unwrap();
    assert_eq!(found.iter().map(|c| c.sha.clone()).collect::<Vec<_>>(), [heads[2].clone(), heads[1].clone()]);
    assert_eq!(found[0].parents, [heads[1].clone()]);
    let docs = repo.commits(&CommitRange { from: None, path: Some(path("docs")), ..range.clone() }).await.unwrap();
    assert_eq!(docs.len(), 1);
    assert!(repo.is_ancestor(&heads[0], &heads[2]).await.unwrap());
    assert!(!repo.is_ancestor(&heads[2], &heads[0]).await.unwrap());
    assert_eq!(repo.merge_base(&heads[1], &heads[2]).await.unwrap(), Some(heads[1].clone()));
    let absent = Sha::parse(&"a".repeat(40)).unwrap();
    assert!(repo.commits(&CommitRange { to: absent.clone(), ..range }).await.unwrap_err().is(&REVISION_UNKNOWN));
    assert!(repo.list_tree(&absent, None).await.unwrap_err().is(&REVISION_UNKNOWN));
    assert!(repo.is_ancestor(&absent, &heads[0]).await.unwrap_err().is(&REVISION_UNKNOWN));
    assert!(repo.commit(&commit(Some(&absent), vec![])).await.unwrap_err().is(&REVISION_UNKNOWN));
}

#[tokio::test]
async fn merges_need_no_work_tree_and_conflicts_are_told() {
    let (_dir, repo) = fresh().await;
    let base = repo.commit(&commit(None, vec![FileChange::write(path("a"), "0\n")])).await.unwrap().sha;
    let branch = |name: &str| RefName::branch(name).unwrap();
    for name in ["side", "clash"] {
        repo.update_ref(&branch(name), Some(&base), None).await.unwrap();
    }
    let on = |name: &str, file: &str, text: &str| Commit {
        branch: branch(name),
        ..commit(Some(&base), vec![FileChange::write(path(file), text)])
    };
    let side = repo.commit(&on("side", "b", "side\n")).await.unwrap().sha;
    let clash = repo.commit(&on("clash", "a", "theirs\n")).await.unwrap().sha;
    let ours = repo.commit(&on("main", "a", "ours\n")).await.unwrap().sha;
    let author = Author::new("Bob", "bob@example.com", 1_700_000_100);
    let merge = |head: &Sha| Merge {
        branch: main_branch(),
        expected: ours.clone(),
        head: head.clone(),
        message: "Merge".to_owned(),
        author: author.clone(),
    };
    assert!(repo.merge(&merge(&clash)).await.unwrap_err().is(&MERGE_CONFLICT));
    let merged = repo.merge(&merge(&side)).await.unwrap();
    assert_eq!(repo.merge(&merge(&side)).await.unwrap(), merged, "a repeat is the same merge");
    assert_eq!(repo.commit_info(&merged).await.unwrap().parents, [ours, side]);
    repo.update_ref(&branch("clash"), None, Some(&clash)).await.unwrap();
    assert_eq!(repo.branch_head("clash").await.unwrap(), None);
}

#[tokio::test]
async fn repositories_stay_below_the_root_and_are_made_once() {
    let (dir, repo) = fresh().await;
    let git = repo.git.clone();
    assert!(git.init_bare(&path("acme/app.git"), "main").await.err().unwrap().is(&ALREADY_EXISTS));
    assert!(git.repository(&path("acme/none.git")).err().unwrap().is(&crate::error::NOT_FOUND));
    let outside = WorkDir::temporary().unwrap();
    outside.write(&path("HEAD"), b"ref: refs/heads/main", Mode::Plain).unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("out.git")).unwrap();
    assert!(git.repository(&path("out.git")).is_err());
    assert!(git.init_bare(&path("x.git"), "-evil").await.err().unwrap().is(&REF_INVALID));
    let left = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".new"));
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn commits_travel_between_repositories_of_one_root() {
    let (_dir, repo) = fresh().await;
    let made = repo.commit(&commit(None, vec![FileChange::write(path("a"), "1")])).await.unwrap();
    let fork = repo.git.init_bare(&path("fork/app.git"), "main").await.unwrap();
    let none = RefName::branch("mai").unwrap();
    assert_eq!(repo.resolve_all(&[&none, &main_branch()]).await.unwrap(), [None, Some(made.sha.clone())]);
    let head = RefName::full("refs/pull/1/head").unwrap();
    assert_eq!(fork.fetch(&repo, &main_branch(), &head).await.unwrap(), made.sha);
    assert_eq!(fork.resolve(&head).await.unwrap(), Some(made.sha));
    let none = RefName::branch("none").unwrap();
    assert!(fork.fetch(&repo, &none, &head).await.unwrap_err().is(&REVISION_UNKNOWN));
}

#[tokio::test]
async fn what_a_repository_carries_runs_nothing() {
    let (_dir, repo) = fresh().await;
    let marker = repo.dir().join("ran");
    let hook = format!("#!/bin/sh\ntouch {}\n", marker.display());
    std::fs::create_dir_all(repo.dir().join("hooks")).unwrap();
    for name in ["reference-transaction", "post-update", "update", "pre-receive"] {
        let file = repo.dir().join("hooks").join(name);
        std::fs::write(&file, &hook).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let tree = vec![FileChange::write(path("a"), "1"), FileChange::write(path(".gitattributes"), "* filter=evil\n")];
    let made = repo.commit(&commit(None, tree)).await.unwrap();
    let into = WorkDir::temporary().unwrap();
    repo.checkout(&made.sha, None, &into).await.unwrap();
    assert!(!marker.exists());
}

#[tokio::test]
async fn hostile_trees_are_refused() {
    let (_dir, repo) = fresh().await;
    // A link that leads outside, and a name that SAFE-52 refuses, made with plain git.
    let blob = |text: &str| repo.git(&["hash-object", "-w", "--stdin"]).stdin(text.to_owned());
    let target = sha_line(&blob("../../etc/passwd").success().await.unwrap()).unwrap();
    for (mode, name, reason) in [("120000", "link", &LINK_REFUSED), ("100644", "a\\b", &crate::files::PATH_REFUSED)] {
        let tree = repo.git(&["mktree"]).stdin(format!("{mode} blob {target}\t{name}\n")).success().await.unwrap();
        let tree = sha_line(&tree).unwrap();
        let made = repo
            .git(&["commit-tree", "-m", "x"])
            .arg(tree.as_str())
            .env("GIT_AUTHOR_NAME", "x")
            .env("GIT_AUTHOR_EMAIL", "x")
            .env("GIT_COMMITTER_NAME", "x")
            .env("GIT_COMMITTER_EMAIL", "x");
        let sha = sha_line(&made.success().await.unwrap()).unwrap();
        let into = WorkDir::temporary().unwrap();
        let error = repo.checkout(&sha, None, &into).await.unwrap_err();
        assert!(error.is(reason), "{name}: {error}");
        assert_eq!(into.list().unwrap(), []);
    }
}

#[tokio::test]
async fn a_lock_left_by_a_killed_git_is_removed_when_it_is_old() {
    let (_dir, repo) = fresh().await;
    let one = repo.commit(&commit(None, vec![FileChange::write(path("a"), "1")])).await.unwrap();
    let lock = repo.dir().join("refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let change = commit(Some(&one.sha), vec![FileChange::write(path("a"), "2")]);
    assert!(repo.commit(&change).await.unwrap_err().is(&crate::subprocess::TOOL_FAILED));
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&lock).unwrap().set_modified(old).unwrap();
    repo.commit(&change).await.unwrap();
}

#[test]
fn names_follow_check_ref_format() {
    for good in ["main", "feature/x", "a.b", "ünïcode", "refsx/y", "x@y"] {
        assert!(RefName::branch(good).is_ok(), "{good}");
    }
    let bad = [
        "",
        "-x",
        "a..b",
        "a b",
        "a~1",
        "a^",
        "a:b",
        "a?",
        "a*",
        "a[",
        "a\\b",
        "a.lock",
        ".a",
        "a/.b",
        "a/",
        "/a",
        "a//b",
        "a.",
        "a@{1}",
        "refs/heads/x",
        "HEAD",
        "a\n",
    ];
    for name in bad {
        assert!(RefName::branch(name).unwrap_err().is(&REF_INVALID), "{name:?}");
    }
    for bad in ["", "abc", &"A".repeat(40), &"g".repeat(40), &"a".repeat(41), "--upload-pack=x"] {
        assert!(Sha::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn trailers_are_the_last_paragraph_alone() {
    let message = "Subject\n\nBody: no\n\nSigned-off-by: Ann\nSlipway-Run: 1\n  more\n";
    let want = [("Signed-off-by".to_owned(), "Ann".to_owned()), ("Slipway-Run".to_owned(), "1 more".to_owned())];
    assert_eq!(trailers(message), want);
    for none in ["", "Subject: x", "Subject\n\nprose: and\nmore prose", "Subject\n\na b: c"] {
        assert_eq!(trailers(none), [], "{none:?}");
    }
}
