//! When a source goes wrong: what seems to have ended too much at once, or is told by answers nobody should believe, is held, put to sleep,
//! and deleted only once somebody lets go.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;
#[path = "support/cluster.rs"]
mod tapped;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use slipway_environment::{
    app::{App, HoldList, WORK_ENVIRONMENT},
    model::{
        condition::Aspect,
        environment::{Environment, RetireReason, Source},
        hold::{Cause, Hold},
        preview::{Head, Reading},
        state::State,
    },
    store::Store,
    worker,
    world::{Repository, Sources, World, fake::Fake, fake_cluster::FakeCluster},
};
use slipway_kit::{
    clock::Clock,
    db::scratch::Scratch,
    error::{Error, Reason, Result},
    journal, scm,
    worker::enqueue,
};
use support::{REPOSITORY, admin, ann, ask, call, head, open, release_all, shop, stranger, tell, wanted};
use tapped::Tapped;

const MINUTE_US: i64 = 60_000_000;

fn closed() -> Reading {
    Reading::Ended { reason: RetireReason::Closed, at_us: 5 }
}

/// A town of previews, and what happens to it while time passes.
struct Town<'a> {
    scratch: &'a Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
}

impl Town<'_> {
    async fn with(&self, numbers: std::ops::RangeInclusive<i64>) {
        for number in numbers {
            self.fake.set(REPOSITORY, &number.to_string(), open(1));
            self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(number, 1)).await.unwrap();
        }
        self.run().await;
        self.clock.advance_us(1_000_000);
    }

    fn close(&self, number: i64) {
        self.fake.set(REPOSITORY, &number.to_string(), closed());
    }

    async fn run(&self) {
        worker(&self.app, 16).run_due().await.unwrap();
    }

    /// Every environment is due, as it would be after this time.
    async fn after(&self, us: i64) {
        self.clock.advance_us(us);
        let mut tx = self.scratch.db.begin().await.unwrap();
        for uid in self.store().all_living().await.unwrap_or_default() {
            enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await.unwrap();
        }
        tx.commit().await.unwrap();
        self.run().await;
    }

    fn store(&self) -> Store {
        Store::new(self.scratch.db.clone())
    }

    async fn living(&self) -> usize {
        self.store().all_living().await.unwrap().len()
    }

    async fn env(&self, number: i64) -> Environment {
        self.store().by_label(&self.scratch.db, &format!("pr-{number}-payments")).await.unwrap().unwrap()
    }

    async fn holds(&self) -> Vec<Hold> {
        self.app.list_holds(&ask(ann(), "ListHolds"), &HoldList::default()).await.unwrap().0
    }

    /// The words of every event about holds, in order.
    async fn told(&self) -> Vec<String> {
        let all = journal::read(&self.scratch.db, 0, 100_000).await.unwrap();
        let holds = all.iter().filter(|event| event.subject.ends_with(".HoldChanged"));
        let word = |payload: &str| {
            let json: serde_json::Value = serde_json::from_str(payload).unwrap();
            format!("{} {}", json["change"].as_str().unwrap(), json["hold"]["cause"].as_str().unwrap())
        };
        holds.map(|event| word(&event.payload_json)).collect()
    }
}

async fn town(scratch: &Scratch) -> Town<'_> {
    let (fake, app, clock) = shop(scratch).await;
    Town { scratch, fake, app, clock }
}

fn deleting(env: &Environment) -> (String, String) {
    env.status.conditions.get(Aspect::Deleting).map(|c| (c.reason.clone(), c.message.clone())).unwrap_or_default()
}

