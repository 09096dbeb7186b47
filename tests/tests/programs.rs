//! Services as programs of their own, as an operator meets them: a configuration with mistakes, a database that was not brought up, and
//! what `doctor` says.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use slipway_tests::platform::{Engine, Platform};
use slipway_tests::program;

fn service(name: &str) -> PathBuf {
    slipway_tests::platform::slipway().unwrap().with_file_name(format!("slipway-{name}"))
}

fn run(name: &str, verb: &str, config: &Path) -> Output {
    Command::new(service(name)).arg(verb).arg("--config").arg(config).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_configuration_with_mistakes_is_told_all_of_them_and_no_secret() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("catalog.toml");
    let text = r#"
        [mesh]
        listen = "127.0.0.1:0"
        trust_domain = "Not A Domain"
        certificate_file = "/nowhere/catalog.pem"
        key_file = "/nowhere/catalog-key.pem"
        authorities_file = "/nowhere/authorities.pem"
        [mesh.peers]
        gateway = "gateway"
        [service]
        database = { engine = "postgres", url = "postgres://slipway:hunter2@127.0.0.1:1/catalog" }
        file_root = "/nowhere/files"
        reread_interval_seconds = 5
    "#;
    std::fs::write(&file, text).unwrap();
    for verb in ["config", "serve", "migrate", "doctor"] {
        let output = run("catalog", verb, &file);
        assert!(!output.status.success(), "{verb}");
        let told = said(&output);
        for field in ["mesh.trust_domain", "mesh.peers.gateway", "service.file_root", "service.reread_interval_seconds"]
        {
            assert!(told.contains(field), "{verb} does not name {field}:\n{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }
    std::fs::write(&file, text.replace("file_root", "file_roots").replace("listen =", "pears = 1\nlisten =")).unwrap();
    let told = said(&run("catalog", "config", &file));
    assert!(told.contains("service.file_roots") && told.contains("mesh.pears"), "{told}");
    let told = said(&run("catalog", "config", &home.path().join("missing.toml")));
    assert!(told.contains("is not a file"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_six_services_well_and_says_what_is_wrong_when_one_is_down() {
    if !Engine::shapes().contains(&Engine::Apart) || !program::have("six processes", &["git", "helm"]) {
        return;
    }
    let mut platform = Platform::start(Engine::Apart).unwrap();
    let config = |name: &str| platform.scratch().join(format!("{name}.toml"));
    let (catalog, environment, metrics) = (config("catalog"), config("environment"), config("metrics"));
    for name in ["catalog", "environment", "gateway"] {
        let told = run(name, "doctor", &config(name));
        assert!(told.status.success(), "{name}:\n{}", said(&told));
        assert!(said(&told).contains("ok   database"), "{}", said(&told));
    }
    assert!(said(&run("environment", "doctor", &environment)).contains("ok   helm"));
    platform.kill();
    let told = run("catalog", "doctor", &catalog);
    assert!(!told.status.success());
    assert!(said(&told).contains("start slipway-gateway, or correct mesh.peers.gateway"), "{}", said(&told));
    assert!(said(&told).contains("ok   database"), "{}", said(&told));
    // Another database, which nobody brought up: serving is refused, doctor and migrate say and do what is needed.
    let text = std::fs::read_to_string(&metrics).unwrap();
    let fresh = platform.scratch().join("fresh.toml");
    std::fs::write(&fresh, text.replacen("_metrics\"", "_fresh\"", 1)).unwrap();
    let told = said(&run("metrics", "doctor", &fresh));
    assert!(told.contains("FAIL database"), "{told}");
    let first = run("metrics", "migrate", &fresh);
    assert!(first.status.success() && !said(&first).starts_with("0 migrations"), "{}", said(&first));
    let again = run("metrics", "migrate", &fresh);
    assert!(again.status.success() && said(&again).starts_with("0 migrations"), "{}", said(&again));
    assert!(!said(&run("metrics", "doctor", &fresh)).contains("FAIL database"));
    // A certificate that is another service's is told before anything opens.
    let wrong = platform.scratch().join("wrong.toml");
    std::fs::write(&wrong, text.replace("metrics.pem", "catalog.pem").replace("metrics-key.pem", "catalog-key.pem"))
        .unwrap();
    let told = run("metrics", "serve", &wrong);
    assert!(!told.status.success() && said(&told).contains("names catalog, and this is metrics"), "{}", said(&told));
}
