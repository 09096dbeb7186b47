//! Holds of sources: placed by the gate that every ending passes and by what looks through a source, let go by a person or a good answer.
//!
//! Owns that an ending, its count and the hold it would break are one transaction, and that every hold is told: an event and a warning in
//! the log. Refuses to decide which is which: the limits and the two classes of causes are the model's.
use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    authz::{Facts, Visible},
    db::Tx,
    error::{Error, NOT_FOUND, Result},
    filter::Filter,
    id, journal,
    mutation::{Begun, Mutation},
    page::{self, Cursor, OrderBy},
    serve::Call,
    worker,
};

use super::{App, WORK_ENVIRONMENT, check_version};
use crate::{
    error::HOLD_RELEASED,
    model::{
        environment::Environment,
        hold::{self, Cause, Gate, Hold},
    },
    store::HOLD_FILTER,
    wire,
};

/// Fields a list can be ordered by.
const ORDER: &[(&str, &str)] = &[("create_time", "since_us")];
/// What lifts a hold that no person has to let go.
const GOOD_ANSWER: &str = "The source answered completely again.";

/// A hold with the environments that wait, as far as a caller may see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The hold.
    pub hold: Hold,
    /// Names of environments.
    pub waiting: Vec<String>,
}

/// A list of holds that is asked for.
#[derive(Clone, Debug, Default)]
pub struct HoldList {
    /// Items of a page.
    pub page_size: i32,
    /// Token of the page before.
    pub page_token: String,
    /// AIP-160 filter.
    pub filter: String,
    /// Those that were let go too.
    pub show_released: bool,
}

/// What of a source cannot be believed.
pub(super) struct Doubt<'a> {
    pub(super) scm: &'a str,
    /// The provider's id; empty for the whole source.
    pub(super) repository_id: &'a str,
    pub(super) repository: &'a str,
    pub(super) cause: Cause,
    pub(super) evidence: String,
}

impl App {
    /// What stands between this environment and its end, when its source says that it ended.
    pub(crate) async fn gate(&self, env: &Environment) -> Result<Gate> {
        let (source, db) = (&env.spec.source, &self.store.db);
        if let Some(hold) = self.store.standing(db, &source.scm, &source.repository_id).await? {
            return Ok(Gate::Held(hold.sentence()));
        }
        let is_told = self.store.told_us(db, &env.uid).await? > self.now_us() - hold::TOLD_US;
        let is_exempt = is_exempt(env, self.store.released_us(db, &source.scm).await?);
        Ok(if is_told || is_exempt { Gate::Once } else { Gate::Twice })
    }

    /// Whether one more environment of a source may end, in the transaction in which it ends and that has taken the source's turn; if
    /// not, a hold stands or is placed now.
    pub(crate) async fn may_end(&self, tx: &mut Tx, env: &Environment) -> Result<bool> {
        let source = &env.spec.source;
        if self.store.standing(&mut *tx, &source.scm, &source.repository_id).await?.is_some() {
            return Ok(false);
        }
        let released_us = self.store.released_us(&mut *tx, &source.scm).await?;
        if is_exempt(env, released_us) {
            return Ok(true);
        }
        let now_us = self.now_us();
        let is_swept = self.store.told_us(&mut *tx, &env.uid).await? <= now_us - hold::TOLD_US;
        let counts = self.store.counts(tx, &source.scm, is_swept, released_us, now_us).await?;
        let Some((cause, evidence)) = hold::brake(&counts) else { return Ok(true) };
        self.place_hold(tx, Doubt { scm: &source.scm, repository_id: "", repository: "", cause, evidence }).await?;
        Ok(false)
    }

    /// Holds a source, or one repository of it, because of an answer that cannot be believed.
    pub(super) async fn doubt(&self, doubt: Doubt<'_>) -> Result<()> {
        let mut tx = self.store.db.begin().await?;
        self.store.hold_turn(&mut tx, doubt.scm).await?;
        self.place_hold(&mut tx, doubt).await?;
        tx.commit().await
    }

    async fn place_hold(&self, tx: &mut Tx, doubt: Doubt<'_>) -> Result<()> {
        let hold = Hold {
            uid: id::uuid7(),
            scm: doubt.scm.to_owned(),
            repository_id: doubt.repository_id.to_owned(),
            repository: doubt.repository.to_owned(),
            cause: doubt.cause,
            evidence: doubt.evidence,
            since_us: self.now_us(),
            released_us: 0,
            released_by: String::new(),
            release_reason: String::new(),
            version: 1,
        };
        if self.store.place_hold(tx, &hold).await? {
            tracing::warn!(hold = %hold.name(), source = %hold.scm, repository = %hold.repository, cause = hold.cause.word(),
                evidence = %hold.evidence, "nothing of this source is deleted while the hold stands");
            journal::append(tx, wire::event::hold(&hold)).await?;
        }
        Ok(())
    }

