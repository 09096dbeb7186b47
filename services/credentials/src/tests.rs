//! Every shape of a credential that is refused, and that nothing of it is told.
#![allow(clippy::unwrap_used)]
use std::path::Path;

use super::*;

const HTTPS: &str = "https://127.0.0.1:6443";
const CANARY: &str = "canary-7f3a";

fn kubeconfig(server: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{server: '{server}'{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    )
}

fn why(answer: std::result::Result<impl std::fmt::Debug, Unusable>) -> String {
    let text = answer.unwrap_err().to_string();
    assert!(!text.contains(CANARY), "{text}");
    text
}

async fn read(text: &str) -> std::result::Result<(), Unusable> {
    kubeconfig::config(text).await.map(drop)
}

#[tokio::test]
async fn tokens_and_certificates_in_the_file_over_https_are_taken() {
    read(&kubeconfig(HTTPS, "", "token: t")).await.unwrap();
    // Several contexts are fine as long as the current one is one of them and every entry is harmless.
    let two = kubeconfig(HTTPS, "", "token: t")
        .replace("contexts: [", "contexts: [{name: other, context: {cluster: k, user: u}}, ");
    read(&two).await.unwrap();
}

#[tokio::test]
async fn what_would_run_look_away_or_go_astray_is_refused() {
    let token = "token: canary-7f3a";
    for (text, said) in [
        (
            kubeconfig(HTTPS, "", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}"),
            "runs a program",
        ),
        (kubeconfig(HTTPS, "", "auth-provider: {name: gcp, config: {}}"), "runs a program"),
        (kubeconfig(HTTPS, "", "tokenFile: /etc/shadow"), "names other files"),
        (kubeconfig(HTTPS, "", "client-certificate: /etc/shadow, client-key: /etc/shadow"), "names other files"),
        (kubeconfig(HTTPS, "", "username: root, password: canary-7f3a"), "has a password"),
        (kubeconfig(HTTPS, ", insecure-skip-tls-verify: true", token), "check of certificates"),
        (kubeconfig(HTTPS, ", proxy-url: 'http://127.0.0.1:1'", token), "proxy"),
        (kubeconfig(HTTPS, ", certificate-authority: /etc/shadow", token), "names another file"),
        (kubeconfig("http://127.0.0.1", "", token), "not https"),
        (kubeconfig("", "", token), "not https"),
        (kubeconfig(HTTPS, "", token).replace("current-context: c", "current-context: d"), "exactly one context"),
        (kubeconfig(HTTPS, "", token).replace("current-context: c\n", ""), "exactly one context"),
        (
            kubeconfig(HTTPS, "", token)
                .replace("contexts: [", "contexts: [{name: c, context: {cluster: k, user: u}}, "),
            "exactly one context",
        ),
        (kubeconfig(HTTPS, "", token).replace("cluster: k, user", "cluster: x, user"), "not complete"),
        (format!("- {CANARY}"), "no kubeconfig"),
        (format!("{{{CANARY}"), "no kubeconfig"),
    ] {
        let told = why(read(&text).await);
        assert!(told.contains(said), "{text}: {told}");
    }
}

#[tokio::test]
async fn an_entry_beside_the_current_one_is_judged_too() {
    let other = "{name: v, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}}}";
    let text = kubeconfig(HTTPS, "", "token: t").replace("users: [", &format!("users: [{other}, "));
    assert!(why(read(&text).await).contains("user \"v\""));
    let other = "{name: l, cluster: {server: 'http://127.0.0.1:1'}}";
    let text = kubeconfig(HTTPS, "", "token: t").replace("clusters: [", &format!("clusters: [{other}, "));
    assert!(why(read(&text).await).contains("cluster \"l\""));
}

fn directory() -> (tempfile::TempDir, Credentials) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("credentials");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("main.yaml"), kubeconfig(HTTPS, "", "token: t")).unwrap();
    (dir, Credentials::new(root))
}

fn link(to: &str, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

#[tokio::test]
async fn names_stay_in_their_directory() {
    let (dir, credentials) = directory();
    let root = dir.path().join("credentials");
    std::fs::write(dir.path().join("other"), kubeconfig(HTTPS, "", "token: t")).unwrap();
    link("../other", &root.join("out"));
    link("main.yaml", &root.join("inside"));
    std::fs::create_dir(root.join("folder")).unwrap();
    std::fs::write(root.join("large"), "x".repeat(usize::try_from(BYTES_MAX).unwrap() + 1)).unwrap();
    for good in ["main.yaml", "inside"] {
        credentials.kubeconfig(good).await.unwrap();
    }
    let long = "x".repeat(101);
    for bad in ["", "../other", "..", ".hidden", "a/b", "out", "none", "/etc/passwd", "a\0b", "folder", "large", &long]
    {
        why(credentials.kubeconfig(bad).await.map(drop));
        why(credentials.registry_logins(bad).await);
    }
    why(Credentials::new(dir.path().join("missing")).kubeconfig("main.yaml").await.map(drop));
}

#[test]
fn every_file_of_logins_has_a_secret_of_its_own() {
    assert!(is_registry_file("registry.json") && is_registry_file("ghcr-io.json"));
    for bad in ["", ".json", "registry", "a.b.json", "-a.json", "a-.json", "A.json", "a_b.json", "../a.json"] {
        assert!(!is_registry_file(bad), "{bad}");
    }
    assert_eq!(pull_secret_name("ghcr-io.json"), "slipway-pull-ghcr-io");
}

#[tokio::test]
async fn logins_of_registries_are_read_and_never_shown() {
    let (dir, credentials) = directory();
    let file = dir.path().join("credentials/registry.json");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    for good in [
        r#"{"auths": {"registry.test": {"auth": "canary-7f3a"}}}"#,
        r#"{"auths": {"registry.test": {"username": "u", "password": "canary-7f3a"}}}"#,
    ] {
        write(good);
        let logins = credentials.registry_logins("registry.json").await.unwrap();
        assert_eq!((logins.registries(), logins.expose()), (&["registry.test".to_owned()][..], good));
        assert!(!format!("{logins:?}").contains(CANARY));
    }
    for (bad, said) in [
        ("canary-7f3a", "not JSON"),
        (r#"["canary-7f3a"]"#, "no object `auths`"),
        (r#"{"auths": {}}"#, "each registry"),
        (r#"{"auths": {"registry.test": {"username": "canary-7f3a"}}}"#, "each registry"),
        (r#"{"auths": {"registry.test": "canary-7f3a"}}"#, "each registry"),
        (r#"{"auths": {"r": {"auth": "canary-7f3a"}}, "credsStore": "desktop"}"#, "helper"),
        (r#"{"credHelpers": {"r": "ecr-login"}}"#, "helper"),
    ] {
        write(bad);
        let told = why(credentials.registry_logins("registry.json").await);
        assert!(told.contains(said), "{bad}: {told}");
    }
}
