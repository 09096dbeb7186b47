//! Webhook bodies shaped like GitHub's as facts (MET-17). Refuses people: logins are kept for deployments only.
use jiff::Timestamp;
use serde_json::Value;

use crate::model::{
    fact::{
        Change, Deployment, Fact, Origin, Part, PipelineJob, PipelineRun, PullRequest, RunStatus, Stage, Status,
        Trigger,
    },
    repository, service_ref,
    stage::StageKind,
    tier::Tier,
};

/// Sha that stands for "nothing" in a push.
const NOTHING: &str = "0000000000000000000000000000000000000000";

/// One fact of a delivery.
#[derive(Clone, Debug)]
pub struct Told {
    /// The fact.
    pub fact: Fact,
    /// When the provider says it came about; the fact's latest instant if absent.
    pub occurred_us: Option<i64>,
    /// Provider's sequence.
    pub sequence: i64,
    /// Service hinted at; empty if none.
    pub hint: String,
}

impl Told {
    fn new(fact: Fact, occurred_us: Option<i64>, sequence: i64) -> Self {
        Self { fact, occurred_us, sequence, hint: String::new() }
    }
}

/// A branch that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Repository as `owner/name`.
    pub name: String,
    /// Commit before; empty for a new branch.
    pub before: String,
    /// Commit now.
    pub after: String,
}

/// A body with what one reads from it.
struct Body<'a>(&'a Value);

impl<'a> Body<'a> {
    fn text(&self, path: &str) -> &'a str {
        self.0.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    fn int(&self, path: &str) -> i64 {
        self.0.pointer(path).and_then(Value::as_i64).unwrap_or(0)
    }

    fn flag(&self, path: &str) -> bool {
        self.0.pointer(path).and_then(Value::as_bool).unwrap_or(false)
    }

    fn time(&self, path: &str) -> Option<i64> {
        match self.0.pointer(path)? {
            Value::String(text) => text.parse::<Timestamp>().ok().map(|t| t.as_microsecond()),
            Value::Number(seconds) => seconds.as_i64().map(|s| s.saturating_mul(1_000_000)),
            _ => None,
        }
    }

    fn list(&self, path: &str) -> &'a [Value] {
        self.0.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn repository(&self, source: &str) -> String {
        repository::canonical(self.text("/repository/full_name"), source)
    }
}

/// Facts of a delivery; none for what is not taken. `source` is the connection it came by.
pub fn facts(source: &str, event: &str, body: &Value) -> Vec<Told> {
    let body = Body(body);
    if body.text("/repository/full_name").is_empty() {
        return Vec::new();
    }
    match event {
        "deployment_status" => deployment_status(source, &body).into_iter().collect(),
        "workflow_run" => workflow_run(source, &body),
        "workflow_job" => workflow_job(source, &body).into_iter().collect(),
        "pull_request" => pull_request(source, &body).into_iter().collect(),
        "push" => pushed(source, &body),
        // A deployment says nothing that its statuses do not repeat.
        _ => Vec::new(),
    }
}

fn deployment_status(source: &str, body: &Body) -> Option<Told> {
    if !body.text("/deployment/task").starts_with("deploy") {
        return None;
    }
    let at = body.time("/deployment_status/created_at")?;
    let state = body.text("/deployment_status/state");
    let status = match state {
        "success" => Some(Status::Succeeded),
        "failure" | "error" => Some(Status::Failed),
        // `inactive` means superseded by another; the deployment itself stays what it was.
        "queued" | "pending" | "in_progress" | "inactive" => None,
        _ => return None,
    };
    let stated = body.text("/deployment_status/environment");
    let environment = if stated.is_empty() { body.text("/deployment/environment") } else { stated };
    let production = body.flag("/deployment/production_environment");
    let fact = Fact::Deployment(Deployment {
        service: None,
        environment: environment.to_owned(),
        tier: production.then_some(Tier::Production),
        external_id: body.int("/deployment/id").to_string(),
        attempt: 0,
        status,
        parts: vec![Part {
            repository: body.repository(source),
            sha: body.text("/deployment/sha").to_owned(),
            finished_us: None,
            status: None,
        }],
        started_us: (state == "in_progress").then_some(at),
        finished_us: at,
        kind: None,
        actor: body.text("/deployment/creator/login").to_owned(),
        remediates: String::new(),
        planned: false,
        origin: Origin::DeploymentStatus,
        url: body.text("/deployment_status/target_url").to_owned(),
    });
    let hint = service_ref::canonical(body.text("/deployment/payload/service")).unwrap_or_default();
    Some(Told { hint, ..Told::new(fact, Some(at), body.int("/deployment_status/id")) })
}

