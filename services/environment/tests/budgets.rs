//! Budgets of teams as people meet them: refusals with what to do, the line of pull requests, two at once, the numbers (ENV-12).
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::sync::Arc;

use cluster::Tapped;
use slipway_environment::{
    app::{App, BudgetChange, Touch, WORK_ENVIRONMENT},
    config::Platform,
    model::{
        budget::{Amount, Limits, Own},
        condition::Aspect,
        environment::{Environment, Power, RetireReason},
        preview::Reading,
        route::{RouteState, route_state},
        state::State,
    },
    store::Store,
    worker,
    world::{fake::Fake, fake_cluster::FakeCluster},
};
use slipway_kit::{
    caller::{Caller, Role},
    clock::Clock,
    db::scratch::Scratch,
    error::Error,
    page::Sealer,
    serve::Call,
    worker::enqueue,
};
use support::{OWNER, REPOSITORY, ann, call, caller, open, stranger, wanted};
use tonic_types::StatusExt as _;

/// What one preview of the chart requests: two pods of 100m and 64Mi.
const ONE_CPU: i64 = 200;

/// A team over a cluster in memory, with a budget.
struct Team {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    world: Tapped,
}

impl Team {
    async fn new(scratch: Scratch, previews: i64, cpu: i64) -> Self {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, OWNER);
        let world = Tapped::new(&fake, Arc::new(FakeCluster::new(clock.clone())));
        let team = Amount { previews, cpu, memory: 1 << 40 };
        let budgets = Limits { team, service: Amount { previews: 100, cpu: 100_000, memory: 1 << 40 } };
        let platform = Platform { budgets, ..support::config(&scratch).platform() };
        let sealer = Sealer::load(&scratch.db).await.unwrap();
        let store = Store::new(scratch.db.clone());
        let app = App::new(store, world.world(), platform, clock.clone(), sealer);
        Self { scratch, fake, app, clock, world }
    }

    fn store(&self) -> Store {
        Store::new(self.scratch.db.clone())
    }

    async fn env(&self, number: i64) -> Environment {
        self.store().by_label(&self.scratch.db, &format!("pr-{number}-payments")).await.unwrap().unwrap()
    }

    async fn ensure(&self, number: i64) -> Result<Environment, Error> {
        self.fake.set(REPOSITORY, &number.to_string(), open(1));
        self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, 1)).await
    }

    /// A webhook came, and nobody waits for an answer.
    async fn opened(&self, number: i64) {
        self.fake.set(REPOSITORY, &number.to_string(), open(1));
        self.app.look("local", REPOSITORY, number).await.unwrap();
        self.clock.advance_us(1_000_000);
    }

    async fn run(&self) {
        worker(&self.app, 4).run_due().await.unwrap();
    }

    /// Looks at one environment until it is as wanted; the others only if somebody wakes them.
    async fn until(&self, number: i64, state: State) -> Environment {
        for _ in 0..100 {
            let env = self.env(number).await;
            if env.state() == state {
                return env;
            }
            self.wake_worker(number).await;
            self.run().await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            self.clock.advance_us(200_000);
        }
        let env = self.env(number).await;
        panic!("{number} never {}: {} {:#?}", state.word(), env.state().word(), env.status.conditions);
    }

    async fn wake_worker(&self, number: i64) {
        let mut tx = self.scratch.db.begin().await.unwrap();
        enqueue(&mut tx, WORK_ENVIRONMENT, &self.env(number).await.uid, 0).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn sleep(&self, number: i64) -> Environment {
        let name = format!("environments/pr-{number}-payments");
        self.app.sleep(&call(ann(), "SleepEnvironment"), &name, "").await.unwrap()
    }

    async fn wake(&self, number: i64) -> Result<Environment, Error> {
        self.app.wake(&call(ann(), "WakeEnvironment"), &format!("environments/pr-{number}-payments")).await
    }

    async fn waits(&self, number: i64) -> bool {
        let env = self.env(number).await;
        let accepted = env.status.conditions.get(Aspect::Accepted);
        env.state() == State::Pending && accepted.is_some_and(|c| c.reason == "TEAM_BUDGET")
    }
}

fn budget_call(who: Caller, name: &str) -> Call {
    Call::for_test(who, Box::leak(format!("/slipway.environment.v1.BudgetService/{name}").into_boxed_str()))
}

fn admin() -> Caller {
    caller("user:default/root", &[], &[Role::PlatformAdmin])
}

