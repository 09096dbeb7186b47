//! Pipeline runs as their versions add up. Refuses bodies: what is kept is what the contract shows.
use slipway_kit::{
    args,
    db::{Db, Row, Tx, Value},
    error::Result,
    filter::{self, Compare, Field, Filter, Kind, Op},
    id,
    page::{Cursor, OrderBy},
};

use crate::model::{
    fact::{PipelineRun, RunStatus, Trigger},
    service_ref,
    stage::StageKind,
};

/// A run as it is kept.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Id in its name.
    pub id: String,
    /// The run.
    pub run: PipelineRun,
    /// When it was last heard of.
    pub heard_us: i64,
}

/// Fields of the filter; `service` is one more.
pub const FIELDS: &[Field] = &[
    Field { name: "repository", column: "r.repository", kind: Kind::Text },
    Field { name: "branch", column: "r.branch", kind: Kind::Text },
    Field {
        name: "status",
        column: "r.status",
        kind: Kind::Words(&[
            ("QUEUED", "QUEUED"),
            ("RUNNING", "RUNNING"),
            ("WAITING", "WAITING"),
            ("SUCCEEDED", "SUCCEEDED"),
            ("FAILED", "FAILED"),
            ("CANCELLED", "CANCELLED"),
            ("SKIPPED", "SKIPPED"),
        ]),
    },
    Field {
        name: "trigger",
        column: "r.started_by",
        kind: Kind::Words(&[
            ("PUSH", "PUSH"),
            ("PULL_REQUEST", "PULL_REQUEST"),
            ("SCHEDULE", "SCHEDULE"),
            ("MANUAL", "MANUAL"),
            ("API", "API"),
        ]),
    },
    Field { name: "stage_kind", column: "r.kinds", kind: Kind::List },
    Field { name: "sha", column: "r.sha", kind: Kind::Text },
    Field { name: "pull_request", column: "r.pull_request", kind: Kind::Int },
    Field { name: "start_time", column: "r.sort_us", kind: Kind::Time },
];

/// Fields of the order.
pub const ORDER: &[(&str, &str)] = &[("start_time", "r.sort_us")];

/// Id of an attempt of a run.
pub fn id_of(fact_key: &str) -> String {
    use sha2::Digest as _;
    id::base32(&sha2::Sha256::digest(fact_key.as_bytes()), 20)
}

/// Word a status is stored by.
pub fn status_word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Queued => "QUEUED",
        RunStatus::Running => "RUNNING",
        RunStatus::Waiting => "WAITING",
        RunStatus::Succeeded => "SUCCEEDED",
        RunStatus::Failed => "FAILED",
        RunStatus::Cancelled => "CANCELLED",
        RunStatus::Skipped => "SKIPPED",
    }
}

fn trigger_word(trigger: Option<Trigger>) -> &'static str {
    match trigger {
        Some(Trigger::Push) => "PUSH",
        Some(Trigger::PullRequest) => "PULL_REQUEST",
        Some(Trigger::Schedule) => "SCHEDULE",
        Some(Trigger::Manual) => "MANUAL",
        Some(Trigger::Api) => "API",
        None => "",
    }
}