#[tokio::test]
async fn all_pull_requests_closed_at_once_sleep_until_somebody_lets_go() {
    for scratch in support::databases().await {
        // ENV-174 on one engine, the same with fewer on the other.
        let many: i64 = if scratch.engine == "SQLite" { 200 } else { 40 };
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let cluster = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(cluster.clone()));
        let app = support::app_over(&scratch, world.world(), clock.clone()).await;
        let town = Town { scratch: &scratch, fake, app, clock };
        town.with(1..=many).await;
        for _ in 0..10 {
            if town.env(many).await.state() == State::Ready && town.env(1).await.state() == State::Ready {
                break;
            }
            town.after(1_000_000).await;
        }
        // Every webhook is lost.
        (1..=many).for_each(|number| town.close(number));
        for _ in 0..5 {
            town.after(MINUTE_US).await;
        }
        assert_eq!(town.living().await as i64, many, "{}", scratch.engine);
        for number in 1..=many {
            assert_eq!(town.env(number).await.state(), State::Asleep, "{} {number}", scratch.engine);
        }
        assert!(!world.log("payments-pr-").iter().any(|effect| effect.starts_with("delete Namespace")));
        let holds = town.holds().await;
        assert_eq!(holds.iter().map(|hold| hold.cause).collect::<Vec<_>>(), [Cause::SweepLimit]);
        let (name, hold) = (holds[0].name(), &holds[0]);
        let (reason, text) = deleting(&town.env(1).await);
        assert!(reason == "HELD" && text.contains(&name) && text.contains("somebody releases it"), "{reason}: {text}");
        assert!(hold.evidence.contains(&many.to_string()), "{}", hold.evidence);
        // One is opened again: it wakes, and is nobody's to delete.
        town.fake.set(REPOSITORY, "1", Reading::Open(head(1, 9)));
        town.after(1_000_000).await;
        town.after(1_000_000).await;
        assert_eq!(town.env(1).await.state(), State::Ready);
        // Only who runs the platform lets go; a look before shows what it would cost.
        let ask_as = |who| ask(who, "ReleaseHold");
        let refused = town.app.release_hold(&ask_as(stranger()), &name, "why not", "", false).await.unwrap_err();
        assert_eq!(refused.reason().name, "PERMISSION_DENIED");
        let checked = town.app.release_hold(&ask_as(admin()), &name, "they are", "", true).await.unwrap();
        assert_eq!(checked.waiting.len() as i64, many - 1);
        assert_eq!(town.app.get_hold(&ask(ann(), "GetHold"), &name).await.unwrap().waiting.len() as i64, many - 1);
        assert_eq!(town.app.get_hold(&ask(stranger(), "GetHold"), &name).await.unwrap().waiting, Vec::<String>::new());
        assert_eq!(town.holds().await.len(), 1);
        let released = town.app.release_hold(&ask_as(admin()), &name, "the quarter ended", &hold.etag(), false).await;
        assert_eq!(released.unwrap().hold.released_by, "user:default/root");
        for _ in 0..10 {
            town.run().await;
            town.after(2_000_000).await;
        }
        assert_eq!((town.living().await, town.holds().await.len()), (1, 0), "{}", scratch.engine);
        let again = town.app.release_hold(&ask_as(admin()), &name, "once more", "", false).await.unwrap_err();
        assert_eq!(again.reason().name, "HOLD_RELEASED");
        let said = |change: &str| format!("CHANGE_{change} HOLD_CAUSE_SWEEP_LIMIT");
        assert_eq!(town.told().await, [said("PLACED"), said("RELEASED")]);
        let kept = HoldList { show_released: true, filter: "cause = SWEEP_LIMIT".to_owned(), ..HoldList::default() };
        let (kept, _) = town.app.list_holds(&ask(ann(), "ListHolds"), &kept).await.unwrap();
        assert_eq!(kept[0].release_reason, "the quarter ended");
    }
}

#[tokio::test]
async fn webhooks_may_end_half_and_the_rest_waits_for_a_person_however_long() {
    for scratch in support::databases().await {
        let town = town(&scratch).await;
        town.with(1..=50).await;
        for number in 1..=50 {
            town.close(number);
            tell(&town.app, number).await;
        }
        town.run().await;
        town.after(1_000_000).await;
        assert_eq!(town.living().await, 25, "{}", scratch.engine);
        let holds = town.holds().await;
        assert_eq!(holds.iter().map(|hold| hold.cause).collect::<Vec<_>>(), [Cause::MassDeletion]);
        for _ in 0..3 {
            town.app.poll("local").await.unwrap();
            town.after(11 * MINUTE_US).await;
        }
        assert_eq!(town.living().await, 25, "time alone lets nothing go");
        // What a person deletes is no matter of the source.
        let mut held = town.store().all_living().await.unwrap();
        let env = town.store().by_uid(&scratch.db, &held.remove(0)).await.unwrap().unwrap();
        town.app.delete(&call(ann(), "DeleteEnvironment"), &env.name(), "", false).await.unwrap();
        town.run().await;
        assert_eq!(town.living().await, 24);
        release_all(&town.app).await;
        town.run().await;
        assert_eq!((town.living().await, town.holds().await.len()), (0, 0), "{}", scratch.engine);
        // Counted anew: twenty may end again at once.
        town.with(101..=130).await;
        for number in 101..=121 {
            town.close(number);
            tell(&town.app, number).await;
        }
        town.run().await;
        assert_eq!(town.holds().await.iter().map(|hold| hold.cause).collect::<Vec<_>>(), [], "{}", scratch.engine);
        assert_eq!(town.living().await, 9);
    }
}

