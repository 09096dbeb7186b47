//! When a pull request has a preview, and when a closed life may be followed by another (ENV-23, ENV-24, ENV-27).
//!
//! Owns what was read from the SCM as the model sees it, and the two decisions on it. Refuses to take anything but a reading.
use serde::{Deserialize, Serialize};

use super::{
    config::{Config, RetireOn},
    environment::RetireReason,
};

/// A source as it was just read.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a reading lives for one decision and is never kept in numbers")]
pub enum Reading {
    /// The environment follows nothing.
    Fixed,
    /// The pull request is open, or the branch exists.
    Open(Head),
    /// It has ended, and the SCM said so.
    Ended {
        /// How.
        reason: RetireReason,
        /// When, as the SCM says, in microseconds.
        at_us: i64,
    },
    /// The SCM gave no usable answer: nothing is deployed or deleted on a guess (ENV-21, ENV-41).
    Unknown {
        /// Stable word for the condition.
        reason: &'static str,
        /// What was seen.
        message: String,
    },
}

/// The head of an open pull request or of a branch.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Repository as `owner/name`; it may have been renamed.
    pub repository: String,
    /// Branch, without `refs/heads/`.
    pub branch: String,
    /// Commit to be shown.
    pub head_sha: String,
    /// Commit of the base; empty for a branch.
    pub base_sha: String,
    /// Whether it comes from another repository.
    pub fork: bool,
    /// Login of who opened it, as the provider knows it; empty for a branch.
    pub author: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// Labels of the pull request.
    pub labels: Vec<String>,
    /// When it was last opened, in microseconds; 0 for a branch.
    pub opened_us: i64,
    /// Configuration at the commit that decides, or why it cannot be used.
    pub config: Result<Config, String>,
}

/// Why an open pull request has no preview; `None` if it has one.
pub fn unwanted(head: &Head, is_pull_request: bool) -> Option<RetireReason> {
    // A broken file ends nothing: it is shown as a failure.
    let Ok(config) = &head.config else { return None };
    if !is_pull_request {
        return None;
    }
    let preview = &config.preview;
    if !preview.enabled {
        Some(RetireReason::Disabled)
    } else if head.draft && !preview.drafts {
        Some(RetireReason::Draft)
    } else if !preview.label.is_empty() && !head.labels.contains(&preview.label) {
        Some(RetireReason::Unlabeled)
    } else {
        None
    }
}

/// Whether a living preview ends for this reason under this configuration (ENV-24).
pub fn retires(config: &Result<Config, String>, reason: RetireReason) -> bool {
    let defaults = Config::default();
    let config = config.as_ref().unwrap_or(&defaults);
    match reason {
        RetireReason::Closed => config.retires_on(RetireOn::Closed),
        RetireReason::Merged => config.retires_on(RetireOn::Merged),
        RetireReason::BranchDeleted => config.retires_on(RetireOn::BranchDeleted),
        RetireReason::Unlabeled => config.retires_on(RetireOn::Unlabeled),
        RetireReason::Draft | RetireReason::Disabled | RetireReason::Expired | RetireReason::Requested => true,
    }
}

/// What remains of the last life under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Why it ended.
    pub reason: RetireReason,
    /// When it ended, as the SCM says if it was the SCM, in microseconds.
    pub at_us: i64,
    /// Commit it showed.
    pub head_sha: String,
}

/// Who wants a new life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Somebody asked for it by name.
    Asked,
    /// The pull request was seen to be open.
    Seen,
}

/// Whether a pull request that is open now gets a new life after the last one (ENV-23).
pub fn may_live_again(last: &Tombstone, head: &Head, wish: Wish) -> bool {
    let reopened = head.opened_us > last.at_us;
    match last.reason {
        RetireReason::Expired => reopened || wish == Wish::Asked || head.head_sha != last.head_sha,
        // What the configuration or a label took away comes back with it.
        RetireReason::Unlabeled | RetireReason::Draft | RetireReason::Disabled => true,
        RetireReason::Closed | RetireReason::Merged | RetireReason::BranchDeleted | RetireReason::Requested => reopened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            repository: "acme/app".to_owned(),
            branch: "feature".to_owned(),
            head_sha: "a".repeat(40),
            base_sha: "b".repeat(40),
            fork: false,
            author: "fred".to_owned(),
            draft: false,
            labels: Vec::new(),
            opened_us: 100,
            config: Ok(Config::default()),
        }
    }

    fn with(change: impl FnOnce(&mut Head, &mut Config)) -> Head {
        let (mut head, mut config) = (head(), Config::default());
        change(&mut head, &mut config);
        head.config = Ok(config);
        head
    }

    #[test]
    fn the_configuration_decides_which_pull_requests_have_previews() {
        assert_eq!(unwanted(&head(), true), None);
        assert_eq!(unwanted(&with(|_, c| c.preview.enabled = false), true), Some(RetireReason::Disabled));
        assert_eq!(unwanted(&with(|_, c| c.preview.enabled = false), false), None);
        let draft = |drafts| with(|h, c| (h.draft, c.preview.drafts) = (true, drafts));
        assert_eq!((unwanted(&draft(true), true), unwanted(&draft(false), true)), (None, Some(RetireReason::Draft)));
        let label = |labels: &[&str]| {
            with(|h, c| {
                h.labels = labels.iter().map(|l| (*l).to_owned()).collect();
                c.preview.label = "preview".to_owned();
            })
        };
        assert_eq!(unwanted(&label(&[]), true), Some(RetireReason::Unlabeled));
        assert_eq!(unwanted(&label(&["preview"]), true), None);
        assert_eq!(unwanted(&Head { config: Err("broken".to_owned()), ..head() }, true), None);
    }

    #[test]
    fn closing_is_sticky() {
        use RetireReason::{Closed, Disabled, Expired, Requested};
        let last = |reason, at_us| Tombstone { reason, at_us, head_sha: "a".repeat(40) };
        for (last, wish, want) in [
            (last(Closed, 200), Wish::Seen, false),
            (last(Closed, 200), Wish::Asked, false),
            (last(Closed, 50), Wish::Seen, true),
            (last(Requested, 200), Wish::Asked, false),
            (last(Expired, 200), Wish::Seen, false),
            (last(Expired, 200), Wish::Asked, true),
            (last(Disabled, 200), Wish::Seen, true),
        ] {
            assert_eq!(may_live_again(&last, &head(), wish), want, "{last:?} {wish:?}");
        }
        let pushed = Head { head_sha: "c".repeat(40), ..head() };
        assert!(may_live_again(&last(Expired, 200), &pushed, Wish::Seen));
        assert!(!may_live_again(&last(Closed, 200), &pushed, Wish::Seen));
    }

    #[test]
    fn only_what_is_listed_retires() {
        let mut config = Config::default();
        assert!(!retires(&Ok(config.clone()), RetireReason::Unlabeled));
        config.preview.retire_on = vec![RetireOn::Unlabeled];
        assert!(retires(&Ok(config.clone()), RetireReason::Unlabeled) && !retires(&Ok(config), RetireReason::Closed));
        assert!(retires(&Err("broken".to_owned()), RetireReason::Closed));
    }
}
