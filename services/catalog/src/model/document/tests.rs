//! Verdicts on documents for CAT-11 to CAT-23: each row is one document and the codes of its errors, or none.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::finding::Severity;

fn check(text: &str) -> Document {
    let mut drafts = read(text.as_bytes());
    assert_eq!(drafts.len(), 1, "{text}");
    drafts.remove(0).check()
}

fn codes(text: &str, severity: Severity) -> Vec<String> {
    check(text)
        .findings
        .iter()
        .filter(|f| f.severity == severity)
        .map(|f| format!("{} {}", f.code, f.pointer))
        .collect()
}

fn errors(text: &str) -> Vec<String> {
    codes(text, Severity::Error)
}

fn resource(metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: backstage.io/v1alpha1\nkind: Resource\nmetadata:\n  name: x\n{metadata}spec:\n  type: db\n  owner: t\n{spec}"
    )
}

/// (YAML below `metadata:` at indent 2, expected error or "")
fn metadata_table(rows: &[(&str, &str)]) {
    for (yaml, want) in rows {
        let lines: String = yaml.lines().map(|l| format!("  {l}\n")).collect();
        let got = errors(&resource(&lines, ""));
        let want: Vec<&str> = want.split('|').filter(|w| !w.is_empty()).collect();
        assert_eq!(got, want, "{yaml}");
    }
}

#[test]
fn labels_annotations_tags() {
    let long = format!("annotations: {{a: {}}}", "x".repeat(5000));
    metadata_table(&[
        ("labels: {tier: yes}", ""),
        ("labels: {tier: on}", ""),
        ("labels: {tier: 1_000}", ""),
        ("labels: {tier: ''}", ""),
        ("labels: {}", ""),
        ("labels: {Foo: a, x_y: b}", ""),
        ("labels: {foo.com/x: a}", ""),
        ("labels: {tier: 1}", "FIELD_TYPE /metadata/labels/tier"),
        ("labels: {tier: 012}", "FIELD_TYPE /metadata/labels/tier"),
        ("labels: {tier: true}", "FIELD_TYPE /metadata/labels/tier"),
        ("labels: {tier: null}", "FIELD_TYPE /metadata/labels/tier"),
        ("labels: {a: 'b c'}", "LABEL_VALUE_INVALID /metadata/labels/a"),
        ("labels: {a: -b}", "LABEL_VALUE_INVALID /metadata/labels/a"),
        ("labels: {Foo.com/x: a}", "KEY_INVALID /metadata/labels/Foo.com~1x"),
        ("labels: {a/b/c: a}", "KEY_INVALID /metadata/labels/a~1b~1c"),
        ("labels: {/x: a}", "KEY_INVALID /metadata/labels/~1x"),
        ("labels: {foo..com/x: a}", "KEY_INVALID /metadata/labels/foo..com~1x"),
        ("labels: null", "FIELD_TYPE /metadata/labels"),
        ("labels: [a]", "FIELD_TYPE /metadata/labels"),
        ("annotations: {a: 'b c d'}", ""),
        ("annotations: {a: ''}", ""),
        (&long, ""),
        ("annotations: {a: 1}", "FIELD_TYPE /metadata/annotations/a"),
        ("annotations: {a: true}", "FIELD_TYPE /metadata/annotations/a"),
        ("annotations: {a: null}", "FIELD_TYPE /metadata/annotations/a"),
        ("annotations: {a b: c}", "KEY_INVALID /metadata/annotations/a b"),
        ("tags: []", ""),
        ("tags: [c++, 'c#', 'a:b', a-b-c]", ""),
        ("tags: null", "FIELD_TYPE /metadata/tags"),
        ("tags: x", "FIELD_TYPE /metadata/tags"),
        ("tags: [C]", "TAG_INVALID /metadata/tags/0"),
        ("tags: [a, a--b]", "TAG_INVALID /metadata/tags/1"),
        ("tags: [a_b]", "TAG_INVALID /metadata/tags/0"),
        ("tags: [a.b]", "TAG_INVALID /metadata/tags/0"),
        ("tags: [-a]", "TAG_INVALID /metadata/tags/0"),
        ("tags: [1]", "FIELD_TYPE /metadata/tags/0"),
        ("tags: ['']", "FIELD_EMPTY /metadata/tags/0"),
    ]);
}

