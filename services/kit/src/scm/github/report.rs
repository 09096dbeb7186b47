//! What is told at the provider: one comment per environment, found again by a hidden marker, and its deployments (ENV-29).
//!
//! Owns the marker and which of several deployments counts. Refuses comments of others that carry our marker: anybody may write
//! one.
use http::Method;
use serde_json::{Value, json};

use super::{
    super::{DeployState, Filed, PULL_REQUEST_UNKNOWN, Report},
    Github,
    credential::Credential,
    read::parts,
    shape,
};
use crate::error::{Error, Result};

/// Longest comment of ours.
const COMMENT_BYTES_MAX: usize = 60_000;
/// Longest description of a deployment's status.
const DESCRIPTION_CHARS_MAX: usize = 140;
/// Most deployments of one environment that are looked at.
const DEPLOYMENTS_PAGE: &str = "per_page=30";

fn marker(environment: &str) -> String {
    let plain: String = environment.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    format!("<!-- slipway:environment:{plain} -->")
}

impl Github {
    pub(in crate::scm) async fn report(&self, name: &str, report: &Report) -> Result<()> {
        if let Some(number) = report.number {
            self.comment(name, number, report).await?;
        }
        self.deploy(name, report).await
    }

    pub(in crate::scm) async fn filed(&self, name: &str, number: i64, environment: &str) -> Result<Filed> {
        let comment = self.own_comment(name, number, environment).await?.and_then(|comment| comment.body);
        let comment = comment.map(|body| body.replace(&marker(environment), "").trim_end().to_owned());
        let mut filed = Filed { comment, ..Filed::default() };
        for (at, deployment) in self.deployments(name, environment).await?.iter().enumerate() {
            let status = self.status(name, deployment.id).await?;
            let state = status.as_ref().map_or(String::new(), |status| status.state.clone());
            filed.active += i64::from(state != DeployState::Inactive.word());
            if at == 0 {
                (filed.sha, filed.state) = (deployment.sha.clone(), state);
                filed.url = status.and_then(|status| status.environment_url).unwrap_or_default();
            }
        }
        Ok(filed)
    }

    async fn comment(&self, name: &str, number: i64, report: &Report) -> Result<()> {
        let (owner, short) = parts(name)?;
        let text = cut(&report.comment, COMMENT_BYTES_MAX);
        let body = format!("{text}\n\n{}", marker(&report.environment));
        let (method, url) = match self.own_comment(name, number, &report.environment).await? {
            Some(found) if found.body.as_deref() == Some(&body) => return Ok(()),
            Some(found) => {
                let id = found.id.to_string();
                (Method::PATCH, self.api.url(&["repos", owner, short, "issues", "comments", &id])?)
            }
            // A life that ended before it was told of needs no comment.
            None if report.state == DeployState::Inactive => return Ok(()),
            None => (Method::POST, self.api.url(&["repos", owner, short, "issues", &number.to_string(), "comments"])?),
        };
        let reply = self.api.send(method, url, &json!({ "body": body })).await?;
        if reply.status == 404 { Err(no_such(number)) } else { Ok(()) }
    }

    /// Our comment about an environment.
    async fn own_comment(&self, name: &str, number: i64, environment: &str) -> Result<Option<shape::Comment>> {
        let (owner, short) = parts(name)?;
        let mut url = self.api.url(&["repos", owner, short, "issues", &number.to_string(), "comments"])?;
        url.set_query(Some("per_page=100"));
        let found = self.api.list::<shape::Comment>(url, None).await?.ok_or_else(|| no_such(number))?;
        let marker = marker(environment);
        for comment in found {
            if comment.body.as_deref().is_some_and(|body| body.contains(&marker)) && self.is_ours(&comment).await? {
                return Ok(Some(comment));
            }
        }
        Ok(None)
    }

    async fn is_ours(&self, comment: &shape::Comment) -> Result<bool> {
        if let Credential::App { app_id, .. } = &self.api.credential {
            return Ok(comment.performed_via_github_app.as_ref().is_some_and(|app| app.id == *app_id));
        }
        let login = self.login.get_or_try_init(|| async {
            let user = self.api.get::<shape::User>(self.api.url(&["user"])?).await?;
            user.map(|user| user.login).ok_or_else(|| super::api::invalid("the token has no user"))
        });
        let login = login.await?;
        Ok(comment.user.as_ref().is_some_and(|user| user.login == *login))
    }

