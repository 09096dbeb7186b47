//! House rules, read from the sources: who may know whom, how long a file may be, what every module says of itself.
//!
//! Owns the rules of ARCHITECTURE.md that a machine can check. Refuses exceptions that are not named here with a reason.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

const SERVICES: [&str; 5] = ["catalog", "environment", "secrets", "scaffolding", "metrics"];
const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// One Rust source: its path below the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The room of a service's source: `model`, `store`, …; `None` outside services.
    fn room(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("services/")?;
        let (service, rest) = rest.split_once('/')?;
        let rest = rest.strip_prefix("src/")?;
        SERVICES.contains(&service).then(|| rest.split(['/', '.']).next().unwrap())
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs") || self.path.starts_with("tests/")
    }
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if path.is_dir()
            && !matches!(name.as_ref(), "target" | ".git" | "node_modules" | "third_party" | "golden-paths")
        {
            collect(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    collect(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(),
        })
        .collect()
}

fn none(what: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{what}:\n  {}", offences.join("\n  "));
}

/// Lines outside `allowed` sources that contain one of `words`.
fn lines_with(words: &[&str], allowed: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|s| !allowed(s)) {
        for (line, text) in source.code() {
            if words.iter().any(|word| text.contains(word)) {
                offences.push(format!("{}:{line}: {}", source.path, text.trim()));
            }
        }
    }
    offences
}

#[test]
fn the_wire_stays_in_api_wire_lib_and_world() {
    let words = ["tonic::", "prost::", "prost_types::", "slipway_proto::"];
    let allowed = |s: &Source| {
        s.is_test() || !matches!(s.room(), Some("app" | "model" | "store" | "reconcile" | "config" | "error"))
    };
    none("only api, wire, lib and client adapters in world know protobuf and gRPC", lines_with(&words, allowed));
}

#[test]
fn sql_stays_in_stores_and_kit() {
    let ours = |s: &Source| s.path.starts_with("services/kit/") || s.path == "tests/tests/house.rs";
    none("sqlx is known to kit alone", lines_with(&["sqlx::"], ours));
    let words = ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE FROM"];
    let allowed =
        |s: &Source| s.is_test() || !matches!(s.room(), Some("app" | "model" | "api" | "wire" | "world" | "reconcile"));
    none("SQL stands in store", lines_with(&words, allowed));
}

#[test]
fn the_outside_stays_in_world() {
    let allowed = |s: &Source| {
        s.is_test()
            || s.room() == Some("world")
            || [
                "services/kit/src/fetch",
                "services/credentials/",
                "services/standalone/",
                "gateway/src/world",
                "xtask/",
            ]
            .iter()
            .any(|p| s.path.starts_with(p))
    };
    none("outside clients stand in world", lines_with(&["kube::", "vaultrs::", "reqwest::"], allowed));
}

#[test]
fn models_are_pure() {
    let words = ["async fn", "async move", ".await", "SystemTime::now", "Instant::now", "Timestamp::now", "Utc::now"];
    let allowed = |s: &Source| s.room() != Some("model") && !s.path.starts_with("gateway/src/model");
    none("models have no clock and no await", lines_with(&words, allowed));
}

#[test]
fn status_is_made_in_one_place() {
    let words = [
        "Status::new(",
        "Status::with_error_details",
        "Status::internal(",
        "Status::not_found(",
        "Status::unavailable(",
    ];
    let allowed = |s: &Source| {
        s.is_test()
            || s.path == "services/kit/src/error.rs"
            || s.path.starts_with("gateway/src/edge")
            || s.path.starts_with("services/kit/src/serve")
    };
    none("errors become Status in kit/src/error.rs", lines_with(&words, allowed));
}

#[test]
fn services_never_import_each_other() {
    let mut offences = Vec::new();
    for service in SERVICES {
        let manifest = fs::read_to_string(root().join(format!("services/{service}/Cargo.toml"))).unwrap();
        for other in SERVICES.iter().filter(|other| **other != service) {
            if manifest.contains(&format!("slipway-{other}")) {
                offences.push(format!("{service} depends on {other}"));
            }
        }
    }
    none("services call each other through the contract", offences);
}

#[test]
fn files_and_functions_are_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offences.push(format!("{}: {lines} lines", source.path));
        }
        let mut open: Option<(usize, String)> = None;
        for (at, line) in source.text.lines().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            let text = line.trim_start();
            let text =
                text.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
            let text = text.trim_start_matches("const ").trim_start_matches("async ");
            if open.is_none()
                && text.starts_with("fn ")
                && !line.trim_end().ends_with('}')
                && !line.trim_end().ends_with(';')
            {
                open = Some((at, format!("{indent}}}")));
            } else if let Some((start, end)) = &open
                && line.trim_end() == end
            {
                if at - start + 1 > FUNCTION_LINES_MAX {
                    offences.push(format!("{}:{}: a function of {} lines", source.path, start + 1, at - start + 1));
                }
                open = None;
            }
        }
    }
    none("files stay below 500 lines, functions below 70", offences);
}

#[test]
fn every_module_says_what_it_owns() {
    let silent =
        sources().into_iter().filter(|s| !s.text.starts_with("//!") && !s.text.starts_with("#![")).map(|s| s.path);
    none("a module starts with //!", silent.collect());
}

#[test]
fn no_attic_and_nothing_left_undone() {
    let names = ["utils", "util", "helpers", "helper", "common", "types", "misc", "manager"];
    let attics = sources().into_iter().map(|s| s.path).filter(|path| {
        let stem = Path::new(path).file_stem().unwrap().to_string_lossy().into_owned();
        names.contains(&stem.as_str())
    });
    none("a file is named for what it holds", attics.collect());
    let here = |s: &Source| s.path == "tests/tests/house.rs";
    let words = ["todo!(", "unimplemented!(", "#[ignore", "TODO", "FIXME"];
    none("nothing is left undone or switched off", lines_with(&words, here));
}

#[test]
fn every_service_has_the_same_rooms() {
    let mut missing = Vec::new();
    for service in SERVICES {
        let src = root().join("services").join(service).join("src");
        for room in ["lib", "config", "api", "wire", "app", "model", "store", "world", "error"] {
            if !src.join(format!("{room}.rs")).exists() && !src.join(room).join("mod.rs").exists() {
                missing.push(format!("services/{service}/src/{room}.rs"));
            }
        }
    }
    none("a room is missing", missing);
}