#[test]
fn names_links_and_the_rest_of_metadata() {
    metadata_table(&[
        ("namespace: a--b", ""),
        ("namespace: null", "FIELD_TYPE /metadata/namespace"),
        ("namespace: ''", "FIELD_EMPTY /metadata/namespace"),
        ("namespace: Default", "FORMAT_INVALID /metadata/namespace"),
        ("namespace: a.b", "FORMAT_INVALID /metadata/namespace"),
        ("title: T", ""),
        ("title: ''", "FIELD_EMPTY /metadata/title"),
        ("title: 1", "FIELD_TYPE /metadata/title"),
        ("uid: ''", "FIELD_EMPTY /metadata/uid"),
        ("etag: null", "FIELD_TYPE /metadata/etag"),
        ("description: ''", ""),
        ("description: null", "FIELD_TYPE /metadata/description"),
        ("description: 5", "FIELD_TYPE /metadata/description"),
        ("anything: {a: [1, null]}", ""),
        ("links: []", ""),
        ("links: [{url: 'https://a/b'}]", ""),
        ("links: [{url: 'mailto:a@b', title: t, icon: i, type: z}]", ""),
        ("links: [{url: foo}]", "LINK_INVALID /metadata/links/0/url"),
        ("links: [{url: //x}]", "LINK_INVALID /metadata/links/0/url"),
        ("links: [{url: 'http://'}]", "LINK_INVALID /metadata/links/0/url"),
        ("links: [{url: 'https://a b'}]", "LINK_INVALID /metadata/links/0/url"),
        ("links: [{}]", "FIELD_REQUIRED /metadata/links/0/url"),
        ("links: [x]", "FIELD_TYPE /metadata/links/0"),
        ("links: x", "FIELD_TYPE /metadata/links"),
        ("links: [{url: 'https://a', title: ' '}]", "FIELD_EMPTY /metadata/links/0/title"),
        ("links: [{url: 'https://a', icon: ''}]", "FIELD_EMPTY /metadata/links/0/icon"),
        ("links: [{url: 'https://a', type: ''}]", "FIELD_EMPTY /metadata/links/0/type"),
        ("links: [{url: 'https://a', type: ' '}]", ""),
        (
            "labels: {a: 1}\ntags: [B]\ntitle: ''",
            "FIELD_TYPE /metadata/labels/a|TAG_INVALID /metadata/tags/0|FIELD_EMPTY /metadata/title",
        ),
    ]);
    for (name, good) in [("a..b", true), ("A_b-9", true), ("-a", false), ("a b", false), ("1", false), ("'1'", true)] {
        assert_eq!(errors(&resource("", "").replace("name: x", &format!("name: {name}"))).is_empty(), good, "{name}");
    }
}