fn run_status(status: &str, conclusion: &str) -> RunStatus {
    match (status, conclusion) {
        ("completed", "success") => RunStatus::Succeeded,
        ("completed", "failure" | "timed_out" | "startup_failure") => RunStatus::Failed,
        ("completed", "skipped" | "neutral") => RunStatus::Skipped,
        ("completed", "action_required") | ("waiting", _) => RunStatus::Waiting,
        ("completed", _) => RunStatus::Cancelled,
        ("in_progress", _) => RunStatus::Running,
        _ => RunStatus::Queued,
    }
}

/// Order of statuses within the same second.
fn rank(status: &str) -> i64 {
    match status {
        "completed" => 3,
        "in_progress" => 2,
        "waiting" => 1,
        _ => 0,
    }
}

fn workflow_run(source: &str, body: &Body) -> Vec<Told> {
    let Some(updated) = body.time("/workflow_run/updated_at") else { return Vec::new() };
    let word = body.text("/workflow_run/status");
    let status = run_status(word, body.text("/workflow_run/conclusion"));
    let ended = word == "completed";
    let attempt = i32::try_from(body.int("/workflow_run/run_attempt")).unwrap_or(1).max(1);
    let began = body.time("/workflow_run/run_started_at").filter(|_| rank(word) >= 2);
    let run = PipelineRun {
        provider: "github".to_owned(),
        repository: body.repository(source),
        external_id: body.int("/workflow_run/id").to_string(),
        attempt,
        title: body.text("/workflow_run/name").to_owned(),
        branch: body.text("/workflow_run/head_branch").to_owned(),
        sha: body.text("/workflow_run/head_sha").to_owned(),
        pull_request: body.int("/workflow_run/pull_requests/0/number"),
        trigger: trigger(body.text("/workflow_run/event")),
        status,
        queued_us: body.time("/workflow_run/created_at").filter(|_| attempt == 1),
        started_us: began,
        finished_us: ended.then_some(updated),
        url: body.text("/workflow_run/html_url").to_owned(),
        stages: Vec::new(),
        services: Vec::new(),
    };
    let deployment = if ended { deployment_of(&run, updated) } else { None };
    let run = Told::new(Fact::PipelineRun(run), Some(updated), rank(word));
    let deployment = deployment.map(|d| Told::new(Fact::Deployment(d), Some(updated), 0));
    std::iter::once(run).chain(deployment).collect()
}

fn trigger(event: &str) -> Option<Trigger> {
    match event {
        "push" => Some(Trigger::Push),
        "pull_request" | "pull_request_target" => Some(Trigger::PullRequest),
        "schedule" => Some(Trigger::Schedule),
        "workflow_dispatch" => Some(Trigger::Manual),
        "repository_dispatch" | "workflow_call" | "workflow_run" => Some(Trigger::Api),
        _ => None,
    }
}