    /// One deployment for the commit that is shown, and every earlier one inactive.
    async fn deploy(&self, name: &str, report: &Report) -> Result<()> {
        let all = self.deployments(name, &report.environment).await?;
        let is_gone = report.state == DeployState::Inactive;
        let current = match all.iter().find(|deployment| deployment.sha == report.sha) {
            Some(found) => Some(found.id),
            None if is_gone || report.sha.is_empty() => None,
            None => Some(self.make_deployment(name, report).await?),
        };
        for deployment in &all {
            if Some(deployment.id) != current {
                self.set_status(name, deployment.id, DeployState::Inactive, report).await?;
            }
        }
        match current {
            Some(id) => self.set_status(name, id, report.state, report).await,
            None => Ok(()),
        }
    }

    /// Deployments of an environment, newest first.
    async fn deployments(&self, name: &str, environment: &str) -> Result<Vec<shape::Deployment>> {
        let (owner, short) = parts(name)?;
        let mut url = self.api.url(&["repos", owner, short, "deployments"])?;
        url.set_query(Some(DEPLOYMENTS_PAGE));
        url.query_pairs_mut().append_pair("environment", environment);
        // One page is enough: older ones were set inactive when they were on it.
        let mut found: Vec<shape::Deployment> = self.api.get(url).await?.ok_or_else(|| super::super::unknown(name))?;
        found.sort_by_key(|deployment| std::cmp::Reverse(deployment.id));
        Ok(found)
    }

    async fn make_deployment(&self, name: &str, report: &Report) -> Result<i64> {
        let (owner, short) = parts(name)?;
        let body = json!({
            "ref": report.sha,
            "task": "deploy",
            "environment": report.environment,
            "description": "Preview by Slipway",
            "transient_environment": report.number.is_some(),
            "production_environment": false,
            "auto_merge": false,
            "required_contexts": [],
        });
        let reply = self.api.send(Method::POST, self.api.url(&["repos", owner, short, "deployments"])?, &body).await?;
        if reply.status == 404 {
            return Err(super::super::unknown(name));
        }
        Ok(reply.read::<shape::Deployment>()?.id)
    }

    async fn status(&self, name: &str, id: i64) -> Result<Option<shape::DeploymentStatus>> {
        let (owner, short) = parts(name)?;
        let mut url = self.api.url(&["repos", owner, short, "deployments", &id.to_string(), "statuses"])?;
        url.set_query(Some("per_page=1"));
        let found: Option<Vec<shape::DeploymentStatus>> = self.api.get(url).await?;
        Ok(found.and_then(|list| list.into_iter().next()))
    }

    async fn set_status(&self, name: &str, id: i64, state: DeployState, report: &Report) -> Result<()> {
        let now = self.status(name, id).await?;
        let (description, url) = if state == DeployState::Inactive {
            (String::new(), String::new())
        } else {
            (report.summary.chars().take(DESCRIPTION_CHARS_MAX).collect(), report.url.clone())
        };
        let is_so = now.is_some_and(|now| {
            let same_text = now.description.as_deref().unwrap_or_default() == description;
            let same_url = now.environment_url.as_deref().unwrap_or_default() == url;
            now.state == state.word() && (state == DeployState::Inactive || (same_text && same_url))
        });
        if is_so {
            return Ok(());
        }
        let mut body = json!({ "state": state.word(), "description": description, "auto_inactive": false });
        if !url.is_empty() {
            body["environment_url"] = Value::from(url);
        }
        let (owner, short) = parts(name)?;
        let url = self.api.url(&["repos", owner, short, "deployments", &id.to_string(), "statuses"])?;
        self.api.send(Method::POST, url, &body).await.map(drop)
    }
}

fn no_such(number: i64) -> Error {
    Error::new(&PULL_REQUEST_UNKNOWN, format!("there is no pull request {number}"))
}

/// Text cut at a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