#[test]
fn root_and_envelope() {
    let base = resource("", "");
    let rows = [
        ("a", "ROOT_NOT_MAPPING "),
        ("[a]", "ROOT_NOT_MAPPING "),
        ("5", "ROOT_NOT_MAPPING "),
        (&base.replace("apiVersion: backstage.io/v1alpha1\n", ""), "FIELD_REQUIRED /apiVersion"),
        (&base.replace("backstage.io/v1alpha1", "''"), "FIELD_EMPTY /apiVersion"),
        (&base.replace("backstage.io/v1alpha1", "backstage.io/v2"), "KIND_UNKNOWN /apiVersion"),
        (&base.replace("backstage.io/v1alpha1", "a/b/c"), "FORMAT_INVALID /apiVersion|KIND_UNKNOWN /apiVersion"),
        (&base.replace("backstage.io/v1alpha1", "backstage.io/v1beta1"), ""),
        (&base.replace("kind: Resource\n", ""), "FIELD_REQUIRED /kind"),
        (&base.replace("kind: Resource", "kind: resource"), "KIND_UNKNOWN /kind"),
        (&base.replace("kind: Resource", "kind: Cake"), "KIND_UNKNOWN /kind"),
        (&base.replace("kind: Resource", "kind: 7"), "FIELD_TYPE /kind"),
        (&base.replace("  name: x\n", "  title: x\n"), "FIELD_REQUIRED /metadata/name"),
        (&base.replace("metadata:\n  name: x\n", ""), "FIELD_REQUIRED /metadata"),
        (&base.replace("metadata:\n  name: x\n", "metadata: x\n"), "FIELD_TYPE /metadata"),
        (&base.replace("spec:\n  type: db\n  owner: t\n", ""), "FIELD_REQUIRED /spec"),
        (&base.replace("spec:\n  type: db\n  owner: t\n", "spec: null\n"), "FIELD_TYPE /spec"),
        (&base.replace("spec:\n  type: db\n  owner: t\n", "spec: []\n"), "FIELD_TYPE /spec"),
        (&format!("{base}relations: []\n"), "FOREIGN_FIELD /relations"),
        (&format!("{base}status: {{}}\n"), "FOREIGN_FIELD /status"),
        (&format!("{base}foo: 1\nbar: 2\n"), "FOREIGN_FIELD /foo|FOREIGN_FIELD /bar"),
        (&format!("{base}kind: Resource\n"), "DUPLICATE_KEY /kind"),
    ];
    for (text, want) in rows {
        let want: Vec<&str> = want.split('|').filter(|w| !w.is_empty()).collect();
        assert_eq!(errors(text), want, "{text}");
    }
    let wrong = check(&base.replace("kind: Resource", "kind: resource"));
    assert!(wrong.findings[0].message.ends_with("did you mean `Resource`?"));
    assert_eq!(wrong.identity.unwrap().as_str(), "resource:default/x");
    assert!(check(&base.replace("  name: x\n", "")).identity.is_none());
}

#[test]
fn every_required_field_of_every_kind_is_missed() {
    for kind in kind::KINDS {
        let values: Vec<(&str, &str)> = kind
            .fields
            .iter()
            .filter(|f| f.required)
            .map(|f| match f.name {
                "children" | "memberOf" | "steps" => (f.name, "[]"),
                name => (name, "v"),
            })
            .collect();
        let document = |left_out: Option<&str>| {
            let spec: String =
                values.iter().filter(|(n, _)| Some(*n) != left_out).map(|(n, v)| format!("  {n}: {v}\n")).collect();
            let spec = if spec.is_empty() { "spec: {}\n".to_owned() } else { format!("spec:\n{spec}") };
            format!("apiVersion: {}\nkind: {}\nmetadata: {{name: x}}\n{spec}", kind.api_versions[0], kind.name)
        };
        assert_eq!(errors(&document(None)), [""; 0], "{}", kind.name);
        for (name, _) in &values {
            assert_eq!(
                errors(&document(Some(name))),
                [format!("FIELD_REQUIRED /spec/{name}")],
                "{} without {name}",
                kind.name
            );
            let null = document(None).replace(&format!("  {name}: "), &format!("  {name}: null # "));
            assert_eq!(errors(&null), [format!("FIELD_TYPE /spec/{name}")], "{} with {name} null", kind.name);
        }
        for field in kind.fields.iter().filter(|f| !f.required) {
            let with_null = document(None).replace("spec: {}\n", "spec:\n") + &format!("  {}: null\n", field.name);
            assert_eq!(
                errors(&with_null),
                [format!("FIELD_TYPE /spec/{}", field.name)],
                "{} with {} null",
                kind.name,
                field.name
            );
        }
    }
}

