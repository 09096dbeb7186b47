//! Three clusters: where environments go, who is refused, and what cannot be taken away while somebody lives there.
#![allow(clippy::unwrap_used, missing_docs)]
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use slipway_environment::{
    app::{App, ClusterSpec, NewEnvironment},
    error::CLUSTER_UNKNOWN,
    model::{
        cluster::{CheckVerdict, Cluster as Row},
        environment::{Environment, Kind, Target},
        layout::Routes,
        manifest,
        preview::Reading,
        tier::Tier,
    },
    world::{
        World,
        cluster::{Cluster, Clusters, Credential},
        cluster_checks::{self, Patience, Scope},
        fake::Fake,
        fake_cluster::{FakeCluster, Trouble},
    },
};
use slipway_kit::{
    caller::{Caller, Role},
    clock::Clock,
    db::scratch::Scratch,
    error::{Error, INVALID_CONFIG, Result},
    serve::Call,
};
use support::{OWNER, REPOSITORY, SERVICE, app_over, caller, head, images, open, wanted};

/// Clusters in memory by the name of their kubeconfig.
struct Three(BTreeMap<String, FakeCluster>);

#[async_trait]
impl Clusters for Three {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        let found = self.0.get(&format!("{id}.yaml"));
        let found = found.ok_or_else(|| Error::new(&CLUSTER_UNKNOWN, format!("no cluster {id} is registered")))?;
        Ok(Arc::new(found.clone()))
    }

    async fn probe(&self, credential: &Credential) -> Result<Arc<dyn Cluster>> {
        let Credential::KubeconfigFile(name) = credential else { panic!("not in a cluster") };
        let found = self.0.get(name).ok_or_else(|| Error::new(&INVALID_CONFIG, format!("there is no file {name}")))?;
        Ok(Arc::new(found.clone()))
    }

    async fn registries(&self, file: &str) -> Result<Vec<String>> {
        match file {
            "registry.json" => Ok(vec!["registry.test".to_owned()]),
            _ => Err(Error::new(&INVALID_CONFIG, format!("there is no file {file}"))),
        }
    }
}

struct Platform {
    fake: Fake,
    app: App,
    clock: Clock,
}

async fn platform(scratch: &Scratch) -> Platform {
    let (fake, clock) = (Fake::default(), Clock::manual(1_800_000_000_000_000));
    fake.add_service("payments", REPOSITORY, OWNER);
    fake.set(REPOSITORY, "main", Reading::Open(head(9, 1)));
    fake.set(REPOSITORY, "", Reading::Open(head(9, 1)));
    let one = || FakeCluster::new(clock.clone());
    let clusters: BTreeMap<_, _> = ["a", "b", "c"].map(|id| (format!("{id}.yaml"), one())).into();
    let world = World { clusters: Arc::new(Three(clusters)), ..fake.world() };
    let app = app_over(scratch, world, clock.clone()).await;
    Platform { fake, app, clock }
}

fn root() -> Caller {
    caller("user:default/root", &[], &[Role::PlatformAdmin])
}

fn mia(method: &str) -> Call {
    support::call(caller("user:default/mia", &[(OWNER, Role::Maintainer)], &[]), method)
}

fn admin(name: &str) -> Call {
    Call::for_test(root(), Box::leak(format!("/slipway.environment.v1.ClusterService/{name}").into_boxed_str()))
}

fn spec(id: &str, tiers: &[Tier]) -> ClusterSpec {
    ClusterSpec {
        kubeconfig_file: format!("{id}.yaml"),
        in_cluster: false,
        target: Target::Apply,
        tiers: tiers.to_vec(),
        is_default: true,
        routing: Routes::Proxy,
        check_image: String::new(),
        pull_secret_files: Vec::new(),
    }
}

impl Platform {
    async fn register(&self, id: &str, spec: ClusterSpec) -> Row {
        self.app.create_cluster(&admin("CreateCluster"), id, &spec, false).await.unwrap()
    }

