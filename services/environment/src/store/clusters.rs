//! Registered clusters.
//!
//! Owns conditional writes: a version that moved is CONFLICT. Refuses credentials: there is no column for one.
use slipway_kit::{
    args,
    db::{Exec, Tx},
    error::{CONFLICT, Error, Result},
};

use super::Store;
use crate::model::{cluster::Cluster, tier::Tier};

impl Store {
    /// Adds a cluster.
    ///
    /// # Errors
    /// ALREADY_EXISTS if the id is taken.
    pub async fn insert_cluster(&self, tx: &mut Tx, cluster: &Cluster) -> Result<()> {
        let sql = "INSERT INTO clusters (id, version, body) VALUES ($1, $2, $3)";
        tx.execute(sql, args![&cluster.id, cluster.version, body(cluster)?]).await.map(drop)
    }

    /// Replaces a cluster if it still has the version it was read with.
    ///
    /// # Errors
    /// CONFLICT if it moved.
    pub async fn update_cluster(&self, tx: &mut Tx, cluster: &Cluster, read_version: i64) -> Result<()> {
        let sql = "UPDATE clusters SET version = $1, body = $2 WHERE id = $3 AND version = $4";
        let changed = tx.execute(sql, args![cluster.version, body(cluster)?, &cluster.id, read_version]).await?;
        if changed == 1 { Ok(()) } else { Err(Error::new(&CONFLICT, "the cluster changed meanwhile")) }
    }

    /// Forgets a cluster.
    pub async fn delete_cluster(&self, tx: &mut Tx, id: &str) -> Result<()> {
        tx.execute("DELETE FROM clusters WHERE id = $1", args![id]).await.map(drop)
    }

    /// One cluster.
    pub async fn cluster(&self, exec: impl Into<Exec<'_>>, id: &str) -> Result<Option<Cluster>> {
        let row = exec.into().fetch_optional("SELECT body FROM clusters WHERE id = $1", args![id]).await?;
        row.map(|row| row.json("body")).transpose()
    }

    /// Every cluster, by id.
    pub async fn clusters(&self) -> Result<Vec<Cluster>> {
        let rows = self.db.fetch_all("SELECT body FROM clusters ORDER BY id", args![]).await?;
        rows.iter().map(|row| row.json("body")).collect()
    }

    /// Labels of some living environments of these tiers on a cluster, at most `limit`.
    pub async fn living_of_tiers(&self, cluster: &str, tiers: &[Tier], limit: i64) -> Result<Vec<String>> {
        let mut labels = Vec::new();
        for tier in tiers {
            let sql = "SELECT label_id FROM environments WHERE cluster = $1 AND tier = $2 AND deleted_us = 0 ORDER BY label_id LIMIT $3";
            let rows = self.db.fetch_all(sql, args![cluster, tier.word(), limit]).await?;
            for row in &rows {
                labels.push(row.text("label_id")?);
            }
        }
        labels.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(labels)
    }

    /// Labels of some living environments on a cluster, at most `limit`.
    pub async fn living_on(&self, tx: &mut Tx, cluster: &str, limit: i64) -> Result<Vec<String>> {
        let sql = "SELECT label_id FROM environments WHERE cluster = $1 AND deleted_us = 0 ORDER BY label_id LIMIT $2";
        let rows = tx.fetch_all(sql, args![cluster, limit]).await?;
        rows.iter().map(|row| row.text("label_id")).collect()
    }
}

fn body(cluster: &Cluster) -> Result<String> {
    serde_json::to_string(cluster).map_err(Error::internal)
}