#[test]
fn shapes_of_spec() {
    let group = |spec: &str| {
        format!(
            "apiVersion: backstage.io/v1alpha1\nkind: Group\nmetadata: {{name: g}}\nspec: {{type: team, children: [], {spec}}}\n"
        )
    };
    let location = |spec: &str| {
        format!("apiVersion: backstage.io/v1alpha1\nkind: Location\nmetadata: {{name: l}}\nspec: {{{spec}}}\n")
    };
    let template = |spec: &str| {
        format!(
            "apiVersion: scaffolder.backstage.io/v1beta3\nkind: Template\nmetadata: {{name: t}}\nspec: {{type: service, {spec}}}\n"
        )
    };
    let rows = [
        (group("profile: {displayName: A, email: a@b, other: 1}"), ""),
        (group("profile: {email: 5}"), "FIELD_TYPE /spec/profile/email"),
        (group("profile: {picture: ''}"), "FIELD_EMPTY /spec/profile/picture"),
        (group("profile: x"), "FIELD_TYPE /spec/profile"),
        (group("members: [a, '']"), "FIELD_EMPTY /spec/members/1"),
        (group("members: a"), "FIELD_TYPE /spec/members"),
        (group("parent: ''"), "FIELD_EMPTY /spec/parent"),
        (location(""), ""),
        (location("presence: optional"), ""),
        (location("presence: maybe"), "FIELD_VALUE /spec/presence"),
        (location("targets: [a, 1]"), "FIELD_TYPE /spec/targets/1"),
        (template("steps: [{action: a}]"), ""),
        (template("steps: [{id: s}]"), "FIELD_REQUIRED /spec/steps/0/action"),
        (template("steps: [x]"), "FIELD_TYPE /spec/steps/0"),
        (template("steps: [{action: a, if: true}]"), ""),
        (template("steps: [{action: a, if: 1}]"), "FIELD_TYPE /spec/steps/0/if"),
        (template("steps: {}"), "FIELD_TYPE /spec/steps"),
        (template("steps: [], parameters: [{}, {}]"), ""),
        (template("steps: [], parameters: {}"), ""),
        (template("steps: [], parameters: x"), "FIELD_TYPE /spec/parameters"),
        (template("steps: [], output: []"), "FIELD_TYPE /spec/output"),
        (template("steps: [{action: a, input: x}]"), "FIELD_TYPE /spec/steps/0/input"),
        (
            template("steps: []").replace("scaffolder.backstage.io/v1beta3", "backstage.io/v1alpha1"),
            "KIND_UNKNOWN /apiVersion",
        ),
        (group("").replace("backstage.io/v1alpha1", "scaffolder.backstage.io/v1beta3"), "KIND_UNKNOWN /apiVersion"),
    ];
    for (text, want) in rows {
        let want: Vec<&str> = want.split('|').filter(|w| !w.is_empty()).collect();
        assert_eq!(errors(&text), want, "{text}");
    }
}

#[test]
fn references_in_relation_fields() {
    for (reference, want) in [
        ("team", "group:default/team"),
        ("ns/Team", "group:ns/team"),
        ("user:ann", "user:default/ann"),
        ("a:b:c", "a:default/b:c"),
        ("a/b:c", "group:a/b:c"),
        ("a:b/c/d", "a:b/c/d"),
        ("İ", "group:default/i\u{307}"),
    ] {
        let document = check(&resource("", "").replace("owner: t", &format!("owner: '{reference}'")));
        assert_eq!(document.body.unwrap().head.owner, want, "{reference}");
    }
    for bad in ["user:", ":x", "/x", "a/", "a:b/", "a:/b"] {
        assert_eq!(
            errors(&resource("", "").replace("owner: t", &format!("owner: '{bad}'"))),
            ["REF_INVALID /spec/owner"],
            "{bad}"
        );
    }
    assert_eq!(errors(&resource("", "  dependsOn: [x]\n")), ["REF_KIND_MISSING /spec/dependsOn/0"]);
    assert_eq!(
        errors(&resource("", "  dependencyOf: ['component:x', y]\n")),
        ["REF_KIND_MISSING /spec/dependencyOf/1"]
    );
    let in_namespace = resource("  namespace: ns\n", "  dependsOn: ['component:y', 'component:other/z']\n");
    let edges: Vec<_> = check(&in_namespace).body.unwrap().head.edges.into_iter().map(|e| e.target).collect();
    assert_eq!(edges, ["component:ns/y", "component:other/z", "group:ns/t"]);
}

