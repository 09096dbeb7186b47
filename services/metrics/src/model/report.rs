//! What the delivery measures are answered as: counts, ratios, spans, and why one is missing. Refuses 0 for "unknown".
use super::calendar::Bucket;
use super::correction::Correction;
use super::effective::Effective;
use super::fact::PullRequest;
use super::failure::Incident;
use super::graph::Graph;
use super::percentile::Summary;
use super::timeline::Timeline;

/// Default of the attribution window: 24 hours.
pub const ATTRIBUTION_US: i64 = 86_400_000_000;

/// Why a value is missing (MET-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// The service was not tracked in the window.
    NotTracked,
    /// No deployment in the window.
    NoDeployments,
    /// No change was deployed in the window.
    NoChanges,
    /// Nothing could show a failure.
    NoIncidentSource,
    /// No incident or failure in the window.
    NoIncidents,
}

/// A value, or why there is none.
pub type Value<T> = Result<T, NoData>;

/// Rule switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Longest time from a deployment to an incident put down to it by time.
    pub attribution_us: i64,
    /// Whether only deployments with changes are in the change fail rate.
    pub only_with_changes: bool,
    /// Whether merge commits are in the lead time sample.
    pub count_merge_commits: bool,
    /// Whether recoveries are put into windows by their own instant.
    pub by_recovery: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            attribution_us: ATTRIBUTION_US,
            only_with_changes: false,
            count_merge_commits: false,
            by_recovery: false,
        }
    }
}

/// Everything known about one service.
pub struct History<'a> {
    /// Deployments of any tier.
    pub deployments: &'a [Effective],
    /// Commits.
    pub graph: &'a Graph,
    /// Pull requests, sorted.
    pub pulls: &'a [PullRequest],
    /// What each success brought.
    pub timeline: &'a Timeline,
    /// Incidents, sorted by id.
    pub incidents: &'a [Incident],
    /// Corrections, oldest first.
    pub corrections: &'a [Correction],
    /// Canonical reference of the service.
    pub service: &'a str,
    /// Whether a source of incidents is connected.
    pub incident_source: bool,
    /// When the service was enrolled, if it was.
    pub enrolled_us: Option<i64>,
}

/// A ratio with its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Counted.
    pub numerator: usize,
    /// Of how many.
    pub denominator: usize,
}

/// A measure that can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `deployments_all`.
    Frequency,
    /// Lead time of commits.
    LeadCommit,
    /// Lead time from the first commit of pull requests.
    LeadFirstCommit,
    /// Lead time from the merge of pull requests.
    LeadMerged,
    /// Change fail rate.
    ChangeFailRate,
    /// Recovery time.
    Recovery,
    /// Recovery time from detection.
    RecoveryFromDetection,
    /// Rework rate.
    Rework,
    /// Time to restore.
    Restore,
}

/// A distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The summary.
    pub value: Value<Summary>,
    /// Items left out as negative.
    pub excluded_negative: usize,
}

/// One counted bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The bucket.
    pub bucket: Bucket,
    /// Successes and local days with one; `None` where not tracked.
    pub counts: Option<(usize, usize)>,
}

/// The measures of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Since when the service is tracked.
    pub tracked_us: Option<i64>,
    /// Successes in production.
    pub deployments_all: Value<usize>,
    /// Successes that brought new commits.
    pub deployments_with_changes: Value<usize>,
    /// Attempts that never became live.
    pub failed_attempts: Value<usize>,
    /// Successes ÷ attempts.
    pub attempt_success_rate: Value<Ratio>,
    /// Days of the window.
    pub days: f64,
    /// Median of days with a success over whole ISO weeks.
    pub days_per_week: Option<f64>,
    /// Calendar, if asked for.
    pub buckets: Vec<Counted>,
    /// Lead time of commits.
    pub lead_commit: Span,
    /// Lead time from first commits.
    pub lead_first_commit: Span,
    /// Lead time from merges.
    pub lead_merged: Span,
    /// Merged and not deployed: how many, and since when the oldest waits.
    pub undeployed: (usize, Option<i64>),
    /// Some ancestor is unknown.
    pub incomplete: bool,
    /// Some deployment does not descend from the one before.
    pub diverged: bool,
    /// Failed ÷ deployments.
    pub change_fail_rate: Value<Ratio>,
    /// Ids of the failed deployments, sorted.
    pub failed: Vec<String>,
    /// Finish to recovery.
    pub recovery: Span,
    /// Detection to recovery.
    pub recovery_from_detection: Span,
    /// Failed deployments with an open incident.
    pub recovery_open: usize,
    /// Rework ÷ deployments.
    pub rework: Value<Ratio>,
    /// Start to resolve of all incidents resolved in the window.
    pub restore: Span,
}
