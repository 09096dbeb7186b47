//! How a life begins, shared by every way in.
//!
//! Owns the making of a new life: uid, reserved host, namespace, first spec. Refuses a second living one under a key.
use slipway_kit::{db::Tx, error::Result};

use super::App;
use crate::{
    model::{
        cluster::Placement,
        environment::{Environment, Kind, Power, Spec, Status},
        names::{self, Subject},
        tier::Tier,
    },
    store,
    world::ServiceFacts,
};

/// What a new life is made of.
pub(super) struct Beginning<'a> {
    pub(super) subject: &'a Subject,
    pub(super) kind: Kind,
    pub(super) tier: Tier,
    pub(super) service: &'a ServiceFacts,
    pub(super) place: &'a Placement,
    /// Where it goes, from [`App::place`].
    pub(super) label: &'a str,
    pub(super) user: &'a str,
    pub(super) spec: Spec,
}

impl App {
    /// A new life, not yet saved; its host is reserved in this transaction.
    pub(super) async fn conceive(&self, tx: &mut Tx, beginning: Beginning<'_>) -> Result<Environment> {
        let now_us = self.now_us();
        let uid = store::new_uid();
        let service = &beginning.service.reference;
        let label_id = self.store.reserve_host(tx, beginning.subject, service, &uid, now_us).await?;
        let namespace = self.store.free_namespace(tx, beginning.subject, service, &uid).await?;
        let mut env = Environment {
            uid,
            label_id,
            key: names::natural_key(beginning.subject, service),
            kind: beginning.kind,
            tier: beginning.tier,
            service: service.clone(),
            service_uid: beginning.service.uid.clone(),
            owner: beginning.service.owner.clone(),
            service_tier: beginning.service.tier.clone(),
            label: beginning.label.to_owned(),
            user: beginning.user.to_owned(),
            cluster: beginning.place.cluster.clone(),
            namespace,
            spec: beginning.spec,
            generation: 1,
            status: Status { generation_us: now_us, ..Status::default() },
            expire_us: None,
            retire: None,
            version: 1,
            created_us: now_us,
            updated_us: now_us,
            deleted_us: None,
            target: beginning.place.target,
            power: Power::Awake,
            used_us: now_us,
            pin: None,
            approval: None,
        };
        env.expire_us = env.life_us().map(|life| now_us.saturating_add(life));
        self.guess(tx, &mut env).await?;
        Ok(env)
    }
}
