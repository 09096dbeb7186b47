//! Credentials of clusters: kubeconfig files below one directory, by name.
//!
//! Owns the reading. Refuses names that climb out, and files that would run a program, skip TLS checks or go through a proxy.
use std::path::Path;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use slipway_kit::error::{Error, Result};

use crate::error::CREDENTIAL_UNUSABLE;

/// Most bytes of a kubeconfig.
const BYTES_MAX: u64 = 256 * 1024;

pub(super) fn unusable(why: &str) -> Error {
    Error::new(&CREDENTIAL_UNUSABLE, format!("the cluster's credential cannot be used: {why}"))
}

/// Whether the text names a file of a directory and nothing else.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=100).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('.')
}

/// Reads the configuration of a client.
pub(super) async fn read(root: &Path, name: &str) -> Result<Config> {
    if !is_name(name) {
        return Err(unusable("its name is no name of a file"));
    }
    let (root, path) = (root.to_owned(), root.join(name));
    let text = tokio::task::spawn_blocking(move || text(&root, &path)).await.map_err(Error::internal)??;
    config(&text).await
}

fn text(root: &Path, path: &Path) -> Result<String> {
    // Mounted Secrets are links inside their own directory; links that leave it are not followed.
    let real = path.canonicalize().map_err(|_| unusable("there is no such file"))?;
    let root = root.canonicalize().map_err(|_| unusable("the directory of credentials is not there"))?;
    let is_fit = real.metadata().is_ok_and(|about| about.is_file() && about.len() <= BYTES_MAX);
    if !real.starts_with(&root) || !is_fit {
        return Err(unusable("it is no small file below the directory of credentials"));
    }
    std::fs::read_to_string(&real).map_err(|_| unusable("the file cannot be read"))
}

async fn config(text: &str) -> Result<Config> {
    let found = Kubeconfig::from_yaml(text).map_err(|_| unusable("the file is no kubeconfig"))?;
    for user in found.auth_infos.iter().filter_map(|named| named.auth_info.as_ref()) {
        if user.exec.is_some() || user.auth_provider.is_some() {
            return Err(unusable("plugins are not run; use a token or a client certificate"));
        }
    }
    for cluster in found.clusters.iter().filter_map(|named| named.cluster.as_ref()) {
        if cluster.insecure_skip_tls_verify == Some(true) || cluster.proxy_url.is_some() {
            return Err(unusable("values are sent over checked TLS only, without a proxy"));
        }
        if !cluster.server.as_deref().is_some_and(|server| server.starts_with("https://")) {
            return Err(unusable("its server is not https"));
        }
    }
    let config = Config::from_custom_kubeconfig(found, &KubeConfigOptions::default()).await;
    config.map_err(|_| unusable("the file is not complete"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(server: &str, cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
             clusters: [{{name: k, cluster: {{server: '{server}'{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    #[tokio::test]
    async fn plugins_and_open_doors_are_refused() {
        let https = "https://127.0.0.1:6443";
        assert!(config(&text_of(https, "", "token: t")).await.is_ok());
        let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}";
        for bad in [
            text_of(https, "", exec),
            text_of(https, "", "auth-provider: {name: gcp, config: {}}"),
            text_of(https, ", insecure-skip-tls-verify: true", "token: t"),
            text_of(https, ", proxy-url: 'http://127.0.0.1:1'", "token: t"),
            text_of("http://127.0.0.1", "", "token: t"),
            "- no".to_owned(),
        ] {
            let error = config(&bad).await.unwrap_err();
            assert!(error.is(&CREDENTIAL_UNUSABLE), "{bad}: {error:?}");
        }
    }

    #[tokio::test]
    async fn names_stay_in_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("credentials");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("main.yaml"), text_of("https://127.0.0.1:6443", "", "token: t")).unwrap();
        std::fs::write(dir.path().join("other"), "x").unwrap();
        std::os::unix::fs::symlink("../other", root.join("out")).unwrap();
        assert!(read(&root, "main.yaml").await.is_ok());
        for bad in ["", "../other", "..", ".hidden", "a/b", "out", "none", "/etc/passwd"] {
            assert!(read(&root, bad).await.unwrap_err().is(&CREDENTIAL_UNUSABLE), "{bad}");
        }
    }
}
