//! Applying what a location declares: compare in one read, write the differences, decide every touched reference, all in the
//! caller's transaction, so that readers see all of it or nothing (CAT-31, CAT-41).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use slipway_kit::{db::Tx, error::Result, id, journal};

use super::content::Content;
use crate::{
    model::{
        document::{Body, Document},
        entity::{Cause, State},
        entity_ref::EntityRef,
        finding::{Finding, Severity, Span},
        location::{Location, Tally},
        settle::{Decision, Standing, settle},
    },
    store::{self, DocumentRow, Known, Write},
    wire,
};

/// Index from which rows stand for references that a broken document of the same file may hide.
const GHOST: i64 = 1_000_000;

/// Applies content; answers what changed and which references went.
pub async fn apply(tx: &mut Tx, location: &Location, content: &Content, now_us: i64) -> Result<(Tally, Vec<String>)> {
    let old = store::documents(&mut *tx, &location.uid).await?;
    let new = rows(location, content, &old, now_us);
    let difference = Difference::of(&old, &new);
    if difference.is_empty() {
        return Ok(Default::default());
    }
    let wanted: BTreeSet<&str> = difference.put.iter().filter(|d| d.accepted).map(|d| d.hash.as_str()).collect();
    let documents = content.files.iter().flat_map(|(_, documents)| documents);
    let bodies: HashMap<&str, (&Body, &str)> =
        documents.filter_map(|d| Some((d.hash.as_str(), (d.body.as_ref()?, d.raw.as_str())))).collect();
    let fresh: Vec<_> =
        wanted.iter().filter_map(|h| bodies.get(h).map(|(b, raw)| ((*h).to_owned(), *b, *raw))).collect();
    store::put_bodies(tx, &fresh).await?;
    store::change_documents(tx, &location.uid, &difference.removed, &difference.put).await?;
    let known_bodies = bodies.into_iter().map(|(hash, (body, _))| (hash, body)).collect();
    settle_all(tx, &difference.refs, &known_bodies, (&location.uid, &content.commit), now_us).await
}

/// Decides references anew after their claims changed.
pub async fn settle_all(
    tx: &mut Tx,
    refs: &[String],
    bodies: &HashMap<&str, &Body>,
    (origin, commit): (&str, &str),
    now_us: i64,
) -> Result<(Tally, Vec<String>)> {
    let known = store::standing(tx, refs).await?;
    let mut decided = decide(tx, refs, &known).await?;
    let wanted = decided.iter().map(|d| &d.standing.hash);
    let missing: BTreeSet<String> =
        wanted.filter(|h| !h.is_empty() && !bodies.contains_key(h.as_str())).cloned().collect();
    let loaded = store::heads(tx, &missing.into_iter().collect::<Vec<_>>()).await?;
    let mut tally = Tally::default();
    for one in &mut decided {
        count(&mut tally, one.before, one.cause);
        if one.cause != Cause::Deleted && one.standing.place.location == origin {
            commit.clone_into(&mut one.standing.place.commit);
        }
    }
    let gone = decided.iter().filter(|d| d.cause == Cause::Deleted).map(|d| d.reference.to_owned()).collect();
    let body = |hash: &str| bodies.get(hash).copied().or_else(|| loaded.get(hash));
    let writes: Vec<_> = decided.into_iter().map(|d| to_write(body(&d.standing.hash), d, now_us)).collect();
    store::write(tx, &writes, now_us).await?;
    for w in &writes {
        let head = w.body.map(|b| &b.head);
        let event = wire::event::entity_changed(&w.identity, &w.uid, w.cause, w.version, w.standing.state, head);
        journal::append(tx, event).await?;
    }
    Ok((tally, gone))
}

/// A reference that gets a new version.
struct Decided<'a> {
    reference: &'a str,
    before: Option<&'a Known>,
    cause: Cause,
    standing: Standing,
}

/// Asks the model about each reference; what only moved in its file is noted at once.
async fn decide<'a>(tx: &mut Tx, refs: &'a [String], known: &'a BTreeMap<String, Known>) -> Result<Vec<Decided<'a>>> {
    let claims = store::claims(tx, refs).await?;
    let mut decided = Vec::new();
    for reference in refs {
        let before = known.get(reference);
        let own = claims.get(reference).map(Vec::as_slice).unwrap_or_default();
        match settle(before.map(|k| &k.standing), own) {
            Decision::Keep => {}
            Decision::Touch(standing) => {
                if let Some(before) = before {
                    store::touch(tx, &before.uid, before.version, &standing).await?;
                }
            }
            Decision::Write(cause, standing) => decided.push(Decided { reference, before, cause, standing }),
        }
    }
    Ok(decided)
}

