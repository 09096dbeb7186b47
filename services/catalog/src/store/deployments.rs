//! Deployments as the metrics service told of them.

use slipway_kit::{
    args,
    db::{Db, Tx},
    error::Result,
};

use crate::model::deployment::{Deployment, KEPT_MAX};

/// Keeps a deployment; the same one again replaces it, unless it is older. The oldest beyond the limit go.
pub async fn put_deployment(tx: &mut Tx, deployment: &Deployment) -> Result<()> {
    let d = deployment;
    tx.execute(
        "INSERT INTO deployment (service, environment, external_id, commit_sha, outcome, finished_us) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (service, environment, external_id) DO UPDATE SET commit_sha = excluded.commit_sha, \
         outcome = excluded.outcome, finished_us = excluded.finished_us",
        args![&d.service, &d.environment, &d.id, &d.commit, &d.outcome, d.finished_us],
    )
    .await?;
    tx.execute(
        "DELETE FROM deployment WHERE service = $1 AND environment = $2 AND external_id NOT IN \
         (SELECT external_id FROM deployment WHERE service = $1 AND environment = $2 ORDER BY finished_us DESC, external_id DESC LIMIT $3)",
        args![&d.service, &d.environment, KEPT_MAX],
    )
    .await
    .map(drop)
}

/// Every kept deployment of a service.
pub async fn deployments(db: &Db, service: &str) -> Result<Vec<Deployment>> {
    let sql = "SELECT service, environment, external_id, commit_sha, outcome, finished_us FROM deployment WHERE service = $1 \
               ORDER BY finished_us DESC LIMIT 1000";
    let rows = db.fetch_all(sql, args![service]).await?;
    rows.iter()
        .map(|row| {
            Ok(Deployment {
                service: row.text("service")?,
                environment: row.text("environment")?,
                id: row.text("external_id")?,
                commit: row.text("commit_sha")?,
                outcome: row.text("outcome")?,
                finished_us: row.int("finished_us")?,
                rollback: false,
            })
        })
        .collect()
}