/// A finished run whose name says that it deploys and where is a deployment, unless the service has better (MET-17).
fn deployment_of(run: &PipelineRun, finished_us: i64) -> Option<Deployment> {
    let status = match run.status {
        RunStatus::Succeeded => Status::Succeeded,
        RunStatus::Failed => Status::Failed,
        _ => return None,
    };
    let mut words = run.title.split(|c: char| !c.is_alphanumeric());
    let environment = words.find(|word| Tier::of_name(word) != Tier::Development)?.to_lowercase();
    (StageKind::of_job(&run.title) == StageKind::Deploy).then(|| Deployment {
        service: None,
        environment,
        tier: None,
        external_id: format!("run-{}-{}", run.external_id, run.attempt),
        attempt: 0,
        status: Some(status),
        parts: vec![Part { repository: run.repository.clone(), sha: run.sha.clone(), finished_us: None, status: None }],
        started_us: run.started_us,
        finished_us,
        kind: None,
        actor: String::new(),
        remediates: String::new(),
        planned: false,
        origin: Origin::WorkflowRun,
        url: run.url.clone(),
    })
}

fn workflow_job(source: &str, body: &Body) -> Option<Told> {
    let word = body.text("/workflow_job/status");
    let (began, ended) = (body.time("/workflow_job/started_at"), body.time("/workflow_job/completed_at"));
    let occurred = ended.or(began).or_else(|| body.time("/workflow_job/created_at"))?;
    let fact = Fact::PipelineJob(PipelineJob {
        provider: "github".to_owned(),
        repository: body.repository(source),
        run_id: body.int("/workflow_job/run_id").to_string(),
        attempt: i32::try_from(body.int("/workflow_job/run_attempt")).unwrap_or(1).max(1),
        job_id: body.int("/workflow_job/id").to_string(),
        stage: Stage {
            title: body.text("/workflow_job/name").to_owned(),
            status: run_status(word, body.text("/workflow_job/conclusion")),
            started_us: began.filter(|_| rank(word) >= 2),
            finished_us: ended,
        },
    });
    Some(Told::new(fact, Some(occurred), rank(word)))
}

fn pull_request(source: &str, body: &Body) -> Option<Told> {
    let merged_us = body.time("/pull_request/merged_at");
    let labels = body.list("/pull_request/labels").iter().map(|l| Body(l).text("/name").to_owned()).collect();
    let fact = Fact::PullRequest(PullRequest {
        repository: body.repository(source),
        number: body.int("/pull_request/number"),
        created_us: body.time("/pull_request/created_at")?,
        first_commit_us: None,
        merged_us,
        closed_us: body.time("/pull_request/closed_at"),
        // Before the merge this is a trial merge that nobody deploys.
        merge_sha: if merged_us.is_some() {
            body.text("/pull_request/merge_commit_sha").to_owned()
        } else {
            String::new()
        },
        head_sha: body.text("/pull_request/head/sha").to_owned(),
        base_ref: body.text("/pull_request/base/ref").to_owned(),
        labels,
    });
    Some(Told::new(fact, body.time("/pull_request/updated_at"), 0))
}

/// The branch that a push moved; `None` for tags and removed branches.
pub fn push(event: &str, body: &Value) -> Option<Push> {
    let body = Body(body);
    let (before, after) = (body.text("/before"), body.text("/after"));
    let moved =
        event == "push" && body.text("/ref").starts_with("refs/heads/") && !after.is_empty() && after != NOTHING;
    moved.then(|| Push {
        name: body.text("/repository/full_name").to_owned(),
        before: if before == NOTHING { String::new() } else { before.to_owned() },
        after: after.to_owned(),
    })
}

