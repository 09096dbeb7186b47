//! The decisions of section 3 of the catalog's specification, as a table, and against a sequential reference.
#![allow(clippy::unwrap_used)]

use super::*;

fn claim(location: &str, path: &str, index: i64, claimed_us: i64, hash: &str) -> Claim {
    let place = Place { location: location.into(), path: path.into(), index, line: 1, commit: "c1".into() };
    Claim { place, claimed_us, hash: hash.into(), accepted: !hash.is_empty(), findings: Vec::new() }
}

fn after(current: Option<&Standing>, claims: &[Claim]) -> (Option<Cause>, Standing) {
    match settle(current, claims) {
        Decision::Keep => (None, current.unwrap().clone()),
        Decision::Touch(next) => (None, next),
        Decision::Write(cause, next) => (Some(cause), next),
    }
}

#[test]
fn a_life() {
    let (cause, born) = after(None, &[claim("A", "p", 0, 1, "h1")]);
    assert_eq!((cause, born.state), (Some(Cause::Created), State::Active));
    assert_eq!(settle(Some(&born), &[claim("A", "p", 0, 1, "h1")]), Decision::Keep);
    assert_eq!(after(Some(&born), &[claim("A", "p", 0, 1, "h2")]).0, Some(Cause::Changed));
    assert_eq!(after(Some(&born), &[claim("A", "q", 0, 1, "h1")]).0, Some(Cause::Moved));
    assert!(matches!(settle(Some(&born), &[claim("A", "p", 3, 1, "h1")]), Decision::Touch(_)));
    let (cause, invalid) = after(Some(&born), &[claim("A", "p", 0, 1, "")]);
    assert_eq!((cause, invalid.state, invalid.hash.as_str()), (Some(Cause::Invalidated), State::Invalid, "h1"));
    assert_eq!(settle(Some(&invalid), &[claim("A", "p", 0, 1, "")]), Decision::Keep);
    assert_eq!(after(Some(&invalid), &[claim("A", "p", 0, 1, "h1")]).0, Some(Cause::Changed));
    let (cause, dead) = after(Some(&invalid), &[]);
    assert_eq!((cause, dead.state, dead.hash.as_str()), (Some(Cause::Deleted), State::Deleted, "h1"));
    assert_eq!(settle(Some(&dead), &[]), Decision::Keep);
    assert_eq!(settle(None, &[]), Decision::Keep);
    assert_eq!(after(Some(&dead), &[claim("B", "p", 0, 9, "h3")]).0, Some(Cause::Restored));
}

#[test]
fn worked_example_cat_56() {
    let (a, b) = (claim("A", "p", 0, 1, "ha"), claim("B", "p", 0, 2, "hb"));
    let (_, serving) = after(None, std::slice::from_ref(&a));
    assert_eq!(settle(Some(&serving), &[a.clone(), b.clone()]), Decision::Keep);
    let (cause, serving) = after(Some(&serving), std::slice::from_ref(&b));
    assert_eq!((cause, serving.place.location.as_str()), (Some(Cause::OwnerChanged), "B"));
    let back = claim("A", "p", 0, 3, "ha");
    assert_eq!(settle(Some(&serving), &[back, b]), Decision::Keep);
}

#[test]
fn duplicates_promotion_and_squatters() {
    let twice = [claim("A", "z", 0, 1, "h1"), claim("A", "b", 2, 1, "h2"), claim("A", "b", 1, 1, "h3")];
    assert_eq!(after(None, &twice).1.hash, "h3");
    let (_, serving) = after(None, &[claim("A", "p", 0, 1, "ha")]);
    let rivals = [claim("C", "p", 0, 7, "hc"), claim("B", "p", 0, 7, "hb"), claim("D", "p", 0, 2, "")];
    assert_eq!(after(Some(&serving), &rivals).1.place.location, "B");
    let (_, never_good) = after(None, &[claim("A", "p", 0, 1, "")]);
    assert_eq!((never_good.state, never_good.hash.as_str()), (State::Invalid, ""));
    let both = [claim("A", "p", 0, 1, ""), claim("B", "p", 0, 5, "hb")];
    assert_eq!(after(Some(&never_good), &both).1.place.location, "B");
    let (cause, kept) = after(Some(&serving), &[claim("A", "p", 0, 1, ""), claim("B", "p", 0, 5, "hb")]);
    assert_eq!((cause, kept.place.location.as_str(), kept.hash.as_str()), (Some(Cause::Invalidated), "A", "ha"));
}

/// Content of three locations applied in any order, one change after another: never two owners, and the owner is a claimant.
#[test]
fn random_interleavings_keep_one_owner() {
    let mut seed = 42u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for _ in 0..1_000 {
        let mut claims: Vec<Claim> = Vec::new();
        let mut current: Option<Standing> = None;
        for now in 0..20 {
            let location = ["A", "B", "C"][random(3) as usize];
            let had = claims.iter().position(|c| c.place.location == location);
            match (had, random(3)) {
                (Some(at), 0) => drop(claims.remove(at)),
                (Some(at), _) => claims[at].hash = format!("h{}", random(3)),
                (None, _) => claims.push(claim(location, "p", 0, now, "h0")),
            }
            let before = current.clone().filter(|c| c.state != State::Deleted);
            current = match settle(current.as_ref(), &claims) {
                Decision::Keep => current,
                Decision::Touch(next) | Decision::Write(_, next) => Some(next),
            };
            let serving = current.as_ref().filter(|c| c.state != State::Deleted);
            assert_eq!(serving.is_some(), !claims.is_empty());
            let Some(serving) = serving else { continue };
            let own = claims.iter().find(|c| c.place.location == serving.place.location).unwrap();
            assert_eq!(own.hash, serving.hash);
            let stays = before.is_some_and(|b| {
                claims.iter().any(|c| c.place.location == b.place.location)
                    && b.place.location != serving.place.location
            });
            assert!(!stays, "an incumbent that still claims keeps the reference");
        }
    }
}
