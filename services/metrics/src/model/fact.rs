//! Facts as they are kept: deployments, changes, pull requests, incidents, pipeline runs and jobs, enrolments, milestones.
//!
//! Owns their fields and the instant a version is dated by. Refuses people: no author or reviewer is kept (MET-2).
use serde::{Deserialize, Serialize};

use super::tier::Tier;

/// Terminal status of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It is live.
    Succeeded,
    /// It never became live.
    Failed,
}

/// Kind of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Ordinary.
    Normal,
    /// Back to an earlier state.
    Rollback,
    /// Unplanned repair.
    Hotfix,
    /// The deployed commit again.
    Redeploy,
}

/// Where a deployment was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// IngestEvents.
    Api,
    /// The provider's deployments.
    DeploymentStatus,
    /// The provider's workflow runs; ignored for a service that has any [`Origin::DeploymentStatus`] (MET-17).
    WorkflowRun,
    /// Rollouts of the environment service.
    Environment,
}

impl Origin {
    /// The word of the contract.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Api => "api",
            Origin::DeploymentStatus => "deployment_status",
            Origin::WorkflowRun => "workflow_run",
            Origin::Environment => "environment",
        }
    }
}

/// One repository and commit of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Canonical repository.
    pub repository: String,
    /// Commit.
    pub sha: String,
    /// When this part finished, if it says.
    pub finished_us: Option<i64>,
    /// Status of this part, if it says.
    pub status: Option<Status>,
}

/// One version of what a source says of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Canonical reference of the service, if the source names it.
    pub service: Option<String>,
    /// Environment.
    pub environment: String,
    /// Tier as stated.
    pub tier: Option<Tier>,
    /// Provider's id.
    pub external_id: String,
    /// Attempt, 0 if unknown.
    pub attempt: i32,
    /// Terminal status; `None` while under way.
    pub status: Option<Status>,
    /// What was deployed.
    pub parts: Vec<Part>,
    /// Begin, if known.
    pub started_us: Option<i64>,
    /// Finish; of a version under way, its own instant.
    pub finished_us: i64,
    /// Kind as stated.
    pub kind: Option<Kind>,
    /// Who or what triggered it; history only.
    pub actor: String,
    /// External id of the deployment it repairs; empty if not stated.
    pub remediates: String,
    /// Whether it is a planned rollback.
    pub planned: bool,
    /// Where it was learned.
    pub origin: Origin,
    /// Page at the provider, if known.
    pub url: String,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Canonical repository.
    pub repository: String,
    /// Commit.
    pub sha: String,
    /// Parents.
    pub parents: Vec<String>,
    /// Committer time.
    pub committed_us: i64,
    /// Whether a program wrote it, if known.
    pub bot: Option<bool>,
    /// Original of a cherry-pick; empty if none.
    pub picked_from: String,
    /// Patch id; empty if unknown.
    pub patch_id: String,
}

/// One pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Canonical repository.
    pub repository: String,
    /// Number.
    pub number: i64,
    /// When it was opened.
    pub created_us: i64,
    /// Time of its first commit, if known.
    pub first_commit_us: Option<i64>,
    /// When it was merged.
    pub merged_us: Option<i64>,
    /// When it was closed.
    pub closed_us: Option<i64>,
    /// The merge, the squash or the last rebased commit; empty if none.
    pub merge_sha: String,
    /// Last commit of its branch; empty if unknown.
    pub head_sha: String,
    /// Branch it goes to.
    pub base_ref: String,
    /// Labels.
    pub labels: Vec<String>,
}

/// One incident as its source tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Provider's id.
    pub external_id: String,
    /// Canonical references of the affected services.
    pub services: Vec<String>,
    /// Begin.
    pub started_us: i64,
    /// Detection, if known.
    pub detected_us: Option<i64>,
    /// Last resolve; `None` while open.
    pub resolved_us: Option<i64>,
    /// Severity as the provider calls it.
    pub severity: String,
    /// External id of the deployment that caused it; empty if not stated.
    pub cause_deployment: String,
    /// Commit that caused it; empty if not stated.
    pub cause_sha: String,
}

/// Status of a run or stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Waits for a runner.
    Queued,
    /// Runs.
    Running,
    /// Waits for a person.
    Waiting,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Stopped.
    Cancelled,
    /// Never ran.
    Skipped,
}

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Trigger {
    /// A push.
    Push,
    /// A pull request.
    PullRequest,
    /// A schedule.
    Schedule,
    /// A person.
    Manual,
    /// Another program.
    Api,
}

/// One stage as its source tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Job name.
    pub title: String,
    /// Status.
    pub status: RunStatus,
    /// Begin.
    pub started_us: Option<i64>,
    /// End.
    pub finished_us: Option<i64>,
}

/// One version of one attempt of a pipeline run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineRun {
    /// Provider.
    pub provider: String,
    /// Canonical repository.
    pub repository: String,
    /// Provider's id.
    pub external_id: String,
    /// Attempt, from 1.
    pub attempt: i32,
    /// Name of the pipeline.
    pub title: String,
    /// Branch.
    pub branch: String,
    /// Commit.
    pub sha: String,
    /// Pull request, 0 if none.
    pub pull_request: i64,
    /// Trigger, if known.
    pub trigger: Option<Trigger>,
    /// Status.
    pub status: RunStatus,
    /// When it was queued.
    pub queued_us: Option<i64>,
    /// Begin.
    pub started_us: Option<i64>,
    /// End.
    pub finished_us: Option<i64>,
    /// Page at the provider.
    pub url: String,
    /// Stages.
    pub stages: Vec<Stage>,
    /// Canonical references of the services, if the source names them.
    pub services: Vec<String>,
}

