//! Kubeconfigs.
//!
//! Owns the rules for what a kubeconfig may say. Refuses by every entry of the file, not by the current context alone: which one is current is
//! a word that changes easily.
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::{Result, Unusable};

/// The client's configuration that a text describes.
pub(crate) async fn config(text: &str) -> Result<Config> {
    // The parser's own words may repeat the text.
    let found = Kubeconfig::from_yaml(text).map_err(|_| Unusable::new("the file is no kubeconfig"))?;
    check(&found)?;
    let config = Config::from_custom_kubeconfig(found, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|_| {
        Unusable::new("the kubeconfig is not complete: its current context must name a cluster and a user in it")
    })?;
    // Neither the environment nor a later release of the client may set one.
    config.proxy_url = None;
    Ok(config)
}

fn check(found: &Kubeconfig) -> Result<()> {
    let current = found.current_context.as_deref().unwrap_or_default();
    let contexts = found.contexts.iter().filter(|context| context.name == current).count();
    if current.is_empty() || contexts != 1 {
        return Err(Unusable::new("the kubeconfig must have exactly one context of the name in current-context"));
    }
    for named in &found.auth_infos {
        let Some(user) = &named.auth_info else { continue };
        if user.exec.is_some() || user.auth_provider.is_some() {
            let text =
                format!("the kubeconfig runs a program for user {:?}; use a token or a client certificate", named.name);
            return Err(Unusable::new(text));
        }
        if user.token_file.is_some() || user.client_certificate.is_some() || user.client_key.is_some() {
            let text =
                format!("the kubeconfig names other files for user {:?}; put their contents into it", named.name);
            return Err(Unusable::new(text));
        }
        if user.username.is_some() || user.password.is_some() {
            let text =
                format!("the kubeconfig has a password for user {:?}; use a token or a client certificate", named.name);
            return Err(Unusable::new(text));
        }
    }
    for named in &found.clusters {
        let Some(cluster) = &named.cluster else { continue };
        if cluster.insecure_skip_tls_verify == Some(true) {
            let text = format!(
                "the kubeconfig skips the check of certificates for cluster {:?}; name its authority",
                named.name
            );
            return Err(Unusable::new(text));
        }
        if cluster.proxy_url.is_some() {
            let text = format!(
                "the kubeconfig goes through a proxy for cluster {:?}; clusters are reached directly",
                named.name
            );
            return Err(Unusable::new(text));
        }
        if cluster.certificate_authority.is_some() {
            let text =
                format!("the kubeconfig names another file for cluster {:?}; put its contents into it", named.name);
            return Err(Unusable::new(text));
        }
        if !cluster.server.as_deref().is_some_and(|server| server.starts_with("https://")) {
            return Err(Unusable::new(format!(
                "the server of cluster {:?} in the kubeconfig is not https",
                named.name
            )));
        }
    }
    Ok(())
}
