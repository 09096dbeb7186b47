//! A new version of a bound secret reaches what runs: delivered anew, and one rollout of the pods that read it, within 90 seconds (SEC-45).
#![allow(clippy::unwrap_used)]
#[path = "support/cluster.rs"]
mod cluster;
mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cluster::Tapped;
use slipway_environment::{
    app::{App, WORK_ENVIRONMENT},
    model::{environment::Environment, state::State, tier::Tier},
    store::Store,
    wire::event::BindingChange,
    worker,
    world::{
        cluster::{Cluster as _, ObjectRef},
        fake::Fake,
        fake_cluster::FakeCluster,
    },
};
use slipway_kit::{clock::Clock, db::scratch::Scratch, worker::enqueue};
use support::{OWNER, REPOSITORY, SERVICE, ann, call, open, wanted};

const LIMIT_US: i64 = 90_000_000;

struct Shop {
    scratch: Scratch,
    app: App,
    clock: Clock,
    cluster: FakeCluster,
}

impl Shop {
    async fn env(&self) -> Environment {
        Store::new(self.scratch.db.clone()).by_label(&self.scratch.db, "pr-7-payments").await.unwrap().unwrap()
    }

    /// Works until it is ready at a generation; the time of the clock that it took.
    async fn ready(&self, generation: i64) -> (Environment, i64) {
        let begun_us = self.clock.now_us();
        for _ in 0..300 {
            let env = self.env().await;
            if env.state() == State::Ready && env.is_settled() && env.generation == generation {
                return (env, self.clock.now_us() - begun_us);
            }
            let mut tx = self.scratch.db.begin().await.unwrap();
            enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await.unwrap();
            tx.commit().await.unwrap();
            worker(&self.app, 1).run_due().await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.clock.advance_us(200_000);
        }
        let env = self.env().await;
        panic!("never ready at {generation}: {} {:#?}", env.state().word(), env.status.conditions);
    }

    async fn hash(&self, env: &Environment) -> String {
        let object = ObjectRef {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: env.namespace.clone(),
            name: "payments".to_owned(),
        };
        let found = self.cluster.get(&object).await.unwrap().unwrap();
        found["spec"]["template"]["metadata"]["annotations"]["slipway.dev/secrets-hash"].as_str().unwrap().to_owned()
    }

    async fn pods(&self, env: &Environment) -> BTreeSet<String> {
        let pods = self.cluster.list("v1", "Pod", &env.namespace, &[]).await.unwrap();
        pods.iter().map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_new_version_rolls_the_pods_that_read_it_once() {
    for scratch in support::databases().await {
        let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
        fake.add_service("payments", REPOSITORY, OWNER);
        fake.state().secret_names = vec!["db".to_owned()];
        fake.state().secret_version = 1;
        let cluster = FakeCluster::new(clock.clone());
        let world = Tapped::new(&fake, Arc::new(cluster.clone()));
        let app = support::app_over(&scratch, world.world(), clock.clone()).await;
        let shop = Shop { scratch, app, clock, cluster };
        fake.set(REPOSITORY, "7", open(1));
        shop.app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted(7, 1)).await.unwrap();
        let (env, _) = shop.ready(1).await;
        let (hash, pods) = (shop.hash(&env).await, shop.pods(&env).await);
        assert_eq!(pods.len(), 2);
        // Somebody puts a new version; the secrets service tells of the binding.
        fake.state().secret_version = 2;
        let change = BindingChange {
            service: SERVICE.to_owned(),
            tier: Some(Tier::Development),
            environment_uid: String::new(),
            secret_name: "db".to_owned(),
            is_gone: false,
        };
        let mut tx = shop.scratch.db.begin().await.unwrap();
        shop.app.rebind(&mut tx, &change).await.unwrap();
        tx.commit().await.unwrap();
        let (env, took_us) = shop.ready(2).await;
        assert!(took_us <= LIMIT_US, "{took_us}");
        assert_ne!(shop.hash(&env).await, hash);
        assert!(shop.pods(&env).await.is_disjoint(&pods) && shop.pods(&env).await.len() == 2);
        assert_eq!(env.status.progress.secrets.secrets[0].versions[0].1, 2);
        let log = world.log(&env.namespace);
        let count = |what: &str| log.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!((count("deliver"), count("apply Deployment/")), (2, 2), "{log:?}");
    }
}
