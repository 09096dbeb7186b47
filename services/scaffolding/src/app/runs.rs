//! Runs: creating, reading, waiting, cancelling (SCF-50, SCF-57, SCF-60, SCF-61).
use std::{sync::Arc, time::Duration};

use futures::Stream;
use serde_json::{Map, Value as Json};
use slipway_kit::{
    audit::Change,
    authz::{Facts, Visible},
    db::Value,
    error::{CONFLICT, ETAG_MISMATCH, Error, INVALID_FIELD, PERMISSION_DENIED, Result},
    filter::{self, Field, Kind},
    id, journal,
    mutation::{Begun, Mutation},
    page::{self, Cursor, OrderBy},
    serve::Call,
    worker,
};
use tokio::time::Instant;

use super::{App, List, Page};
use crate::{
    error::RUN_ENDED,
    model::{
        parameters,
        run::{Event, Level, Run, RunState},
        template::canonical_group,
    },
    reconcile,
    store::{Revision, Tree},
    wire,
};

/// A run to be created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Template or revision.
    pub template: String,
    /// Parameters as given.
    pub parameters: Map<String, Json>,
    /// Check only.
    pub validate_only: bool,
}

/// Parameters that hold, and who will own the result.
pub(super) struct Accepted {
    pub values: Map<String, Json>,
    pub owner: String,
}

const STATES: [(&str, &str); 6] = [
    ("PENDING", "PENDING"),
    ("RUNNING", "RUNNING"),
    ("WAITING", "WAITING"),
    ("SUCCEEDED", "SUCCEEDED"),
    ("FAILED", "FAILED"),
    ("CANCELLED", "CANCELLED"),
];
const FIELDS: [Field; 6] = [
    Field { name: "state", column: "state", kind: Kind::Words(&STATES) },
    Field { name: "template", column: "template", kind: Kind::Text },
    Field { name: "owner", column: "owner", kind: Kind::Text },
    Field { name: "initiator", column: "initiator", kind: Kind::Text },
    Field { name: "service", column: "service", kind: Kind::Text },
    Field { name: "create_time", column: "create_us", kind: Kind::Time },
];
const ORDER: [(&str, &str); 2] = [("create_time", "create_us"), ("update_time", "update_us")];

/// How often a waiting call looks without being woken, for what other processes did.
const POLL: Duration = Duration::from_secs(1);
/// What is left of a call's time for its answer.
const ANSWER_TIME: Duration = Duration::from_millis(300);
const WAIT_DEFAULT: Duration = Duration::from_secs(50);
const EVENTS_BATCH: usize = 200;
const CANCEL_TRIES: usize = 5;

impl App {
    /// Validates everything at once and stores the run; the work happens afterwards.
    pub async fn create_run(&self, call: &Call, new: NewRun) -> Result<Run> {
        if let Some(before) = Mutation::replayed::<Run>(self.store.db(), call).await? {
            call.check(&Facts { owner: (!before.owner.is_empty()).then_some(&before.owner), ..Facts::default() })?;
            return Ok(before);
        }
        let (revision, tree) = self.chosen(&new.template).await?;
        let accepted = self.accept(call, &tree, &new.parameters).await?;
        let mut change = match Mutation::begin::<Run>(self.store.db(), call).await? {
            Begun::Replay(run) => return Ok(run),
            Begun::Fresh(change) => change,
        };
        let now_us = self.clock.now_us();
        let mut run = pending(call, &revision, &tree, accepted, now_us);
        if new.validate_only {
            return Ok(run);
        }
        self.store.insert_run(change.tx(), &run).await?;
        let event =
            Event::new(Level::Info, "", "The run is stored").run(RunState::Pending).field("revision", revision.name());
        self.store.append_events(change.tx(), &mut run, vec![event], now_us).await?;
        self.store.update_run(change.tx(), &mut run, now_us).await?;
        worker::enqueue(change.tx(), reconcile::KIND, &run.uid, 0).await?;
        let name = run.name();
        change.commit(&run, Change { resource: &name, uid: &run.uid, fields: &["parameters"] }).await?;
        self.store.wake();
        Ok(run)
    }

