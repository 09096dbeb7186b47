//! IngestEvents: each event on its own, all of them durable in one transaction (MET-13, MET-14).
//!
//! Owns who may bring which fact. Refuses to let one bad event fail the others.
use std::collections::BTreeMap;

use slipway_kit::{
    audit,
    authz::Facts,
    caller::Caller,
    error::{Error, INVALID_FIELD, PERMISSION_DENIED, Result, SERVICE_UNKNOWN, Violations},
    serve::Call,
};

use super::{App, record};
use crate::{
    error::{IDEMPOTENCY_CONFLICT, OCCURRED_IN_FUTURE},
    model::{
        fact::Fact,
        outcome::{Fault, Outcome},
    },
    store::{
        ledger,
        services::{self, Service},
    },
};

/// Most events of a batch.
const EVENTS_MAX: usize = 1_000;
/// How far ahead of our clock an event may be.
const AHEAD_US: i64 = 600_000_000;
/// Permission to bring facts.
const INGEST: &str = "facts.ingest";
/// Most teams that a fact of an unknown repository is kept for.
const CLAIMS_MAX: usize = 20;

/// One event as it was sent.
pub struct Event {
    /// Its key.
    pub idempotency_key: String,
    /// SHA-256 of the event, hex.
    pub body_sha256: String,
    /// The fact, or what is wrong with it.
    pub fact: Result<Fact>,
    /// When its source says it came about.
    pub occurred_us: Option<i64>,
    /// Provider's sequence.
    pub sequence: i64,
}

/// What one call has learned of services.
#[derive(Default)]
struct Known {
    services: BTreeMap<String, Option<Service>>,
    repositories: BTreeMap<String, Vec<Service>>,
}

impl App {
    /// Takes a batch in.
    pub async fn ingest(&self, call: &Call, events: Vec<Event>) -> Result<Vec<Outcome>> {
        let mut violations = Violations::new();
        violations.check(!events.is_empty(), "events", "must have at least 1 items");
        violations.check(events.len() <= EVENTS_MAX, "events", format!("must have at most {EVENTS_MAX} items"));
        violations.finish()?;
        let known = self.learn(&events).await?;
        let judged: Vec<(Event, Result<String>)> = events
            .into_iter()
            .map(|event| {
                let judgement = self.judge(call, &event, &known);
                (event, judgement)
            })
            .collect();
        self.keep(call, judged, known).await
    }

    /// Asks the catalog who owns what the events speak of.
    async fn learn(&self, events: &[Event]) -> Result<Known> {
        let mut known = Known::default();
        for fact in events.iter().filter_map(|event| event.fact.as_ref().ok()) {
            for service in fact.services() {
                self.learn_service(service, &mut known).await?;
            }
            let repository = fact.repository();
            if repository.is_empty() || known.repositories.contains_key(repository) {
                continue;
            }
            let mut here = Vec::new();
            for service in services::of_repository(&self.db, repository).await? {
                self.learn_service(&service.service, &mut known).await?;
                let present = known.services.get(&service.service).cloned().flatten();
                here.extend(present.filter(|s| s.repository == repository));
            }
            known.repositories.insert(repository.to_owned(), here);
        }
        Ok(known)
    }

    async fn learn_service(&self, service: &str, known: &mut Known) -> Result<()> {
        if !known.services.contains_key(service) {
            let answer = self.directory.resolve(service).await?;
            known.services.insert(service.to_owned(), answer);
        }
        Ok(())
    }

    /// The claim under which an event is kept, or why it is refused.
    fn judge(&self, call: &Call, event: &Event, known: &Known) -> Result<String> {
        let fact = match &event.fact {
            Ok(fact) => fact,
            Err(error) => {
                let copy = Error::new(error.reason(), error.message());
                return Err(error.violations().iter().fold(copy, |e, (field, rule)| e.violation(field, rule)));
            }
        };
        let latest = fact.latest_us().max(event.occurred_us.unwrap_or(0));
        if latest > self.clock.now_us() + AHEAD_US {
            let why = "must not lie more than ten minutes ahead";
            return Err(Error::new(&OCCURRED_IN_FUTURE, "the event lies in the future").violation("occur_time", why));
        }
        if fact.instants().into_iter().chain(event.occurred_us).any(|at| at <= 0) {
            return Err(Error::new(&INVALID_FIELD, "invalid: an instant").violation("occur_time", "must be after 1970"));
        }
        for service in fact.services() {
            check_service(call, service, known)?;
        }
        claim(call, fact, known)
    }

