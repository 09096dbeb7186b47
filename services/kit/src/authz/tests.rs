//! The access table cell by cell, and the relations around it; the expectations are written apart from the table.
use std::collections::BTreeSet;

use super::*;
use crate::caller::Scope;

const OWN: &str = "group:default/shop";
const OTHER: &str = "group:default/bank";

fn person() -> Caller {
    Caller { principal: "user:default/ann".to_owned(), ..Caller::anonymous() }
}

/// A person with this role: in the own team for team roles, else on the platform.
fn with(role: Role) -> Caller {
    let mut caller = person();
    match role {
        Role::Viewer | Role::Developer | Role::Maintainer => drop(caller.teams.insert(OWN.to_owned(), role)),
        Role::Automation => {
            caller.kind = CallerKind::CiJob;
            caller.roles.insert(role);
            caller.scopes = Some(vec![scope("*", OWN)]);
        }
        _ => drop(caller.roles.insert(role)),
    }
    caller
}

fn scope(permission: &str, resource: &str) -> Scope {
    Scope { permission: permission.to_owned(), resource: resource.to_owned() }
}

fn facts<'a>(owner: Option<&'a str>, tier: &'a str) -> Facts<'a> {
    Facts { owner, environment_tier: (!tier.is_empty()).then_some(tier), ..Facts::default() }
}

fn team(caller: &Caller, permission: &str, owner: Option<&str>, tier: &str) -> bool {
    decide_permission(caller, Relation::OwnerTeam, permission, &facts(owner, tier)).is_ok()
}

const ROLES: [(char, Role); 7] = [
    ('v', Role::Viewer),
    ('d', Role::Developer),
    ('m', Role::Maintainer),
    ('a', Role::Automation),
    ('u', Role::Auditor),
    ('o', Role::Operator),
    ('p', Role::PlatformAdmin),
];

/// Permission, tier of the environment, roles that have it on a resource of the own team.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("environments.get", "production", "vdmauop"),
    ("entities.get", "", "vdmauop"),
    ("metrics.query", "", "vdmauop"),
    ("runs.read", "", "vdmauop"),
    ("environments.create", "development", "dmap"),
    ("environments.ensure_preview", "", "dmap"),
    ("environments.delete", "development", "dmap"),
    ("environments.repair", "development", "dmaop"),
    ("locations.register", "", "dmap"),
    ("runs.create", "", "dmap"),
    ("facts.ingest", "", "dmap"),
    ("environments.update", "staging", "dmap"),
    ("environments.confirm_delete", "staging", "dmap"),
    ("databases.create", "", "dmap"),
    ("environments.create", "production", "dmp"),
    ("environments.delete", "production", "dmp"),
    ("environments.confirm_delete", "production", "mp"),
    ("environments.approve", "production", "mp"),
    ("environments.repair", "production", "o"),
    ("secrets.get", "", "dmaup"),
    ("secrets.list", "", "dmaup"),
    ("secrets.bind", "development", "dma"),
    ("secrets.bind", "staging", "dma"),
    ("secrets.bind", "production", "ma"),
    ("secrets.reveal", "", "m"),
    ("secrets.reveal", "production", "m"),
    ("tokens.create", "", "mp"),
    ("tokens.list", "", "mup"),
    ("trust_entries.delete", "", "mp"),
    ("templates.publish", "", "p"),
    ("role_bindings.create", "", "p"),
    ("role_bindings.list", "", "up"),
    ("environments.force_delete", "production", "p"),
    ("audit.read", "", "mup"),
    // No place in the table: nobody.
    ("environments.create", "", ""),
    ("environments.create", "moon", ""),
    ("secrets.bind", "", ""),
    ("dragons.get", "", ""),
    ("environments", "development", ""),
    ("environments.", "development", ""),
    ("environments.Get", "development", ""),
    (".get", "", ""),
    ("*", "", ""),
    ("", "", ""),
];

#[test]
fn every_cell_for_the_own_team_and_none_for_another() {
    let everywhere = BTreeSet::from(['u', 'o', 'p']);
    let mut cells = 0;
    for (permission, tier, expected) in EXPECTED {
        for (letter, role) in ROLES {
            let caller = with(role);
            let want = expected.contains(letter);
            assert_eq!(team(&caller, permission, Some(OWN), tier), want, "{role:?} {permission} {tier} own");
            let elsewhere = want && everywhere.contains(&letter);
            assert_eq!(team(&caller, permission, Some(OTHER), tier), elsewhere, "{role:?} {permission} {tier} other");
            assert_eq!(team(&caller, permission, None, tier), elsewhere, "{role:?} {permission} {tier} unowned");
            assert!(!team(&person(), permission, Some(OWN), tier), "nobody's member {permission}");
            cells += 3;
        }
    }
    assert_eq!(cells, EXPECTED.len() * 21);
}

