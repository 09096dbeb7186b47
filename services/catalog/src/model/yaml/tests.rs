//! YAML as CAT-6 to CAT-10 want it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::finding::{Finding, Findings};

fn read(text: &str) -> (Option<serde_json::Value>, Vec<Finding>) {
    let chunks = split(text);
    assert!(chunks.len() <= 1, "one document: {chunks:?}");
    let mut findings = Findings::default();
    let node = chunks.first().and_then(|chunk| parse(chunk, &mut findings));
    (node.map(|n| n.to_json()), findings.finish())
}

fn json(text: &str) -> String {
    let (value, findings) = read(text);
    assert!(findings.is_empty(), "{text:?}: {findings:?}");
    value.unwrap().to_string()
}

fn codes(text: &str) -> Vec<String> {
    read(text).1.into_iter().map(|f| f.code).collect()
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    let table = [
        ("true", "true"),
        ("True", "true"),
        ("TRUE", "true"),
        ("false", "false"),
        ("tRue", "\"tRue\""),
        ("null", "null"),
        ("Null", "null"),
        ("NULL", "null"),
        ("~", "null"),
        ("", "null"),
        ("nUll", "\"nUll\""),
        ("012", "12"),
        ("-7", "-7"),
        ("+7", "7"),
        ("0o17", "15"),
        ("0o8", "\"0o8\""),
        ("0x1F", "31"),
        ("0xg", "\"0xg\""),
        ("1e3", "1000"),
        ("1.0", "1"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1.5e-1", "0.15"),
        (".", "\".\""),
        ("-", "[null]"),
        (".inf", "null"),
        ("-.INF", "null"),
        (".nan", "null"),
        ("1e", "\"1e\""),
        ("e3", "\"e3\""),
        ("+", "\"+\""),
        ("1.2.3", "\"1.2.3\""),
        ("yes", "\"yes\""),
        ("no", "\"no\""),
        ("on", "\"on\""),
        ("off", "\"off\""),
        ("y", "\"y\""),
        ("1_000", "\"1_000\""),
        ("2024-01-01", "\"2024-01-01\""),
        ("12:30", "\"12:30\""),
        ("'1'", "\"1\""),
        ("\"true\"", "\"true\""),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("!!str 1", "\"1\""),
        ("!!int 3", "3"),
        ("! 12", "\"12\""),
    ];
    for (text, want) in table {
        if !text.is_empty() {
            assert_eq!(json(&format!("{text}\n# end\n")).as_str(), want, "{text}");
        }
        if want != "[null]" {
            assert_eq!(json(&format!("a: {text}\n")), format!("{{\"a\":{want}}}"), "{text}");
        }
    }
}

#[test]
fn version_1_1_is_obeyed_where_asked() {
    let table = [
        ("yes", "true"),
        ("off", "false"),
        ("y", "true"),
        ("1_000", "1000"),
        ("010", "8"),
        ("0b11", "3"),
        ("1:30", "90"),
        ("x", "\"x\""),
        ("-0x1_0", "-16"),
    ];
    for (text, want) in table {
        assert_eq!(json(&format!("%YAML 1.1\n---\na: {text}\n")), format!("{{\"a\":{want}}}"), "{text}");
    }
    let files = "%YAML 1.1\n---\na: yes\n---\na: yes\n";
    let chunks = split(files);
    assert_eq!(chunks.iter().map(|c| (c.line, c.yaml_1_1)).collect::<Vec<_>>(), [(1, true), (4, false)]);
}

#[test]
fn merge_keys_are_ordinary_and_duplicates_are_errors() {
    assert_eq!(json("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n"), r#"{"a":{"b":1},"c":{"<<":{"b":1},"d":2}}"#);
    assert_eq!(codes("a: 1\nb: 2\na: 3\n"), ["DUPLICATE_KEY"]);
    assert_eq!(codes("x: {a: 1, a: 2}\n"), ["DUPLICATE_KEY"]);
    assert_eq!(codes("a: !foo x\n"), ["YAML_TAG_UNKNOWN"]);
    assert_eq!(read("a: !foo x\n").0.unwrap()["a"], "x");
    assert_eq!(codes("a: !bar {b: 1}\n"), ["YAML_TAG_UNKNOWN"]);
    assert_eq!(codes("? [a]\n: b\n"), ["YAML_SYNTAX"]);
}

#[test]
fn bytes_that_are_accepted() {
    assert_eq!(json("\u{feff}a: 1\r\nb: |\r\n  x\r\n  y\r\n"), "{\"a\":1,\"b\":\"x\\ny\\n\"}");
    assert_eq!(
        json(r#"{"a": [1, true, null, "x"], "b": {"c": "\u00e4"}}"#),
        r#"{"a":[1,true,null,"x"],"b":{"c":"ä"}}"#
    );
    assert_eq!(codes("a:\n\tb: c\n"), ["YAML_SYNTAX"]);
    assert_eq!(codes("a: [1, 2\n"), ["YAML_SYNTAX"]);
    assert_eq!(codes("a: 'x\n"), ["YAML_SYNTAX"]);
}

#[test]
fn documents_are_cut_at_their_markers() {
    let lines = |text: &str| split(text).iter().map(|c| c.line).collect::<Vec<_>>();
    assert_eq!(lines(""), [0u32; 0]);
    assert_eq!(lines("# only\n\n"), [0u32; 0]);
    assert_eq!(lines("a: 1\n---\nb: 2\n---\n"), [1, 2, 4]);
    assert_eq!(lines("# c\n---\na: 1\n...\n# tail\n"), [1]);
    assert_eq!(lines("---\na\n...\n%YAML 1.2\n---\nb\n"), [1, 4]);
    assert_eq!(lines("a: |\n  ---\n  x\n---x: 1\n"), [1]);
    assert_eq!(lines("--- a\n--- b\n"), [1, 2]);
    assert_eq!(lines("a: \"x\n---\ny\"\n"), [1, 2]);
}

#[test]
fn a_broken_document_leaves_its_neighbours_alone() {
    let mut verdicts = Vec::new();
    for chunk in split("a: good\n---\nfoo: [\n---\nb: good\n") {
        let mut findings = Findings::default();
        verdicts.push(parse(&chunk, &mut findings).is_some());
    }
    assert_eq!(verdicts, [true, false, true]);
}

#[test]
fn bombs_and_depth_are_refused() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..9 {
        let uses = vec![format!("*a{}", n - 1); 10].join(",");
        bomb.push_str(&format!("a{n}: &a{n} [{uses}]\n"));
    }
    assert_eq!(codes(&bomb), ["YAML_ALIAS_BOMB"]);
    let many = format!("a: &a x\nb: [{}]\n", vec!["*a"; 101].join(","));
    assert_eq!(codes(&many), ["YAML_ALIAS_BOMB"]);
    let enough = format!("a: &a x\nb: [{}]\n", vec!["*a"; 100].join(","));
    assert!(codes(&enough).is_empty());
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 99].join(","));
    assert_eq!(codes(&long), ["YAML_ALIAS_BOMB"]);
    assert_eq!(codes("a: &a [*a]\n"), ["YAML_SYNTAX"]);
    assert_eq!(codes("a: *nothing\n"), ["YAML_SYNTAX"]);
    assert!(codes(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_empty());
    assert_eq!(codes(&format!("{}{}", "[".repeat(65), "]".repeat(65))), ["DOCUMENT_TOO_LARGE"]);
    assert_eq!(codes(&"[".repeat(500_000)), ["DOCUMENT_TOO_LARGE"]);
    assert_eq!(codes(&format!("[{}]", "1,".repeat(100_001))), ["DOCUMENT_TOO_LARGE"]);
    assert_eq!(codes(&format!("a: {}", "x".repeat(DOCUMENT_BYTES_MAX))), ["DOCUMENT_TOO_LARGE"]);
}

#[test]
fn positions_are_lines_and_characters() {
    let chunk = split("# c\n---\nä: 1\nmap:\n  k: [v, 'wö']\n")[0];
    let mut findings = Findings::default();
    let root = parse(&chunk, &mut findings).unwrap();
    let v = &root.get("map").unwrap().get("k").unwrap().items()[1];
    assert_eq!((v.at.line, v.at.column, v.at.end_line, v.at.end_column), (5, 10, 5, 14));
    let k = root.get("map").unwrap().entry("k").unwrap();
    assert_eq!((k.key_at.line, k.key_at.column), (5, 3));
    assert_eq!((root.at.line, root.at.column), (3, 1));
}
