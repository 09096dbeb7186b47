//! Workers that die: before and after every effect, and before every commit, over a whole life of an environment, on both engines.
//! Always the same end: nothing is left, nothing is doubled, no workload without its guard rails (ENV-60, ENV-170).
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Once},
};

use cluster::{DEATH, Tapped};
use slipway_environment::{
    app::{App, WORK_ENVIRONMENT},
    model::{
        environment::{Environment, Power, RetireReason},
        manifest,
        preview::Reading,
        state::State,
    },
    store::Store,
    worker,
    world::{
        fake::{Fake, Kill},
        fake_cluster::FakeCluster,
    },
};
use slipway_kit::{clock::Clock, db::scratch::Scratch, worker::enqueue};
use support::{REPOSITORY, ann, call, open, wanted};

/// Lives; each begins its deaths one effect later, so that together every effect of a life is one of them, before and after it.
const LIVES: u64 = 24;
/// Effects, or commits, between two deaths of one life.
const APART: u64 = 9;
/// How often a worker dies in each life.
const DEATHS: u64 = 3;

/// Many environments over one cluster, each with its own planned death.
struct Town {
    scratch: Scratch,
    fake: Fake,
    app: App,
    clock: Clock,
    world: Tapped,
    cluster: FakeCluster,
    numbers: Vec<i64>,
}

/// A worker that dies in a test is no news.
fn quiet() {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.contains(DEATH) {
                loud(info);
            }
        }));
    });
}

