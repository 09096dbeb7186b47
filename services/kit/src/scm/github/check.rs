//! Trying a connection, each need by itself (ENV-182).
//!
//! Owns which permissions the platform needs and what for. Refuses to change anything while trying: a write is tried with a body
//! that the provider must refuse, which tells a missing permission from a wrong body.
use http::Method;
use serde_json::json;

use super::{
    super::{Check, SCM_FORBIDDEN, SCM_REFUSED, Verdict},
    Github,
    api::As,
    credential::Credential,
    shape,
};
use crate::error::{Error, Result};

/// Permission of an App, the right needed, whether all of the platform needs it, and what for.
const NEEDED: [(&str, &str, bool, &str); 7] = [
    ("metadata", "read", true, "to see repositories"),
    ("contents", "read", true, "to read configuration and charts"),
    ("pull_requests", "write", true, "to read pull requests and to comment on them"),
    ("deployments", "write", true, "to show where a preview answers"),
    ("administration", "write", false, "to make repositories from golden paths"),
    ("contents", "write", false, "to push the first commit of such a repository"),
    ("workflows", "write", false, "to push it with workflows in it"),
];

impl Github {
    pub(in crate::scm) async fn test_connection(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        match &self.api.credential {
            Credential::App { installation_id, .. } => match self.test_app(*installation_id, &mut checks).await {
                Ok(()) => {}
                Err(error) => {
                    checks.push(failed("credential", &error));
                    return checks;
                }
            },
            Credential::Token(_) => match self.test_token(&mut checks).await {
                Ok(()) => {}
                Err(error) => {
                    checks.push(failed("credential", &error));
                    return checks;
                }
            },
        }
        checks.push(match self.repositories().await {
            Ok(found) if found.is_empty() => Check::failed(
                "repositories",
                "the connection sees no repository",
                "Give the installation or the token access to the repositories that have previews.",
            ),
            Ok(found) => Check::passed("repositories", format!("{} repositories", found.len())),
            Err(error) => failed("repositories", &error),
        });
        checks
    }

    /// The App's key, its installation, and what the installation may do.
    async fn test_app(&self, installation_id: u64, checks: &mut Vec<Check>) -> Result<()> {
        let url = self.api.url(&["app", "installations", &installation_id.to_string()])?;
        let reply = self.api.call(Method::GET, url, None, As::App).await?;
        checks.push(Check::passed("credential", "the provider accepts the App's key"));
        if reply.status == 404 {
            let detail = format!("the App has no installation {installation_id}");
            let remedy = "Install the App in the organisation, and set installation_id to the number in the installation's address.";
            checks.push(Check::failed("installation", detail, remedy));
            return Ok(());
        }
        let installation: shape::Installation = reply.read()?;
        checks.push(match installation.suspended_at {
            None => Check::passed("installation", format!("installation {installation_id} is active")),
            Some(at) => Check::failed("installation", format!("suspended since {at}"), "Unsuspend the installation."),
        });
        for (name, needed, is_needed, purpose) in NEEDED {
            let has = installation.permissions.get(name).map_or("none", String::as_str);
            let is_enough =
                matches!((needed, has), ("read", "read" | "write" | "admin") | ("write", "write" | "admin"));
            checks.push(permission(name, needed, is_needed, purpose, is_enough, has));
        }
        Ok(())
    }

    /// The token, and what it may do: classic tokens tell their scopes, others are tried.
    async fn test_token(&self, checks: &mut Vec<Check>) -> Result<()> {
        let reply = self.api.call(Method::GET, self.api.url(&["user"])?, None, As::Connection).await?;
        let user: shape::User = reply.read()?;
        checks.push(Check::passed("credential", format!("the provider accepts the token of {}", user.login)));
        if let Some(scopes) = reply.answer.headers.get("x-oauth-scopes").and_then(|value| value.to_str().ok()) {
            let scopes: Vec<&str> = scopes.split(',').map(str::trim).filter(|scope| !scope.is_empty()).collect();
            let has = if scopes.is_empty() { "none".to_owned() } else { scopes.join(", ") };
            let is_enough = scopes.contains(&"repo");
            checks.push(permission("repo", "scope", true, "to read repositories, comment and deploy", is_enough, &has));
            return Ok(());
        }
        self.try_token(checks).await
    }

    /// Tries on the first repository.
    async fn try_token(&self, checks: &mut Vec<Check>) -> Result<()> {
        let Some(first) = self.repositories().await?.into_iter().find(|repository| !repository.archived) else {
            return Ok(());
        };
        let (owner, short) = super::read::parts(&first.name)?;
        let at = |rest: &[&str]| self.api.url(&[&["repos", owner, short], rest].concat());
        let heads = ["git", "matching-refs", "heads"];
        let reads =
            [("contents", at(&heads)?), ("pull_requests", at(&["pulls"])?), ("deployments", at(&["deployments"])?)];
        for (name, url) in reads {
            let tried = self.api.call(Method::GET, url, None, As::Connection).await;
            checks.push(tried_check(name, "read", true, tried.map(drop)));
        }
        let tried = self.api.send(Method::POST, at(&["deployments"])?, &json!({})).await;
        checks.push(tried_check("deployments", "write", true, tried.map(drop)));
        Ok(())
    }
}

fn tried_check(name: &str, needed: &str, is_needed: bool, tried: Result<()>) -> Check {
    let purpose = NEEDED.iter().find(|(known, ..)| *known == name).map_or("", |(.., purpose)| purpose);
    match tried {
        Ok(()) => permission(name, needed, is_needed, purpose, true, needed),
        // Refused for its body, so not for who sent it.
        Err(error) if error.is(&SCM_REFUSED) => permission(name, needed, is_needed, purpose, true, needed),
        Err(error) if error.is(&SCM_FORBIDDEN) => permission(name, needed, is_needed, purpose, false, "none"),
        Err(error) => failed(&format!("permission.{name}"), &error),
    }
}

fn permission(name: &str, needed: &str, is_needed: bool, purpose: &str, is_enough: bool, has: &str) -> Check {
    let check = format!("permission.{name}.{needed}");
    if is_enough {
        return Check::passed(check, format!("{name}: {has}"));
    }
    let remedy = format!("Grant {name}: {needed}, {purpose}.");
    let verdict = if is_needed { Verdict::Failed } else { Verdict::Unknown };
    Check { verdict, ..Check::failed(check, format!("{name}: {has}, and {needed} is needed"), remedy) }
}

fn failed(name: &str, error: &Error) -> Check {
    Check::failed(name, format!("{}: {}", error.reason().name, error.message()), error.reason().next)
}
