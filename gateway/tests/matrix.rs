//! The descriptor matrix: every RPC of the contracts × every role × whose resource × tier, against expectations written apart
//! (SAFE-35). A new RPC fails here until somebody has written down who may call it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use slipway_kit::{
    authz::{self, Facts, Relation, Rule},
    caller::{Caller, CallerKind, Role, Scope},
};

const OWN: &str = "group:default/shop";
const OTHER: &str = "group:default/bank";
const TIERS: [&str; 3] = ["development", "staging", "production"];
const ROLES: [char; 8] = ['s', 'v', 'd', 'm', 'a', 'u', 'o', 'p'];

/// What is written down.
#[derive(Default)]
struct Expected {
    /// RPC → columns: seven, and one of who has it besides under break-glass.
    rows: BTreeMap<String, Vec<String>>,
    unscoped: BTreeSet<String>,
}

fn expected() -> Expected {
    let (mut classes, mut expected) = (BTreeMap::new(), Expected::default());
    for line in include_str!("matrix/expected.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["class", name, ref columns @ ..] => {
                let mut columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
                if columns.len() == 7 {
                    columns.push("-".to_owned());
                }
                assert_eq!(columns.len(), 8, "{line}");
                classes.insert(name, columns);
            }
            ["unscoped", method] => {
                expected.unscoped.insert(format!("/{method}"));
            }
            [class, method] => {
                let columns = classes.get(class).unwrap_or_else(|| panic!("{line}: no such class")).clone();
                assert!(expected.rows.insert(format!("/{method}"), columns).is_none(), "{line}: twice");
            }
            _ => panic!("{line}"),
        }
    }
    expected
}

fn caller(role: char) -> Caller {
    let mut caller = Caller { principal: "user:default/ann".into(), ..Caller::anonymous() };
    let team = |caller: &mut Caller, role| {
        caller.teams.insert(OWN.into(), role);
    };
    match role {
        's' => {}
        'v' => team(&mut caller, Role::Viewer),
        'd' => team(&mut caller, Role::Developer),
        'm' => team(&mut caller, Role::Maintainer),
        'a' => {
            caller.kind = CallerKind::CiJob;
            caller.roles.insert(Role::Automation);
            caller.scopes = Some(vec![Scope { permission: "*".into(), resource: OWN.into() }]);
        }
        'u' => {
            caller.roles.insert(Role::Auditor);
        }
        'o' => {
            caller.roles.insert(Role::Operator);
        }
        'p' => {
            caller.roles.insert(Role::PlatformAdmin);
        }
        other => panic!("{other}"),
    }
    caller
}

/// The facts of a column.
fn facts(rule: &Rule, column: usize, tier: &'static str) -> Facts<'static> {
    let owner = match (rule.relation, column) {
        (Relation::Myself, _) => None,
        (_, 0..3) => Some(OWN),
        (_, 3..6) => Some(OTHER),
        _ => None,
    };
    Facts { owner, subject: Some("user:default/bob"), environment_tier: Some(tier), ..Facts::default() }
}

fn public() -> impl Iterator<Item = &'static Rule> {
    authz::rules().filter(|rule| !rule.is_internal())
}

#[test]
fn every_rpc_has_a_row_and_every_row_an_rpc() {
    let rows: BTreeSet<String> = expected().rows.into_keys().collect();
    let rpcs: BTreeSet<String> = public().map(|rule| rule.method.clone()).collect();
    assert!(rpcs.len() > 60);
    assert_eq!(rpcs.difference(&rows).collect::<Vec<_>>(), Vec::<&String>::new(), "RPCs without a row");
    assert_eq!(rows.difference(&rpcs).collect::<Vec<_>>(), Vec::<&String>::new(), "rows without an RPC");
}

#[test]
fn every_cell_decides_as_written() {
    let Expected { rows, unscoped } = expected();
    let (mut cells, mut wrong) = (0, Vec::new());
    for rule in public() {
        let Some(columns) = rows.get(&rule.method) else { continue };
        for role in ROLES {
            let caller = caller(role);
            for (column, tier) in (0..9).map(|n| (n.min(6), TIERS[n % 3])) {
                let want = columns[column].contains(role);
                let facts = facts(rule, column, tier);
                cells += 1;
                if authz::decide(&caller, rule, &facts).is_ok() != want {
                    wrong.push(format!("{} {role} column {column} {tier}: should be {want}", rule.method));
                }
                // A token of the same person without a fitting scope.
                let strange = Scope { permission: "nothing.get".into(), resource: String::new() };
                let bare = Caller { scopes: Some(vec![strange]), ..caller.clone() };
                let open = Facts { break_glass: true, ..facts };
                let (without, with) = (unscoped.contains(&rule.method) && want, want || columns[7].contains(role));
                for (caller, facts, want, what) in
                    [(&bare, &facts, without, "unscoped"), (&caller, &open, with, "open")]
                {
                    cells += 1;
                    if authz::decide(caller, rule, facts).is_ok() != want {
                        wrong.push(format!("{} {role} column {column} {tier} {what}: should be {want}", rule.method));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells >= 6_000, "{cells}");
}

#[test]
fn ones_own_things_are_ones_own_and_anonymous_and_services_get_nothing() {
    for rule in public() {
        let own = Facts { subject: Some("user:default/ann"), ..Facts::default() };
        if rule.relation == Relation::Myself {
            assert!(ROLES.iter().all(|role| authz::decide(&caller(*role), rule, &own).is_ok()), "{}", rule.method);
        }
        for nobody in [Caller::anonymous(), Caller::service("catalog"), Caller::system()] {
            for column in 0..7 {
                assert!(authz::decide(&nobody, rule, &facts(rule, column, TIERS[0])).is_err(), "{}", rule.method);
            }
            assert!(authz::possible(&nobody, rule).is_err(), "{}", rule.method);
        }
    }
    for rule in authz::rules().filter(|rule| rule.is_internal()) {
        for role in ROLES {
            assert!(authz::decide(&caller(role), rule, &Facts::default()).is_err(), "{}", rule.method);
            assert!(authz::possible(&caller(role), rule).is_err(), "{}", rule.method);
        }
    }
}

#[test]
fn the_gateways_coarse_decision_denies_only_what_no_resource_could_allow() {
    let rows = expected().rows;
    for rule in public() {
        let Some(columns) = rows.get(&rule.method) else { continue };
        for role in ROLES {
            let somewhere = columns.iter().any(|column| column.contains(role)) || rule.relation == Relation::Myself;
            assert_eq!(authz::possible(&caller(role), rule).is_ok(), somewhere, "{} {role}", rule.method);
        }
    }
}
