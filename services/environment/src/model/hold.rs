//! Holds: what keeps a source that went wrong from deleting (ENV-40 to ENV-42).
//!
//! Owns the noun, the two limits, and what lets go of a hold. There are two classes:
//! - **Too much ended** ([`Cause::MassDeletion`], [`Cause::SweepLimit`]): the source answered well, and what it says would delete more than
//!   a person would do unasked. Whether that is right only a person knows, so only `ReleaseHold` lets go. What was believed closed when it
//!   was released goes on without being counted; everything else is counted anew from the release.
//! - **Not to be believed** ([`Cause::EmptyListing`], [`Cause::RepositoryLost`], [`Cause::WrongAnswer`]: 401, 403, 404, 429, 5xx, a time-out,
//!   no JSON, a redirect): nothing was decided on such an answer, so there is nothing for a person to decide either. The next complete
//!   answer that fits lifts it, and what ended meanwhile then meets the limits above. `ReleaseHold` lets go of it too, but the next wrong
//!   answer places it again.
//!
//! A hold concerns what a source seems to have ended, and nothing else: a person's delete and the time to live need no source (ENV-28).
//! Refuses time and counting: whoever asks brings the instant and the numbers.
use serde::{Deserialize, Serialize};

const MINUTE_US: i64 = 60_000_000;
/// Window in which endings of a source are counted (ENV-42).
pub const WINDOW_US: i64 = 10 * MINUTE_US;
/// How long an ending counts for the sweep that found it.
pub const SWEEP_US: i64 = MINUTE_US;
/// How far back the highest number of live previews is looked for (ENV-40).
pub const PEAK_US: i64 = 24 * 60 * MINUTE_US;
/// How long a webhook vouches for what is read after it.
pub const TOLD_US: i64 = 2 * MINUTE_US;
/// How long holds that were let go can be read.
pub const KEEP_US: i64 = 90 * 86_400_000_000;

/// Why a hold was placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Cause {
    /// Too many endings within ten minutes, whatever told of them.
    MassDeletion,
    /// Too many endings that only looking found.
    SweepLimit,
    /// No open pull request where previews live.
    EmptyListing,
    /// The repository is not shown any more, or archived.
    RepositoryLost,
    /// No answer, a refusal, or something that is not the provider's API.
    WrongAnswer,
}

impl Cause {
    /// The word in rows, filters and contracts.
    pub fn word(self) -> &'static str {
        match self {
            Cause::MassDeletion => "MASS_DELETION",
            Cause::SweepLimit => "SWEEP_LIMIT",
            Cause::EmptyListing => "EMPTY_LISTING",
            Cause::RepositoryLost => "REPOSITORY_LOST",
            Cause::WrongAnswer => "WRONG_ANSWER",
        }
    }

    /// Whether only a person lets go.
    pub fn needs_release(self) -> bool {
        matches!(self, Cause::MassDeletion | Cause::SweepLimit)
    }
}

/// A hold, standing or let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Uid, also its id.
    pub uid: String,
    /// SCM connection.
    pub scm: String,
    /// The provider's repository id; empty for the whole connection.
    pub repository_id: String,
    /// `owner/name` for people; empty if it is not known.
    pub repository: String,
    /// Why.
    pub cause: Cause,
    /// What was counted or answered.
    pub evidence: String,
    /// Since when, in microseconds.
    pub since_us: i64,
    /// When it was let go, in microseconds; 0 while it stands.
    pub released_us: i64,
    /// Who let go; empty if an answer of the source did.
    pub released_by: String,
    /// Why it was let go.
    pub release_reason: String,
    /// Grows with every write.
    pub version: i64,
}

impl Hold {
    /// `holds/<uid>`.
    pub fn name(&self) -> String {
        format!("holds/{}", self.uid)
    }

    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        format!("{}-{}", slipway_kit::id::h8(&self.uid), self.version)
    }

    /// The same, let go.
    #[must_use]
    pub fn released(&self, by: &str, reason: &str, now_us: i64) -> Self {
        Self {
            released_us: now_us.max(1),
            released_by: by.to_owned(),
            release_reason: reason.to_owned(),
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// What an environment says that waits for it.
    pub fn sentence(&self) -> String {
        let until = if self.cause.needs_release() { "somebody releases it" } else { "the source answers well again" };
        format!(
            "{} ({}) keeps what this source ended: it sleeps until {until}. {}",
            self.name(),
            self.cause.word(),
            self.evidence
        )
    }
}

/// What stands between a source that says "ended" and the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Only looking found it: it must be seen twice, a minute apart (ENV-40).
    #[default]
    Twice,
    /// A webhook told of it, or a person let go: one reading counts (ENV-42).
    Once,
    /// Nothing ends; the sentence of the hold.
    Held(String),
}

