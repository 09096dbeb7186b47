//! Rows of holds, and what is counted before an environment of a source ends.
//!
//! Owns that one hold of a cause stands at a time, and that endings of a source are counted one after the other. Refuses to count what
//! a release exempted: what was believed closed before it.
use slipway_kit::{
    args,
    authz::Visible,
    db::{Exec, Tx},
    error::{CONFLICT, Error, Result},
    filter::{Field, Filter, Kind},
    page::{Cursor, OrderBy},
};

use super::Store;
use crate::model::hold::{self, Counts, Hold};

/// Fields of filters, as the contract names them.
pub const HOLD_FILTER: &[Field] = &[
    Field { name: "source", column: "scm", kind: Kind::Text },
    Field {
        name: "cause",
        column: "cause",
        kind: Kind::Words(&[
            ("MASS_DELETION", "MASS_DELETION"),
            ("SWEEP_LIMIT", "SWEEP_LIMIT"),
            ("EMPTY_LISTING", "EMPTY_LISTING"),
            ("REPOSITORY_LOST", "REPOSITORY_LOST"),
            ("WRONG_ANSWER", "WRONG_ANSWER"),
        ]),
    },
    Field { name: "create_time", column: "since_us", kind: Kind::Time },
];

/// Environments that seem to be ended and wait.
const WAITING: &str = "believed_us > 0 AND source_ended_us = 0 AND deleted_us = 0";
/// Most environments that a hold names.
const NAMED_MAX: i64 = 200;

/// Previews of a repository that live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Living {
    /// All of them.
    pub all: i64,
    /// Those of pull requests that were not read as ended.
    pub trusted: i64,
}

impl Store {
    /// Takes the turn of a source: endings are counted one after the other until this transaction ends.
    pub async fn hold_turn(&self, tx: &mut Tx, scm: &str) -> Result<()> {
        let sql = "INSERT INTO source_gates (scm, passed) VALUES ($1, 1) \
                   ON CONFLICT (scm) DO UPDATE SET passed = source_gates.passed + 1";
        tx.execute(sql, args![scm]).await.map(drop)
    }

    /// The oldest hold that stands for a repository or its whole source.
    pub async fn standing(&self, exec: impl Into<Exec<'_>>, scm: &str, repository_id: &str) -> Result<Option<Hold>> {
        let sql = "SELECT body FROM holds WHERE scm = $1 AND repository_id IN ('', $2) AND released_us = 0 ORDER BY since_us, uid LIMIT 1";
        exec.into().fetch_optional(sql, args![scm, repository_id]).await?.map(|row| row.json("body")).transpose()
    }

    /// Every hold of a source that stands.
    pub async fn standing_of(&self, exec: impl Into<Exec<'_>>, scm: &str) -> Result<Vec<Hold>> {
        let sql = "SELECT body FROM holds WHERE scm = $1 AND released_us = 0 ORDER BY since_us, uid";
        exec.into().fetch_all(sql, args![scm]).await?.iter().map(|row| row.json("body")).collect()
    }

    /// When a person last let go of a hold for too many endings of a source; 0 if never.
    pub async fn released_us(&self, exec: impl Into<Exec<'_>>, scm: &str) -> Result<i64> {
        let sql = "SELECT COALESCE(MAX(released_us), 0) AS at FROM holds WHERE scm = $1 AND cause IN ('MASS_DELETION', 'SWEEP_LIMIT')";
        exec.into().fetch_one(sql, args![scm]).await?.int("at")
    }

    /// Notes that a webhook spoke of a life's source; no change of the life.
    pub async fn tell(&self, tx: &mut Tx, uid: &str, now_us: i64) -> Result<()> {
        tx.execute("UPDATE environments SET told_us = $1 WHERE uid = $2", args![now_us, uid]).await.map(drop)
    }