/// Writes a run and its services.
pub async fn put(tx: &mut Tx, fact_key: &str, run_key: &str, run: &PipelineRun, heard_us: i64) -> Result<()> {
    let id = id_of(fact_key);
    let mut kinds: Vec<&str> = run.stages.iter().map(|s| StageKind::of_job(&s.title).word()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let sort_us = run.started_us.or(run.queued_us).or(run.finished_us).unwrap_or(heard_us);
    let finished_us = run.finished_us.unwrap_or(0);
    let sql = "INSERT INTO pipeline_runs (id, repository, branch, sha, status, started_by, pull_request, sort_us, finished_us, heard_us, \
               kinds, run_key, run) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) ON CONFLICT (id) DO UPDATE SET \
               branch = excluded.branch, sha = excluded.sha, status = excluded.status, started_by = excluded.started_by, \
               pull_request = excluded.pull_request, sort_us = excluded.sort_us, finished_us = excluded.finished_us, \
               heard_us = excluded.heard_us, kinds = excluded.kinds, run = excluded.run";
    let args = args![
        &id,
        &run.repository,
        &run.branch,
        &run.sha,
        status_word(run.status),
        trigger_word(run.trigger),
        run.pull_request,
        sort_us,
        finished_us,
        heard_us,
        super::json(&kinds)?,
        run_key,
        super::json(run)?,
    ];
    tx.execute(sql, args).await?;
    tx.execute("DELETE FROM run_services WHERE run_id = $1", args![&id]).await?;
    for service in &run.services {
        let sql = "INSERT INTO run_services (service, run_id, finished_us) VALUES ($1, $2, $3) ON CONFLICT (service, run_id) DO NOTHING";
        tx.execute(sql, args![service, &id, finished_us]).await?;
    }
    Ok(())
}

fn stored(row: &Row) -> Result<Stored> {
    Ok(Stored { id: row.text("id")?, run: row.json("run")?, heard_us: row.int("heard_us")? })
}

/// One run.
pub async fn get(db: &Db, id: &str) -> Result<Option<Stored>> {
    let sql = "SELECT id, run, heard_us FROM pipeline_runs WHERE id = $1";
    db.fetch_optional(sql, args![id]).await?.as_ref().map(stored).transpose()
}

/// A filter over runs.
///
/// # Errors
/// FILTER_INVALID.
pub fn filter(text: &str) -> Result<Filter> {
    let filter = filter::parse(text)?;
    condition(&filter, 1)?;
    Ok(filter)
}

/// The condition of a filter; a service may be written in any spelling.
fn condition(filter: &Filter, first_bind: usize) -> Result<(String, Vec<Value>)> {
    let one = |compare: &Compare, bind: usize| {
        if compare.path == "service" {
            return of_service(compare, bind);
        }
        let names: Vec<&str> = std::iter::once("service").chain(FIELDS.iter().map(|f| f.name)).collect();
        let field = FIELDS.iter().find(|f| f.name == compare.path);
        field.ok_or_else(|| compare.unknown_field(&names))?.sql(compare, bind)
    };
    filter.sql_with(&one, first_bind)
}

fn of_service(compare: &Compare, bind: usize) -> Result<(String, Vec<Value>)> {
    let not = match compare.op {
        Op::Eq | Op::Has => "",
        Op::Ne => "NOT ",
        _ => return Err(compare.invalid("only =, != and : compare services")),
    };
    if compare.is_presence() {
        return Ok(("EXISTS (SELECT 1 FROM run_services s WHERE s.run_id = r.id)".to_owned(), Vec::new()));
    }
    let service = service_ref::canonical(&compare.value)
        .ok_or_else(|| compare.invalid("a reference to a service is expected"))?;
    let sql = format!("r.id {not}IN (SELECT s.run_id FROM run_services s WHERE s.service = ${bind})");
    Ok((sql, vec![service.into()]))
}

/// A page of runs; one more than `limit` tells that there are more. Each with its place in the order.
pub async fn page(
    db: &Db,
    filter: &Filter,
    order: &OrderBy,
    after: Option<&Cursor>,
    limit: usize,
) -> Result<Vec<(Stored, Cursor)>> {
    let (wanted, mut binds) = condition(filter, 1)?;
    let (beyond, more) = order.after(after, 1 + binds.len())?;
    binds.extend(more);
    let sql = format!(
        "SELECT r.id, r.run, r.heard_us{} FROM pipeline_runs r WHERE {wanted} AND {beyond} ORDER BY {} LIMIT {}",
        order.columns(),
        order.sql(),
        limit + 1
    );
    db.fetch_all(&sql, binds).await?.iter().map(|row| Ok((stored(row)?, order.cursor(row)?))).collect()
}

/// Number of runs, counted up to `most`.
pub async fn count(db: &Db, filter: &Filter, most: i64) -> Result<i64> {
    let (wanted, binds) = condition(filter, 1)?;
    let sql = format!(
        "SELECT CAST(COUNT(*) AS BIGINT) AS n FROM (SELECT 1 AS one FROM pipeline_runs r WHERE {wanted} LIMIT {most}) AS counted"
    );
    db.fetch_one(&sql, binds).await?.int("n")
}

/// Runs of a service that ended in a window, each with the key its attempts share.
pub async fn ended(db: &Db, service: &str, from_us: i64, to_us: i64) -> Result<Vec<(String, PipelineRun)>> {
    let sql = "SELECT r.run_key, r.run FROM run_services s JOIN pipeline_runs r ON r.id = s.run_id \
               WHERE s.service = $1 AND s.finished_us >= $2 AND s.finished_us < $3 AND s.finished_us > 0 ORDER BY r.id";
    let rows = db.fetch_all(sql, args![service, from_us, to_us]).await?;
    rows.iter().map(|row| Ok((row.text("run_key")?, row.json("run")?))).collect()
}
