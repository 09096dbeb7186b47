//! Comments and deployments, in memory.
//!
//! Owns who wrote what. Refuses to change what another wrote.
use http::Method;
use serde_json::{Value, json};
use slipway_kit::scm::Repository;

use super::{APP_ID, Asked, LOGIN, State, app::Who, reply::Made};

pub(crate) struct Comment {
    pub id: i64,
    pub repository: String,
    pub number: i64,
    pub login: String,
    pub app: Option<u64>,
    pub body: String,
}

pub(crate) struct Deployment {
    pub id: i64,
    pub repository: String,
    pub environment: String,
    pub sha: String,
    pub transient: bool,
    pub statuses: Vec<Value>,
}

impl Deployment {
    pub fn state(&self) -> &str {
        self.statuses.last().and_then(|status| status["state"].as_str()).unwrap_or_default()
    }

    fn render(&self) -> Value {
        json!({
            "id": self.id,
            "sha": self.sha,
            "ref": self.sha,
            "environment": self.environment,
            "transient_environment": self.transient,
        })
    }
}

impl Comment {
    fn render(&self) -> Value {
        json!({
            "id": self.id,
            "body": self.body,
            "user": { "login": self.login },
            "performed_via_github_app": self.app.map(|id| json!({ "id": id })),
        })
    }
}

pub(crate) fn handle(state: &State, asked: &Asked, repository: &Repository, who: &Who) -> Made {
    let rest: Vec<&str> = asked.parts[3..].iter().map(String::as_str).collect();
    let is_read = asked.method == Method::GET;
    match rest[..] {
        ["issues", number, "comments"] if is_read => {
            let model = state.model();
            let of = |c: &&Comment| c.repository == repository.id && c.number.to_string() == number;
            Made::List(model.comments.iter().filter(of).map(Comment::render).collect(), None)
        }
        ["issues", number, "comments"] => comment(state, asked, repository, who, number),
        ["issues", "comments", id] => edit(state, asked, repository, who, id),
        ["deployments"] if is_read => {
            let model = state.model();
            let wanted = asked.query.get("environment");
            let of =
                |d: &&Deployment| d.repository == repository.id && wanted.is_none_or(|name| *name == d.environment);
            Made::List(model.deployments.iter().rev().filter(of).map(Deployment::render).collect(), None)
        }
        ["deployments"] => deploy(state, asked, repository),
        ["deployments", id, "statuses"] => statuses(state, asked, repository, id, is_read),
        _ => Made::Missing,
    }
}

fn comment(state: &State, asked: &Asked, repository: &Repository, who: &Who, number: &str) -> Made {
    let body = asked.json();
    let (Ok(number), Some(text)) = (number.parse(), body["body"].as_str()) else { return invalid("body") };
    let is_app = *who == Who::Installation;
    let comment = Comment {
        id: state.next(),
        repository: repository.id.clone(),
        number,
        login: if is_app { "slipway[bot]".to_owned() } else { LOGIN.to_owned() },
        app: is_app.then_some(APP_ID),
        body: text.to_owned(),
    };
    let rendered = comment.render();
    state.model().comments.push(comment);
    Made::Json(201, rendered)
}

fn edit(state: &State, asked: &Asked, repository: &Repository, who: &Who, id: &str) -> Made {
    let body = asked.json();
    let mut model = state.model();
    let found = model.comments.iter_mut().find(|c| c.repository == repository.id && c.id.to_string() == id);
    let Some(comment) = found else { return Made::Missing };
    let is_own = if *who == Who::Installation { comment.app.is_some() } else { comment.login == LOGIN };
    if !is_own {
        return Made::Forbidden("owner");
    }
    let Some(text) = body["body"].as_str() else { return invalid("body") };
    comment.body = text.to_owned();
    Made::Json(200, comment.render())
}

fn deploy(state: &State, asked: &Asked, repository: &Repository) -> Made {
    let body = asked.json();
    let Some(sha) = body["ref"].as_str() else { return invalid("ref") };
    let deployment = Deployment {
        id: state.next(),
        repository: repository.id.clone(),
        environment: body["environment"].as_str().unwrap_or("production").to_owned(),
        sha: sha.to_owned(),
        transient: body["transient_environment"].as_bool().unwrap_or(false),
        statuses: Vec::new(),
    };
    let rendered = deployment.render();
    state.model().deployments.push(deployment);
    Made::Json(201, rendered)
}

fn statuses(state: &State, asked: &Asked, repository: &Repository, id: &str, is_read: bool) -> Made {
    let mut model = state.model();
    let found = model.deployments.iter_mut().find(|d| d.repository == repository.id && d.id.to_string() == id);
    let Some(deployment) = found else { return Made::Missing };
    if is_read {
        return Made::List(deployment.statuses.iter().rev().cloned().collect(), None);
    }
    let body = asked.json();
    let known = ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
    if !body["state"].as_str().is_some_and(|state| known.contains(&state)) {
        return invalid("state");
    }
    if body["description"].as_str().is_some_and(|text| text.chars().count() > 140) {
        return invalid("description");
    }
    deployment.statuses.push(json!({
        "id": deployment.statuses.len(),
        "state": body["state"],
        "description": body["description"],
        "environment_url": body["environment_url"],
    }));
    Made::Json(201, deployment.statuses.last().cloned().unwrap())
}

fn invalid(field: &str) -> Made {
    Made::Json(422, json!({ "message": format!("Validation Failed: {field}") }))
}