    pub(super) async fn chosen(&self, name: &str) -> Result<(Revision, Arc<Tree>)> {
        let revision = self.revision_of(name).await?;
        let tree = self.trees.load(&self.store, &revision.template, &revision.version, &revision.digest).await?;
        Ok((revision, tree))
    }

    /// Checks parameters and the caller's right to the owning team; every violation at once.
    pub(super) async fn accept(&self, call: &Call, tree: &Tree, given: &Map<String, Json>) -> Result<Accepted> {
        let pages = &tree.template.pages;
        let mut checked = parameters::check(pages, given);
        let name = parameters::owner_name(pages);
        let stated = name.as_ref().and_then(|n| checked.values.get(n)).and_then(Json::as_str).unwrap_or_default();
        let owner = canonical_group(stated);
        let field = format!("parameters.{}", name.as_deref().unwrap_or("owner"));
        let malformed = checked.violations.iter().any(|(f, _)| *f == field);
        if !owner.is_empty() && !malformed {
            let mine = call.caller.teams.contains_key(&owner);
            if mine || self.siblings.knows_group(call, &owner).await? {
                call.check(&Facts { owner: Some(&owner), ..Facts::default() })?;
            } else {
                checked.violations.push((field, format!("there is no group {owner}")));
            }
        } else if owner.is_empty() && name.is_none() {
            call.check(&Facts::default())?;
        }
        if checked.violations.is_empty() {
            return Ok(Accepted { values: checked.values, owner });
        }
        checked.violations.sort();
        let fields = checked.violations.iter().map(|(f, _)| f.as_str()).collect::<Vec<_>>().join(", ");
        let error = Error::new(&INVALID_FIELD, format!("invalid: {fields}"));
        Err(checked.violations.into_iter().fold(error, |error, (field, rule)| error.violation(field, rule)))
    }

    /// One run that the caller may see.
    pub async fn get_run(&self, call: &Call, name: &str) -> Result<Run> {
        call.check(&Facts::default())?;
        let run = match name.strip_prefix("runs/") {
            Some(uid) => self.store.run(self.store.db(), uid).await?,
            None => None,
        };
        let owner = |run: &Run| (!run.owner.is_empty()).then(|| run.owner.clone());
        let sees = |run: &Run| run.initiator == call.caller.principal || call.visible().sees(owner(run).as_deref());
        run.filter(sees).ok_or_else(denied)
    }

    /// Runs that the caller may see.
    pub async fn list_runs(&self, call: &Call, list: &List) -> Result<Page<Run>> {
        call.check(&Facts::default())?;
        let (seen, mut binds) = match call.visible() {
            Visible::All => ("1 = 1".to_owned(), Vec::new()),
            visible => {
                let (sql, mut values) = visible.sql("owner", 2);
                values.insert(0, Value::from(&call.caller.principal));
                (format!("(initiator = $1 OR {sql})"), values)
            }
        };
        let bound = format!("runs|{}|{}", list.filter, list.order_by);
        let ((sql, more), order, after) = page::question(
            filter::parse(&list.filter).and_then(|filter| filter.sql(&FIELDS, binds.len() + 1)),
            OrderBy::parse(&list.order_by, &ORDER, "create_time desc", "uid"),
            self.sealer.open::<Cursor>(call, &bound, &list.page_token),
        )?;
        binds.extend(more);
        let condition = (format!("{seen} AND {sql}"), binds);
        let (total, is_estimate) = self.total("runs", &condition, list.total).await?;
        let found = self.store.runs(condition, &order, after.as_ref(), page::size(list.page_size)).await?;
        let next = found.next.map(|c| self.sealer.seal(call, &bound, &c)).unwrap_or_default();
        Ok(Page { items: found.items, next, total, is_estimate })
    }

    /// The run as soon as it has ended, or as it is when the time is over.
    pub async fn wait_run(&self, call: &Call, name: &str, timeout: Option<Duration>) -> Result<Run> {
        let until = (Instant::now() + timeout.unwrap_or(WAIT_DEFAULT)).min(call.deadline - ANSWER_TIME);
        let mut changes = self.store.watch();
        loop {
            changes.mark_unchanged();
            let run = self.get_run(call, name).await?;
            let now = Instant::now();
            if run.state.is_ended() || now >= until {
                return Ok(run);
            }
            let _ = tokio::time::timeout_at(until.min(now + POLL), changes.changed()).await;
        }
    }

