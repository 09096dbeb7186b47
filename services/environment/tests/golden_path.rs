//! The chart of the Go golden path through the real renderer, the policy and the guard rails.
#![allow(clippy::unwrap_used)]
mod support;

use std::{collections::BTreeMap, path::Path};

use slipway_environment::{
    config::Config,
    model::{
        config,
        environment::{Environment, fixture},
        guardrails,
        layout::{self, Address, Routes},
        manifest,
        policy::{self, Rules, catalog::Policy},
        values::{Forced, overlay},
    },
    world::{Job, Renderer, helm::Helm},
};
use slipway_kit::{
    db::DbConfig,
    files::{FilePath, WorkDir},
    git::{Author, FileChange},
    scm::{NewRepository, Scm, ScmConfig},
    subprocess::Tool,
};

/// The files below a folder of the skeleton, with the few values of the template that charts hold filled in.
fn skeleton(dir: &Path, below: &str, found: &mut Vec<FileChange>) {
    for entry in std::fs::read_dir(dir.join(below)).unwrap().flatten() {
        let name = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            skeleton(dir, &name, found);
        } else if !name.contains('{') {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let text = text
                .replace("${{ values.name | dump }}", "payments")
                .replace("${{ values.description | dump }}", "Pays")
                .replace("${{ values.repository | lower }}", "acme/payments");
            found.push(FileChange::write(FilePath::parse(&name).unwrap(), text));
        }
    }
}

async fn repository(dir: &WorkDir) -> (Scm, String) {
    let scm = Scm::open("local", &ScmConfig::local(dir.path().join("scm"))).await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden-paths/go-service/skeleton");
    let mut files = Vec::new();
    for folder in ["chart", ".slipway"] {
        skeleton(&root, folder, &mut files);
    }
    let new = NewRepository {
        name: "acme/payments".to_owned(),
        description: String::new(),
        default_branch: "main".to_owned(),
        marker: "test".to_owned(),
        files,
        message: "Begin\n".to_owned(),
        author: Author::new("ann", "ann@example.com", 1),
    };
    scm.create_repository(&new).await.unwrap();
    let head = scm.git("acme/payments").await.unwrap().branch_head("main").await.unwrap().unwrap();
    (scm, head.to_string())
}

fn environment(head: &str, config: config::Config) -> Environment {
    let mut env = fixture::preview();
    env.spec.source.head_sha = head.to_owned();
    env.spec.config = Ok(config);
    env.spec.images = support::images();
    env
}

#[tokio::test]
async fn the_golden_path_passes_the_policy_and_gets_its_host_and_secrets() {
    let set = std::env::var("SLIPWAY_TEST_HELM").ok().and_then(|path| Tool::at("helm", Path::new(&path)).ok());
    let Some(tool) = set.or_else(|| Tool::find("helm").ok()) else {
        eprintln!("skipped: helm (not on PATH and SLIPWAY_TEST_HELM is not set)");
        return;
    };
    let dir = WorkDir::temporary().unwrap();
    let (scm, head) = repository(&dir).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden-paths/go-service/skeleton");
    let text = std::fs::read_to_string(root.join(config::PATH)).unwrap();
    let env = environment(&head, config::parse(&text).unwrap());
    let platform = Config::new(DbConfig::Sqlite { path: "x".into() }, BTreeMap::new(), "x".into()).platform();
    let (host, secret_names) = (platform.host(&env.label_id), vec!["payments-db".to_owned()]);
    let config = env.spec.config.clone().unwrap();
    let forced = Forced {
        images: env.spec.images.clone(),
        host: &host,
        labels: guardrails::labels(&env),
        secret_names: &secret_names,
    };
    let job = Job {
        source: &env.spec.source,
        config: &config,
        tier: env.tier,
        is_preview: env.is_preview(),
        release: "payments",
        namespace: &env.namespace,
        overlay: &overlay(&config, &forced),
        is_upgrade: false,
        cluster: None,
    };
    let helm = Helm::open(tool, BTreeMap::from([("local".to_owned(), scm)])).await.unwrap();
    let docs = helm.render(&job).await.unwrap().unwrap();
    let rules = Rules {
        namespace: &env.namespace,
        tier: env.tier,
        host: &host,
        fork: false,
        registries: &[],
        policy: &Policy::default(),
    };
    assert_eq!(policy::message(&policy::check(&docs, &rules)), "");
    let address = Address { host: &host, gateway: &platform.gateway, routes: Routes::Gateway };
    let docs = layout::complete(&env, &platform.profile(env.tier), &address, docs);
    let route = docs.iter().find(|doc| manifest::kind(doc) == "HTTPRoute").unwrap();
    assert_eq!(manifest::name(route), "payments");
    assert_eq!(route["spec"]["hostnames"], serde_json::json!([host]));
    let deployment = docs.iter().find(|doc| manifest::kind(doc) == "Deployment").unwrap().to_string();
    assert!(deployment.contains("payments-db") && deployment.contains(&support::images()["app"]), "{deployment}");
    let files = layout::files(&docs);
    assert_eq!(files.len(), docs.len(), "two documents share a file");
    for (name, text) in &files {
        assert!(manifest::parse(text).is_ok_and(|docs| docs.len() == 1), "{name}");
    }
}
