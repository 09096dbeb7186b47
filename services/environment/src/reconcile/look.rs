//! One look at an environment's cluster.
//!
//! Owns which kinds are read and how many requests that takes. Refuses to judge: the reading is the model's, and a cluster that gives
//! no answer is told as silence.
use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use slipway_kit::error::Result;

use super::{Known, Reconciler};
use crate::{
    model::{
        environment::{Environment, Held, Power},
        health, hook,
        manifest::{self, Doc},
        observed::{self, Live, Reach, Remains, Routing, Seen, Space},
        outcome::namespace_ref,
        teardown::{self, Asked},
    },
    world::{Probed, cluster::Cluster},
};

/// Kinds that guard rails are made of, beside the namespace.
const RAILS: [(&str, &str); 4] = [
    ("v1", "ServiceAccount"),
    ("v1", "LimitRange"),
    ("v1", "ResourceQuota"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];
/// Pods, which are counted and tell what is wrong (ENV-84).
pub(super) const POD: (&str, &str) = ("v1", "Pod");
/// Kinds that objects of the inventory bring about, and that health is read from too.
const BROUGHT: [(&str, (&str, &str)); 2] =
    [("Deployment", ("apps/v1", "ReplicaSet")), ("StatefulSet", ("v1", "PersistentVolumeClaim"))];
/// Kinds whose absence says nothing: they end by themselves, are guard rails, or another service's.
const UNWATCHED: [&str; 4] = ["Namespace", "Job", "Secret", "Pod"];
/// Kinds that are never listed: one object is read by its name, the others are another service's.
const UNLISTED: [&str; 2] = ["Namespace", "Secret"];

impl Reconciler {
    /// Looks, and keeps what was seen; silence is seen too.
    pub(super) async fn look_at(&self, known: &mut Known, env: &Environment) {
        known.token = self.0.looked.token(&env.uid);
        let seen = match self.look(env).await {
            Ok(seen) => seen,
            Err(error) => {
                let text = error.message().to_owned();
                known.silence = Some(error);
                Seen::Silent(text)
            }
        };
        known.seen = Some((seen, self.0.now_us()));
    }

    async fn look(&self, env: &Environment) -> Result<Seen> {
        let cluster = self.0.world.clusters.open(&env.cluster).await?;
        let namespace = cluster.get(&namespace_ref(env)).await?;
        let space = observed::space(namespace.as_ref(), &env.uid);
        if env.retire.is_some() {
            let left = match teardown::asks(env, &space) {
                Asked::Nothing => Vec::new(),
                Asked::Pods => {
                    let mut pods = cluster.list(POD.0, POD.1, &env.namespace, &[]).await?;
                    // What ran to its end, as a hook's pod, uses nothing any more.
                    pods.retain(|pod| !matches!(manifest::text(pod, "/status/phase"), "Succeeded" | "Failed"));
                    pods
                }
                Asked::Everything => cluster.remaining(&env.namespace).await?,
            };
            let hooks = hook::seen(&env.status.progress.hooks, &left);
            return Ok(Seen::Remains(Remains { hooks, ..observed::remains(namespace.as_ref(), &env.uid, &left) }));
        }
        let Some(namespace) = namespace.filter(|_| matches!(space, Space::Ours { .. })) else {
            return Ok(Seen::Live(Box::new(nothing(space))));
        };
        let rails = self.rails(env).await?;
        let mut live = listed(cluster.as_ref(), env).await?;
        live.push(namespace);
        let kinds: Vec<&str> = env.status.inventory.iter().map(|held| held.object.kind.as_str()).collect();
        let watched: Vec<&str> = kinds.iter().copied().filter(|kind| !UNWATCHED.contains(kind)).collect();
        let hooks = &env.status.progress.hooks;
        let is_wanted = |held: &&Held| !is_stale(env, held) && !hooks.has_made(&held.object);
        let wanted: Vec<_> = env.status.inventory.iter().filter(is_wanted).cloned().collect();
        let missing = observed::missing(&wanted, &watched, &live);
        let rails_broken = observed::broken(&rails, &live);
        let (health, routing) = (health::of(&wanted, &live), observed::routing(&wanted, &live));
        let reach = self.reach(env, &health, &routing).await;
        Ok(Seen::Live(Box::new(Live {
            space,
            missing: missing.into_iter().filter(|title| !rails_broken.contains(title)).collect(),
            rails_broken,
            is_quota_counted: observed::is_quota_counted(&live),
            health,
            routing,
            reach,
            pods: observed::pods(&live),
            replicas: observed::replicas(&live),
            hooks: hook::seen(hooks, &live),
        })))
    }

    /// Tries the address, once what is behind it is healthy (ENV-102).
    async fn reach(&self, env: &Environment, health: &health::Health, routing: &Routing) -> Reach {
        if !matches!(health, health::Health::Ready) || env.power != Power::Awake {
            return Reach::Unknown(String::new());
        }
        if *routing != Routing::Proxy {
            return Reach::Unknown("The cluster's own way in is not tried from here.".to_owned());
        }
        let probe = env.spec.config.as_ref().map(|config| config.probe.clone()).unwrap_or_default();
        let host = self.0.platform().host(&env.label_id);
        match self.0.world.prober.probe(&host, &probe.path).await {
            Ok(Probed::Answered(code, uid)) => observed::reach(&probe, &env.uid, Ok((code, &uid))),
            Ok(Probed::Silent(text)) => observed::reach(&probe, &env.uid, Err(&text)),
            Ok(Probed::NotTried(text)) => Reach::Unknown(text),
            Err(error) => Reach::Unknown(format!("The gateway cannot try it now: {}", error.message())),
        }
    }
}

fn is_stale(env: &Environment, held: &Held) -> bool {
    env.status.progress.stale.iter().any(|object| crate::model::outcome::same(object, &held.object))
}

/// A look where there is no namespace of ours.
fn nothing(space: Space) -> Live {
    Live {
        space,
        rails_broken: Vec::new(),
        is_quota_counted: false,
        missing: Vec::new(),
        health: health::Health::Progressing(Vec::new()),
        routing: Routing::Proxy,
        reach: Reach::Unknown(String::new()),
        pods: 0,
        replicas: BTreeMap::new(),
        hooks: BTreeMap::new(),
    }
}

/// The kinds that matter to this environment: each costs a request.
fn kinds(env: &Environment) -> BTreeSet<(&str, &str)> {
    let held = env.status.inventory.iter().map(|held| (held.object.api_version.as_str(), held.object.kind.as_str()));
    let held: BTreeSet<(&str, &str)> = held.filter(|(_, kind)| !UNLISTED.contains(kind)).collect();
    let brought = BROUGHT.into_iter().filter(|(by, _)| held.iter().any(|(_, kind)| kind == by)).map(|(_, kind)| kind);
    RAILS.into_iter().chain([POD]).chain(brought).chain(held.iter().copied()).collect()
}

/// Every object of the kinds that matter, at one time.
async fn listed(cluster: &dyn Cluster, env: &Environment) -> Result<Vec<Doc>> {
    let lists = kinds(env).into_iter().map(|kind| objects(cluster, kind, env));
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// The objects of one kind, each saying which it is: an item of a list need not.
pub(super) async fn objects(
    cluster: &dyn Cluster,
    (api_version, kind): (&str, &str),
    env: &Environment,
) -> Result<Vec<Doc>> {
    let mut docs = cluster.list(api_version, kind, &env.namespace, &[]).await?;
    for doc in docs.iter_mut().filter(|doc| manifest::kind(doc).is_empty()) {
        (doc["apiVersion"], doc["kind"]) = (api_version.into(), kind.into());
    }
    Ok(docs)
}
