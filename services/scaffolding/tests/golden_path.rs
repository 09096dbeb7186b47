//! The Go golden path as the service sees it: lint, parameters, rendering, lock (SCF-3, SCF-4, SCF-91, SCF-102, SCF-110).
mod rendering;

use serde_json::{Map, Value as Json, json};
use slipway_scaffolding::model::files::{File, Files, digest, matches};
use slipway_scaffolding::model::skeleton::{self, FetchTemplate};
use slipway_scaffolding::model::template::{Class, Template};
use slipway_scaffolding::model::{lint, lock, parameters};

fn object(value: Json) -> Map<String, Json> {
    value.as_object().expect("an object").clone()
}

#[test]
fn it_passes_the_lint() {
    let (template, findings) = lint::lint(&rendering::golden_path());
    let bad: Vec<_> = findings.iter().filter(|f| f.is_error() || f.code != "PARAMETER_UNUSED").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let template = template.expect("publishable");
    assert_eq!((template.id.as_str(), template.locked), ("go-service", true));
    assert!(template.tests.len() >= 8);
}

#[test]
fn every_parameter_set_renders_twice_to_equal_bytes_without_leftovers() {
    let files = rendering::golden_path();
    let template = Template::parse(&files).expect("parses");
    for (name, given) in &template.tests {
        let (first, second) =
            (rendering::rendered(&template, &files, given), rendering::rendered(&template, &files, given));
        assert_eq!(digest(&first), digest(&second), "{name}");
        for (path, file) in first.iter().filter(|(p, _)| !matches(".github/workflows/*", p)) {
            let text = String::from_utf8_lossy(&file.content);
            assert!(!text.contains("${{") && !text.contains("{%"), "{name}: {path} has leftovers");
            assert!(!path.contains("{%"), "{name}: {path}");
        }
        let objective = given.get("objective").and_then(Json::as_str);
        let none = objective == Some("none") || objective.is_none() && given["tier"] == json!("experimental");
        assert_eq!(first.contains_key("slo.yaml"), !none, "{name}");
        assert!(first.contains_key("Dockerfile") && first.contains_key("catalog-info.yaml"), "{name}");
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let template = Template::parse(&rendering::golden_path()).expect("parses");
    let given = object(
        json!({"name": "Bad_Name", "title": "", "owner": "payments", "tier": "gold", "description": "x", "nope": 1}),
    );
    let violations = parameters::check(&template.pages, &given).violations;
    let fields: std::collections::BTreeSet<_> = violations.iter().map(|(f, _)| f.as_str()).collect();
    let want = ["parameters.name", "parameters.nope", "parameters.system", "parameters.tier", "parameters.title"];
    assert_eq!(fields.into_iter().collect::<Vec<_>>(), want, "{violations:#?}");
    assert!(violations.iter().any(|(_, rule)| rule.starts_with("/system: is required")));
}

#[test]
fn defaults_reach_nested_objects_and_chosen_branches() {
    let page = object(json!({
        "properties": {
            "size": {"type": "object", "default": {}, "properties": {"cpu": {"type": "integer", "default": 2}}},
            "database": {"type": "string", "enum": ["none", "postgres"], "default": "none"},
        },
        "dependencies": {"database": {"oneOf": [
            {"properties": {"database": {"enum": ["none"]}}},
            {"properties": {"database": {"enum": ["postgres"]}, "version": {"type": "integer", "default": 17}}, "required": ["version"]},
        ]}},
    }));
    let pages = [slipway_scaffolding::model::template::Page { title: String::new(), schema: page }];
    let checked = parameters::check(&pages, &object(json!({"database": "postgres"})));
    assert_eq!(checked.violations, []);
    assert_eq!(Json::Object(checked.values), json!({"database": "postgres", "size": {"cpu": 2}, "version": 17}));
    let checked = parameters::check(&pages, &object(json!({"size": {"cpu": 1, "gpu": 1}})));
    assert_eq!(
        checked.violations,
        [("parameters.size.gpu".to_owned(), "/size/gpu: is not a parameter of this template".to_owned())]
    );
    let complete = parameters::complete(&pages, &Map::new());
    assert_eq!(complete.get("version"), Some(&Json::Null));
}

#[test]
fn the_lock_lists_every_delivered_file_once_per_line() {
    let files = rendering::golden_path();
    let template = Template::parse(&files).expect("parses");
    let (_, given) = &template.tests[0];
    let workspace = rendering::rendered(&template, &files, given);
    let lineage = lock::Lineage {
        template: &template,
        digest: "d",
        answers: given,
        run: "runs/x",
        created: "2026-01-02T03:04:05Z",
        initiator: "user:default/ann",
    };
    let text = lock::render(&lineage, &workspace);
    let parsed: Json = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(parsed["schema"], json!(1));
    assert_eq!(parsed["answers"], Json::Object(given.clone()));
    let listed = parsed["files"].as_array().expect("a list");
    assert_eq!(listed.len(), workspace.len());
    let class = |path: &str| listed.iter().find(|f| f["path"] == path).map(|f| f["class"].clone());
    assert_eq!(class("Dockerfile"), Some(json!(Class::Platform.as_str())));
    assert_eq!(class("main.go"), Some(json!("user")));
    assert_eq!(class("chart/values.yaml"), Some(json!("merged")));
}

#[test]
fn conditional_paths_raw_copies_and_existing_files_follow_the_rules() {
    let tree: Files = [
        ("s/{% if values.on %}on.txt{% endif %}", "x"),
        ("s/d/{% if values.off %}off.txt{% endif %}", "x"),
        ("s/${{ values.name }}.md", "# ${{ values.name }}\n"),
        ("s/raw/${{ values.name }}.tpl", "${{ nothing }}"),
        ("s/kept.txt", "new"),
        ("s/bin", "\0${{ nope }}"),
    ]
    .map(|(p, c)| (p.to_owned(), File::plain(c)))
    .into();
    let input = FetchTemplate {
        url: "./s".to_owned(),
        values: object(json!({"on": true, "off": false, "name": "pay"})),
        copy_without_templating: vec!["raw/**".to_owned()],
        ..FetchTemplate::default()
    };
    let mut workspace = Files::from([("kept.txt".to_owned(), File::plain("old"))]);
    skeleton::render(&tree, &input, false, &mut workspace).expect("renders");
    let got: Vec<_> =
        workspace.iter().map(|(p, f)| (p.as_str(), String::from_utf8_lossy(&f.content).into_owned())).collect();
    let want = [
        ("bin", "\0${{ nope }}"),
        ("kept.txt", "old"),
        ("on.txt", "x"),
        ("pay.md", "# pay\n"),
        ("raw/pay.tpl", "${{ nothing }}"),
    ];
    assert_eq!(got, want.map(|(p, c)| (p, c.to_owned())));
    let escape = FetchTemplate { values: object(json!({"on": true, "off": false, "name": "../../x"})), ..input };
    assert!(skeleton::render(&tree, &escape, false, &mut Files::new()).is_err());
}

#[test]
fn the_lint_names_every_mistake_with_its_place() {
    let yaml = r#"
apiVersion: scaffolder.backstage.io/v1beta3
kind: Template
metadata: { name: t }
spec:
  type: service
  slipway: { version: 1.0.0 }
  parameters: { properties: { name: { type: string }, pw: { type: string, ui:widget: password }, unused: { type: string } } }
  steps:
    - id: a
      action: fetch:template
      input: { url: ./s, values: { name: "${{ parameters.nam }}" }, targetpath: x }
    - id: b
      action: nope:nope
    - id: c
      if: ${{ steps.d.output.x }}
      action: debug:log
      input: { message: "${{ parameters.name | nope }} ${{ parameters.pw }}" }
    - id: d
      action: debug:log
"#;
    let tree: Files = [
        ("template.yaml", yaml),
        ("s/x.txt", "a\n${{ values.nope }}"),
        ("s/.github/workflows/ci.yaml", "a: ${{ github.sha }}"),
    ]
    .map(|(p, c)| (p.to_owned(), File::plain(c)))
    .into();
    let (template, findings) = lint::lint(&tree);
    assert!(template.is_none());
    let codes: Vec<_> = findings.iter().map(|f| (f.code.as_str(), f.path.as_str(), f.line)).collect();
    for want in [
        ("SECRET_IN_PARAMETERS", "template.yaml", 8),
        ("PARAMETER_UNKNOWN", "template.yaml", 12),
        ("INPUT_UNKNOWN", "template.yaml", 12),
        ("ACTION_UNKNOWN", "template.yaml", 14),
        ("STEP_UNKNOWN", "template.yaml", 16),
        ("UNKNOWN_FUNCTION", "template.yaml", 18),
        ("UNDECLARED_NAME", "s/x.txt", 2),
        ("WORKFLOW_EXPRESSION", "s/.github/workflows/ci.yaml", 1),
        ("PARAMETER_UNUSED", "template.yaml", 8),
    ] {
        assert!(codes.contains(&want), "{want:?} is missing in {codes:#?}");
    }
}