#[test]
fn relations() {
    let ask = |caller: &Caller, relation, permission: &str, subject| {
        decide_permission(caller, relation, permission, &Facts { subject, ..Facts::default() })
    };
    let (ann, ann_ref, bob_ref) = (person(), Some("user:default/ann"), Some("user:default/bob"));
    let (service, anonymous, admin) = (Caller::service("environment"), Caller::anonymous(), with(Role::PlatformAdmin));
    assert_eq!(ask(&anonymous, Relation::Public, "entities.get", None), Ok(()));
    assert_eq!(ask(&anonymous, Relation::SignedIn, "entities.get", None), Err(Denied::Anonymous));
    assert_eq!(ask(&ann, Relation::SignedIn, "entities.get", None), Ok(()));
    assert_eq!(ask(&ann, Relation::SignedIn, "dragons.get", None), Err(Denied::UnknownPermission));
    assert_eq!(ask(&service, Relation::SignedIn, "entities.get", None), Err(Denied::Service));
    assert_eq!(ask(&service, Relation::OwnerTeam, "entities.get", None), Err(Denied::Service));
    assert_eq!(ask(&service, Relation::Internal, "directory.read", None), Ok(()));
    assert_eq!(ask(&Caller::system(), Relation::Platform, "templates.publish", None), Err(Denied::Service));
    for outsider in [&ann, &anonymous, &admin] {
        assert_eq!(ask(outsider, Relation::Internal, "directory.read", None), Err(Denied::Service));
    }
    assert_eq!(ask(&ann, Relation::Myself, "tokens.create", ann_ref), Ok(()));
    assert_eq!(ask(&ann, Relation::Myself, "tokens.create", Some("user:default/bob")), Err(Denied::Role));
    assert_eq!(ask(&ann, Relation::Myself, "tokens.create", None), Err(Denied::Role));
    assert_eq!(ask(&admin, Relation::Myself, "tokens.revoke", bob_ref), Ok(()));
    assert_eq!(ask(&with(Role::Auditor), Relation::Myself, "tokens.list", bob_ref), Ok(()));
    assert_eq!(ask(&with(Role::Auditor), Relation::Myself, "tokens.revoke", bob_ref), Err(Denied::Role));
    assert_eq!(ask(&admin, Relation::Platform, "templates.publish", None), Ok(()));
    for role in [Role::Developer, Role::Maintainer, Role::Auditor, Role::Operator] {
        assert_eq!(ask(&with(role), Relation::Platform, "templates.publish", None), Err(Denied::Role), "{role:?}");
    }
    let owned = Facts { owner: Some(OWN), ..Facts::default() };
    let maintainer = with(Role::Maintainer);
    assert!(
        decide_permission(&maintainer, Relation::Platform, "templates.publish", &owned).is_err(),
        "a team is no platform"
    );
}

#[test]
fn scopes_only_take_away() {
    let mut token = with(Role::Developer);
    token.kind = CallerKind::Token;
    for (permission, resource, can_create, can_get) in [
        ("*", "", true, true),
        ("*", "*", true, true),
        ("environments.*", "", true, true),
        ("environments.create", OWN, true, false),
        ("environments.get", OWN, false, true),
        ("environments.*", OTHER, false, false),
        ("environment.*", "", false, false),
        ("environments", "", false, false),
        ("runs.*", "", false, false),
        ("", "", false, false),
    ] {
        token.scopes = Some(vec![scope(permission, resource)]);
        let what = format!("{permission} on {resource}");
        assert_eq!(team(&token, "environments.create", Some(OWN), "development"), can_create, "{what}");
        assert_eq!(team(&token, "environments.get", Some(OWN), "development"), can_get, "{what}");
        assert!(!team(&token, "environments.create", Some(OTHER), "development"), "{what}: not the owner's right");
        assert!(!team(&token, "environments.confirm_delete", Some(OWN), "production"), "{what}: not the role's");
    }
    token.scopes = Some(vec![]);
    assert!(!team(&token, "environments.get", Some(OWN), "development"), "no scope is no right");
    let whoami = decide_permission(&token, Relation::SignedIn, "callers.get", &Facts::default());
    assert_eq!(whoami, Ok(()), "anyone may ask who it is");
}

