//! What came of an action in a cluster, told back to the environment.
//!
//! Owns the inventory: every object that may exist is in it before it can exist (ENV-123). Refuses to forget one that was not seen
//! gone.
use super::{
    condition::{Aspect, Verdict},
    delivery::Delivered,
    environment::{Environment, Held, ObjectRef, Power, Publication},
    guardrails, manifest,
    refusal::{Class, Refusal},
    rollout,
    step::RETRY_US,
    tier::Tier,
};

const SOON_US: i64 = 1_000_000;

/// The namespace of an environment as an object.
pub fn namespace_ref(env: &Environment) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: String::new(),
        name: env.namespace.clone(),
    }
}

/// Puts an object into the inventory, or its uid beside it; an empty uid is the intent to make it.
pub fn hold(env: &mut Environment, object: ObjectRef, uid: &str, now_us: i64) {
    let is_same = |held: &&mut Held| same(&held.object, &object);
    match env.status.inventory.iter_mut().find(is_same) {
        Some(held) if uid.is_empty() || held.uid == uid => held.object = object,
        Some(held) => {
            let created_us = now_us;
            *held = Held { object, uid: uid.to_owned(), created_us };
        }
        None => env.status.inventory.push(Held { object, uid: uid.to_owned(), created_us: now_us }),
    }
}

/// Whether two references name one object, whatever version of its group they speak of.
pub fn same(a: &ObjectRef, b: &ObjectRef) -> bool {
    let group = |object: &ObjectRef| object.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned();
    a.kind == b.kind && a.name == b.name && a.namespace == b.namespace && group(a) == group(b)
}

/// Objects were applied, each with the uid the cluster gave it.
pub fn held(env: &mut Environment, objects: Vec<(ObjectRef, String)>, now_us: i64) {
    for (object, uid) in objects {
        hold(env, object, &uid, now_us);
    }
}

/// The guard rails of this generation were applied.
pub fn guarded(env: &mut Environment, objects: Vec<(ObjectRef, String)>, now_us: i64) {
    held(env, objects, now_us);
    env.status.progress.guarded = env.generation;
}

/// The secrets service delivered what is bound; Secrets that it removed are no longer ours.
pub fn delivered(env: &mut Environment, secrets: Delivered, now_us: i64) {
    let at = env.at(now_us);
    let names: Vec<&str> = secrets.secrets.iter().map(|secret| secret.name.as_str()).collect();
    env.status.inventory.retain(|held| held.object.kind != "Secret" || secrets.has(&held.object.name));
    if !names.is_empty() {
        let text = format!("{} delivered: {}", names.len(), names.join(", "));
        env.status.conditions.set(Aspect::SecretsReady, Verdict::True, "DELIVERED", text, at);
    }
    for held in secrets.held(&env.namespace, now_us) {
        hold(env, held.object, &held.uid, now_us);
    }
    (env.status.progress.delivered, env.status.progress.secrets) = (env.generation, secrets);
}

/// What shall be applied is known: everything else in the inventory is stale, unless the tier keeps it (ENV-82).
pub fn intended(env: &mut Environment, wanted: &[ObjectRef], now_us: i64) {
    let keeps_volumes = env.tier != Tier::Development;
    let is_kept = |object: &ObjectRef| {
        guardrails::is_rail_kind(&object.kind, &object.name)
            // The secrets service owns what it delivered.
            || (object.kind == "Secret" && env.status.progress.secrets.has(&object.name))
            || (object.kind == "PersistentVolumeClaim" && keeps_volumes)
            // Hooks go by their own policies, and what its chart keeps does not go.
            || env.status.progress.hooks.has_made(object)
            || env.status.progress.kept.iter().any(|kept| same(kept, object))
            || wanted.iter().any(|w| same(w, object))
    };
    let inventory = env.status.inventory.iter().map(|held| &held.object);
    env.status.progress.stale = inventory.filter(|object| !is_kept(object)).cloned().collect();
    for object in wanted {
        hold(env, object.clone(), "", now_us);
    }
}

/// Every object of this generation was applied, powered as wanted when it was rendered.
pub fn applied(env: &mut Environment, objects: Vec<(ObjectRef, String)>, power: Power, now_us: i64) {
    let at = env.at(now_us);
    let text = format!("{} objects.", objects.len());
    held(env, objects, now_us);
    let is_restored = env.status.progress.applied == env.generation && env.status.progress.power == power;
    let progress = &mut env.status.progress;
    (progress.applied, progress.power, progress.applied_us) = (env.generation, power, now_us);
    let conditions = &mut env.status.conditions;
    conditions.set(Aspect::Applied, Verdict::True, "APPLIED", text, at);
    if is_restored {
        return;
    }
    progress.healthy = 0;
    let verdict = if power == Power::Asleep { Verdict::Unknown } else { Verdict::False };
    conditions.set(Aspect::Healthy, verdict, rollout::ROLLING_OUT, "", at);
}

/// What ran was put to sleep, because nobody approved this generation; everything else that is ours is stale.
pub fn dozed(env: &mut Environment, slept: &[ObjectRef], objects: Vec<(ObjectRef, String)>, now_us: i64) {
    intended(env, slept, now_us);
    held(env, objects, now_us);
    let progress = &mut env.status.progress;
    (progress.dozed, progress.power, progress.applied_us) = (env.generation, Power::Asleep, now_us);
}

/// The sleeping form stands in the repository in place of what was published.
pub fn dozed_published(env: &mut Environment, publication: Publication, now_us: i64) {
    let at = env.at(now_us);
    let text = format!("The manifests that let it sleep are at commit {}.", publication.commit);
    env.status.conditions.set(Aspect::Published, Verdict::False, "UNAPPROVED", text, at);
    env.status.publication = Some(publication);
}

/// Stale objects are gone.
pub fn pruned(env: &mut Environment, gone: &[ObjectRef]) {
    env.status.inventory.retain(|held| !gone.iter().any(|object| same(object, &held.object)));
    env.status.progress.stale.retain(|stale| !gone.iter().any(|object| same(object, stale)));
}

/// The cluster refused something; answers how long to wait before the next look, or nothing if the generation is over for now.
pub fn refused(env: &mut Environment, aspect: Aspect, title: &str, refusal: &Refusal, now_us: i64) -> Option<i64> {
    let at = env.at(now_us);
    let text = refusal.sentence(title);
    match refusal.class() {
        Class::Transient => {
            env.status.conditions.set(aspect, Verdict::Unknown, refusal.reason(), text, at);
            Some(SOON_US / 4)
        }
        Class::Conflict => {
            if *refusal == Refusal::NamespaceMissing {
                rollout::lost(env, &text, now_us);
            }
            Some(SOON_US)
        }
        Class::Terminal | Class::Blocked => {
            env.fail(aspect, refusal.reason(), &text, now_us + RETRY_US, now_us);
            None
        }
    }
}

/// Whether objects of this kind are deleted before their namespace is.
pub fn goes_early(kind: &str) -> bool {
    manifest::is_route(kind)
        || matches!(
            kind,
            "HorizontalPodAutoscaler"
                | "ScaledObject"
                | "CronJob"
                | "Deployment"
                | "StatefulSet"
                | "DaemonSet"
                | "ReplicaSet"
                | "Job"
                | "Pod"
                | "Secret"
        )
}
