//! Orphans: clusters are compared with the environments, what belongs to none is quarantined, and deleted once that is proven or confirmed.
//!
//! Owns one pass over one cluster: the complete list of namespaces with our labels first, our records after it, so that a namespace whose
//! environment is being made is never taken for an orphan. Every delete carries the uid that was judged. Refuses namespaces without both
//! labels, and to delete on the word of a label.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    authz::Facts,
    clock::jittered,
    error::{Error, NOT_FOUND, Result, Violations},
    filter::Filter,
    journal,
    mutation::{Begun, Mutation},
    page::{self, Cursor, OrderBy},
    serve::Call,
    worker,
};

use super::{App, check_version};
use crate::{
    error::{CLUSTER_UNKNOWN, ORPHAN_GONE},
    model::{
        orphan::{self, Labelled, MANAGED_BY, Orphan, Stage, Verdict},
        receipt::Receipt,
    },
    store::ORPHAN_FILTER,
    wire,
    world::cluster::{Cluster, Deleted, ObjectRef},
};

/// Kind of work: compare a cluster with the environments, by its id.
pub const WORK_SWEEP: &str = "sweep";
/// Records that are read at one time.
const BATCH: usize = 200;
/// Deletions of one pass; the rest follows in the next.
const DELETIONS_MAX: usize = 50;
/// Fields a list can be ordered by.
const ORDER: &[(&str, &str)] = &[("create_time", "found_us")];

/// A list of orphans that is asked for.
#[derive(Clone, Debug, Default)]
pub struct OrphanList {
    /// Items of a page.
    pub page_size: i32,
    /// Token of the page before.
    pub page_token: String,
    /// AIP-160 filter.
    pub filter: String,
    /// Those that are gone too.
    pub show_gone: bool,
}

/// A deletion that a person confirms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Confirmation {
    /// Name of the namespace, once more.
    pub namespace: String,
    /// Why.
    pub reason: String,
    /// Version that was looked at; any if empty.
    pub etag: String,
    /// Only checks.
    pub validate_only: bool,
}

impl App {
    /// When a cluster is compared again: about every interval, never all clusters at once.
    pub(crate) fn sweep_again(&self) -> Duration {
        jittered(self.platform.sweep_every)
    }

    /// Has a cluster compared soon.
    pub(super) async fn sweep_soon(&self, cluster_id: &str) -> Result<()> {
        let mut tx = self.store.db.begin().await?;
        worker::enqueue(&mut tx, WORK_SWEEP, cluster_id, 0).await?;
        tx.commit().await
    }

    /// Compares one cluster with the environments; false if nothing is observed there.
    ///
    /// # Errors
    /// What the cluster gives instead of a complete list: nothing is concluded then.
    pub async fn sweep_cluster(&self, cluster_id: &str) -> Result<bool> {
        let cluster = match self.world.clusters.open(cluster_id).await {
            Ok(cluster) => cluster,
            Err(error) if error.is(&CLUSTER_UNKNOWN) => return Ok(false),
            Err(error) => return Err(error),
        };
        let listed = cluster.list("v1", "Namespace", "", &[MANAGED_BY]).await?;
        let found: Vec<Labelled> = listed.iter().filter_map(Labelled::read).collect();
        let known: BTreeMap<String, Orphan> =
            self.store.orphans_in(cluster_id).await?.into_iter().map(|orphan| (orphan.uid.clone(), orphan)).collect();
        let mut deletions = 0;
        let mut orphans = BTreeSet::new();
        for batch in found.chunks(BATCH) {
            for (labelled, verdict) in self.judged(batch).await? {
                match verdict {
                    Verdict::Owned => {}
                    Verdict::Left if deletions < DELETIONS_MAX => {
                        deletions += 1;
                        self.delete_left(cluster.as_ref(), labelled).await?;
                    }
                    Verdict::Left => {}
                    Verdict::Orphan(claim) => {
                        orphans.insert(labelled.uid.as_str());
                        if !known.contains_key(&labelled.uid) {
                            self.quarantine(Orphan::found(cluster_id, labelled, &claim, self.now_us())).await?;
                        }
                    }
                }
            }
        }
        for orphan in known.values() {
            if !orphans.contains(orphan.uid.as_str()) {
                self.gone(orphan).await?;
            } else if orphan.is_due(self.now_us()) && deletions < DELETIONS_MAX {
                deletions += 1;
                self.delete_orphan(cluster.as_ref(), orphan).await?;
            }
        }
        Ok(true)
    }

