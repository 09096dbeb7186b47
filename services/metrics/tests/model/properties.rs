//! What holds for every history, over many made by a seed.
use std::collections::{BTreeMap, BTreeSet};

use slipway_metrics::model::{
    effective::Effective,
    explain,
    fact::{Kind, Status},
    failure::Cause,
    report::{Metric, NoData, Ratio, Rules},
    tier::Tier,
    timeline,
};

use super::world::*;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn shuffle<T: Clone>(&mut self, items: &mut Vec<T>) {
        for n in 0..items.len() / 3 {
            items.push(items[(n * 7) % items.len()].clone());
        }
        for at in (1..items.len()).rev() {
            let other = self.roll(at + 1);
            items.swap(at, other);
        }
    }
}

/// A history with branches, merges, rollbacks, redeploys, failures, hotfixes, ties and incidents.
fn random(seed: u64) -> World {
    let mut dice = Dice(seed);
    let mut world = World { source: dice.roll(2) == 0, ..World::default() };
    let commits = 5 + dice.roll(40);
    for n in 0..commits {
        let mut parents: Vec<String> = Vec::new();
        if n > 0 {
            parents.push(format!("c{}", n - 1 - dice.roll(n.min(3))));
            if n > 3 && dice.roll(5) == 0 {
                parents.push(format!("c{}", dice.roll(n - 1)));
            }
        }
        parents.dedup();
        // One in twenty is unknown.
        if dice.roll(20) > 0 {
            let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
            world = world.change(&format!("c{n}"), &parents, DAY + n as i64 * 3 * HOUR);
        }
    }
    for n in 0..4 + dice.roll(20) {
        let finished = 2 * DAY + dice.roll(commits * 12) as i64 * 15 * MIN;
        world = world.deploy(&format!("d{n}"), &format!("c{}", dice.roll(commits)), finished);
        let (failed, staging, hotfix, other) =
            (dice.roll(6) == 0, dice.roll(6) == 0, dice.roll(8) == 0, dice.roll(5) == 0);
        let (started, remediates) =
            (dice.roll(3) == 0, if dice.roll(8) == 0 { format!("d{}", dice.roll(n + 1)) } else { String::new() });
        world = world.with(|d| {
            d.status = if failed { Status::Failed } else { Status::Succeeded };
            d.kind = hotfix.then_some(Kind::Hotfix);
            d.started_us = started.then_some(finished - 20 * MIN);
            d.remediates = if remediates == d.external_id { String::new() } else { remediates };
            if staging {
                (d.tier, d.environment) = (Tier::Staging, "staging".into());
            } else if other {
                d.environment = "production-eu".into();
            }
        });
    }
    for n in 0..dice.roll(6) {
        let started = 2 * DAY + dice.roll(commits * 12) as i64 * 15 * MIN;
        let resolved = (dice.roll(3) > 0).then_some(started + dice.roll(10) as i64 * HOUR);
        let cause = if dice.roll(4) == 0 { Cause::Deployment(format!("d{}", dice.roll(8))) } else { Cause::Unstated };
        world = world.incident(&format!("i{n}"), started, resolved, cause);
    }
    world
}

/// The rules of new changes, word for word: ancestors minus what was deployed, per environment.
fn reference(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let parents: BTreeMap<&str, &Vec<String>> = world.changes.iter().map(|c| (c.sha.as_str(), &c.parents)).collect();
    let ancestors = |sha: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![sha.to_owned()]);
        while let Some(sha) = open.pop() {
            if seen.insert(sha.clone()) {
                open.extend(parents.get(sha.as_str()).into_iter().copied().flatten().cloned());
            }
        }
        seen
    };
    let mut live: Vec<&Effective> = world.deployments.iter().filter(|d| d.is_live()).collect();
    live.sort_by_key(|d| timeline::sort_key(d));
    let (mut deployed, mut last): (BTreeMap<&str, BTreeSet<String>>, BTreeMap<&str, &str>) = Default::default();
    let mut new = BTreeMap::new();
    for d in live {
        let sha = d.parts[0].sha.as_str();
        let before = last.insert(&d.environment, sha);
        let known = deployed.entry(&d.environment).or_default();
        let mine = ancestors(sha);
        let rollback = d.kind.is_none() && before.is_some_and(|b| b != sha && ancestors(b).contains(sha));
        let fresh = mine
            .iter()
            .filter(|s| before.is_some() && !rollback && !known.contains(*s) && parents.contains_key(s.as_str()));
        new.insert(d.external_id.clone(), fresh.cloned().collect());
        known.extend(mine);
    }
    new
}