#[tokio::test]
async fn a_close_nobody_told_of_counts_when_it_was_seen_twice() {
    for scratch in support::databases().await {
        let town = town(&scratch).await;
        town.with(1..=3).await;
        town.close(1);
        town.close(2);
        town.after(1_000_000).await;
        assert_eq!(town.living().await, 3);
        tell(&town.app, 2).await;
        town.run().await;
        assert_eq!(town.living().await, 2, "{}: a webhook told of it", scratch.engine);
        town.after(MINUTE_US - 8_000_000).await;
        assert_eq!(town.living().await, 2);
        // Opened again in between: it begins anew.
        town.fake.set(REPOSITORY, "1", Reading::Open(head(1, 9)));
        town.after(1_000_000).await;
        town.close(1);
        town.after(1_000_000).await;
        town.after(MINUTE_US - 8_000_000).await;
        assert_eq!(town.living().await, 2);
        town.after(8_000_000).await;
        assert_eq!((town.living().await, town.holds().await.len()), (1, 0), "{}", scratch.engine);
    }
}

#[tokio::test]
async fn a_hundred_closed_one_after_the_other_are_no_alarm() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let town = town(&scratch).await;
    town.with(1..=100).await;
    // Half an hour, a close each 18 seconds, every webhook lost.
    for number in 1..=100 {
        town.close(number);
        if number % 10 == 0 {
            town.after(3 * MINUTE_US).await;
            town.app.poll("local").await.unwrap();
        }
    }
    for _ in 0..4 {
        town.after(MINUTE_US).await;
        town.app.poll("local").await.unwrap();
        town.run().await;
    }
    assert_eq!(
        town.living().await,
        0,
        "each is gone within minutes of the next complete look: {:?}",
        town.holds().await
    );
    assert!(
        town.told().await.iter().all(|said| !said.contains("MASS") && !said.contains("SWEEP")),
        "{:?}",
        town.told().await
    );
}