    /// When a webhook last spoke of a life's source; 0 if never.
    pub async fn told_us(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<i64> {
        let row = exec.into().fetch_optional("SELECT told_us FROM environments WHERE uid = $1", args![uid]).await?;
        row.map_or(Ok(0), |row| row.int("told_us"))
    }

    /// What is counted before one more environment of a source ends; `is_swept` if no webhook told of it.
    pub async fn counts(
        &self,
        tx: &mut Tx,
        scm: &str,
        is_swept: bool,
        released_us: i64,
        now_us: i64,
    ) -> Result<Counts> {
        let sql = "SELECT COUNT(*) AS n FROM environments WHERE scm = $1 AND source_ended_us >= $2 AND (believed_us = 0 OR believed_us > $3)";
        let since_us = (now_us - hold::WINDOW_US).max(released_us);
        let ended = tx.fetch_one(sql, args![scm, since_us.max(1), released_us]).await?.int("n")?;
        let mut counts = Counts { ended, peak: self.peak(tx, Some(scm), now_us).await?, ..Counts::default() };
        if is_swept {
            // Without what a release exempted, and without what a webhook told of.
            let sql = "SELECT COUNT(*) AS n FROM environments WHERE (scm = $1 OR $2 = 1) AND believed_us > $3 AND told_us < believed_us - $4 \
                       AND ((source_ended_us = 0 AND deleted_us = 0) OR source_ended_us >= $5)";
            let mut swept = Vec::new();
            for all in [0, 1] {
                let binds = args![scm, all, released_us, hold::TOLD_US, (now_us - hold::SWEEP_US).max(1)];
                swept.push(tx.fetch_one(sql, binds).await?.int("n")?);
            }
            (counts.swept, counts.swept_in_all) = (swept[0], swept[1]);
            counts.peak_in_all = self.peak(tx, None, now_us).await?;
        }
        Ok(counts)
    }

    /// Most previews that lived at one time in the last day, of a source or of all.
    async fn peak(&self, tx: &mut Tx, scm: Option<&str>, now_us: i64) -> Result<i64> {
        let since_us = now_us - hold::PEAK_US;
        let sql = "SELECT created_us, CASE WHEN source_ended_us > 0 THEN source_ended_us ELSE deleted_us END AS ended_us FROM environments \
                   WHERE (scm = $1 OR $2 = 1) AND kind IN ('pull_request', 'branch') AND (deleted_us = 0 OR deleted_us > $3)";
        let rows = tx.fetch_all(sql, args![scm.unwrap_or_default(), i64::from(scm.is_none()), since_us]).await?;
        let lives: Vec<_> =
            rows.iter().map(|row| Ok((row.int("created_us")?, row.int("ended_us")?))).collect::<Result<_>>()?;
        Ok(hold::peak(&lives, since_us))
    }

    /// Living previews of a source by the provider's repository id.
    pub async fn living_previews(&self, scm: &str) -> Result<Vec<(String, Living)>> {
        let sql = "SELECT repository_id, COUNT(*) AS living, \
                   COUNT(CASE WHEN kind = 'pull_request' AND believed_us = 0 THEN 1 END) AS trusted FROM environments \
                   WHERE scm = $1 AND deleted_us = 0 AND source_ended_us = 0 AND kind IN ('pull_request', 'branch') \
                   GROUP BY repository_id ORDER BY repository_id";
        let rows = self.db.fetch_all(sql, args![scm]).await?;
        let living = |row: &slipway_kit::db::Row| {
            let living = Living { all: row.int("living")?, trusted: row.int("trusted")? };
            Ok((row.text("repository_id")?, living))
        };
        rows.iter().map(living).collect()
    }

    /// Adds a hold; false if one of its cause stands already.
    pub async fn place_hold(&self, tx: &mut Tx, hold: &Hold) -> Result<bool> {
        let sql = "INSERT INTO holds (uid, scm, repository_id, cause, since_us, released_us, version, body) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        let body = serde_json::to_string(hold).map_err(Error::internal)?;
        let binds = args![
            &hold.uid,
            &hold.scm,
            &hold.repository_id,
            hold.cause.word(),
            hold.since_us,
            hold.released_us,
            hold.version,
            body
        ];
        Ok(tx.execute(sql, binds).await? == 1)
    }

    /// Replaces a hold that stands at the version before.
    ///
    /// # Errors
    /// CONFLICT if it moved.
    pub async fn let_go(&self, tx: &mut Tx, hold: &Hold) -> Result<()> {
        let sql = "UPDATE holds SET released_us = $1, version = $2, body = $3 WHERE uid = $4 AND version = $5 AND released_us = 0";
        let body = serde_json::to_string(hold).map_err(Error::internal)?;
        let binds = args![hold.released_us, hold.version, body, &hold.uid, hold.version - 1];
        if tx.execute(sql, binds).await? == 1 {
            return Ok(());
        }
        Err(Error::new(&CONFLICT, format!("{} changed meanwhile", hold.name())))
    }

    /// A hold.
    pub async fn hold(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Hold>> {
        let row = exec.into().fetch_optional("SELECT body FROM holds WHERE uid = $1", args![uid]).await?;
        row.map(|row| row.json("body")).transpose()
    }

    /// A page of holds, one row more than asked for if there is one, and the rows' cursors.
    pub async fn holds(
        &self,
        filter: &Filter,
        show_released: bool,
        order: &OrderBy,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<(Hold, Cursor)>> {
        let (filter, binds) = filter.sql(HOLD_FILTER, 1)?;
        let standing = if show_released { "1 = 1" } else { "released_us = 0" };
        self.page("holds", (format!("{filter} AND {standing}"), binds), order, cursor, limit).await
    }

    /// Uids of the environments that wait for a hold.
    pub async fn waiting(&self, exec: impl Into<Exec<'_>>, hold: &Hold) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT uid FROM environments WHERE scm = $1 AND (repository_id = $2 OR $2 = '') AND {WAITING} ORDER BY uid"
        );
        let rows = exec.into().fetch_all(&sql, args![&hold.scm, &hold.repository_id]).await?;
        rows.iter().map(|row| row.text("uid")).collect()
    }

    /// Names of those that somebody may see, in order.
    pub async fn waiting_names(
        &self,
        exec: impl Into<Exec<'_>>,
        hold: &Hold,
        visible: &Visible,
    ) -> Result<Vec<String>> {
        let (visible, values) = visible.sql("owner", 4);
        let mut binds = args![&hold.scm, &hold.repository_id, NAMED_MAX];
        binds.extend(values);
        let sql = format!(
            "SELECT label_id FROM environments WHERE scm = $1 AND (repository_id = $2 OR $2 = '') AND {WAITING} AND {visible} \
             ORDER BY label_id LIMIT $3"
        );
        let rows = exec.into().fetch_all(&sql, binds).await?;
        rows.iter().map(|row| Ok(format!("environments/{}", row.text("label_id")?))).collect()
    }

    /// Forgets holds that were let go before an instant.
    pub async fn purge_holds(&self, before_us: i64) -> Result<u64> {
        self.db.execute("DELETE FROM holds WHERE released_us > 0 AND released_us < $1", args![before_us]).await
    }
}