#[test]
fn break_glass_opens_one_cell_for_one_role() {
    let open = Facts { break_glass: true, ..facts(Some(OWN), "production") };
    for (_, role) in ROLES {
        let want = matches!(role, Role::Maintainer | Role::PlatformAdmin);
        assert_eq!(
            decide_permission(&with(role), Relation::OwnerTeam, "secrets.reveal", &open).is_ok(),
            want,
            "{role:?}"
        );
    }
}

#[test]
fn automation_has_only_what_its_scopes_list() {
    let mut job = with(Role::Automation);
    job.scopes = Some(vec![scope("environments.ensure_preview", OWN)]);
    assert!(team(&job, "environments.ensure_preview", Some(OWN), "development"));
    assert!(!team(&job, "environments.ensure_preview", Some(OTHER), "development"));
    assert!(!team(&job, "environments.delete", Some(OWN), "development"));
    job.scopes = None;
    assert!(!team(&job, "environments.ensure_preview", Some(OWN), "development"), "without scopes it has nothing");
}

#[test]
fn lists_show_what_may_be_read() {
    let of = |caller: &Caller| Visible::of(caller, "environments.list");
    let only = |groups: &[&str]| Visible::Owners(groups.iter().map(|&g| g.to_owned()).collect());
    assert_eq!(of(&with(Role::Viewer)), only(&[OWN]));
    for role in [Role::Auditor, Role::Operator, Role::PlatformAdmin] {
        assert_eq!(of(&with(role)), Visible::All, "{role:?}");
    }
    assert_eq!(of(&with(Role::Automation)), only(&[OWN]), "the group its scope names");
    for nobody in [person(), Caller::anonymous(), Caller::service("catalog")] {
        assert_eq!(of(&nobody), only(&[]));
    }
    assert_eq!(Visible::of(&with(Role::Viewer), "secrets.list"), only(&[]), "viewers see no secrets");
    assert_eq!(Visible::of(&with(Role::PlatformAdmin), "dragons.list"), only(&[]));
    let mut token = with(Role::Developer);
    token.teams.insert(OTHER.to_owned(), Role::Viewer);
    token.scopes = Some(vec![scope("environments.*", OWN), scope("environments.*", "group:default/not-mine")]);
    assert_eq!(of(&token), only(&[OWN]));
    token.scopes = Some(vec![scope("runs.*", "")]);
    assert_eq!(of(&token), only(&[]));
    let mut admin = with(Role::PlatformAdmin);
    admin.scopes = Some(vec![scope("environments.list", OTHER)]);
    assert_eq!(of(&admin), only(&[OTHER]));
}

#[test]
fn the_predicate_binds_its_groups() {
    assert_eq!(Visible::All.sql("owner", 3).0, "1 = 1");
    assert_eq!(Visible::Owners(vec![]).sql("owner", 3).0, "1 = 0");
    let (sql, values) = Visible::Owners(vec![OWN.to_owned(), OTHER.to_owned()]).sql("e.owner", 3);
    assert_eq!((sql.as_str(), values.len()), ("e.owner IN ($3, $4)", 2));
    assert!(Visible::All.sees(None) && !Visible::Owners(vec![OWN.to_owned()]).sees(None));
    assert!(
        Visible::Owners(vec![OWN.to_owned()]).sees(Some(OWN))
            && !Visible::Owners(vec![OWN.to_owned()]).sees(Some(OTHER))
    );
}

/// The coarse decision never denies what some row of some owner would allow.
#[test]
fn the_gateways_decision_is_wider_than_the_binding_one() {
    let callers =
        ROLES.map(|(_, role)| with(role)).into_iter().chain([person(), Caller::anonymous()]).collect::<Vec<_>>();
    let mut allowed = 0;
    for rule in rules().filter(|rule| !rule.is_internal()) {
        for caller in &callers {
            for owner in [None, Some(OWN), Some(OTHER)] {
                for tier in ["", "development", "staging", "production"] {
                    if decide(caller, rule, &facts(owner, tier)).is_ok() {
                        allowed += 1;
                        assert_eq!(possible(caller, rule), Ok(()), "{} {caller:?}", rule.method);
                    }
                }
            }
        }
        assert!(possible(&Caller::anonymous(), rule).is_err() || rule.relation == Relation::Public, "{}", rule.method);
    }
    assert!(allowed > 100, "{allowed}");
}

#[test]
fn every_permission_of_the_contracts_has_a_place() {
    for rule in rules().filter(|rule| !matches!(rule.relation, Relation::Internal | Relation::Public)) {
        let placed = ["development", "production"].map(|tier| table::place(&rule.permission, Some(tier)));
        assert!(
            placed.iter().all(Option::is_some),
            "{} asks for {}, which the table does not know",
            rule.method,
            rule.permission
        );
    }
}
