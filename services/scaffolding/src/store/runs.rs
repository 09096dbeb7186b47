//! Rows of runs, their effects, events and workspaces.
use slipway_kit::{
    args,
    db::{Exec, Row, Tx, Value},
    error::{CONFLICT, Error, Result},
    page::{Cursor, OrderBy},
};

use super::{Store, blobs::Owner};
use crate::model::{
    files::Files,
    run::{Event, Level, Run},
};

/// Most messages of one run; what comes after is dropped with a remark (SCF-60).
const EVENTS_MAX: i64 = 20_000;

/// The journal line of one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Hash of the rendered input.
    pub input_digest: String,
    /// Names the effect in the world, equal for every attempt.
    pub key: String,
    /// How often it was begun.
    pub attempts: i64,
    /// Empty as long as only the intent stands.
    pub outcome: String,
}

/// A page of runs.
pub struct RunPage {
    /// Runs.
    pub items: Vec<Run>,
    /// Where the next page starts.
    pub next: Option<Cursor>,
}

fn run(row: &Row) -> Result<Run> {
    row.json("document")
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

impl Store {
    /// The run of that uid.
    pub async fn run(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Run>> {
        let row = exec.into().fetch_optional("SELECT document FROM runs WHERE uid = $1", args![uid]).await?;
        row.as_ref().map(run).transpose()
    }

    /// Runs that meet a condition over `$1…`, from a cursor on.
    pub async fn runs(
        &self,
        condition: (String, Vec<Value>),
        order: &OrderBy,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<RunPage> {
        let (sql, mut binds) = condition;
        let (keyset, more) = order.after(after, binds.len() + 1)?;
        binds.extend(more);
        let columns = order.columns();
        let sql = format!(
            "SELECT document{columns} FROM runs WHERE ({sql}) AND ({keyset}) ORDER BY {} LIMIT {}",
            order.sql(),
            limit + 1
        );
        let rows = self.db.fetch_all(&sql, binds).await?;
        let next = if rows.len() > limit { rows.get(limit - 1).map(|r| order.cursor(r)).transpose()? } else { None };
        Ok(RunPage { items: rows.iter().take(limit).map(run).collect::<Result<_>>()?, next })
    }

    /// Writes a new run.
    pub async fn insert_run(&self, tx: &mut Tx, new: &Run) -> Result<()> {
        let template = format!("templates/{}", new.template);
        tx.execute(
            "INSERT INTO runs (uid, create_us, update_us, end_us, changes, state, template, owner, initiator, service, document) \
             VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, '', $9)",
            args![
                &new.uid,
                new.create_us,
                new.update_us,
                new.changes,
                new.state.as_str(),
                template,
                &new.owner,
                &new.initiator,
                json(new)?
            ],
        )
        .await
        .map(drop)
    }

    /// Writes a changed run; CONFLICT if it changed since it was read.
    pub async fn update_run(&self, tx: &mut Tx, changed: &mut Run, now_us: i64) -> Result<()> {
        let before = changed.changes;
        changed.changes += 1;
        changed.update_us = now_us.max(changed.update_us + 1);
        let updated = tx
            .execute(
                "UPDATE runs SET update_us = $1, end_us = $2, changes = $3, state = $4, service = $5, document = $6 \
                 WHERE uid = $7 AND changes = $8",
                args![
                    changed.update_us,
                    changed.end_us.unwrap_or(0),
                    changed.changes,
                    changed.state.as_str(),
                    &changed.service,
                    json(changed)?,
                    &changed.uid,
                    before
                ],
            )
            .await?;
        if updated == 1 { Ok(()) } else { Err(Error::new(&CONFLICT, format!("run {} changed meanwhile", changed.uid))) }
    }

    /// Appends events, numbered after the run's last one; beyond the limit they are dropped after one remark.
    pub async fn append_events(&self, tx: &mut Tx, of: &mut Run, events: Vec<Event>, now_us: i64) -> Result<()> {
        for mut event in events {
            if of.events >= EVENTS_MAX && event.run_state.is_none() && event.step_state.is_none() {
                if of.events > EVENTS_MAX {
                    continue;
                }
                event = Event::new(
                    Level::Warning,
                    "",
                    "More messages follow than are kept; only changes of state are told from here on",
                );
            }
            of.events += 1;
            event.sequence = of.events;
            event.at_us = now_us;
            let sql = "INSERT INTO run_events (run, sequence, event) VALUES ($1, $2, $3)";
            tx.execute(sql, args![&of.uid, event.sequence, json(&event)?]).await?;
        }
        Ok(())
    }

    /// Events after a sequence, in order.
    pub async fn events(&self, uid: &str, after: i64, limit: usize) -> Result<Vec<Event>> {
        let sql =
            format!("SELECT event FROM run_events WHERE run = $1 AND sequence > $2 ORDER BY sequence LIMIT {limit}");
        self.db.fetch_all(&sql, args![uid, after]).await?.iter().map(|r| r.json("event")).collect()
    }

    /// The journal line of an effect.
    pub async fn effect(
        &self,
        exec: impl Into<Exec<'_>>,
        uid: &str,
        step: &str,
        iteration: usize,
    ) -> Result<Option<Effect>> {
        let sql = "SELECT input_digest, effect_key, attempts, outcome FROM run_effects WHERE run = $1 AND step = $2 AND iteration = $3";
        let row = exec.into().fetch_optional(sql, args![uid, step, iteration]).await?;
        let read = |r: &Row| {
            Ok(Effect {
                input_digest: r.text("input_digest")?,
                key: r.text("effect_key")?,
                attempts: r.int("attempts")?,
                outcome: r.text("outcome")?,
            })
        };
        row.as_ref().map(read).transpose()
    }

    /// Journals the intent of an effect, or one more attempt at it.
    pub async fn intend(
        &self,
        tx: &mut Tx,
        uid: &str,
        step: &str,
        iteration: usize,
        effect: &Effect,
        now_us: i64,
    ) -> Result<()> {
        tx.execute(
            "INSERT INTO run_effects (run, step, iteration, input_digest, effect_key, attempts, intent_us, outcome, outcome_us) \
             VALUES ($1, $2, $3, $4, $5, 1, $6, '', 0) ON CONFLICT (run, step, iteration) DO UPDATE SET attempts = run_effects.attempts + 1",
            args![uid, step, iteration, &effect.input_digest, &effect.key, now_us],
        )
        .await
        .map(drop)
    }

    /// Journals the outcome of an effect.
    pub async fn conclude(
        &self,
        tx: &mut Tx,
        uid: &str,
        step: &str,
        iteration: usize,
        outcome: &str,
        now_us: i64,
    ) -> Result<()> {
        let sql =
            "UPDATE run_effects SET outcome = $1, outcome_us = $2 WHERE run = $3 AND step = $4 AND iteration = $5";
        tx.execute(sql, args![outcome, now_us, uid, step, iteration]).await.map(drop)
    }

    /// The workspace of a run.
    pub async fn workspace(&self, uid: &str) -> Result<Files> {
        self.read_tree(Owner::Run(uid)).await
    }

    /// Writes the workspace of a run.
    pub async fn put_workspace(&self, tx: &mut Tx, uid: &str, files: &Files, now_us: i64) -> Result<()> {
        self.write_tree(tx, Owner::Run(uid), files, now_us).await
    }
}