#[test]
fn warnings_never_refuse() {
    let warnings = |text: &str| {
        assert_eq!(errors(text), [""; 0]);
        codes(text, Severity::Warning)
    };
    assert_eq!(warnings(&resource("", "").replace("owner: t", "owner: 'a b'")), ["REF_UNRESOLVABLE /spec/owner"]);
    assert_eq!(
        warnings(&resource("", "").replace("owner: t", "owner: 'component:t'")),
        ["RELATION_TARGET_KIND /spec/owner"]
    );
    assert_eq!(warnings(&resource("", "  dependsOn: ['Resource:X']\n")), ["SELF_REFERENCE /spec/dependsOn/0"]);
    assert_eq!(
        warnings(&resource("  links: [{url: 'javascript:alert(1)'}]\n", "")),
        ["LINK_UNSAFE /metadata/links/0/url"]
    );
    assert_eq!(warnings(&resource("  title: !foo x\n", "")), ["YAML_TAG_UNKNOWN "]);
    let api = "apiVersion: backstage.io/v1alpha1\nkind: API\nmetadata: {name: x}\nspec: {type: t, lifecycle: beta, owner: o, definition: d}\n";
    assert_eq!(codes(api, Severity::Info), ["LIFECYCLE_UNUSUAL /spec/lifecycle"]);
}

#[test]
fn worked_example_cat_22() {
    let text = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: My_Svc\nspec:\n  type: service\n  lifecycle: production\n  owner: Team_A\n  system: Sys\n  providesApis: [z, B, a, b]\n  dependsOn: ['Component:NS/Foo', 'resource:x']\n";
    let document = check(text);
    assert_eq!(document.identity.unwrap().as_str(), "component:default/my_svc");
    let head = document.body.unwrap().head;
    let edges: Vec<_> = head.edges.iter().map(|e| format!("{} {}", e.relation, e.target)).collect();
    assert_eq!(
        edges,
        [
            "dependsOn component:ns/foo",
            "dependsOn resource:default/x",
            "ownedBy group:default/team_a",
            "partOf system:default/sys",
            "providesApi api:default/a",
            "providesApi api:default/b",
            "providesApi api:default/z",
        ]
    );
    assert_eq!(
        (head.name.as_str(), head.owner.as_str(), head.system.as_str()),
        ("My_Svc", "group:default/team_a", "system:default/sys")
    );
}

#[test]
fn the_tier_is_read_by_the_first_place_that_knows_it() {
    use crate::model::tier::{Tier::*, TierSource::*};
    let rows = [
        ("", "", Standard, Default, ""),
        ("", "  tier: CRITICAL\n", Critical, Spec, ""),
        (
            "  labels: {slipway.dev/tier: experimental, tier: standard}\n",
            "",
            Experimental,
            SlipwayLabel,
            "TIER_CONFLICT /metadata/labels/tier",
        ),
        ("  labels: {tier: Critical}\n", "", Critical, Label, ""),
        (
            "  annotations: {slipway.dev/tier: critical}\n",
            "  tier: gold\n",
            Critical,
            Annotation,
            "TIER_UNKNOWN /spec/tier",
        ),
        ("  labels: {tier: critical}\n", "  tier: critical\n", Critical, Spec, ""),
        ("", "  tier: 1\n", Standard, Default, "TIER_UNKNOWN /spec/tier"),
    ];
    for (metadata, spec, tier, source, warning) in rows {
        let text = resource(metadata, spec);
        let head = check(&text).body.unwrap().head;
        assert_eq!((head.tier, head.tier_source), (tier, source), "{text}");
        assert_eq!(codes(&text, Severity::Warning).join("|"), warning, "{text}");
    }
}