#[test]
fn new_changes_follow_the_rules_word_for_word() {
    let mut changes = 0;
    for seed in 0..400 {
        let world = random(seed);
        let wanted = reference(&world);
        let got: BTreeMap<String, BTreeSet<String>> = world
            .brought()
            .into_iter()
            .map(|line| {
                let (id, shas) = line.split_once(' ').unwrap();
                (id.to_owned(), shas.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect())
            })
            .collect();
        changes += wanted.values().map(BTreeSet::len).sum::<usize>();
        assert_eq!(got, wanted, "seed {seed}");
    }
    assert!(changes > 2_000, "{changes} changes were brought");
}

#[test]
fn order_and_repetition_do_not_matter() {
    for seed in 0..300 {
        let world = random(seed);
        let mut dice = Dice(seed + 1_000);
        let mut mixed = world.clone();
        dice.shuffle(&mut mixed.changes);
        let mut deployments = mixed.deployments.clone();
        for at in (1..deployments.len()).rev() {
            let other = dice.roll(at + 1);
            deployments.swap(at, other);
        }
        mixed.deployments = deployments;
        assert_eq!(world.report(), mixed.report(), "seed {seed}");
    }
}

#[test]
fn ratios_and_explanations_agree() {
    for seed in 0..300 {
        let world = random(seed);
        let middle = 2 * DAY + 40 * HOUR;
        for (from, to) in [(1, 1_000 * DAY), (2 * DAY, middle), (middle, middle + 2 * DAY)] {
            let (report, items) = world.ask(from, to, Rules::default(), |m, _, _| {
                let all = [
                    Metric::Frequency,
                    Metric::LeadCommit,
                    Metric::ChangeFailRate,
                    Metric::Recovery,
                    Metric::Rework,
                    Metric::Restore,
                ];
                (m.report(None), all.map(|metric| m.items(metric)))
            });
            let [frequency, lead, failing, recovery, rework, restore] = items;
            let counted = |items: &[explain::Item]| (explain::included(items), explain::denominator(items));
            if let Ok(n) = report.deployments_all {
                assert_eq!(n, counted(&frequency).0, "seed {seed}");
            }
            for (ratio, items) in [(report.change_fail_rate, &failing), (report.rework, &rework)] {
                if let Ok(Ratio { numerator, denominator }) = ratio {
                    assert_eq!((numerator, denominator), counted(items), "seed {seed}");
                    assert!(numerator <= denominator && Ok(denominator) == report.deployments_all, "seed {seed}");
                }
            }
            for (span, items) in
                [(&report.lead_commit, &lead), (&report.recovery, &recovery), (&report.restore, &restore)]
            {
                if span.value != Err(NoData::NotTracked) {
                    assert_eq!(span.value.as_ref().ok(), explain::spans(items).as_ref(), "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn adjacent_windows_add_up() {
    for seed in 0..200 {
        let world = random(seed);
        let whole = world.report();
        let count =
            |from, to| world.ask(from, to, Rules::default(), |m, _, _| explain::included(&m.items(Metric::Frequency)));
        let edges = [1, 2 * DAY, 3 * DAY, 5 * DAY, 1_000 * DAY];
        let sum: usize = edges.windows(2).map(|e| count(e[0], e[1])).sum();
        if let Ok(all) = whole.deployments_all {
            assert_eq!(sum, all, "seed {seed}");
        }
    }
}
