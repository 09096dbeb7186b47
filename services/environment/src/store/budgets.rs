//! Budgets of teams: their numbers, what is counted, who waits.
//!
//! Owns the turn in which a team's books are changed: one transaction at a time. Refuses a lost update of the numbers.
use slipway_kit::{
    args,
    db::{Exec, Row, Tx, Value},
    error::{CONFLICT, Error, Result},
};

use super::Store;
use crate::model::{
    budget::{self, Amount, Ask, Books, Kept},
    environment::Environment,
};

impl Store {
    /// Takes a team's turn until the transaction ends.
    pub async fn budget_turn(&self, tx: &mut Tx, team: &str) -> Result<()> {
        let sql = "INSERT INTO budget_turns (team, turn) VALUES ($1, 1) \
                   ON CONFLICT (team) DO UPDATE SET turn = budget_turns.turn + 1";
        tx.execute(sql, args![team]).await.map(drop)
    }

    /// The numbers of a team; empty if nobody changed them.
    pub async fn budget(&self, exec: impl Into<Exec<'_>>, team: &str) -> Result<Kept> {
        let sql = "SELECT body FROM budgets WHERE team = $1";
        let row = exec.into().fetch_optional(sql, args![team]).await?;
        row.map_or_else(|| Ok(Kept::default()), |row| row.json("body"))
    }

    /// Keeps numbers that follow the revision before them.
    ///
    /// # Errors
    /// CONFLICT if they changed meanwhile.
    pub async fn keep_budget(&self, tx: &mut Tx, team: &str, kept: &Kept) -> Result<()> {
        let sql = "INSERT INTO budgets (team, body, revision, updated_us, updater) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (team) DO UPDATE SET body = excluded.body, revision = excluded.revision, \
                   updated_us = excluded.updated_us, updater = excluded.updater \
                   WHERE budgets.revision = excluded.revision - 1 RETURNING revision";
        let body = serde_json::to_string(kept).map_err(Error::internal)?;
        let row = tx.fetch_optional(sql, args![team, body, kept.revision, kept.updated_us, &kept.updater]).await?;
        row.map(drop).ok_or_else(|| Error::new(&CONFLICT, "the budget changed meanwhile; read it again"))
    }

    /// Teams that have environments or numbers of their own.
    pub async fn budget_teams(&self) -> Result<Vec<String>> {
        let sql = "SELECT owner AS team FROM environments WHERE deleted_us = 0 AND tier = 'development' AND owner <> '' \
                   UNION SELECT team FROM budgets ORDER BY team";
        self.db.fetch_all(sql, args![]).await?.iter().map(|row| row.text("team")).collect()
    }

    /// What a team uses and who waits.
    pub async fn books(&self, exec: impl Into<Exec<'_>>, team: &str) -> Result<Books> {
        let mut exec = exec.into();
        let sum = |column: &str| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT) AS {column}");
        let sql = format!(
            "SELECT service, {}, {}, {} FROM environments WHERE owner = $1 AND deleted_us = 0 GROUP BY service",
            sum("budget_previews"),
            sum("budget_cpu"),
            sum("budget_memory")
        );
        let mut books = Books::default();
        for row in exec.fetch_all(&sql, args![team]).await? {
            books.used.insert(row.text("service")?, amount(&row, "budget")?);
        }
        let sql = "SELECT uid, service, budget_add_previews, budget_add_cpu, budget_add_memory FROM environments \
                   WHERE owner = $1 AND deleted_us = 0 AND budget_waits_us > 0 ORDER BY budget_waits_us, created_us, uid";
        for row in exec.fetch_all(sql, args![team]).await? {
            let (uid, service) = (row.text("uid")?, row.text("service")?);
            books.line.push(Ask { uid, service, adds: amount(&row, "budget_add")? });
        }
        Ok(books)
    }

    /// Uids and labels of those who wait for room in a team's budget, first come first.
    pub async fn budget_line(&self, exec: impl Into<Exec<'_>>, team: &str) -> Result<Vec<(String, String)>> {
        let sql = "SELECT uid, label_id FROM environments WHERE owner = $1 AND deleted_us = 0 AND budget_waits_us > 0 \
                   ORDER BY budget_waits_us, created_us, uid";
        let rows = exec.into().fetch_all(sql, args![team]).await?;
        rows.iter().map(|row| Ok((row.text("uid")?, row.text("label_id")?))).collect()
    }

    /// What environments of a service request, by the one that changed last.
    pub async fn typical_need(&self, exec: impl Into<Exec<'_>>, service: &str) -> Result<Amount> {
        let sql = "SELECT budget_previews, budget_cpu, budget_memory FROM environments \
                   WHERE service = $1 AND deleted_us = 0 AND budget_cpu > 0 ORDER BY updated_us DESC LIMIT 1";
        let row = exec.into().fetch_optional(sql, args![service]).await?;
        let found = row.map(|row| amount(&row, "budget")).transpose()?.unwrap_or_default();
        Ok(Amount { previews: 0, ..found })
    }

    /// Environments of a team that hold processors or memory.
    pub async fn holding(&self, exec: impl Into<Exec<'_>>, team: &str) -> Result<Vec<Environment>> {
        let sql = "SELECT body FROM environments WHERE owner = $1 AND deleted_us = 0 AND (budget_cpu > 0 OR budget_memory > 0)";
        exec.into().fetch_all(sql, args![team]).await?.iter().map(|row| row.json("body")).collect()
    }
}

fn amount(row: &Row, prefix: &str) -> Result<Amount> {
    let of = |what: &str| row.int(&format!("{prefix}_{what}"));
    Ok(Amount { previews: of("previews")?, cpu: of("cpu")?, memory: of("memory")? })
}

/// The columns of an environment's row that a budget is summed from, in the order of the migration.
pub(super) fn columns(env: &Environment) -> Vec<Value> {
    let (counted, adds) = (budget::counted(env), budget::adds(env));
    let waits_us = if budget::is_bound(env) { env.status.claim.waits_us } else { 0 };
    args![counted.previews, counted.cpu, counted.memory, waits_us, adds.previews, adds.cpu, adds.memory]
}
