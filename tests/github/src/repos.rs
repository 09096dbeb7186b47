//! Repositories and pull requests from the local SCM, in GitHub's shapes.
//!
//! Owns their rendering; instants have whole seconds, as GitHub's. Refuses repositories that are hidden.
use serde_json::{Value, json};
use slipway_kit::{
    files::FilePath,
    git::{Git, RefName},
    scm::{PullRequest, Repository},
    subprocess::Tool,
};

use super::{Asked, State, reply::Made};

fn time(us: i64) -> String {
    jiff::Timestamp::from_second(us.div_euclid(1_000_000)).unwrap().to_string()
}

pub(crate) async fn visible(state: &State, name: &str) -> Option<Repository> {
    if state.model().hidden.contains(name) {
        return None;
    }
    state.scm.repository(name).await.ok().flatten()
}

pub(crate) fn render(repository: &Repository) -> Value {
    let (owner, short) = repository.name.split_once('/').unwrap();
    let marker = if repository.marker.is_empty() { String::new() } else { format!(" [slipway:{}]", repository.marker) };
    json!({
        "id": repository.id.parse::<i64>().unwrap(),
        "name": short,
        "full_name": repository.name,
        "owner": { "login": owner },
        "private": true,
        "default_branch": repository.default_branch,
        "description": format!("{}{marker}", repository.description),
        "archived": repository.archived,
        "created_at": time(repository.created_us),
    })
}

pub(crate) async fn all(state: &State, asked: &Asked) -> Made {
    let found = state.scm.repositories().await.unwrap();
    let hidden = state.model().hidden.clone();
    let shown = found.iter().filter(|repository| !hidden.contains(&repository.name)).map(render).collect();
    // The listing of an installation is an object, that of a user an array.
    Made::List(shown, (asked.parts[0] == "installation").then_some("repositories"))
}

pub(crate) async fn by_id(state: &State, id: &str) -> Made {
    match state.scm.repository_by_id(id).await.unwrap() {
        Some(found) if !state.model().hidden.contains(&found.name) => Made::Json(200, render(&found)),
        _ => Made::Missing,
    }
}

pub(crate) async fn create(state: &State, asked: &Asked) -> Made {
    let body = asked.json();
    let name = format!("{}/{}", asked.parts[1], body["name"].as_str().unwrap_or_default());
    if state.model().permissions.get("administration").is_none_or(|right| right != "write") {
        return Made::Forbidden("administration");
    }
    let git = Git::open(Tool::find("git").unwrap(), &state.dir.path().join("repos")).await.unwrap();
    let meta = json!({
        "id": state.next(),
        "description": body["description"],
        "archived": false,
        "created_us": state.clock.now_us(),
        "marker": "",
    });
    let path = FilePath::parse(&format!("{name}.git")).unwrap();
    match git.init_bare_with(&path, "main", &[("slipway.json", meta.to_string().as_bytes())]).await {
        Ok(_) => Made::Json(201, render(&state.scm.repository(&name).await.unwrap().unwrap())),
        Err(_) => Made::Json(422, json!({ "message": "name already exists on this account" })),
    }
}

async fn side(state: &State, label: &str, sha: &str, name: &str) -> Value {
    let repository = state.scm.repository(name).await.ok().flatten();
    json!({ "ref": label, "sha": sha, "label": label, "repo": repository.as_ref().map(render) })
}

async fn render_pull(state: &State, repository: &Repository, pull: &PullRequest) -> Value {
    let labels: Vec<Value> = pull.labels.iter().map(|name| json!({ "id": 1, "name": name })).collect();
    json!({
        "id": pull.number + 100_000,
        "number": pull.number,
        "state": if pull.open { "open" } else { "closed" },
        "draft": pull.draft,
        "title": pull.title,
        "labels": labels,
        "user": { "login": pull.author },
        "created_at": time(pull.created_us),
        "updated_at": time(pull.updated_us),
        "closed_at": pull.closed_us.map(time),
        "merged_at": pull.merged_us.map(time),
        "merge_commit_sha": pull.merge_sha.clone().unwrap_or_else(|| "f".repeat(40)),
        "head": side(state, &pull.head_ref, &pull.head_sha, &pull.head_repository).await,
        "base": side(state, &pull.base_ref, &pull.base_sha, &repository.name).await,
    })
}

pub(crate) async fn pulls(state: &State, repository: &Repository) -> Made {
    let mut all = Vec::new();
    for pull in state.scm.open_pull_requests(&repository.name).await.unwrap() {
        all.push(render_pull(state, repository, &pull).await);
    }
    Made::List(all, None)
}

pub(crate) async fn pull(state: &State, repository: &Repository, number: &str) -> Made {
    let Ok(number) = number.parse() else { return Made::Missing };
    match state.scm.pull_request(&repository.name, number).await.unwrap() {
        Some(pull) => Made::Json(200, render_pull(state, repository, &pull).await),
        None => Made::Missing,
    }
}

pub(crate) async fn events(state: &State, repository: &Repository, number: &str) -> Made {
    let pull = state.scm.pull_request(&repository.name, number.parse().unwrap_or(0)).await.unwrap();
    let Some(pull) = pull else { return Made::Missing };
    let mut events = vec![json!({ "event": "labeled", "created_at": time(pull.created_us) })];
    if pull.opened_us != pull.created_us {
        events.push(json!({ "event": "closed", "created_at": time(pull.created_us + 1) }));
        events.push(json!({ "event": "reopened", "created_at": time(pull.opened_us) }));
    }
    Made::List(events, None)
}

pub(crate) async fn git_ref(state: &State, repository: &Repository, rest: &[String]) -> Made {
    let git = state.scm.git(&repository.name).await.unwrap();
    let Some(branch) = rest.get(1..).filter(|rest| !rest.is_empty()).map(|rest| rest.join("/")) else {
        let all = git.refs("refs/heads/").await.unwrap();
        return Made::List(
            all.iter().map(|(name, sha)| json!({ "ref": name.as_str(), "object": { "sha": sha.as_str() } })).collect(),
            None,
        );
    };
    match git.resolve(&RefName::branch(&branch).unwrap()).await.unwrap() {
        Some(sha) => Made::Json(
            200,
            json!({ "ref": format!("refs/heads/{branch}"), "object": { "sha": sha.as_str(), "type": "commit" } }),
        ),
        None => Made::Missing,
    }
}