/// What is counted before one more environment of a source ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Endings of the source within the window, since the last release, this one not included.
    pub ended: i64,
    /// Most previews of the source that lived at one time in the last day.
    pub peak: i64,
    /// What this sweep found closed and nobody told of, this one included; 0 if somebody told of this one.
    pub swept: i64,
    /// The same over all sources.
    pub swept_in_all: i64,
    /// The same as `peak` over all sources.
    pub peak_in_all: i64,
}

/// Why one more ending is one too many; `None` if it is not.
pub fn brake(counts: &Counts) -> Option<(Cause, String)> {
    let most = 20.max(counts.peak / 2);
    if counts.ended + 1 > most {
        let text = format!(
            "{} environments ended within ten minutes, and one more would be above {most}; at most {} lived at one time in the last day.",
            counts.ended, counts.peak
        );
        return Some((Cause::MassDeletion, text));
    }
    for (swept, peak, whose) in
        [(counts.swept, counts.peak, "this source"), (counts.swept_in_all, counts.peak_in_all, "all sources")]
    {
        let most = 5.max(peak / 5);
        if swept > most {
            let text = format!(
                "Looking through {whose} found {swept} environments closed of which no webhook told; {most} is the most, as {peak} lived at one time in the last day."
            );
            return Some((Cause::SweepLimit, text));
        }
    }
    None
}

/// Most lives at one time since an instant; a life is when it began and when it ended, 0 for not yet.
pub fn peak(lives: &[(i64, i64)], since_us: i64) -> i64 {
    let mut changes = Vec::with_capacity(lives.len() * 2);
    for (began, ended) in lives.iter().copied().filter(|(_, ended)| *ended == 0 || *ended > since_us) {
        changes.push((began.max(since_us), 1));
        if ended > 0 {
            changes.push((ended, -1));
        }
    }
    // What ends and what begins at one instant did not live at one time.
    changes.sort_unstable();
    let mut living = 0;
    changes.into_iter().fold(0, |most, (_, change)| {
        living += change;
        most.max(living)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_env_40_and_env_42() {
        let counts = |ended, peak| Counts { ended, peak, ..Counts::default() };
        let cause = |counts: Counts| brake(&counts).map(|(cause, _)| cause);
        for (ended, peak, want) in
            [(19, 3, None), (20, 3, Some(Cause::MassDeletion)), (20, 41, Some(Cause::MassDeletion))]
        {
            assert_eq!(cause(counts(ended, peak)), want, "{ended} of {peak}");
        }
        assert_eq!((cause(counts(99, 200)), cause(counts(100, 200))), (None, Some(Cause::MassDeletion)));
        let swept = |swept, peak| Counts { swept, peak, swept_in_all: swept, peak_in_all: peak, ..Counts::default() };
        assert_eq!((cause(swept(5, 3)), cause(swept(6, 3))), (None, Some(Cause::SweepLimit)));
        assert_eq!((cause(swept(40, 200)), cause(swept(41, 200))), (None, Some(Cause::SweepLimit)));
        let in_all = Counts { swept: 5, peak: 10, swept_in_all: 21, peak_in_all: 100, ended: 0 };
        assert_eq!(cause(in_all), Some(Cause::SweepLimit));
        assert!(brake(&in_all).is_some_and(|(_, text)| text.contains("all sources")));
    }

    #[test]
    fn the_peak_is_what_lived_at_one_time() {
        assert_eq!(peak(&[], 0), 0);
        assert_eq!(peak(&[(1, 0), (2, 0), (3, 0)], 0), 3);
        assert_eq!(peak(&[(1, 5), (5, 9), (9, 0)], 0), 1);
        assert_eq!(peak(&[(1, 6), (5, 9), (8, 0)], 0), 2);
        // What ended before the day does not count.
        assert_eq!(peak(&[(1, 6), (1, 7), (1, 20)], 10), 1);
    }
}
