//! Budgets: the arithmetic and the line.
use super::*;
use crate::model::environment::{RetireReason, fixture};

const GIB: i64 = 1 << 30;

fn amount(previews: i64, cpu: i64, gib: i64) -> Amount {
    Amount { previews, cpu, memory: gib * GIB }
}

fn limits() -> Limits {
    Limits { team: amount(3, 4_000, 8), service: amount(2, 3_000, 8) }
}

fn ask(uid: &str, service: &str, adds: Amount) -> Ask {
    Ask { uid: uid.to_owned(), service: service.to_owned(), adds }
}

fn books(used: &[(&str, Amount)], line: &[Ask]) -> Books {
    let used = used.iter().map(|(service, amount)| ((*service).to_owned(), *amount)).collect();
    Books { used, line: line.to_vec() }
}

fn is_granted(books: &Books, ask: &Ask) -> bool {
    decide(&limits(), books, ask) == Verdict::Granted
}

#[test]
fn the_arithmetic_is_told() {
    let used = books(&[("a", amount(2, 1_000, 2)), ("b", amount(1, 2_500, 2))], &[]);
    let Verdict::Over(over, before) = decide(&limits(), &used, &ask("x", "a", amount(1, 1_000, 1))) else {
        panic!("there is no room");
    };
    assert_eq!(
        sentence(&over, before),
        "previews: the team has 3 of 3 in use, 1 more are asked for; \
         cpu: the team has 3500m of 4000m in use, 1000m more are asked for; \
         previews: a has 2 of 2 in use, 1 more are asked for."
    );
    // Waking adds no preview; what adds nothing always fits.
    assert!(is_granted(&used, &ask("x", "a", amount(0, 500, 1))));
    assert!(is_granted(&books(&[("a", amount(9, 9_000, 99))], &[]), &ask("x", "a", Amount::default())));
}

#[test]
fn who_came_first_is_served_first() {
    let line = [ask("1", "a", amount(1, 0, 0)), ask("2", "b", amount(1, 0, 0)), ask("3", "b", amount(1, 0, 0))];
    let used = books(&[("c", amount(1, 0, 0))], &line);
    assert!(is_granted(&used, &line[0]) && is_granted(&used, &line[1]));
    assert!(!is_granted(&used, &line[2]) && !is_granted(&used, &ask("new", "c", amount(1, 0, 0))));
}

#[test]
fn a_large_one_is_not_starved_by_small_ones() {
    let large = ask("large", "a", amount(0, 3_000, 1));
    let used = books(&[("b", amount(1, 2_000, 1))], std::slice::from_ref(&large));
    assert!(!is_granted(&used, &large));
    assert!(
        !is_granted(&used, &ask("small", "b", amount(0, 500, 1))),
        "it would take the room for which the large one waits"
    );
    // What waits for previews keeps no cores from those who need no preview.
    let used = books(&[("b", amount(3, 500, 1))], &[ask("1", "a", amount(1, 1_000, 1))]);
    assert!(
        is_granted(&used, &ask("2", "b", amount(0, 500, 1))) && !is_granted(&used, &ask("2", "c", amount(1, 0, 0)))
    );
    // One that waits for the room of its own service keeps only that service waiting.
    let line = [ask("1", "a", amount(1, 0, 0)), ask("2", "a", amount(1, 0, 0))];
    let used = books(&[("a", amount(2, 0, 0))], &line);
    assert!(!is_granted(&used, &line[1]) && is_granted(&used, &ask("3", "b", amount(1, 0, 0))));
    // What can never fit keeps nobody waiting.
    let never = ask("never", "a", amount(0, 99_000, 1));
    let used = books(&[], std::slice::from_ref(&never));
    assert!(!is_granted(&used, &never) && is_granted(&used, &ask("3", "a", amount(1, 1_000, 1))));
}

#[test]
fn an_environment_counts_while_it_is_awake_and_wanted() {
    let mut env = fixture::preview();
    env.status.claim = Claim::default();
    assert_eq!((counted(&env), adds(&env), is_satisfied(&env)), (Amount::default(), amount(1, 0, 0), false));
    queue(&mut env, 5);
    grant(&mut env);
    assert_eq!((counted(&env), is_satisfied(&env), env.status.claim.waits_us), (amount(1, 0, 0), true, 0));
    needs(&mut env, amount(0, 500, 1));
    assert_eq!((is_satisfied(&env), adds(&env)), (false, amount(0, 500, 1)));
    grant(&mut env);
    needs(&mut env, amount(0, 300, 1));
    assert_eq!((is_satisfied(&env), counted(&env)), (true, amount(1, 300, 1)));
    let awake = env.clone();
    env.power = Power::Asleep;
    settle(&mut env);
    assert_eq!((counted(&env), is_satisfied(&env)), (amount(1, 0, 0), true));
    assert!(makes_room(&awake, &env) && !makes_room(&env, &awake));
    env.power = Power::Awake;
    assert_eq!((is_satisfied(&env), adds(&env)), (false, amount(0, 300, 1)));
    env.end(RetireReason::Closed, "", 1, 1);
    assert_eq!((counted(&env), is_satisfied(&env)), (Amount::default(), true));
    let mut staging = Environment { tier: Tier::Staging, ..fixture::preview() };
    staging.status.claim = Claim::default();
    assert!(is_satisfied(&staging) && adds(&staging) == Amount::default());
}

#[test]
fn names_of_budgets_are_names_of_teams() {
    for team_ref in ["group:default/shop", "group:a-b/c.d_e"] {
        assert_eq!(team(&name(team_ref)).as_deref(), Some(team_ref));
    }
    for bad in ["budgets/shop", "budgets/.x", "budgets/A.b", "teams/default.shop", "budgets/a./"] {
        assert_eq!(team(bad), None, "{bad}");
    }
}
