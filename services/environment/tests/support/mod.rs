//! What the suites share: databases, a world in memory, callers, heads of pull requests.
#![allow(dead_code, clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};

use slipway_environment::{
    app::{App, HoldList, WantedPreview},
    config::Config as ServiceConfig,
    model::{
        config::Config,
        preview::{Head, Reading},
    },
    store::{Store, migrations},
    world::{World, fake::Fake},
};
use slipway_kit::{
    caller::{Caller, CallerKind, Role},
    clock::Clock,
    db::scratch::{self, Scratch},
    page::Sealer,
    serve::Call,
};

pub const OWNER: &str = "group:default/shop";
pub const SERVICE: &str = "component:default/payments";
pub const REPOSITORY: &str = "100";

pub async fn databases() -> Vec<Scratch> {
    scratch::each(migrations()).await
}

pub fn config(scratch: &Scratch) -> ServiceConfig {
    let mut config = ServiceConfig::new(scratch.config.clone(), BTreeMap::new(), std::path::PathBuf::from("/nowhere"));
    // Budgets are a suite of their own; the others may have as many environments as they like.
    for budget in [&mut config.budgets.team, &mut config.budgets.service] {
        (budget.previews, budget.cpu, budget.memory) = (10_000, "10000".to_owned(), "10Ti".to_owned());
    }
    config
}

pub async fn app_over(scratch: &Scratch, world: World, clock: Clock) -> App {
    let sealer = Sealer::load(&scratch.db).await.unwrap();
    App::new(Store::new(scratch.db.clone()), world, config(scratch).platform(), clock, sealer)
}

/// A world with one service, and the verbs over it.
pub async fn shop(scratch: &Scratch) -> (Fake, App, Clock) {
    let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
    fake.add_service("payments", REPOSITORY, OWNER);
    let app = app_over(scratch, fake.world(), clock.clone()).await;
    (fake, app, clock)
}

pub fn caller(principal: &str, teams: &[(&str, Role)], roles: &[Role]) -> Caller {
    Caller {
        principal: principal.to_owned(),
        kind: CallerKind::User,
        credential: "tokens/test".to_owned(),
        teams: teams.iter().map(|(team, role)| ((*team).to_owned(), *role)).collect(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        ..Caller::anonymous()
    }
}

pub fn ann() -> Caller {
    caller("user:default/ann", &[(OWNER, Role::Developer)], &[])
}

pub fn stranger() -> Caller {
    caller("user:default/eve", &[("group:default/other", Role::Developer)], &[])
}

pub fn method(name: &str) -> &'static str {
    let service = if name.ends_with("Preview") { "PreviewService" } else { "EnvironmentService" };
    Box::leak(format!("/slipway.environment.v1.{service}/{name}").into_boxed_str())
}

pub fn call(caller: Caller, name: &str) -> Call {
    Call::for_test(caller, method(name))
}

/// A webhook about a pull request; only that it came counts.
pub fn hook(number: i64) -> Vec<u8> {
    format!(r#"{{"action":"whatever","number":{number},"repository":{{"id":{REPOSITORY}}}}}"#).into_bytes()
}

/// The source tells of a pull request.
pub async fn tell(app: &App, number: i64) {
    app.hint("local", "pull_request", &hook(number)).await.unwrap();
}

pub fn admin() -> Caller {
    caller("user:default/root", &[], &[Role::PlatformAdmin])
}

/// A call of the service of holds or of orphans.
pub fn ask(caller: Caller, method: &str) -> Call {
    let service = if method.contains("Hold") { "HoldService" } else { "OrphanService" };
    Call::for_test(caller, Box::leak(format!("/slipway.environment.v1.{service}/{method}").into_boxed_str()))
}

/// Lets go of every hold that stands, as far as that goes.
pub async fn release_all(app: &App) {
    let (holds, _) = app.list_holds(&ask(admin(), "ListHolds"), &HoldList::default()).await.unwrap_or_default();
    for hold in holds {
        let _ = app.release_hold(&ask(admin(), "ReleaseHold"), &hold.name(), "as it should be", "", false).await;
    }
}

pub fn sha(digit: u64) -> String {
    format!("{digit:040x}")
}

pub fn head(sha_digit: u64, opened_us: i64) -> Head {
    Head {
        repository: "acme/payments".to_owned(),
        branch: "feature".to_owned(),
        head_sha: sha(sha_digit),
        base_sha: sha(0),
        fork: false,
        author: "fred".to_owned(),
        draft: false,
        labels: Vec::new(),
        opened_us,
        config: Ok(Config::default()),
    }
}

pub fn open(sha_digit: u64) -> Reading {
    Reading::Open(head(sha_digit, 1))
}

pub fn images() -> BTreeMap<String, String> {
    BTreeMap::from([("app".to_owned(), format!("ghcr.io/acme/payments@sha256:{}", "b".repeat(64)))])
}

pub fn wanted(number: i64, sha_digit: u64) -> WantedPreview {
    WantedPreview {
        service: SERVICE.to_owned(),
        pull_request: number,
        head_sha: sha(sha_digit),
        images: images(),
        idle_us: None,
        validate_only: false,
    }
}