    /// A source, or one repository of it, answered completely: what only waited for that is lifted.
    pub(super) async fn lift(&self, standing: &[Hold], repository_id: &str) -> Result<()> {
        for hold in standing.iter().filter(|hold| hold.repository_id == repository_id && !hold.cause.needs_release()) {
            let mut tx = self.store.db.begin().await?;
            self.store.hold_turn(&mut tx, &hold.scm).await?;
            self.let_go(&mut tx, &hold.released("", GOOD_ANSWER, self.now_us())).await?;
            tx.commit().await?;
            tracing::info!(hold = %hold.name(), source = %hold.scm, "lifted by a good answer");
        }
        Ok(())
    }

    /// Keeps the end of a hold, and has what waited looked at now. The source's turn is taken: rows are locked in this order everywhere.
    async fn let_go(&self, tx: &mut Tx, hold: &Hold) -> Result<()> {
        self.store.let_go(tx, hold).await?;
        for uid in self.store.waiting(&mut *tx, hold).await? {
            worker::enqueue(tx, WORK_ENVIRONMENT, &uid, 0).await?;
        }
        journal::append(tx, wire::event::hold(hold)).await.map(drop)
    }

    /// One hold, with what waits for it.
    pub async fn get_hold(&self, call: &Call, name: &str) -> Result<Shown> {
        call.check(&Facts::default())?;
        let hold = self.store.hold(&self.store.db, uid_of(name)).await?.ok_or_else(|| missing(name))?;
        self.shown(call, hold).await
    }

    /// A page of holds, newest first, and the token of the next.
    pub async fn list_holds(&self, call: &Call, list: &HoldList) -> Result<(Vec<Hold>, String)> {
        call.check(&Facts::default())?;
        let bound = format!("{}\n{}", list.filter, list.show_released);
        let (filter, order, cursor) = page::question(
            Filter::read(&list.filter, HOLD_FILTER),
            OrderBy::parse("create_time desc", ORDER, "", "uid"),
            self.sealer.open::<Cursor>(call, &bound, &list.page_token),
        )?;
        let limit = page::size(list.page_size);
        let rows = self.store.holds(&filter, list.show_released, &order, cursor.as_ref(), limit).await?;
        Ok(self.sealer.cut(call, &bound, rows, limit))
    }

    /// Lets go of a hold: what waited goes on.
    ///
    /// # Errors
    /// NOT_FOUND; HOLD_RELEASED; ETAG_MISMATCH.
    pub async fn release_hold(
        &self,
        call: &Call,
        name: &str,
        reason: &str,
        etag: &str,
        only_check: bool,
    ) -> Result<Shown> {
        call.check(&Facts::default())?;
        let mut mutation = match Mutation::begin::<Shown>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let found = self.store.hold(mutation.tx(), uid_of(name)).await?.ok_or_else(|| missing(name))?;
        check_version(("hold", "slipway.dev/Hold"), &found.name(), &found.etag(), etag)?;
        if found.released_us > 0 {
            return Err(Error::new(&HOLD_RELEASED, format!("{name} does not stand any more")));
        }
        let hold = found.released(&call.caller.principal, reason.trim(), self.now_us());
        let waiting = self.store.waiting_names(mutation.tx(), &hold, &Visible::All).await?;
        let answer = Shown { hold, waiting };
        if only_check {
            return Ok(answer);
        }
        self.store.hold_turn(mutation.tx(), &answer.hold.scm).await?;
        self.let_go(mutation.tx(), &answer.hold).await?;
        let about = Change { resource: name, uid: &answer.hold.uid, fields: &["release_time", "release_reason"] };
        mutation.commit(&answer, about).await?;
        Ok(answer)
    }

    async fn shown(&self, call: &Call, hold: Hold) -> Result<Shown> {
        if hold.released_us > 0 {
            return Ok(Shown { hold, waiting: Vec::new() });
        }
        let waiting = self.store.waiting_names(&self.store.db, &hold, &call.visible()).await?;
        Ok(Shown { hold, waiting })
    }
}

/// What was believed closed when a person let go goes on without being counted.
fn is_exempt(env: &Environment, released_us: i64) -> bool {
    env.status.ended_seen_us.is_some_and(|at| at <= released_us)
}

fn uid_of(name: &str) -> &str {
    name.strip_prefix("holds/").unwrap_or_default()
}

fn missing(name: &str) -> Error {
    Error::new(&NOT_FOUND, format!("there is no {name}")).resource("slipway.dev/Hold", name)
}