    async fn staging(&self, cluster: &str) -> Result<Environment> {
        let new = NewEnvironment {
            service: SERVICE.to_owned(),
            kind: Some(Kind::LongLived),
            tier: Some(Tier::Staging),
            images: images(),
            cluster: cluster.to_owned(),
            ..NewEnvironment::default()
        };
        self.app.create(&mia("CreateEnvironment"), &new).await
    }
}

#[tokio::test]
async fn the_tier_chooses_and_who_lives_there_is_not_left_without() {
    for scratch in support::databases().await {
        let p = platform(&scratch).await;
        p.register("a", spec("a", &[Tier::Development])).await;
        p.register("b", spec("b", &[Tier::Staging])).await;
        p.register("c", spec("c", &[Tier::Production])).await;
        p.fake.set(REPOSITORY, "7", open(1));
        let preview = p.app.ensure_preview(&mia("EnsurePreview"), &wanted(7, 1)).await.unwrap();
        assert_eq!((preview.cluster.as_str(), preview.target), ("a", Target::Apply));
        for (named, says) in
            [("a", "takes development and nothing of the tier staging"), ("moon", "no cluster \"moon\"")]
        {
            let refused = p.staging(named).await.unwrap_err();
            assert!(refused.is(&slipway_kit::error::INVALID_FIELD) || refused.is(&CLUSTER_UNKNOWN), "{refused:?}");
            let told = format!("{} {:?}", refused.message(), refused.violations());
            assert!(told.contains("environment.cluster") && told.contains(says), "{told}");
        }
        let staging = p.staging("").await.unwrap();
        assert_eq!((staging.cluster.as_str(), staging.tier), ("b", Tier::Staging));

        let taken = p.app.delete_cluster(&admin("DeleteCluster"), "a", "").await.unwrap_err();
        assert!(taken.reason().name == "CLUSTER_IN_USE" && taken.message().contains(&preview.label_id), "{taken:?}");
        for change in [
            |old: ClusterSpec| ClusterSpec { tiers: vec![Tier::Production], ..old },
            |old: ClusterSpec| ClusterSpec { target: Target::Git, kubeconfig_file: String::new(), ..old },
        ] {
            let refused = p.app.update_cluster(&admin("UpdateCluster"), "b", "", false, change).await.unwrap_err();
            assert_eq!(refused.reason().name, "CLUSTER_IN_USE");
            assert!(
                refused.message().contains(&staging.label_id) && refused.message().contains("default"),
                "{refused:?}"
            );
        }
        // Draining: new ones go elsewhere, who lives there stays.
        let drained = |old: ClusterSpec| ClusterSpec { is_default: false, ..old };
        p.app.update_cluster(&admin("UpdateCluster"), "a", "", false, drained).await.unwrap();
        p.register("d", ClusterSpec { kubeconfig_file: "c.yaml".to_owned(), ..spec("d", &[Tier::Development]) }).await;
        p.fake.set(REPOSITORY, "8", open(2));
        assert_eq!(p.app.ensure_preview(&mia("EnsurePreview"), &wanted(8, 2)).await.unwrap().cluster, "d");
        p.app.delete_cluster(&admin("DeleteCluster"), "c", "").await.unwrap();
    }
}

fn check<'a>(
    checks: &'a [slipway_environment::model::cluster::Check],
    name: &str,
) -> &'a slipway_environment::model::cluster::Check {
    checks.iter().find(|check| check.check == name).unwrap()
}

