//! Namespaces in a cluster that belong to no environment: found, shown, left alone, and deleted only where it is proven or confirmed.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;
#[path = "support/cluster.rs"]
mod tapped;

use std::sync::Arc;

use serde_json::json;
use slipway_environment::{
    app::{App, Confirmation, OrphanList},
    model::{
        environment::Environment,
        orphan::{Orphan, Stage},
        receipt,
        state::State,
    },
    store::Store,
    worker,
    world::{
        cluster::ObjectRef,
        fake::Fake,
        fake_cluster::{Failure, FakeCluster},
    },
};
use slipway_kit::{args, clock::Clock, db::scratch::Scratch, journal};
use support::{REPOSITORY, admin, ann, ask, call, open, wanted};
use tapped::Tapped;

const HOUR_US: i64 = 3_600_000_000;

struct Land<'a> {
    scratch: &'a Scratch,
    app: App,
    clock: Clock,
    cluster: FakeCluster,
}

impl Land<'_> {
    /// A cluster with one preview that runs.
    async fn new(scratch: &Scratch) -> Land<'_> {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, support::OWNER);
        let cluster = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(cluster.clone()));
        let app = support::app_over(scratch, world.world(), clock.clone()).await;
        fake.set(REPOSITORY, "7", open(1));
        app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        let land = Land { scratch, app, clock, cluster };
        for _ in 0..20 {
            if land.env().await.state() == State::Ready {
                break;
            }
            land.clock.advance_us(1_000_000);
            let mut tx = scratch.db.begin().await.unwrap();
            slipway_kit::worker::enqueue(&mut tx, "environment", &land.env().await.uid, 0).await.unwrap();
            tx.commit().await.unwrap();
            worker(&land.app, 4).run_due().await.unwrap();
        }
        assert_eq!(land.env().await.state(), State::Ready);
        land
    }

    fn store(&self) -> Store {
        Store::new(self.scratch.db.clone())
    }

    async fn env(&self) -> Environment {
        self.store().by_label(&self.scratch.db, "pr-7-payments").await.unwrap().unwrap()
    }

    fn plant(&self, name: &str, labels: &serde_json::Value) {
        let doc = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.cluster.apply_as("somebody", &doc, true).unwrap();
    }

    fn names(&self, prefix: &str) -> usize {
        let all = self.cluster.everything("");
        let is_one = |doc: &&serde_json::Value| {
            doc["kind"] == "Namespace" && doc["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(prefix))
        };
        all.iter().filter(is_one).count()
    }

    async fn sweep(&self) {
        assert!(self.app.sweep_cluster("local").await.unwrap());
        self.cluster.settle();
    }

    async fn orphans(&self) -> Vec<Orphan> {
        let list = OrphanList { page_size: 1000, ..OrphanList::default() };
        self.app.list_orphans(&ask(ann(), "ListOrphans"), &list).await.unwrap().0
    }
}

fn ours(env_uid: &str) -> serde_json::Value {
    json!({"app.kubernetes.io/managed-by": "slipway", "slipway.dev/env-uid": env_uid, "slipway.dev/service": "payments"})
}

#[tokio::test]
async fn two_hundred_planted_are_found_and_two_hundred_foreign_ones_are_not_touched() {
    for scratch in support::databases().await {
        let land = Land::new(&scratch).await;
        for n in 0..200 {
            land.plant(&format!("planted-{n}"), &ours(&format!("00000000-0000-4000-8000-{n:012}")));
            let foreign = match n % 4 {
                0 => json!({"app.kubernetes.io/managed-by": "Helm", "slipway.dev/env-uid": "x"}),
                1 => json!({"app.kubernetes.io/managed-by": "slipway"}),
                2 => json!({"slipway.dev/env-uid": land.env().await.uid}),
                _ => json!({"team": "payments"}),
            };
            land.plant(&format!("payments-pr-{n}-other"), &foreign);
        }
        for _ in 0..2 {
            land.sweep().await;
        }
        let found = land.orphans().await;
        assert_eq!(found.len(), 200, "{}", scratch.engine);
        assert!(
            found
                .iter()
                .all(|o| o.namespace.starts_with("planted-") && !o.is_proven && o.stage() == Stage::Quarantined)
        );
        // Nobody can prove that they are ours: they wait for a person, however long.
        land.clock.advance_us(1000 * HOUR_US);
        land.sweep().await;
        assert_eq!((land.names("planted-"), land.names("payments-pr-")), (200, 201), "{}", scratch.engine);
        let events = journal::read(&scratch.db, 0, 100_000).await.unwrap();
        assert_eq!(events.iter().filter(|event| event.subject.ends_with(".OrphanChanged")).count(), 200);
        // Its label is taken off: it is somebody's now.
        let doc = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "planted-3"}});
        land.cluster.apply_as("somebody", &doc, true).unwrap();
        land.sweep().await;
        assert_eq!((land.orphans().await.len(), land.names("planted-")), (199, 200));
    }
}