    /// Cancels a run: at once when nothing is under way, otherwise after the running action.
    pub async fn cancel_run(&self, call: &Call, name: &str, etag: &str) -> Result<Run> {
        for _ in 0..CANCEL_TRIES {
            match self.try_cancel(call, name, etag).await {
                Err(error) if error.is(&CONFLICT) && etag.is_empty() => {}
                done => return done,
            }
        }
        Err(Error::new(&CONFLICT, "the run changes too fast; try again"))
    }

    async fn try_cancel(&self, call: &Call, name: &str, etag: &str) -> Result<Run> {
        let uid = name.strip_prefix("runs/").ok_or_else(denied)?;
        let seen = self.store.run(self.store.db(), uid).await?.ok_or_else(denied)?;
        call.check(&Facts { owner: (!seen.owner.is_empty()).then_some(&seen.owner), ..Facts::default() })?;
        let mut change = match Mutation::begin::<Run>(self.store.db(), call).await? {
            Begun::Replay(run) => return Ok(run),
            Begun::Fresh(change) => change,
        };
        let mut run = self.store.run(change.tx(), uid).await?.ok_or_else(denied)?;
        if !etag.is_empty() && etag != run.etag() {
            return Err(Error::new(&ETAG_MISMATCH, "the run changed since it was read"));
        }
        if run.state.is_ended() {
            let text = format!("{name} has ended as {}", run.state.as_str());
            return Err(Error::new(&RUN_ENDED, text).precondition("STATE", name, "the run must not have ended"));
        }
        let now_us = self.clock.now_us();
        let at_once = run.state == RunState::Pending;
        let events = if at_once {
            run.finish(RunState::Cancelled, now_us)
        } else {
            run.cancelling = true;
            vec![Event::new(Level::Warning, "", "Asked to cancel").field("by", call.caller.principal.clone())]
        };
        self.store.append_events(change.tx(), &mut run, events, now_us).await?;
        self.store.update_run(change.tx(), &mut run, now_us).await?;
        if at_once {
            journal::append(change.tx(), wire::event::run_finished(&run)).await?;
        } else {
            worker::enqueue(change.tx(), reconcile::KIND, &run.uid, 0).await?;
        }
        change.commit(&run, Change { resource: name, uid: &run.uid, fields: &["state"] }).await?;
        self.store.wake();
        Ok(run)
    }

    /// Events of a run after a sequence, in order, until the last one of an ended run.
    pub fn run_events(&self, call: Call, name: String, after: i64) -> impl Stream<Item = Result<Event>> + Send + use<> {
        let app = self.clone();
        async_stream::try_stream! {
            let mut changes = app.store.watch();
            let mut at = after;
            loop {
                changes.mark_unchanged();
                // The state is read before the events, so that an ended run's last event is among them.
                let run = app.get_run(&call, &name).await?;
                let events = app.store.events(&run.uid, at, EVENTS_BATCH).await?;
                let full = events.len() == EVENTS_BATCH;
                for event in events {
                    at = event.sequence;
                    yield event;
                }
                if full {
                    continue;
                }
                if run.state.is_ended() {
                    break;
                }
                let _ = tokio::time::timeout(POLL, changes.changed()).await;
            }
        }
    }
}

fn pending(call: &Call, revision: &Revision, tree: &Tree, accepted: Accepted, now_us: i64) -> Run {
    Run {
        uid: id::uuid7(),
        changes: 1,
        create_us: now_us,
        update_us: now_us,
        template: revision.template.clone(),
        version: revision.version.clone(),
        digest: revision.digest.clone(),
        parameters: accepted.values,
        initiator: call.caller.principal.clone(),
        credential: call.caller.credential.clone(),
        owner: accepted.owner,
        state: RunState::Pending,
        steps: Run::steps_of(&tree.template),
        output: None,
        error: None,
        start_us: None,
        end_us: None,
        cancelling: false,
        service: String::new(),
        repository: String::new(),
        commit: String::new(),
        events: 0,
    }
}

fn denied() -> Error {
    Error::new(&PERMISSION_DENIED, "permission denied, or there is no such resource")
}
