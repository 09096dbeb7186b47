//! Who serves a reference: the decision of CAT-35 and CAT-51 to CAT-58 for one reference, from all documents that claim it.
//!
//! Owns incumbency, promotion, moves, tombstones and the rule that an invalid document never destroys a good one.

use super::{
    entity::{Cause, Place, State},
    finding::Finding,
};

/// A document that claims the reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Where it stands.
    pub place: Place,
    /// When its location first claimed the reference, in µs.
    pub claimed_us: i64,
    /// Hash of its content.
    pub hash: String,
    /// Whether it is accepted.
    pub accepted: bool,
    /// Its findings.
    pub findings: Vec<Finding>,
}

/// The entity as it stands before.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// State.
    pub state: State,
    /// Hash of the last good content; empty if there never was one.
    pub hash: String,
    /// Where the serving document stands.
    pub place: Place,
    /// Findings of the document as last read.
    pub findings: Vec<Finding>,
}

/// What becomes of the entity.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// Only where it stands in its file, or what is remarked on it; no version, no event.
    Touch(Standing),
    /// A new version.
    Write(Cause, Standing),
}

/// Decides one reference; claims without a location that is still registered must have been left out.
pub fn settle(current: Option<&Standing>, claims: &[Claim]) -> Decision {
    let Some(winner) = winner(current, claims) else {
        return match current {
            Some(gone) if gone.state != State::Deleted => Decision::Write(
                Cause::Deleted,
                Standing { state: State::Deleted, findings: Vec::new(), ..gone.clone() },
            ),
            _ => Decision::Keep,
        };
    };
    let hash = if winner.accepted { winner.hash.clone() } else { current.map(|c| c.hash.clone()).unwrap_or_default() };
    let state = if winner.accepted { State::Active } else { State::Invalid };
    let next = Standing { state, hash, place: winner.place.clone(), findings: winner.findings.clone() };
    let Some(current) = current else { return Decision::Write(Cause::Created, next) };
    match cause(current, &next) {
        Some(cause) => Decision::Write(cause, next),
        None if settled(current, &next) => Decision::Keep,
        None => {
            Decision::Touch(Standing { place: Place { commit: current.place.commit.clone(), ..next.place }, ..next })
        }
    }
}

fn cause(current: &Standing, next: &Standing) -> Option<Cause> {
    if current.state == State::Deleted {
        return Some(Cause::Restored);
    }
    if current.place.location != next.place.location {
        return Some(Cause::OwnerChanged);
    }
    if next.state == State::Invalid {
        return (current.state != State::Invalid || current.findings != next.findings).then_some(Cause::Invalidated);
    }
    if current.state != next.state || current.hash != next.hash {
        return Some(Cause::Changed);
    }
    (current.place.path != next.place.path).then_some(Cause::Moved)
}

fn settled(current: &Standing, next: &Standing) -> bool {
    (current.place.index, current.place.line) == (next.place.index, next.place.line)
        && current.findings == next.findings
}

/// The incumbent's first document; without one, the oldest accepted claim, then the oldest of all. An incumbent that never was
/// good yields to an accepted claim.
fn winner<'c>(current: Option<&Standing>, claims: &'c [Claim]) -> Option<&'c Claim> {
    let in_place = |c: &&Claim| (c.place.path.clone(), c.place.index);
    let incumbent = current.filter(|c| c.state != State::Deleted).and_then(|c| {
        let own = claims.iter().filter(|claim| claim.place.location == c.place.location);
        own.min_by_key(in_place).filter(|first| first.accepted || !c.hash.is_empty())
    });
    incumbent.or_else(|| {
        claims
            .iter()
            .min_by_key(|c| (!c.accepted, c.claimed_us, c.place.location.clone(), c.place.path.clone(), c.place.index))
    })
}

#[cfg(test)]
#[path = "settle/tests.rs"]
mod tests;