/// What the source answers to lists.
#[derive(Clone)]
enum Answer {
    Good,
    Nothing,
    NoRepository,
    Archived,
    Fails(&'static Reason),
    SourceFails(&'static Reason),
}

/// A source whose lists go wrong, while each pull request is read well.
struct Odd(Fake, Mutex<Answer>);

impl Odd {
    fn answer(&self) -> Answer {
        self.1.lock().unwrap().clone()
    }
}

#[async_trait]
impl Sources for Odd {
    fn connections(&self) -> Vec<String> {
        self.0.connections()
    }

    fn poll_us(&self, scm: &str) -> i64 {
        self.0.poll_us(scm)
    }

    async fn read(&self, source: &Source) -> Reading {
        self.0.read(source).await
    }

    async fn repository(&self, scm: &str, name: &str) -> Result<Option<Repository>> {
        self.0.repository(scm, name).await
    }

    async fn repository_by_id(&self, scm: &str, id: &str) -> Result<Option<Repository>> {
        match self.answer() {
            Answer::NoRepository => Ok(None),
            _ => self.0.repository_by_id(scm, id).await,
        }
    }

    async fn repositories(&self, scm: &str) -> Result<Vec<Repository>> {
        match self.answer() {
            Answer::NoRepository => Ok(Vec::new()),
            Answer::SourceFails(reason) => Err(Error::new(reason, "secret words of the provider")),
            Answer::Archived => {
                let all = self.0.repositories(scm).await?;
                Ok(all.into_iter().map(|repository| Repository { archived: true, ..repository }).collect())
            }
            _ => self.0.repositories(scm).await,
        }
    }

    async fn open_pull_requests(&self, scm: &str, name: &str) -> Result<Vec<i64>> {
        match self.answer() {
            Answer::Nothing => Ok(Vec::new()),
            Answer::Fails(reason) => Err(Error::new(reason, "secret words of the provider")),
            _ => self.0.open_pull_requests(scm, name).await,
        }
    }

    async fn components(&self, scm: &str, repository: &Repository) -> Result<Vec<String>> {
        self.0.components(scm, repository).await
    }
}

#[tokio::test]
async fn an_answer_nobody_should_believe_holds_until_the_next_good_one() {
    use Cause::{EmptyListing, RepositoryLost, WrongAnswer};
    let wrong = [
        (Answer::Nothing, EmptyListing),
        (Answer::NoRepository, RepositoryLost),
        (Answer::Archived, RepositoryLost),
        (Answer::Fails(&scm::SCM_UNAUTHORIZED), WrongAnswer),
        (Answer::Fails(&scm::SCM_FORBIDDEN), WrongAnswer),
        (Answer::Fails(&scm::REPOSITORY_UNKNOWN), WrongAnswer),
        (Answer::Fails(&scm::SCM_RATE_LIMITED), WrongAnswer),
        (Answer::Fails(&scm::SCM_UNAVAILABLE), WrongAnswer),
        (Answer::Fails(&scm::SCM_ANSWER_INVALID), WrongAnswer),
        (Answer::Fails(&scm::SCM_REDIRECTED), WrongAnswer),
        (Answer::SourceFails(&scm::SCM_UNAVAILABLE), WrongAnswer),
    ];
    for scratch in support::databases().await {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let odd = Arc::new(Odd(fake.clone(), Mutex::new(Answer::Good)));
        let world = World { sources: odd.clone(), ..fake.world() };
        let app = support::app_over(&scratch, world, clock.clone()).await;
        let town = Town { scratch: &scratch, fake, app, clock };
        town.with(1..=30).await;
        for (at, (answer, cause)) in wrong.iter().enumerate() {
            let number = at as i64 + 1;
            *odd.1.lock().unwrap() = answer.clone();
            for _ in 0..2 {
                let _ = town.app.poll("local").await;
            }
            let holds = town.holds().await;
            assert_eq!(holds.iter().map(|hold| hold.cause).collect::<Vec<_>>(), [*cause], "{number}");
            assert!(!holds[0].evidence.contains("secret words"), "{}", holds[0].evidence);
            // Even what a webhook tells of waits.
            town.close(number);
            tell(&town.app, number).await;
            town.run().await;
            town.after(5 * MINUTE_US).await;
            let env = town.env(number).await;
            let (reason, text) = deleting(&env);
            assert!(
                env.deleted_us.is_none() && reason == "HELD" && text.contains("answers well again"),
                "{reason}: {text}"
            );
            *odd.1.lock().unwrap() = Answer::Good;
            town.app.poll("local").await.unwrap();
            town.after(MINUTE_US).await;
            assert!(town.env(number).await.deleted_us.is_some(), "{number} on {}", scratch.engine);
            assert_eq!((town.holds().await.len(), town.living().await), (0, 30 - at - 1));
        }
    }
}

#[tokio::test]
async fn labels_that_vanish_everywhere_are_braked_too() {
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let town = town(&scratch).await;
    town.with(1..=30).await;
    let mut config = slipway_environment::model::config::Config::default();
    config.preview.label = "preview".to_owned();
    config.preview.retire_on = vec![slipway_environment::model::config::RetireOn::Unlabeled];
    for number in 1..=30 {
        town.fake.set(
            REPOSITORY,
            &number.to_string(),
            Reading::Open(Head { config: Ok(config.clone()), ..head(1, 1) }),
        );
    }
    for _ in 0..3 {
        town.after(MINUTE_US).await;
    }
    assert_eq!(town.living().await, 30);
    assert_eq!(town.holds().await[0].cause, Cause::SweepLimit);
}