fn to_write<'b>(body: Option<&'b Body>, decided: Decided<'_>, now_us: i64) -> Write<'b> {
    let Decided { reference, before, cause, standing } = decided;
    let died = |state: State| state == State::Deleted;
    let content_changed =
        before.is_none_or(|b| b.standing.hash != standing.hash || died(b.standing.state) != died(standing.state));
    Write {
        uid: before.map_or_else(id::uuid7, |b| b.uid.clone()),
        identity: EntityRef::parse(reference, None).unwrap_or_else(|_| EntityRef::new("", "", reference)),
        cause,
        version: before.map_or(0, |b| b.version) + 1,
        standing,
        body,
        content_changed,
        created_us: before.map_or(now_us, |b| b.created_us),
    }
}

fn count(tally: &mut Tally, before: Option<&Known>, cause: Cause) {
    match (before, cause) {
        (_, Cause::Deleted) => tally.removed += 1,
        (None, _) | (_, Cause::Restored) => tally.added += 1,
        _ => tally.changed += 1,
    }
}

struct Difference {
    removed: Vec<DocumentRow>,
    put: Vec<DocumentRow>,
    refs: Vec<String>,
}

impl Difference {
    fn of(old: &[DocumentRow], new: &[DocumentRow]) -> Self {
        let key = |d: &DocumentRow| (d.path.clone(), d.index);
        let before: BTreeMap<_, _> = old.iter().map(|d| (key(d), d)).collect();
        let after: BTreeSet<_> = new.iter().map(key).collect();
        let removed: Vec<_> = old.iter().filter(|d| !after.contains(&key(d))).cloned().collect();
        let put: Vec<_> = new.iter().filter(|d| before.get(&key(d)) != Some(d)).cloned().collect();
        let replaced = put.iter().filter_map(|d| before.get(&key(d)).copied());
        let touched = removed.iter().chain(&put).chain(replaced).filter(|d| d.claims);
        let refs: BTreeSet<String> = touched.map(|d| d.identity.clone()).collect();
        Self { refs: refs.into_iter().collect(), removed, put }
    }

    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.put.is_empty()
    }
}

/// The rows of a location's documents, with ghosts for references that broken documents may hide (CAT-35).
fn rows(location: &Location, content: &Content, old: &[DocumentRow], now_us: i64) -> Vec<DocumentRow> {
    let claimed: HashMap<&str, i64> =
        old.iter().filter(|d| d.claims).map(|d| (d.identity.as_str(), d.claimed_us)).collect();
    let mut all = Vec::new();
    for (path, documents) in &content.files {
        for (index, document) in documents.iter().enumerate() {
            all.push(row(location, path, index as i64, document, &claimed, now_us));
        }
    }
    let mut ghosts = Vec::new();
    {
        let present: BTreeSet<&str> = all.iter().filter(|d| d.claims).map(|d| d.identity.as_str()).collect();
        let broken: BTreeMap<&str, &DocumentRow> =
            all.iter().rev().filter(|d| d.identity.is_empty()).map(|d| (d.path.as_str(), d)).collect();
        let lost = old.iter().filter(|d| d.claims && !present.contains(d.identity.as_str()));
        let mut seen = BTreeSet::new();
        for (lost, broken) in lost.filter_map(|d| broken.get(d.path.as_str()).map(|b| (d, *b))) {
            if seen.insert(lost.identity.as_str()) {
                let index = GHOST + ghosts.len() as i64;
                ghosts.push(DocumentRow {
                    index,
                    accepted: false,
                    line: broken.line,
                    findings: broken.findings.clone(),
                    ..lost.clone()
                });
            }
        }
    }
    all.append(&mut ghosts);
    all
}

fn row(
    location: &Location,
    path: &str,
    index: i64,
    document: &Document,
    claimed: &HashMap<&str, i64>,
    now_us: i64,
) -> DocumentRow {
    let identity = document.identity.as_ref();
    let allowed = identity.is_none_or(|id| location.allows(id.kind()));
    let mut findings = document.findings.clone();
    if let Some(id) = identity.filter(|_| !allowed) {
        findings.push(not_allowed(id));
    }
    let text = identity.map(EntityRef::as_str).unwrap_or_default();
    DocumentRow {
        path: path.to_owned(),
        index,
        identity: text.to_owned(),
        claims: document.can_exist && allowed,
        accepted: document.body.is_some() && allowed,
        hash: document.hash.clone(),
        line: document.line,
        claimed_us: claimed.get(text).copied().unwrap_or(now_us),
        findings,
    }
}

fn not_allowed(identity: &EntityRef) -> Finding {
    let flag = if identity.kind() == "template" { "templates" } else { "organization" };
    Finding {
        code: "KIND_NOT_ALLOWED".to_owned(),
        severity: Severity::Error,
        message: format!("a {} may come only from a location with `{flag}` set", identity.kind()),
        pointer: "/kind".to_owned(),
        at: Span::start(),
        related: String::new(),
    }
}