/// The reason, the quotas and the idle environments of a refusal, as a caller reads them.
fn told(error: Error) -> (String, Vec<(String, String)>, String) {
    let status = tonic::Status::from(error);
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    let quotas = details.quota_failure().unwrap().violations.iter();
    let quotas = quotas.map(|v| (v.subject.clone(), v.description.clone())).collect();
    (info.reason.clone(), quotas, info.metadata.get("idle_environments").cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_team_over_its_budget_is_told_what_it_can_put_to_sleep() {
    for scratch in support::databases().await {
        let team = Team::new(scratch, 10, 2 * ONE_CPU).await;
        for number in [1, 2] {
            team.ensure(number).await.unwrap();
            team.until(number, State::Ready).await;
        }
        team.clock.advance_us(20 * 60_000_000);
        let (reason, quotas, idle) = told(team.ensure(3).await.unwrap_err());
        assert_eq!(reason, "TEAM_BUDGET");
        assert_eq!(quotas.len(), 1, "{quotas:?}");
        assert_eq!(quotas[0].0, "budgets/default.shop/cpu");
        assert_eq!(quotas[0].1, "cpu: the team has 400m of 400m in use, 200m more are asked for");
        assert_eq!(idle, "environments/pr-1-payments,environments/pr-2-payments");
        assert!(team.store().by_label(&team.scratch.db, "pr-3-payments").await.unwrap().is_none());
        // What is put to sleep makes room at once.
        team.sleep(1).await;
        team.ensure(3).await.unwrap();
        team.until(3, State::Ready).await;
        team.until(1, State::Asleep).await;
        let (reason, _, idle) = told(team.wake(1).await.unwrap_err());
        assert_eq!((reason.as_str(), idle.as_str()), ("TEAM_BUDGET", "environments/pr-2-payments"));
        assert_eq!(team.env(1).await.power, Power::Asleep);
        team.sleep(2).await;
        team.wake(1).await.unwrap();
        team.until(1, State::Ready).await;
        // A repeat of what is there already asks for nothing.
        team.ensure(1).await.unwrap();
    }
}

#[tokio::test]
async fn pull_requests_wait_and_are_served_oldest_first() {
    for scratch in support::databases().await {
        let team = Team::new(scratch, 2, 10_000).await;
        for number in 1..=5 {
            team.opened(number).await;
        }
        team.run().await;
        assert!(!team.waits(1).await && !team.waits(2).await);
        for number in 3..=5 {
            assert!(team.waits(number).await, "{number}: {:?}", team.env(number).await.status.conditions);
        }
        // A call adds its images to what waits, and passes nobody; a new one is refused.
        team.ensure(4).await.unwrap();
        assert_eq!(told(team.ensure(6).await.unwrap_err()).0, "TEAM_BUDGET");
        let line = team.app.get_budget(&budget_call(ann(), "GetBudget"), OWNER).await.unwrap().waiting;
        assert_eq!(line, [3, 4, 5].map(|n| format!("environments/pr-{n}-payments")));
        // Room wakes the line: nobody polls here.
        let gone = Reading::Ended { reason: RetireReason::Closed, at_us: team.clock.now_us() };
        team.fake.set(REPOSITORY, "1", gone);
        support::tell(&team.app, 1).await;
        team.run().await;
        assert!(!team.waits(3).await && team.waits(4).await && team.waits(5).await, "{}", team.scratch.engine);
        let deleted = team.app.delete_preview(&call(ann(), "DeletePreview"), support::SERVICE, 2, "").await.unwrap();
        assert!(deleted.retire.is_some());
        team.run().await;
        let said = (team.env(4).await.status.conditions, team.env(5).await.status.conditions);
        assert!(!team.waits(4).await && team.waits(5).await, "{said:#?}");
        // A larger budget lets in who waits.
        let more = BudgetChange { team: Some(Own { previews: Some(3), ..Own::default() }), ..BudgetChange::default() };
        team.app.update_budget(&budget_call(admin(), "UpdateBudget"), OWNER, &more).await.unwrap();
        team.run().await;
        assert!(!team.waits(5).await);
        team.until(4, State::Ready).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_never_pass_the_limit() {
    for scratch in support::databases().await {
        let team = Team::new(scratch, 4, 10_000).await;
        for number in 1..=10 {
            team.fake.set(REPOSITORY, &number.to_string(), open(1));
        }
        let asks = (1..=10).map(|number| {
            let app = team.app.clone();
            tokio::spawn(async move { app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, 1)).await })
        });
        let mut granted = 0;
        for asked in asks.collect::<Vec<_>>() {
            match asked.await.unwrap() {
                Ok(_) => granted += 1,
                Err(error) => assert_eq!(told(error).0, "TEAM_BUDGET"),
            }
        }
        assert_eq!(granted, 4, "{}", team.scratch.engine);
        let used = team.store().books(&team.scratch.db, OWNER).await.unwrap().team();
        assert_eq!(used.previews, 4);
        // The same for those that nobody asked for: room for two, six that come, workers side by side.
        team.app.update_budget(&budget_call(admin(), "UpdateBudget"), OWNER, &numbers(6)).await.unwrap();
        for number in 11..=16 {
            team.opened(number).await;
        }
        team.run().await;
        let mut waiting = 0;
        for number in 11..=16 {
            waiting += usize::from(team.waits(number).await);
        }
        assert_eq!((waiting, team.store().books(&team.scratch.db, OWNER).await.unwrap().team().previews), (4, 6));
    }
}

fn numbers(previews: i64) -> BudgetChange {
    BudgetChange { team: Some(Own { previews: Some(previews), ..Own::default() }), ..BudgetChange::default() }
}

#[tokio::test]
async fn a_visitor_of_a_sleeping_preview_waits_for_room() {
    for scratch in support::databases().await {
        let team = Team::new(scratch, 10, ONE_CPU).await;
        team.ensure(1).await.unwrap();
        team.until(1, State::Ready).await;
        team.sleep(1).await;
        team.until(1, State::Asleep).await;
        team.ensure(2).await.unwrap();
        team.until(2, State::Ready).await;
        let touch = Touch { host: "pr-1-payments.preview.localhost".to_owned(), requests: 1, wake: true };
        team.app.touch_routes(&[touch]).await.unwrap();
        team.run().await;
        let env = team.env(1).await;
        assert!(team.waits(1).await, "{:?}", env.status.conditions);
        assert_eq!((route_state(&env, false), env.status.progress.power), (RouteState::Waking, Power::Asleep));
        // Hours later it still waits, and nothing put it to sleep again; then there is room.
        team.clock.advance_us(3 * 3_600_000_000);
        team.wake_worker(1).await;
        team.run().await;
        assert!(team.waits(1).await);
        team.wake_worker(2).await;
        team.until(1, State::Ready).await;
        assert_eq!(team.env(2).await.power, Power::Asleep, "nobody used it for hours");
    }
}

#[tokio::test]
async fn what_a_render_shows_to_be_too_much_waits_and_runs_on_as_it_was() {
    for scratch in support::databases().await {
        let team = Team::new(scratch, 10, 3 * ONE_CPU).await;
        for number in [1, 2] {
            team.ensure(number).await.unwrap();
            team.until(number, State::Ready).await;
        }
        team.world.taps().cpu = "250m".to_owned();
        team.fake.set(REPOSITORY, "1", open(2));
        team.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(1, 2)).await.unwrap();
        team.run().await;
        assert!(team.waits(1).await);
        let env = team.env(1).await;
        let said = env.status.conditions.get(Aspect::Accepted).unwrap().message.clone();
        assert_eq!(said, "cpu: the team has 400m of 600m in use, 300m more are asked for.");
        assert_eq!(env.status.progress.applied, 1, "the version before runs on");
        team.sleep(2).await;
        team.until(1, State::Ready).await;
        assert_eq!(team.env(1).await.status.progress.applied, 2);
    }
}

#[tokio::test]
async fn the_platform_team_sets_the_numbers_and_a_team_reads_them() {
    for scratch in support::databases().await {
        let team = Team::new(scratch, 3, 1_000).await;
        team.ensure(1).await.unwrap();
        team.until(1, State::Ready).await;
        let read = |who: Caller| {
            let team = &team;
            async move { team.app.get_budget(&budget_call(who, "GetBudget"), OWNER).await }
        };
        let budget = read(ann()).await.unwrap();
        assert_eq!((budget.limits.team.previews, budget.kept.etag().as_str()), (3, "0"));
        let used = budget.used[support::SERVICE];
        assert_eq!((used.previews, used.cpu, used.memory), (1, ONE_CPU, 128 << 20));
        assert!(budget.idle.is_empty());
        team.clock.advance_us(16 * 60_000_000);
        assert_eq!(read(ann()).await.unwrap().idle[0].environment, "environments/pr-1-payments");
        assert_eq!(read(stranger()).await.unwrap_err().reason().name, "PERMISSION_DENIED");
        let list = |who: Caller| {
            let team = &team;
            async move { team.app.list_budgets(&budget_call(who, "ListBudgets"), 0, "").await.unwrap().0.len() }
        };
        assert_eq!((list(ann()).await, list(stranger()).await, list(admin()).await), (1, 0, 1));
        let update = |who: Caller, change: BudgetChange| {
            let team = &team;
            async move { team.app.update_budget(&budget_call(who, "UpdateBudget"), OWNER, &change).await }
        };
        let maintainer = caller("user:default/max", &[(OWNER, Role::Maintainer)], &[]);
        assert_eq!(update(maintainer, numbers(9)).await.unwrap_err().reason().name, "PERMISSION_DENIED");
        let tried = update(admin(), BudgetChange { validate_only: true, ..numbers(9) }).await.unwrap();
        assert_eq!((tried.limits.team.previews, read(ann()).await.unwrap().limits.team.previews), (9, 3));
        let kept = update(admin(), BudgetChange { etag: "0".to_owned(), ..numbers(9) }).await.unwrap();
        assert_eq!((kept.kept.etag().as_str(), kept.kept.updater.as_str()), ("1", "user:default/root"));
        assert_eq!((kept.limits.team.previews, kept.limits.team.cpu), (9, 1_000), "what is unset is the platform's");
        let stale = update(admin(), BudgetChange { etag: "0".to_owned(), ..numbers(1) }).await.unwrap_err();
        assert_eq!(stale.reason().name, "ETAG_MISMATCH");
    }
}
