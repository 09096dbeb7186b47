//! Tests of the directory handle and the name rules.
#![allow(clippy::unwrap_used)]
use super::*;

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

#[test]
fn names_follow_safe_52() {
    for good in ["a", "a/b.txt", ".github/workflows/ci.yml", "chart/values.yaml", "ü/x", "a b", ".gitignore", "\"q\""]
    {
        assert!(FilePath::parse(good).is_ok(), "{good}");
    }
    let long = "x".repeat(256);
    let deep = vec!["d"; 33].join("/");
    let bad = [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\0b",
        "C:/x",
        "x.",
        "x ",
        ".git/config",
        "a/.GIT/x",
        "GIT~1",
        "e\u{301}",
        "a\nb",
        "a\u{202e}b",
        &long,
        &deep,
    ];
    for text in bad {
        let error = FilePath::parse(text).unwrap_err();
        assert!(error.is(&PATH_REFUSED), "{text:?}: {error}");
    }
}

#[test]
fn steering_files_need_permission() {
    for name in [".github/workflows/x.yml", ".GitHub/Workflows/x", "a/.gitattributes", ".gitmodules", "docs/CODEOWNERS"]
    {
        assert!(path(name).is_protected(), "{name}");
    }
    assert!(!path(".github/dependabot.yml").is_protected());
}

#[test]
fn names_that_fold_alike_collide() {
    let mut set = PathSet::default();
    for name in ["src/Main.go", "src/lib.go", "docs/a"] {
        set.insert(&path(name)).unwrap();
    }
    for name in ["src/main.go", "SRC/other.go", "docs", "docs/a/b", "src/ﬁle/../x".trim_end_matches("/../x")] {
        let outcome = set.insert(&path(name));
        if name.ends_with("ﬁle") {
            outcome.unwrap();
            assert!(set.insert(&path("src/file")).unwrap_err().is(&PATH_COLLISION));
        } else {
            assert!(outcome.unwrap_err().is(&PATH_COLLISION), "{name}");
        }
    }
}

#[test]
fn writes_are_whole_and_keep_their_mode() {
    let dir = WorkDir::temporary().unwrap();
    dir.write(&path("bin/run"), b"one", Mode::Executable).unwrap();
    dir.write(&path("bin/run"), b"two", Mode::Executable).unwrap();
    dir.write(&path("key"), b"k", Mode::Private).unwrap();
    let listed = dir.list().unwrap();
    let seen: Vec<_> = listed.iter().map(|e| (e.path.as_str(), e.mode & 0o777, e.size_bytes)).collect();
    assert_eq!(seen[1..], [("bin/run", 0o755, 3), ("key", 0o600, 1)], "no temporary file remains");
    assert_eq!(dir.read(&path("bin/run"), 3).unwrap(), b"two");
    assert!(dir.read(&path("bin/run"), 2).unwrap_err().is(&FILE_TOO_LARGE));
    assert!(dir.read(&path("none"), 2).unwrap_err().is(&NOT_FOUND));
}

#[test]
fn links_cannot_lead_out() {
    let outside = WorkDir::temporary().unwrap();
    outside.write(&path("secret"), b"s", Mode::Plain).unwrap();
    let dir = WorkDir::temporary().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("abs")).unwrap();
    for name in ["out/secret", "abs"] {
        assert!(dir.read(&path(name), 10_000).is_err(), "{name}");
    }
    assert!(dir.write(&path("out/new"), b"x", Mode::Plain).is_err());
    assert!(!outside.exists(&path("new")));
    assert!(dir.link("../../etc", &path("a/b")).unwrap_err().is(&PATH_REFUSED));
    dir.write(&path("real"), b"r", Mode::Plain).unwrap();
    dir.link("../real", &path("a/b")).unwrap();
    assert_eq!(dir.read(&path("a/b"), 10).unwrap(), b"r");
    // A write over a link replaces the link, not its target.
    dir.write(&path("abs"), b"mine", Mode::Plain).unwrap();
    assert_eq!(dir.read(&path("abs"), 10).unwrap(), b"mine");
}

#[test]
fn removal_takes_whole_directories_and_repeats() {
    let dir = WorkDir::temporary().unwrap();
    dir.write(&path("a/b/c"), b"x", Mode::Plain).unwrap();
    dir.remove(&path("a")).unwrap();
    dir.remove(&path("a")).unwrap();
    assert_eq!(dir.list().unwrap(), []);
}

#[test]
fn the_handle_stays_on_its_directory_when_the_path_is_swapped() {
    let dir = WorkDir::temporary().unwrap();
    dir.write(&path("in/x"), b"inner", Mode::Plain).unwrap();
    let inner = dir.open_dir(&path("in")).unwrap();
    dir.rename(&path("in"), &path("moved")).unwrap();
    dir.write(&path("in/x"), b"swapped", Mode::Plain).unwrap();
    assert_eq!(inner.read(&path("x"), 100).unwrap(), b"inner");
}