    /// What each namespace is, by the records of now.
    async fn judged<'a>(&self, batch: &'a [Labelled]) -> Result<Vec<(&'a Labelled, Verdict)>> {
        let uids: BTreeSet<&str> = batch.iter().map(|found| found.env_uid.as_str()).collect();
        let lives = self.store.lives(&uids.into_iter().collect::<Vec<_>>()).await?;
        let mut judged = Vec::new();
        for found in batch {
            let env = lives.iter().find(|env| env.uid == found.env_uid);
            let is_living = env.is_some_and(|env| env.deleted_us.is_none());
            let receipt: Option<Receipt> =
                if is_living { None } else { self.store.receipt(&self.store.db, &found.env_uid).await? };
            judged.push((found, orphan::judge(found, env, receipt.as_ref(), self.now_us())));
        }
        Ok(judged)
    }

    async fn quarantine(&self, orphan: Orphan) -> Result<()> {
        let mut tx = self.store.db.begin().await?;
        if !self.store.insert_orphan(&mut tx, &orphan).await? {
            // It was gone for us once, and is back: its labels were taken off and put on again.
            let Some(before) = self.store.orphan(&mut tx, &orphan.uid).await? else { return Ok(()) };
            let again = Orphan { version: before.version + 1, ..orphan };
            self.store.update_orphan(&mut tx, &again).await?;
            return self.told(tx, &again, None).await;
        }
        self.told(tx, &orphan, None).await
    }

    async fn told(&self, mut tx: slipway_kit::db::Tx, orphan: &Orphan, previous: Option<Stage>) -> Result<()> {
        journal::append(&mut tx, wire::event::orphan(orphan, previous)).await?;
        tx.commit().await?;
        if previous.is_none() {
            tracing::warn!(orphan = %orphan.name(), cluster = %orphan.cluster, namespace = %orphan.namespace,
                evidence = %orphan.evidence, "a namespace with our labels belongs to no environment; it is quarantined");
        } else {
            tracing::info!(orphan = %orphan.name(), cluster = %orphan.cluster, stage = ?orphan.stage(), "orphan");
        }
        Ok(())
    }

    async fn gone(&self, orphan: &Orphan) -> Result<()> {
        let gone = Orphan { gone_us: self.now_us().max(1), version: orphan.version + 1, ..orphan.clone() };
        let mut tx = self.store.db.begin().await?;
        self.store.update_orphan(&mut tx, &gone).await?;
        self.told(tx, &gone, Some(orphan.stage())).await
    }

    /// Deletes an orphan whose time has come; written down before, so that a death in between is no riddle.
    async fn delete_orphan(&self, cluster: &dyn Cluster, orphan: &Orphan) -> Result<()> {
        if orphan.deleting_us == 0 {
            let next = Orphan { deleting_us: self.now_us().max(1), version: orphan.version + 1, ..orphan.clone() };
            let mut tx = self.store.db.begin().await?;
            self.store.update_orphan(&mut tx, &next).await?;
            self.told(tx, &next, Some(orphan.stage())).await?;
        }
        delete(cluster, &orphan.namespace, &orphan.uid).await
    }

    /// Repeats the deletion of a namespace that outlived its environment, under the uid that was recorded.
    async fn delete_left(&self, cluster: &dyn Cluster, left: &Labelled) -> Result<()> {
        tracing::warn!(env = %left.env_uid, namespace = %left.namespace, "a deleted environment's namespace is still there; deleted again");
        delete(cluster, &left.namespace, &left.uid).await
    }

    /// One orphan.
    pub async fn get_orphan(&self, call: &Call, name: &str) -> Result<Orphan> {
        call.check(&Facts::default())?;
        self.store.orphan(&self.store.db, uid_of(name)).await?.ok_or_else(|| missing(name))
    }

    /// A page of orphans, newest first, and the token of the next.
    pub async fn list_orphans(&self, call: &Call, list: &OrphanList) -> Result<(Vec<Orphan>, String)> {
        call.check(&Facts::default())?;
        let bound = format!("{}\n{}", list.filter, list.show_gone);
        let (filter, order, cursor) = page::question(
            Filter::read(&list.filter, ORPHAN_FILTER),
            OrderBy::parse("create_time desc", ORDER, "", "uid"),
            self.sealer.open::<Cursor>(call, &bound, &list.page_token),
        )?;
        let limit = page::size(list.page_size);
        let rows = self.store.orphans(&filter, list.show_gone, &order, cursor.as_ref(), limit).await?;
        Ok(self.sealer.cut(call, &bound, rows, limit))
    }

    /// Has an orphan deleted by the next pass, which begins now; it looks at the cluster again before.
    ///
    /// # Errors
    /// NOT_FOUND; ORPHAN_GONE; ETAG_MISMATCH; INVALID_FIELD for another namespace's name.
    pub async fn confirm_orphan(&self, call: &Call, name: &str, confirmation: &Confirmation) -> Result<Orphan> {
        call.check(&Facts::default())?;
        let mut mutation = match Mutation::begin::<Orphan>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let found = self.store.orphan(mutation.tx(), uid_of(name)).await?.ok_or_else(|| missing(name))?;
        let mut v = Violations::new();
        v.check(confirmation.namespace == found.namespace, "namespace", "must be the name of the orphan's namespace");
        v.finish()?;
        check_version(("orphan", "slipway.dev/Orphan"), &found.name(), &found.etag(), &confirmation.etag)?;
        if found.gone_us > 0 {
            return Err(Error::new(&ORPHAN_GONE, format!("{name} is not in the cluster any more")));
        }
        let answer = Orphan {
            confirmed_by: call.caller.principal.clone(),
            confirm_reason: confirmation.reason.trim().to_owned(),
            version: found.version + 1,
            ..found.clone()
        };
        if confirmation.validate_only {
            return Ok(answer);
        }
        self.store.update_orphan(mutation.tx(), &answer).await?;
        journal::append(mutation.tx(), wire::event::orphan(&answer, Some(found.stage()))).await?;
        worker::enqueue(mutation.tx(), WORK_SWEEP, &answer.cluster, 0).await?;
        let about = Change { resource: name, uid: &answer.uid, fields: &["confirmer", "confirm_reason"] };
        mutation.commit(&answer, about).await?;
        Ok(answer)
    }
}

/// Deletes a namespace under its uid; one that refuses is tried again in the next pass.
async fn delete(cluster: &dyn Cluster, namespace: &str, uid: &str) -> Result<()> {
    let object = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: String::new(),
        name: namespace.to_owned(),
    };
    match cluster.delete(&object, uid).await? {
        Ok(Deleted::Gone | Deleted::Going) => {}
        Err(refusal) => tracing::warn!(?refusal, namespace, "the namespace is not deleted"),
    }
    Ok(())
}

fn uid_of(name: &str) -> &str {
    name.strip_prefix("orphans/").unwrap_or_default()
}

fn missing(name: &str) -> Error {
    Error::new(&NOT_FOUND, format!("there is no {name}")).resource("slipway.dev/Orphan", name)
}
