//! Figures over pipeline runs (MET-23) and the state of runs that fell silent (MET-24). Refuses to average cancelled runs.
use std::collections::BTreeMap;

use super::fact::RunStatus;
use super::percentile::{Summary, summary};

const SECOND_US: i64 = 1_000_000;
/// How long a run may be silent before it is shown as stale.
pub const STALE_US: i64 = 86_400 * SECOND_US;

/// What the figures need of one attempt.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Run it belongs to, over all attempts.
    pub run: String,
    /// Attempt, from 1.
    pub attempt: i32,
    /// Commit.
    pub sha: String,
    /// Status.
    pub status: RunStatus,
    /// When it was queued.
    pub queued_us: Option<i64>,
    /// Begin.
    pub started_us: Option<i64>,
    /// End.
    pub finished_us: Option<i64>,
}

/// Figures of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Attempts.
    pub runs: usize,
    /// Succeeded, and succeeded or failed.
    pub success: (usize, usize),
    /// Begin to end, and how many were negative.
    pub duration: (Option<Summary>, usize),
    /// Queueing to begin, and how many were negative.
    pub queue_time: (Option<Summary>, usize),
    /// Runs of which an attempt failed and a later attempt of the same commit succeeded.
    pub flaky_runs: usize,
}

/// Works out the figures of the attempts that ended in a window.
pub fn stats(attempts: &[Attempt]) -> Stats {
    let ended = |s: RunStatus| attempts.iter().filter(|a| a.status == s).count();
    let (succeeded, failed) = (ended(RunStatus::Succeeded), ended(RunStatus::Failed));
    let spans = |from: fn(&Attempt) -> Option<i64>, to: fn(&Attempt) -> Option<i64>| {
        let all: Vec<i64> = attempts.iter().filter_map(|a| Some((to(a)? - from(a)?) / SECOND_US)).collect();
        let negative = all.iter().filter(|s| **s < 0).count();
        (summary(all.into_iter().filter(|s| *s >= 0).collect()), negative)
    };
    let mut runs: BTreeMap<(&str, &str), Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        runs.entry((&attempt.run, &attempt.sha)).or_default().push(attempt);
    }
    let flaky = |all: &Vec<&Attempt>| {
        let first_failure = all.iter().filter(|a| a.status == RunStatus::Failed).map(|a| a.attempt).min();
        first_failure.is_some_and(|f| all.iter().any(|a| a.status == RunStatus::Succeeded && a.attempt > f))
    };
    Stats {
        runs: attempts.len(),
        success: (succeeded, succeeded + failed),
        duration: spans(|a| a.started_us, |a| a.finished_us),
        queue_time: spans(|a| a.queued_us, |a| a.started_us),
        flaky_runs: runs.values().filter(|all| flaky(all)).count(),
    }
}

/// Whether a run that says it is under way has been silent for too long.
pub fn is_stale(status: RunStatus, heard_us: i64, now_us: i64) -> bool {
    matches!(status, RunStatus::Queued | RunStatus::Running) && now_us - heard_us > STALE_US
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(run: &str, attempt: i32, sha: &str, status: RunStatus, times: [i64; 3]) -> Attempt {
        let us = |t: i64| Some(t * SECOND_US);
        let [queued, started, finished] = times;
        Attempt {
            run: run.into(),
            attempt,
            sha: sha.into(),
            status,
            queued_us: us(queued),
            started_us: us(started),
            finished_us: us(finished),
        }
    }

    #[test]
    fn cancelled_runs_count_as_runs_only_and_a_repeat_that_succeeds_is_flaky() {
        let all = [
            attempt("1", 1, "a", RunStatus::Failed, [0, 10, 70]),
            attempt("1", 2, "a", RunStatus::Succeeded, [70, 80, 140]),
            attempt("2", 1, "b", RunStatus::Cancelled, [0, 5, 6]),
            attempt("3", 1, "c", RunStatus::Failed, [0, 1, 2]),
            attempt("4", 1, "d", RunStatus::Succeeded, [0, 30, 20]),
        ];
        let stats = stats(&all);
        assert_eq!((stats.runs, stats.success, stats.flaky_runs), (5, (2, 4), 1));
        assert_eq!((stats.duration.1, stats.duration.0.map(|s| s.n)), (1, Some(4)));
        assert!(is_stale(RunStatus::Running, 0, STALE_US + 1) && !is_stale(RunStatus::Waiting, 0, STALE_US * 9));
    }
}
