//! The Go golden path of this repository, rendered as a run would.
use std::path::Path;

use serde_json::{Map, Value as Json};
use slipway_scaffolding::model::files::{File, Files};
use slipway_scaffolding::model::template::Template;
use slipway_scaffolding::model::{action, context, parameters, run::Run};

fn read(dir: &Path, root: &Path, files: &mut Files) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, root, files);
        } else {
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            files.insert(name, File::plain(std::fs::read(&path).expect("a file")));
        }
    }
}

/// The path's files.
pub fn golden_path() -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden-paths/go-service");
    let mut files = Files::new();
    read(&root, &root, &mut files);
    files
}

/// The repository that a run with these parameters makes.
pub fn rendered(template: &Template, files: &Files, given: &Map<String, Json>) -> Files {
    let checked = parameters::check(&template.pages, given);
    assert_eq!(checked.violations, []);
    let steps = Run::steps_of(template);
    let scene = context::Scene {
        template,
        parameters: &checked.values,
        run: "r",
        initiator: "user:default/ann",
        steps: &steps,
    };
    let input = context::input(&context::engine(&scene), &template.steps[0]).expect("the input renders");
    let mut workspace = Files::new();
    action::local("fetch:template", &input, template, files, &mut workspace).expect("renders").expect("is local");
    workspace
}