/// Commits of a push without a provider to ask: taken as one line, and overruled by any other version of them.
fn pushed(source: &str, body: &Body) -> Vec<Told> {
    if !body.text("/ref").starts_with("refs/heads/") {
        return Vec::new();
    }
    // A parent that is never known keeps the graph marked as incomplete.
    let mut parent = body.text("/before").to_owned();
    let mut all = Vec::new();
    for commit in body.list("/commits").iter().map(Body) {
        let Some(committed_us) = commit.time("/timestamp") else { continue };
        let sha = commit.text("/id").to_owned();
        let message = commit.text("/message");
        let picked = message.lines().rev().find_map(|line| line.trim().strip_prefix("(cherry picked from commit "));
        let fact = Fact::Change(Change {
            repository: body.repository(source),
            sha: sha.clone(),
            parents: vec![std::mem::replace(&mut parent, sha)],
            committed_us,
            bot: None,
            picked_from: picked.map(|rest| rest.trim_end_matches(')').to_owned()).unwrap_or_default(),
            patch_id: String::new(),
        });
        all.push(Told::new(fact, Some(1), 0));
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(state: &str, at: &str, id: i64, task: &str) -> Value {
        json!({
            "repository": {"id": 7, "full_name": "shop/checkout"},
            "deployment": {"id": 41, "sha": "c1", "task": task, "environment": "prod-eu", "payload": {"service": "Checkout"}},
            "deployment_status": {"id": id, "state": state, "created_at": at},
        })
    }

    #[test]
    fn statuses_are_versions_of_one_deployment() {
        let told = facts("local", "deployment_status", &status("success", "2026-03-02T10:00:00Z", 5, "deploy"));
        let Fact::Deployment(d) = &told[0].fact else { panic!("a deployment") };
        assert_eq!((d.external_id.as_str(), d.status, told[0].sequence), ("41", Some(Status::Succeeded), 5));
        assert_eq!(
            (d.parts[0].repository.as_str(), told[0].hint.as_str()),
            ("local/shop/checkout", "component:default/checkout")
        );
        let inactive =
            facts("local", "deployment_status", &status("inactive", "2026-03-02T10:00:00Z", 6, "deploy:web"));
        assert!(matches!(&inactive[0].fact, Fact::Deployment(d) if d.status.is_none()));
        assert!(
            facts("local", "deployment_status", &status("success", "2026-03-02T10:00:00Z", 5, "migrate")).is_empty()
        );
        let error = facts("local", "deployment_status", &status("error", "2026-03-02T10:00:00Z", 7, "deploy"));
        assert!(matches!(&error[0].fact, Fact::Deployment(d) if d.status == Some(Status::Failed)));
    }

    fn run(conclusion: &str, name: &str) -> Value {
        json!({
            "repository": {"full_name": "shop/checkout"},
            "workflow_run": {"id": 9, "run_attempt": 2, "name": name, "head_sha": "c1", "head_branch": "main", "event": "push",
                "status": "completed", "conclusion": conclusion, "created_at": "2026-03-02T09:00:00Z",
                "run_started_at": "2026-03-02T09:01:00Z", "updated_at": "2026-03-02T09:05:00Z"},
        })
    }

    #[test]
    fn only_runs_that_say_where_they_deploy_are_deployments() {
        let deployed = |conclusion, name| {
            let told = facts("local", "workflow_run", &run(conclusion, name));
            told.iter().find_map(|t| {
                if let Fact::Deployment(d) = &t.fact { Some((d.environment.clone(), d.status)) } else { None }
            })
        };
        let production = Some(("production".to_owned(), Some(Status::Succeeded)));
        assert_eq!(deployed("success", "Deploy to production"), production);
        assert_eq!(deployed("timed_out", "deploy/staging"), Some(("staging".to_owned(), Some(Status::Failed))));
        for (conclusion, name) in
            [("cancelled", "Deploy to production"), ("success", "CI"), ("success", "Deploy"), ("stale", "Deploy prod")]
        {
            assert_eq!(deployed(conclusion, name), None, "{conclusion} {name}");
        }
        assert_eq!(run_status("completed", "action_required"), RunStatus::Waiting);
    }

    #[test]
    fn a_trial_merge_is_no_merge() {
        let body = |merged: Option<&str>| {
            json!({"repository": {"full_name": "shop/checkout"}, "pull_request": {"number": 4, "created_at": "2026-03-01T08:00:00Z",
                "updated_at": "2026-03-02T08:00:00Z", "merged_at": merged, "merge_commit_sha": "m", "head": {"sha": "h"}, "base": {"ref": "main"}}})
        };
        let sha = |merged| match &facts("local", "pull_request", &body(merged))[0].fact {
            Fact::PullRequest(p) => p.merge_sha.clone(),
            _ => panic!("a pull request"),
        };
        assert_eq!((sha(None), sha(Some("2026-03-02T08:00:00Z"))), (String::new(), "m".to_owned()));
    }
}