#[tokio::test]
async fn a_person_confirms_one_and_only_that_one_goes() {
    for scratch in support::databases().await {
        let land = Land::new(&scratch).await;
        land.plant("left-1", &ours("00000000-0000-4000-8000-000000000001"));
        land.plant("left-2", &ours(&land.env().await.uid));
        land.sweep().await;
        let found = land.orphans().await;
        let orphan = found.iter().find(|o| o.namespace == "left-1").unwrap();
        assert!(found.iter().any(|o| o.namespace == "left-2" && o.evidence.contains("pr-7-payments")), "{found:?}");
        let confirmed = |namespace: &str, only_check| Confirmation {
            namespace: namespace.to_owned(),
            reason: "an old try".to_owned(),
            etag: orphan.etag(),
            validate_only: only_check,
        };
        let confirm = |who, confirmation| {
            let (app, name) = (land.app.clone(), orphan.name());
            async move { app.confirm_orphan(&ask(who, "ConfirmOrphanDeletion"), &name, &confirmation).await }
        };
        let refused = confirm(ann(), confirmed("left-1", false)).await.unwrap_err();
        assert_eq!(refused.reason().name, "PERMISSION_DENIED");
        let refused = confirm(admin(), confirmed("left-2", false)).await.unwrap_err();
        assert_eq!(refused.violations()[0].0, "namespace");
        confirm(admin(), confirmed("left-1", true)).await.unwrap();
        land.sweep().await;
        assert_eq!(land.names("left-"), 2, "a check deletes nothing");
        let answer = confirm(admin(), confirmed("left-1", false)).await.unwrap();
        assert_eq!((answer.stage(), answer.confirmed_by.as_str()), (Stage::Deleting, "user:default/root"));
        worker(&land.app, 4).run_due().await.unwrap();
        land.cluster.settle();
        land.sweep().await;
        assert_eq!(
            (land.names("left-1"), land.names("left-2"), land.names("payments-pr-7")),
            (0, 1, 1),
            "{}",
            scratch.engine
        );
        let gone = land.app.get_orphan(&ask(ann(), "GetOrphan"), &orphan.name()).await.unwrap();
        assert_eq!(gone.stage(), Stage::Gone);
        let latest = Confirmation { etag: String::new(), ..confirmed("left-1", false) };
        assert_eq!(confirm(admin(), latest).await.unwrap_err().reason().name, "ORPHAN_GONE");
    }
}

#[tokio::test]
async fn what_a_receipt_proves_to_be_ours_goes_after_three_days() {
    for scratch in support::databases().await {
        let land = Land::new(&scratch).await;
        let env = land.env().await;
        land.plant("imitation", &ours(&env.uid));
        // The life ended, its receipt says so, its row is forgotten; the namespace came back, out of a backup for example.
        let mut tx = scratch.db.begin().await.unwrap();
        land.store().insert_receipt(&mut tx, &receipt::of(&env, land.clock.now_us())).await.unwrap();
        tx.execute("DELETE FROM environments WHERE uid = $1", args![&env.uid]).await.unwrap();
        tx.commit().await.unwrap();
        land.sweep().await;
        let found = land.orphans().await;
        let proven: Vec<_> = found.iter().map(|o| (o.namespace == env.namespace, o.is_proven)).collect();
        assert!(proven.len() == 2 && proven.iter().all(|(is_real, is_proven)| is_real == is_proven), "{found:?}");
        land.clock.advance_us(72 * HOUR_US - 1);
        land.sweep().await;
        assert_eq!(land.names("payments-pr-7"), 1);
        land.clock.advance_us(1);
        land.sweep().await;
        land.sweep().await;
        assert_eq!((land.names("payments-pr-7"), land.names("imitation")), (0, 1), "{}", scratch.engine);
    }
}

#[tokio::test]
async fn a_namespace_that_outlived_its_environment_is_deleted_again_under_its_uid() {
    for scratch in support::databases().await {
        let land = Land::new(&scratch).await;
        let mut env = land.env().await;
        let read = env.version;
        (env.deleted_us, env.version) = (Some(land.clock.now_us()), read + 1);
        let mut tx = scratch.db.begin().await.unwrap();
        land.store().update(&mut tx, &env, read).await.unwrap();
        tx.commit().await.unwrap();
        // A cluster that gives no answer proves nothing.
        land.cluster.state().is_down = Some(Failure::ServerError);
        land.app.sweep_cluster("local").await.unwrap_err();
        land.cluster.state().is_down = None;
        land.sweep().await;
        assert_eq!(land.names("payments-pr-7"), 0, "{}", scratch.engine);
        // Another of the same name and label, under another uid: not ours to delete.
        land.plant(&env.namespace, &ours(&env.uid));
        land.clock.advance_us(100 * HOUR_US);
        land.sweep().await;
        land.sweep().await;
        assert_eq!((land.names("payments-pr-7"), land.orphans().await.len()), (1, 1), "{}", scratch.engine);
        let object = ObjectRef {
            kind: "Namespace".to_owned(),
            api_version: "v1".to_owned(),
            name: env.namespace,
            ..ObjectRef::default()
        };
        assert!(land.cluster.peek(&object).is_some());
    }
}
