//! Rows of environments, their reserved hosts, tombstones and renders.
//!
//! Owns conditional writes: a version that moved is CONFLICT. Refuses to forget a host: it stays with its key.
use slipway_kit::{
    args,
    authz::Visible,
    db::{Exec, Row, Tx, Value},
    error::{CONFLICT, Error, Result},
    filter::{Field, Filter, Kind},
    id,
    page::{Cursor, OrderBy},
};

use super::Store;
use crate::model::{
    environment::Environment,
    names::{self, Subject},
    preview::Tombstone,
};

/// Fields of filters, as the contract names them.
pub const FILTER: &[Field] = &[
    Field { name: "service", column: "service", kind: Kind::Text },
    Field { name: "owner", column: "owner", kind: Kind::Text },
    Field { name: "cluster", column: "cluster", kind: Kind::Text },
    Field { name: "user", column: "user_ref", kind: Kind::Text },
    Field {
        name: "kind",
        column: "kind",
        kind: Kind::Words(&[
            ("PERSONAL", "personal"),
            ("BRANCH", "branch"),
            ("PULL_REQUEST", "pull_request"),
            ("LONG_LIVED", "long_lived"),
        ]),
    },
    Field {
        name: "tier",
        column: "tier",
        kind: Kind::Words(&[("DEVELOPMENT", "development"), ("STAGING", "staging"), ("PRODUCTION", "production")]),
    },
    Field {
        name: "state",
        column: "state",
        kind: Kind::Words(&[
            ("PENDING", "PENDING"),
            ("AWAITING_APPROVAL", "AWAITING_APPROVAL"),
            ("PROVISIONING", "PROVISIONING"),
            ("DEPLOYING", "DEPLOYING"),
            ("READY", "READY"),
            ("DEGRADED", "DEGRADED"),
            ("SLEEPING", "SLEEPING"),
            ("ASLEEP", "ASLEEP"),
            ("WAKING", "WAKING"),
            ("PUBLISHED", "PUBLISHED"),
            ("FAILED", "FAILED"),
            ("DELETING", "DELETING"),
            ("DELETE_BLOCKED", "DELETE_BLOCKED"),
            ("DELETED", "DELETED"),
        ]),
    },
    Field { name: "create_time", column: "created_us", kind: Kind::Time },
];

/// Lives of one name in the order that answers which is meant: the one that lives, the one that ends, the last that was.
const NEWEST: &str = "(CASE WHEN deleted_us > 0 THEN 2 WHEN state IN ('DELETING', 'DELETE_BLOCKED') THEN 1 ELSE 0 END), \
                      created_us DESC";

/// A question for a list.
pub struct ListQuery<'a> {
    /// Rows the caller may see.
    pub visible: Visible,
    /// The filter.
    pub filter: &'a Filter,
    /// Order.
    pub order: &'a OrderBy,
    /// Where the page starts.
    pub cursor: Option<&'a Cursor>,
    /// Most rows.
    pub limit: usize,
    /// Deleted lives too.
    pub show_deleted: bool,
}

impl Store {
    /// Adds a life.
    ///
    /// # Errors
    /// ALREADY_EXISTS if its key, label or namespace has a living one.
    pub async fn insert(&self, tx: &mut Tx, env: &Environment) -> Result<()> {
        let sql = "INSERT INTO environments (uid, label_id, natural_key, kind, tier, service, service_uid, owner, user_ref, cluster, \
                   namespace, scm, repository_id, branch, state, version, source_ended_us, created_us, updated_us, deleted_us, body, believed_us, \
                   budget_previews, budget_cpu, budget_memory, budget_waits_us, budget_add_previews, budget_add_cpu, budget_add_memory) \
                   VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29)";
        let source = &env.spec.source;
        let mut binds = args![
            &env.uid,
            &env.label_id,
            &env.key,
            env.kind.word(),
            env.tier.word(),
            &env.service,
            &env.service_uid,
            &env.owner,
            &env.user,
            &env.cluster,
            &env.namespace,
            &source.scm,
            &source.repository_id,
            &source.branch,
            env.state().word(),
            env.version,
            source_ended_us(env),
            env.created_us,
            env.updated_us,
            env.deleted_us.unwrap_or(0),
            body(env)?,
            env.status.ended_seen_us.unwrap_or(0),
        ];
        binds.extend(super::budgets::columns(env));
        tx.execute(sql, binds).await.map(drop)
    }