    async fn keep(&self, call: &Call, judged: Vec<(Event, Result<String>)>, known: Known) -> Result<Vec<Outcome>> {
        let principal = &call.caller.principal;
        let (mut outcomes, mut incoming, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut tx = self.db.begin().await?;
        let first = ledger::take_numbers(&mut tx, judged.len()).await?;
        for service in known.services.values().flatten() {
            if services::put(&mut tx, service).await? {
                slipway_kit::worker::enqueue(&mut tx, crate::reconcile::SERVICE, &service.service, 0).await?;
            }
        }
        for (event, judgement) in judged {
            let mut outcome = Outcome { idempotency_key: event.idempotency_key.clone(), ..Outcome::default() };
            match (event.fact, judgement) {
                (Ok(fact), Ok(claim)) => match ledger::event_body(&mut tx, principal, &event.idempotency_key).await? {
                    Some(body) if body == event.body_sha256 => outcome.duplicate = true,
                    Some(_) => {
                        tracing::warn!(principal, "an idempotency key was used for another event");
                        let why = "the key was used before with another event";
                        outcome.fault = Some(fault(&Error::new(&IDEMPOTENCY_CONFLICT, why)));
                    }
                    None => {
                        ledger::remember_event(&mut tx, principal, &event.idempotency_key, &event.body_sha256).await?;
                        crate::reconcile::want_commits(&mut tx, &self.commits, &fact).await?;
                        places.push(outcomes.len());
                        incoming.push(record::Incoming {
                            occurred_us: event.occurred_us,
                            sequence: event.sequence,
                            claim,
                            ..record::Incoming::trusted(fact, "api", principal)
                        });
                    }
                },
                (_, Err(error)) | (Err(error), _) => outcome.fault = Some(fault(&error)),
            }
            outcomes.push(outcome);
        }
        let recorded = record::record(&mut tx, first, self.clock.now_us(), incoming).await?;
        for (place, one) in places.into_iter().zip(recorded) {
            (outcomes[place].duplicate, outcomes[place].parked) = (one.duplicate, one.parked);
        }
        let change = audit::Change { resource: "facts", uid: "", fields: &["events"] };
        audit::write(&mut tx, &audit::Record::allowed(call).about(change)).await?;
        tx.commit().await?;
        Ok(outcomes)
    }
}

fn may(call: &Call, owner: Option<&str>) -> bool {
    call.allows(INGEST, &Facts { owner, ..Facts::default() })
}

/// Owner of a service for a decision; nobody's belongs to the platform.
fn owner(service: &Service) -> Option<&str> {
    Some(service.owner.as_str()).filter(|o| !o.is_empty())
}

fn denied() -> Error {
    Error::new(&PERMISSION_DENIED, "permission denied, or there is no such resource")
}

/// Permission before existence: who may not write for everyone learns nothing of what exists.
fn check_service(call: &Call, service: &str, known: &Known) -> Result<()> {
    match known.services.get(service).and_then(Option::as_ref) {
        Some(found) if may(call, owner(found)) => Ok(()),
        None if may(call, None) => {
            Err(Error::new(&SERVICE_UNKNOWN, format!("the catalog knows no {service}")).resource("service", service))
        }
        _ => Err(denied()),
    }
}

/// For whom a fact may count: all, or the caller's teams while the catalog does not say whose the repository is.
fn claim(call: &Call, fact: &Fact, known: &Known) -> Result<String> {
    let repository = fact.repository();
    let stated = matches!(fact, Fact::Deployment(d) if d.service.is_some());
    if repository.is_empty() || stated {
        return Ok(String::new());
    }
    let here = known.repositories.get(repository).map(Vec::as_slice).unwrap_or_default();
    if may(call, None) {
        return Ok(String::new());
    }
    let mine: Vec<&str> = here.iter().filter(|s| may(call, owner(s))).map(|s| s.owner.as_str()).collect();
    let shared = matches!(fact, Fact::Change(_) | Fact::PullRequest(_));
    if !mine.is_empty() && (shared || mine.len() == here.len()) {
        return Ok(String::new());
    }
    let named: Vec<&str> =
        fact.services().into_iter().filter_map(|s| known.services.get(s)?.as_ref().map(|s| s.owner.as_str())).collect();
    if !here.is_empty() && mine.is_empty() && named.is_empty() {
        return Err(denied());
    }
    let mut teams = match (mine.is_empty(), named.is_empty()) {
        (false, _) => mine,
        (true, false) => named,
        (true, true) => teams(&call.caller, |team| may(call, Some(team))),
    };
    teams.sort_unstable();
    teams.dedup();
    teams.truncate(CLAIMS_MAX);
    if teams.is_empty() { Err(denied()) } else { Ok(format!(",{},", teams.join(","))) }
}

/// Teams the caller may write for: its own, and those its credential's scopes name.
fn teams(caller: &Caller, may: impl Fn(&str) -> bool) -> Vec<&str> {
    let scopes = caller.scopes.iter().flatten().map(|scope| scope.resource.as_str());
    caller
        .teams
        .keys()
        .map(String::as_str)
        .chain(scopes)
        .filter(|team| !team.is_empty() && *team != "*" && may(team))
        .collect()
}

fn fault(error: &Error) -> Fault {
    Fault {
        code: error.kind().code() as i32,
        reason: error.reason().name.to_owned(),
        message: error.message().to_owned(),
        violations: error.violations().to_vec(),
    }
}