impl Town {
    async fn new(scratch: Scratch, numbers: Vec<i64>) -> Self {
        quiet();
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        fake.state().secret_names = vec!["db".to_owned()];
        let cluster = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(cluster.clone()));
        let app = support::app_over(&scratch, world.world(), clock.clone()).await;
        Self { scratch, fake, app, clock, world, cluster, numbers }
    }

    fn store(&self) -> Store {
        Store::new(self.scratch.db.clone())
    }

    async fn env(&self, number: i64) -> Environment {
        self.store().by_label(&self.scratch.db, &format!("pr-{number}-payments")).await.unwrap().unwrap()
    }

    /// Looks until every environment is as wanted: whoever died is followed by another worker.
    async fn until(&self, what: &str, is_so: impl Fn(&Environment) -> bool) {
        for _ in 0..200 {
            let mut waiting = Vec::new();
            for number in &self.numbers {
                let env = self.env(*number).await;
                if !is_so(&env) {
                    waiting.push(env);
                }
            }
            if waiting.is_empty() {
                return;
            }
            let mut tx = self.scratch.db.begin().await.unwrap();
            for env in &waiting {
                enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await.unwrap();
            }
            tx.commit().await.unwrap();
            worker(&self.app, 64).run_due().await.unwrap();
            self.revive().await;
            self.clock.advance_us(200_000);
        }
        for number in &self.numbers {
            let env = self.env(*number).await;
            assert!(is_so(&env), "{number} never {what}: {} {:#?}", env.state().word(), env.status.conditions);
        }
    }

    /// A commit that failed once may succeed the next time.
    async fn revive(&self) {
        let hit = "DELETE FROM deaths WHERE label_id IN (SELECT e.label_id FROM environments e JOIN work w ON w.id = e.uid \
                   WHERE w.last_error <> '' AND e.version + 1 = deaths.version)";
        let hits = self.scratch.db.execute(hit, Vec::new()).await.unwrap();
        self.world.taps().killed += hits;
    }

    /// Has each environment's commit of a version fail once.
    async fn plan_commits(&self, plans: &[(u64, u64)]) {
        let db = &self.scratch.db;
        db.execute("CREATE TABLE deaths (label_id TEXT NOT NULL, version BIGINT NOT NULL)", Vec::new()).await.unwrap();
        for (number, version) in plans {
            let sql = format!("INSERT INTO deaths VALUES ('pr-{number}-payments', {version})");
            db.execute(&sql, Vec::new()).await.unwrap();
        }
        let exists = "EXISTS (SELECT 1 FROM deaths WHERE label_id = NEW.label_id AND version = NEW.version)";
        let statements = if self.scratch.engine == "SQLite" {
            vec![format!(
                "CREATE TRIGGER die BEFORE UPDATE ON environments WHEN {exists} BEGIN SELECT RAISE(ABORT, 'dies'); END"
            )]
        } else {
            vec![
                format!(
                    "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF {exists} THEN \
                     RAISE EXCEPTION ''dies''; END IF; RETURN NEW; END'"
                ),
                "CREATE TRIGGER die BEFORE UPDATE ON environments FOR EACH ROW EXECUTE FUNCTION die()".to_owned(),
            ]
        };
        for sql in statements {
            db.execute(&sql, Vec::new()).await.unwrap();
        }
    }

    async fn push(&self, sha: u64) {
        for number in &self.numbers {
            self.fake.set(REPOSITORY, &number.to_string(), open(sha));
            let ensure =
                || async { self.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(*number, sha)).await };
            if ensure().await.is_err() {
                // The call's own commit was the one to fail; CI repeats it.
                let sql = format!(
                    "DELETE FROM deaths WHERE label_id = 'pr-{number}-payments' AND version = {}",
                    self.env(*number).await.version + 1
                );
                self.world.taps().killed += self.scratch.db.execute(&sql, Vec::new()).await.unwrap();
                ensure().await.unwrap();
            }
        }
    }

    async fn power(&self, power: Power) {
        for number in &self.numbers {
            let before = self.env(*number).await;
            let mut env = before.clone();
            // A call has its own commits; they are not the worker's.
            (env.power, env.used_us) = (power, self.clock.now_us());
            let body = serde_json::to_string(&env).unwrap();
            let sql = "UPDATE environments SET body = $1 WHERE uid = $2";
            self.scratch.db.execute(sql, vec![body.into(), env.uid.clone().into()]).await.unwrap();
        }
    }

    /// Up, a push, asleep, awake, gone.
    async fn live(&self) {
        let is = |state: State, generation: i64| {
            move |env: &Environment| {
                env.state() == state && env.generation >= generation && env.status.progress.stale.is_empty()
            }
        };
        self.push(1).await;
        self.until("ready", is(State::Ready, 1)).await;
        self.push(2).await;
        self.until("ready again", is(State::Ready, 2)).await;
        self.power(Power::Asleep).await;
        self.until("asleep", is(State::Asleep, 2)).await;
        self.power(Power::Awake).await;
        self.until("awake", is(State::Ready, 2)).await;
        self.check_alive().await;
        for number in &self.numbers {
            let at_us = self.clock.now_us();
            self.fake.set(REPOSITORY, &number.to_string(), Reading::Ended { reason: RetireReason::Merged, at_us });
        }
        self.until_gone().await;
        self.check_gone().await;
    }

    /// Holds are another suite's: they are let go as often as they are placed.
    async fn until_gone(&self) {
        for _ in 0..12 {
            self.clock.advance_us(11 * 60_000_000);
            support::release_all(&self.app).await;
            let mut tx = self.scratch.db.begin().await.unwrap();
            for number in &self.numbers {
                enqueue(&mut tx, WORK_ENVIRONMENT, &self.env(*number).await.uid, 0).await.unwrap();
            }
            tx.commit().await.unwrap();
            worker(&self.app, 64).run_due().await.unwrap();
            self.revive().await;
        }
        self.until("deleted", |env| env.state() == State::Deleted).await;
    }

    /// Each has exactly what a life without deaths has.
    async fn check_alive(&self) {
        for number in &self.numbers {
            let env = self.env(*number).await;
            let mut all = self.cluster.everything(&env.namespace);
            all.retain(|doc| manifest::name(doc) != "kube-root-ca.crt");
            let of = |kind: &str| all.iter().filter(|doc| manifest::kind(doc) == kind).count();
            assert_eq!((of("Deployment"), of("Service"), of("ConfigMap"), of("Pod")), (1, 1, 1, 2), "{number}");
            assert_eq!((of("ResourceQuota"), of("LimitRange"), of("NetworkPolicy")), (1, 1, 4), "{number}");
            let held: BTreeSet<_> = env.status.inventory.iter().map(|h| (&h.object.kind, &h.object.name)).collect();
            assert_eq!(held.len(), env.status.inventory.len(), "{number}: an object is held twice");
            assert!(env.status.inventory.iter().all(|h| !h.uid.is_empty()), "{number}: {:?}", env.status.inventory);
        }
    }

    /// Nothing is left but the receipts, and each life had one namespace.
    async fn check_gone(&self) {
        let ours = |doc: &&serde_json::Value| {
            doc.pointer("/metadata/labels/app.kubernetes.io~1managed-by") == Some(&serde_json::json!("slipway"))
        };
        let left = self.cluster.everything("");
        assert_eq!(left.iter().filter(ours).count(), 0, "{left:?}");
        for number in &self.numbers {
            let env = self.env(*number).await;
            let receipt = self.store().receipt(&self.scratch.db, &env.uid).await.unwrap().unwrap();
            let namespaces = receipt.objects.iter().filter(|o| o.kind == "Namespace");
            assert_eq!(
                namespaces.map(|o| o.uid.clone()).collect::<Vec<_>>(),
                std::slice::from_ref(&env.status.namespace_uid)
            );
            assert!(receipt.objects.len() >= env.status.inventory.len() && receipt.is_observed, "{number}");
        }
        assert_eq!(self.world.taps().unguarded, [] as [&str; 0]);
        assert_eq!(self.fake.state().delivered, BTreeMap::new());
    }
}

#[tokio::test]
async fn a_death_at_any_effect_or_commit_changes_nothing_about_the_end() {
    let mut points = 0;
    for scratch in support::databases().await {
        let lives = 1..=LIVES;
        let at = |life: u64| (0..DEATHS).map(move |n| life + n * APART);
        let numbers = lives.clone().flat_map(|life| [1000 + life, 2000 + life, 3000 + life]);
        let town = Town::new(scratch, numbers.map(|number| number as i64).collect()).await;
        for life in lives.clone() {
            for (base, kill) in [(1000, Kill::Before), (2000, Kill::After)] {
                let deaths = at(life).map(|effect| (effect, kill)).collect();
                town.world.taps().kills.insert(format!("payments-pr-{}-", base + life), deaths);
            }
        }
        let commits: Vec<(u64, u64)> = lives.flat_map(|life| at(life).map(move |n| (3000 + life, 1 + n))).collect();
        town.plan_commits(&commits).await;
        town.live().await;
        let killed = town.world.taps().killed;
        println!("{}: {killed} deaths", town.scratch.engine);
        points += killed;
    }
    println!("{points} deaths in all");
    let wanted = if std::env::var("SLIPWAY_TEST_POSTGRES").is_ok_and(|dsn| !dsn.is_empty()) { 300 } else { 150 };
    assert!(points >= wanted, "only {points} deaths");
}