#[tokio::test]
async fn logins_and_hourly_checks_are_told_with_the_cluster() {
    for scratch in support::databases().await {
        let p = platform(&scratch).await;
        let with = |files: &[&str]| ClusterSpec {
            pull_secret_files: files.iter().map(|file| (*file).to_owned()).collect(),
            ..spec("a", &[])
        };
        let tried = p.app.create_cluster(&admin("CreateCluster"), "a", &with(&["none.json"]), true).await.unwrap();
        let said = check(&tried.checks, "PULL_SECRETS");
        assert!(said.verdict == CheckVerdict::Failed && said.message.contains("none.json") && !said.remedy.is_empty());
        assert!(!tried.is_unfit(), "it is told and refuses nothing");
        let made = p.register("a", with(&["registry.json"])).await;
        let said = check(&made.checks, "PULL_SECRETS");
        assert!(said.verdict == CheckVerdict::Passed && said.message.contains("registry.test"), "{said:?}");
        assert_eq!(p.app.pull_secret_files(Tier::Development, "a").await.unwrap(), ["registry.json"]);
        assert_eq!(check(&made.checks, "NETWORK_POLICY").verdict, CheckVerdict::Unknown);
        assert!(check(&made.checks, "NETWORK_POLICY").remedy.contains("check_image"));
        p.clock.advance_us(3_601_000_000);
        let mut tx = scratch.db.begin().await.unwrap();
        slipway_kit::worker::enqueue(&mut tx, "cluster_check", "a", 0).await.unwrap();
        tx.commit().await.unwrap();
        let (worker, down) = (slipway_environment::worker(&p.app, 1), slipway_kit::serve::Shutdown::new());
        let running = tokio::spawn(worker.run(down.clone()));
        let mut seen = made.checked_us;
        for _ in 0..200 {
            let found = p.app.get_cluster(&admin("GetCluster"), "a").await.unwrap();
            let slipway_environment::app::Listed::Registered(row) = found else { panic!("it is registered") };
            assert_eq!(row.version, made.version, "a check is no change of a caller");
            seen = row.checked_us;
            if seen > made.checked_us {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(seen > made.checked_us, "the hourly check has not run");
        running.abort();
    }
}

async fn self_test(cluster: &FakeCluster) -> slipway_environment::model::cluster::Check {
    let scope = Scope {
        domain: "preview.invalid".to_owned(),
        scheme: "http".to_owned(),
        check_image: "registry.test/busybox:1".to_owned(),
        patience: Patience {
            start: Duration::from_millis(300),
            cut: Duration::from_millis(200),
            every: Duration::from_millis(10),
        },
        ..Scope::default()
    };
    let (_, checks) = cluster_checks::run(cluster, &scope).await;
    let spaces = cluster.everything("");
    let left: Vec<&str> = spaces.iter().map(manifest::name).filter(|name| name.starts_with("slipway-check")).collect();
    assert!(left.is_empty(), "{left:?}");
    check(&checks, "NETWORK_POLICY").clone()
}

#[tokio::test]
async fn enforcement_is_believed_when_a_path_that_worked_is_cut() {
    let cluster = FakeCluster::new(Clock::manual(1_800_000_000_000_000));
    let open = self_test(&cluster).await;
    assert_eq!(open.verdict, CheckVerdict::Failed, "{open:?}");
    assert!(open.message.contains("into it and out of") && open.remedy.contains("plugin"), "{open:?}");
    cluster.state().enforces_policies = true;
    let walled = self_test(&cluster).await;
    assert_eq!(walled.verdict, CheckVerdict::Passed, "{walled:?}");
    cluster.state().troubles.push(("busybox".to_owned(), Trouble::ImagePull));
    let absent = self_test(&cluster).await;
    assert_eq!(absent.verdict, CheckVerdict::Unknown, "{absent:?}");
    assert!(absent.message.contains("ImagePullBackOff") && absent.remedy.contains("check_image"), "{absent:?}");
}

#[tokio::test]
async fn what_a_killed_check_left_is_removed_by_the_next_and_nothing_else() {
    // Long ago by the clock of whoever sweeps.
    let cluster = FakeCluster::new(Clock::manual(1_600_000_000_000_000));
    let space = |name: &str, label: &str| {
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": label}}})
    };
    for (name, label) in
        [("slipway-check-dead-in", "slipway-check"), ("slipway-check-like", "somebody"), ("shop", "slipway-check")]
    {
        cluster.apply_as("test", &space(name, label), false).unwrap();
    }
    cluster_checks::run(&cluster, &Scope { domain: "preview.invalid".to_owned(), ..Scope::default() }).await;
    let spaces = cluster.everything("");
    let names: Vec<&str> = spaces.iter().map(manifest::name).collect();
    assert!(!names.contains(&"slipway-check-dead-in"), "{names:?}");
    assert!(names.contains(&"slipway-check-like") && names.contains(&"shop"), "{names:?}");
}