/// One version of a job that arrives apart from its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineJob {
    /// Provider.
    pub provider: String,
    /// Canonical repository.
    pub repository: String,
    /// Provider's id of the run.
    pub run_id: String,
    /// Attempt of the run.
    pub attempt: i32,
    /// Provider's id of the job.
    pub job_id: String,
    /// The stage it is.
    pub stage: Stage,
}

/// Enrolment of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Canonical reference of the service.
    pub service: String,
    /// From when on it is tracked.
    pub enrolled_us: i64,
    /// Source of its incidents; empty if none.
    pub incident_source: String,
}

/// A step in the life of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// Canonical reference of the service.
    pub service: String,
    /// Which, for example `CREATED`.
    pub kind: String,
    /// On which path, for example `GOLDEN`.
    pub path: String,
    /// When.
    pub at_us: i64,
}

/// Any fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// A deployment.
    Deployment(Deployment),
    /// A commit.
    Change(Change),
    /// A pull request.
    PullRequest(PullRequest),
    /// An incident.
    Incident(Incident),
    /// A pipeline run.
    PipelineRun(PipelineRun),
    /// A job of a pipeline run.
    PipelineJob(PipelineJob),
    /// An enrolment.
    Enrolment(Enrolment),
    /// A milestone.
    Milestone(Milestone),
}

impl Fact {
    /// The word by which the ledger files it.
    pub fn word(&self) -> &'static str {
        match self {
            Fact::Deployment(_) => "deployment",
            Fact::Change(_) => "change",
            Fact::PullRequest(_) => "pull_request",
            Fact::Incident(_) => "incident",
            // A job is a version of a part of its run: both are folded together.
            Fact::PipelineRun(_) | Fact::PipelineJob(_) => "pipeline_run",
            Fact::Enrolment(_) => "enrolment",
            Fact::Milestone(_) => "milestone",
        }
    }

    /// Repository the fact is about; empty if it names none.
    pub fn repository(&self) -> &str {
        match self {
            Fact::Deployment(d) => d.parts.first().map_or("", |p| &p.repository),
            Fact::Change(c) => &c.repository,
            Fact::PullRequest(p) => &p.repository,
            Fact::PipelineRun(r) => &r.repository,
            Fact::PipelineJob(j) => &j.repository,
            Fact::Incident(_) | Fact::Enrolment(_) | Fact::Milestone(_) => "",
        }
    }

    /// Environment the fact is about; empty if none.
    pub fn environment(&self) -> &str {
        match self {
            Fact::Deployment(d) => &d.environment,
            _ => "",
        }
    }

    /// Services the fact names.
    pub fn services(&self) -> Vec<&str> {
        match self {
            Fact::Deployment(d) => d.service.as_deref().into_iter().collect(),
            Fact::Incident(i) => i.services.iter().map(String::as_str).collect(),
            Fact::PipelineRun(r) => r.services.iter().map(String::as_str).collect(),
            Fact::Enrolment(e) => vec![&e.service],
            Fact::Milestone(m) => vec![&m.service],
            Fact::Change(_) | Fact::PullRequest(_) | Fact::PipelineJob(_) => Vec::new(),
        }
    }

    /// Every instant the fact names.
    pub fn instants(&self) -> Vec<i64> {
        let mut all: Vec<Option<i64>> = match self {
            Fact::Deployment(d) => {
                d.parts.iter().map(|p| p.finished_us).chain([d.started_us, Some(d.finished_us)]).collect()
            }
            Fact::Change(c) => vec![Some(c.committed_us)],
            Fact::PullRequest(p) => vec![Some(p.created_us), p.first_commit_us, p.merged_us, p.closed_us],
            Fact::Incident(i) => vec![Some(i.started_us), i.detected_us, i.resolved_us],
            Fact::PipelineRun(r) => {
                let stages = r.stages.iter().flat_map(|s| [s.started_us, s.finished_us]);
                stages.chain([r.queued_us, r.started_us, r.finished_us]).collect()
            }
            Fact::PipelineJob(j) => vec![j.stage.started_us, j.stage.finished_us],
            Fact::Enrolment(e) => vec![Some(e.enrolled_us)],
            Fact::Milestone(m) => vec![Some(m.at_us)],
        };
        all.retain(Option::is_some);
        all.into_iter().flatten().collect()
    }

    /// The latest instant the fact names: what a version is dated by unless its source says.
    pub fn latest_us(&self) -> i64 {
        self.instants().into_iter().max().unwrap_or(0)
    }
}

/// Place of a version among the versions of its fact; the greatest is effective (MET-7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VersionKey {
    /// When the source says it came about.
    pub occurred_us: i64,
    /// Provider's sequence.
    pub sequence: i64,
    /// SHA-256 of the fact's canonical form, hex.
    pub payload_sha256: String,
}

/// One version of a fact.
#[derive(Clone, Debug)]
pub struct Version<T> {
    /// Its place.
    pub key: VersionKey,
    /// What it says.
    pub fact: T,
}
