//! Changes, pull requests, incidents, enrolments, milestones and corrections: the effective version of each.
//!
//! Owns which version is kept. Refuses to let an older version overwrite a newer one.
use slipway_kit::{
    args,
    db::{Exec, Tx},
    error::Result,
};

use crate::model::correction::Correction;
use crate::model::fact::{Enrolment, Incident, Milestone, VersionKey};

/// Kind and item of a change or pull request in its repository.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Canonical repository.
    pub repository: &'a str,
    /// `change` or `pull_request`.
    pub kind: &'a str,
    /// Commit or number.
    pub item: &'a str,
    /// The one owner it counts for; empty: all.
    pub claim: &'a str,
}

/// Keeps a version if it is the latest. A claimed one gives way to one that counts for all.
pub async fn put_item<T: serde::Serialize>(
    tx: &mut Tx,
    item: Item<'_>,
    fact: &T,
    key: &VersionKey,
    seq: i64,
) -> Result<()> {
    if !item.claim.is_empty() {
        let sql =
            "SELECT 1 AS one FROM repository_facts WHERE repository = $1 AND kind = $2 AND item = $3 AND claim = ''";
        if tx.fetch_optional(sql, args![item.repository, item.kind, item.item]).await?.is_some() {
            return Ok(());
        }
    }
    let sql = "INSERT INTO repository_facts (repository, kind, item, claim, fact, occurred_us, sequence, payload_sha256, seq) \
               VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT (repository, kind, item, claim) DO UPDATE SET fact = excluded.fact, \
               occurred_us = excluded.occurred_us, sequence = excluded.sequence, payload_sha256 = excluded.payload_sha256, \
               seq = excluded.seq WHERE repository_facts.occurred_us < excluded.occurred_us \
               OR (repository_facts.occurred_us = excluded.occurred_us AND (repository_facts.sequence < excluded.sequence \
               OR (repository_facts.sequence = excluded.sequence AND repository_facts.payload_sha256 < excluded.payload_sha256)))";
    let args = args![
        item.repository,
        item.kind,
        item.item,
        item.claim,
        super::json(fact)?,
        key.occurred_us,
        key.sequence,
        &key.payload_sha256,
        seq,
    ];
    tx.execute(sql, args).await.map(drop)
}

/// Changes or pull requests of a repository newer than a number, as `owner` may see them, oldest number first.
pub async fn items<T: serde::de::DeserializeOwned>(
    exec: impl Into<Exec<'_>>,
    repository: &str,
    kind: &str,
    owner: &str,
    after: i64,
) -> Result<Vec<T>> {
    let sql = "SELECT fact FROM repository_facts WHERE repository = $1 AND kind = $2 AND seq > $3 AND (claim = '' OR claim = $4) \
               ORDER BY seq, claim DESC";
    exec.into()
        .fetch_all(sql, args![repository, kind, after, owner])
        .await?
        .iter()
        .map(|row| row.json("fact"))
        .collect()
}

/// Whether a commit is known.
pub async fn has_change(exec: impl Into<Exec<'_>>, repository: &str, sha: &str) -> Result<bool> {
    let sql = "SELECT 1 AS one FROM repository_facts WHERE repository = $1 AND kind = 'change' AND item = $2 LIMIT 1";
    Ok(exec.into().fetch_optional(sql, args![repository, sha]).await?.is_some())
}

/// Lets what an owner brought count for all, now that the catalog puts the repository in its hands.
pub async fn adopt(tx: &mut Tx, repository: &str, owner: &str) -> Result<()> {
    if owner.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO repository_facts (repository, kind, item, claim, fact, occurred_us, sequence, payload_sha256, seq) \
               SELECT repository, kind, item, '', fact, occurred_us, sequence, payload_sha256, seq FROM repository_facts \
               WHERE repository = $1 AND claim = $2 ON CONFLICT (repository, kind, item, claim) DO NOTHING";
    tx.execute(sql, args![repository, owner]).await?;
    tx.execute("DELETE FROM repository_facts WHERE repository = $1 AND claim = $2", args![repository, owner])
        .await
        .map(drop)
}

/// Keeps an incident as a service sees it.
pub async fn put_incident(tx: &mut Tx, service: &str, incident: &Incident) -> Result<()> {
    let sql = "INSERT INTO incidents (service, external_id, fact) VALUES ($1, $2, $3) \
               ON CONFLICT (service, external_id) DO UPDATE SET fact = excluded.fact";
    tx.execute(sql, args![service, &incident.external_id, super::json(incident)?]).await.map(drop)
}

/// Incidents of a service by id.
pub async fn incidents(exec: impl Into<Exec<'_>>, service: &str) -> Result<Vec<Incident>> {
    let sql = "SELECT fact FROM incidents WHERE service = $1 ORDER BY external_id";
    exec.into().fetch_all(sql, args![service]).await?.iter().map(|row| row.json("fact")).collect()
}

/// Keeps an enrolment.
pub async fn put_enrolment(tx: &mut Tx, enrolment: &Enrolment) -> Result<()> {
    let sql = "INSERT INTO enrolments (service, fact) VALUES ($1, $2) ON CONFLICT (service) DO UPDATE SET fact = excluded.fact";
    tx.execute(sql, args![&enrolment.service, super::json(enrolment)?]).await.map(drop)
}

/// Enrolment of a service.
pub async fn enrolment(exec: impl Into<Exec<'_>>, service: &str) -> Result<Option<Enrolment>> {
    let sql = "SELECT fact FROM enrolments WHERE service = $1";
    exec.into().fetch_optional(sql, args![service]).await?.map(|row| row.json("fact")).transpose()
}

/// Keeps a milestone.
pub async fn put_milestone(tx: &mut Tx, milestone: &Milestone) -> Result<()> {
    let sql = "INSERT INTO milestones (service, kind, fact) VALUES ($1, $2, $3) \
               ON CONFLICT (service, kind) DO UPDATE SET fact = excluded.fact";
    tx.execute(sql, args![&milestone.service, &milestone.kind, super::json(milestone)?]).await.map(drop)
}

/// Milestones of a service.
pub async fn milestones(exec: impl Into<Exec<'_>>, service: &str) -> Result<Vec<Milestone>> {
    let sql = "SELECT fact FROM milestones WHERE service = $1 ORDER BY kind";
    exec.into().fetch_all(sql, args![service]).await?.iter().map(|row| row.json("fact")).collect()
}

/// Adds a correction under its number.
pub async fn put_correction(tx: &mut Tx, correction: &Correction, seq: i64) -> Result<()> {
    let sql = "INSERT INTO corrections (id, service, seq, fact) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![&correction.id, &correction.service, seq, super::json(correction)?]).await.map(drop)
}

/// Corrections of a service, oldest first.
pub async fn corrections(exec: impl Into<Exec<'_>>, service: &str) -> Result<Vec<Correction>> {
    let sql = "SELECT fact FROM corrections WHERE service = $1 ORDER BY seq";
    exec.into().fetch_all(sql, args![service]).await?.iter().map(|row| row.json("fact")).collect()
}