    /// Replaces a life if it still has the version it was read with.
    ///
    /// # Errors
    /// CONFLICT if it moved.
    pub async fn update(&self, tx: &mut Tx, env: &Environment, read_version: i64) -> Result<()> {
        let sql = "UPDATE environments SET branch = $1, state = $2, version = $3, source_ended_us = $4, updated_us = $5, \
                   deleted_us = $6, body = $7, believed_us = $10, budget_previews = $11, budget_cpu = $12, budget_memory = $13, \
                   budget_waits_us = $14, budget_add_previews = $15, budget_add_cpu = $16, budget_add_memory = $17 \
                   WHERE uid = $8 AND version = $9";
        let mut binds = args![
            &env.spec.source.branch,
            env.state().word(),
            env.version,
            source_ended_us(env),
            env.updated_us,
            env.deleted_us.unwrap_or(0),
            body(env)?,
            &env.uid,
            read_version,
            env.status.ended_seen_us.unwrap_or(0),
        ];
        binds.extend(super::budgets::columns(env));
        if tx.execute(sql, binds).await? == 1 {
            return Ok(());
        }
        Err(Error::new(&CONFLICT, format!("environments/{} changed meanwhile", env.label_id)))
    }

    /// A life by its uid.
    pub async fn by_uid(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Environment>> {
        one(exec, "SELECT body FROM environments WHERE uid = $1", args![uid]).await
    }

    /// The living environment of that label, else the one that ends, else its last life.
    pub async fn by_label(&self, exec: impl Into<Exec<'_>>, label_id: &str) -> Result<Option<Environment>> {
        let sql = format!("SELECT body FROM environments WHERE label_id = $1 ORDER BY {NEWEST} LIMIT 1");
        one(exec, &sql, args![label_id]).await
    }

    /// The living environment of a key, else the one that ends.
    pub async fn living(&self, exec: impl Into<Exec<'_>>, key: &str) -> Result<Option<Environment>> {
        let sql = "SELECT body FROM environments WHERE natural_key = $1 AND deleted_us = 0";
        one(exec, &format!("{sql} ORDER BY {NEWEST} LIMIT 1"), args![key]).await
    }

    /// Uids of living environments that show a branch of a repository.
    pub async fn on_branch(
        &self,
        exec: impl Into<Exec<'_>>,
        scm: &str,
        repository_id: &str,
        branch: &str,
    ) -> Result<Vec<String>> {
        let sql =
            "SELECT uid FROM environments WHERE scm = $1 AND repository_id = $2 AND branch = $3 AND deleted_us = 0";
        uids(exec, sql, args![scm, repository_id, branch]).await
    }

    /// Uids of living environments of a service in a tier.
    pub async fn of_service(&self, exec: impl Into<Exec<'_>>, service: &str, tier: &str) -> Result<Vec<String>> {
        let sql = "SELECT uid FROM environments WHERE service = $1 AND tier = $2 AND deleted_us = 0";
        uids(exec, sql, args![service, tier]).await
    }

    /// Uids of every living environment, for the first look after a start.
    pub async fn all_living(&self) -> Result<Vec<String>> {
        uids(&self.db, "SELECT uid FROM environments WHERE deleted_us = 0 ORDER BY uid", args![]).await
    }

    /// Clusters of living environments.
    pub async fn clusters_in_use(&self) -> Result<Vec<String>> {
        let sql = "SELECT DISTINCT cluster FROM environments WHERE deleted_us = 0 ORDER BY cluster";
        self.db.fetch_all(sql, args![]).await?.iter().map(|row| row.text("cluster")).collect()
    }

    /// A page of a list, one row more than asked for if there is one, and the rows' cursors.
    pub async fn list(&self, query: &ListQuery<'_>) -> Result<Vec<(Environment, Cursor)>> {
        self.page("environments", condition(query)?, query.order, query.cursor, query.limit).await
    }

    /// Number of matches, counted up to `most`.
    pub async fn count(&self, query: &ListQuery<'_>, most: i64) -> Result<i64> {
        let (condition, mut binds) = condition(query)?;
        binds.push(Value::from(most));
        let sql = format!(
            "SELECT COUNT(*) AS n FROM (SELECT uid FROM environments WHERE {condition} LIMIT ${}) AS matches",
            binds.len()
        );
        self.db.fetch_one(&sql, binds).await?.int("n")
    }

    /// The host label of a key: the one it has, or the first free one, reserved for ever (ENV-6).
    ///
    /// # Errors
    /// CONFLICT if both names are taken by other keys.
    pub async fn reserve_host(
        &self,
        tx: &mut Tx,
        subject: &Subject,
        service: &str,
        uid: &str,
        now_us: i64,
    ) -> Result<String> {
        let key = names::natural_key(subject, service);
        let tries = [names::host_label(subject, service), names::host_label_on_clash(subject, service, uid)];
        for label in &tries {
            let sql = "SELECT label_id FROM hosts WHERE natural_key = $1";
            if let Some(row) = tx.fetch_optional(sql, args![&key]).await? {
                return row.text("label_id");
            }
            let sql =
                "INSERT INTO hosts (label_id, natural_key, reserved_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
            tx.execute(sql, args![label, &key, now_us]).await?;
        }
        match tx.fetch_optional("SELECT label_id FROM hosts WHERE natural_key = $1", args![&key]).await? {
            Some(row) => row.text("label_id"),
            None => Err(Error::new(&CONFLICT, format!("the host {} is taken", tries[0]))),
        }
    }

    /// The first free namespace (ENV-5); the unique index has the last word.
    pub async fn free_namespace(&self, tx: &mut Tx, subject: &Subject, service: &str, uid: &str) -> Result<String> {
        let tries = names::namespaces(subject, service, uid);
        for name in &tries {
            let sql = "SELECT uid FROM environments WHERE namespace = $1 AND deleted_us = 0";
            if tx.fetch_optional(sql, args![name]).await?.is_none() {
                return Ok(name.clone());
            }
        }
        Err(Error::new(&CONFLICT, format!("the namespaces {} are taken", tries.join(", "))))
    }

    /// What remains of the last life under a key.
    pub async fn tombstone(&self, exec: impl Into<Exec<'_>>, key: &str) -> Result<Option<Tombstone>> {
        let row = exec.into().fetch_optional("SELECT body FROM tombstones WHERE natural_key = $1", args![key]).await?;
        row.map(|row| row.json("body")).transpose()
    }

    /// Sets what remains of a life; a life that took long to end says nothing about one that ended after it.
    pub async fn bury(&self, tx: &mut Tx, key: &str, tombstone: &Tombstone) -> Result<()> {
        if self.tombstone(&mut *tx, key).await?.is_some_and(|last| last.at_us > tombstone.at_us) {
            return Ok(());
        }
        let sql = "INSERT INTO tombstones (natural_key, body) VALUES ($1, $2) \
                   ON CONFLICT (natural_key) DO UPDATE SET body = excluded.body";
        let body = serde_json::to_string(tombstone).map_err(Error::internal)?;
        tx.execute(sql, args![key, body]).await.map(drop)
    }

    /// Keeps the files of a generation until they are published.
    pub async fn keep_render(&self, tx: &mut Tx, uid: &str, generation: i64, files: &[(String, String)]) -> Result<()> {
        let sql = "INSERT INTO renders (uid, generation, files) VALUES ($1, $2, $3) \
                   ON CONFLICT (uid) DO UPDATE SET generation = excluded.generation, files = excluded.files";
        let files = serde_json::to_string(files).map_err(Error::internal)?;
        tx.execute(sql, args![uid, generation, files]).await.map(drop)
    }

    /// The files of a generation.
    pub async fn render(&self, uid: &str, generation: i64) -> Result<Option<Vec<(String, String)>>> {
        let sql = "SELECT files FROM renders WHERE uid = $1 AND generation = $2";
        self.db.fetch_optional(sql, args![uid, generation]).await?.map(|row| row.json("files")).transpose()
    }

    /// Forgets the files of a life.
    pub async fn drop_render(&self, tx: &mut Tx, uid: &str) -> Result<()> {
        tx.execute("DELETE FROM renders WHERE uid = $1", args![uid]).await.map(drop)
    }

    /// Forgets lives that ended before an instant.
    pub async fn purge_deleted(&self, before_us: i64) -> Result<u64> {
        self.db.execute("DELETE FROM environments WHERE deleted_us > 0 AND deleted_us < $1", args![before_us]).await
    }
}

fn source_ended_us(env: &Environment) -> i64 {
    env.retire.as_ref().filter(|r| r.reason.is_by_source()).map_or(0, |r| r.decided_us)
}

fn body(env: &Environment) -> Result<String> {
    serde_json::to_string(env).map_err(Error::internal)
}

fn condition(query: &ListQuery<'_>) -> Result<(String, Vec<Value>)> {
    let (visible, mut binds) = query.visible.sql("owner", 1);
    let (filter, values) = query.filter.sql(FILTER, binds.len() + 1)?;
    binds.extend(values);
    let living = if query.show_deleted { "1 = 1" } else { "deleted_us = 0" };
    Ok((format!("{visible} AND {filter} AND {living}"), binds))
}

async fn one(exec: impl Into<Exec<'_>>, sql: &str, binds: Vec<Value>) -> Result<Option<Environment>> {
    exec.into().fetch_optional(sql, binds).await?.map(|row: Row| row.json("body")).transpose()
}

async fn uids(exec: impl Into<Exec<'_>>, sql: &str, binds: Vec<Value>) -> Result<Vec<String>> {
    exec.into().fetch_all(sql, binds).await?.iter().map(|row| row.text("uid")).collect()
}

/// A fresh UUIDv4 for a life.
pub fn new_uid() -> String {
    id::uuid4()
}