#[test]
fn positions_point_at_the_value() {
    let document = check(
        "# comment\napiVersion: backstage.io/v1alpha1\nkind: Resource\nmetadata:\n  name: x\n  labels:\n    tier: 1\nspec: {type: t, owner: o}\n",
    );
    let at = document.findings[0].at;
    assert_eq!((at.line, at.column, at.end_line, at.end_column), (7, 11, 7, 12));
    assert_eq!(at.in_file(11).line, 17);
    assert!(document.findings[0].message.ends_with("put it in quotes"));
}

#[test]
fn files_hold_many_documents_and_null_ones_are_skipped() {
    let one = resource("", "");
    let file =
        format!("---\n# nothing\n---\n{one}---\nnull\n---\nfoo: [\n---\n{}---\n", one.replace("name: x", "name: y"));
    let verdicts: Vec<_> =
        read(file.as_bytes()).into_iter().map(|d| d.check()).map(|d| (d.line, d.body.is_some())).collect();
    assert_eq!(verdicts, [(3, true), (13, false), (15, true)]);
    assert_eq!(read(b"\xff\xfe").remove(0).check().findings[0].code, "YAML_SYNTAX");
    assert_eq!(read(&vec![b' '; yaml::FILE_BYTES_MAX + 1]).remove(0).check().findings[0].code, "DOCUMENT_TOO_LARGE");
    assert_eq!(read("a: 1\n---\n".repeat(5001).as_bytes()).len(), 5001);
    assert_eq!(check(r#"{"apiVersion": "backstage.io/v1alpha1", "kind": "Resource", "metadata": {"name": "x"}, "spec": {"type": "t", "owner": "o"}}"#).findings, []);
}

#[test]
fn placeholders_bring_content_and_change_the_hash() {
    let text = "apiVersion: backstage.io/v1alpha1\nkind: API\nmetadata: {name: x}\nspec: {type: openapi, lifecycle: production, owner: o, definition: {$text: ./api.yaml}}\n";
    let with = |content: Option<&str>| {
        let mut draft = read(text.as_bytes()).remove(0);
        for placeholder in draft.placeholders() {
            match content {
                Some(content) => draft.fill(&placeholder, content),
                None => draft.unfilled(&placeholder, "is not there"),
            }
        }
        draft.check()
    };
    let (one, two) = (with(Some("openapi: 3")), with(Some("openapi: 4")));
    assert_eq!(one.body.unwrap().json["spec"]["definition"], "openapi: 3");
    assert_ne!(one.hash, two.hash);
    let codes: Vec<_> = with(None).findings.into_iter().map(|f| f.code).collect();
    assert_eq!(codes, ["FIELD_TYPE", "PLACEHOLDER_UNREADABLE"]);
}

#[test]
fn location_documents_name_their_targets() {
    let text = "apiVersion: backstage.io/v1alpha1\nkind: Location\nmetadata: {name: l}\nspec: {targets: [./a.yaml, b/c.yaml], presence: optional}\n";
    let targets: Vec<_> = check(text).targets.into_iter().map(|t| (t.text, t.optional)).collect();
    assert_eq!(targets, [("./a.yaml".to_owned(), true), ("b/c.yaml".to_owned(), true)]);
}

#[test]
fn the_golden_path_is_a_good_template() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden-paths/go-service/template.yaml");
    let document = read(&std::fs::read(path).unwrap()).remove(0).check();
    let wrong: Vec<_> = document.findings.iter().filter(|f| f.severity != Severity::Info).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(document.identity.unwrap().as_str(), "template:default/go-service");
}
