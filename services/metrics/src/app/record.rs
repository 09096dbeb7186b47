//! Taking facts into the ledger and deriving what they add up to, in the caller's transaction.
//!
//! Owns keys, services of facts and folds. Refuses order: the same facts in any order give the same rows (MET-41).
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use slipway_kit::{db::Tx, error::Result, journal};

use crate::{
    model::{
        effective,
        fact::{Deployment, Fact, Incident, Version, VersionKey},
    },
    store::{
        self,
        derived::{self, Item},
        ledger::{self, Entry},
        runs, services,
    },
    wire::event,
};

/// One fact on its way in.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The fact.
    pub fact: Fact,
    /// When its source says this version came about; the fact's latest instant if absent.
    pub occurred_us: Option<i64>,
    /// Provider's sequence.
    pub sequence: i64,
    /// Owners it may count for, as `,group,`; empty: all.
    pub claim: String,
    /// Where it came from.
    pub source: String,
    /// Who brought it.
    pub principal: String,
    /// Service its source hints at; empty if none.
    pub hint: String,
}

impl Incoming {
    /// A fact that may count for any service.
    pub fn trusted(fact: Fact, source: &str, principal: &str) -> Self {
        Self {
            fact,
            occurred_us: None,
            sequence: 0,
            claim: String::new(),
            source: source.to_owned(),
            principal: principal.to_owned(),
            hint: String::new(),
        }
    }
}

/// What became of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The ledger had this version.
    pub duplicate: bool,
    /// It waits for a service.
    pub parked: bool,
}

/// What has to be folded anew, each with the number that touched it.
#[derive(Default)]
struct Affected {
    deployments: BTreeMap<(String, String), i64>,
    incidents: BTreeMap<(String, String), i64>,
    runs: BTreeMap<String, i64>,
    enrolments: BTreeMap<String, i64>,
    milestones: BTreeMap<String, i64>,
    repositories: BTreeMap<String, i64>,
}

/// Takes facts in under numbers from `first` on, which the transaction has taken.
pub async fn record(tx: &mut Tx, first: i64, now_us: i64, incoming: Vec<Incoming>) -> Result<Vec<Recorded>> {
    let (mut answers, mut affected) = (Vec::with_capacity(incoming.len()), Affected::default());
    for (seq, one) in (first..).zip(incoming) {
        answers.push(take(tx, seq, now_us, one, &mut affected).await?);
    }
    fold(tx, now_us, affected).await?;
    Ok(answers)
}

/// As [`record`], taking its numbers itself.
pub async fn record_all(tx: &mut Tx, now_us: i64, incoming: Vec<Incoming>) -> Result<Vec<Recorded>> {
    if incoming.is_empty() {
        return Ok(Vec::new());
    }
    let first = ledger::take_numbers(tx, incoming.len()).await?;
    record(tx, first, now_us, incoming).await
}

async fn take(tx: &mut Tx, seq: i64, now_us: i64, one: Incoming, affected: &mut Affected) -> Result<Recorded> {
    let payload_sha256 = hex::encode(Sha256::digest(store::json(&one.fact)?));
    let occurred_us = one.occurred_us.unwrap_or_else(|| one.fact.latest_us());
    let service = match &one.fact {
        Fact::Deployment(d) => service_of(tx, d, &one.claim, &one.hint).await?,
        Fact::PipelineRun(run) => mapped(tx, &run.repository, &one.claim).await?.pop(),
        _ => None,
    };
    let parked = match &one.fact {
        Fact::Deployment(_) => service.is_none(),
        Fact::PipelineRun(run) => service.is_none() && run.services.is_empty(),
        _ => false,
    };
    let entry = Entry {
        fact_key: fact_key(&one.fact, service.as_deref(), &one.claim),
        key: VersionKey { occurred_us, sequence: one.sequence, payload_sha256 },
        parked,
        fact: one.fact,
        claim: one.claim,
        source: one.source,
        principal: one.principal,
        hint: one.hint,
    };
    if ledger::has(tx, &entry).await? {
        return Ok(Recorded { duplicate: true, parked: entry.parked });
    }
    ledger::insert(tx, seq, &entry, now_us).await?;
    affect(tx, seq, &entry, service, affected).await?;
    Ok(Recorded { duplicate: false, parked: entry.parked })
}

/// Notes what an entry changes; changes and pull requests are kept at once.
async fn affect(tx: &mut Tx, seq: i64, entry: &Entry, service: Option<String>, affected: &mut Affected) -> Result<()> {
    let key = entry.fact_key.clone();
    match &entry.fact {
        Fact::Deployment(_) => {
            if let Some(service) = service {
                affected.deployments.insert((key, service), seq);
            }
        }
        Fact::Incident(incident) => {
            let of = |service: &String| ((incident.external_id.clone(), service.clone()), seq);
            affected.incidents.extend(incident.services.iter().map(of));
        }
        Fact::PipelineRun(_) | Fact::PipelineJob(_) => {
            affected.runs.insert(key, seq);
        }
        Fact::Enrolment(_) => {
            affected.enrolments.insert(key, seq);
        }
        Fact::Milestone(_) => {
            affected.milestones.insert(key, seq);
        }
        Fact::Change(change) => {
            put_item(tx, entry, &change.sha, change, seq).await?;
            affected.repositories.insert(change.repository.clone(), seq);
        }
        Fact::PullRequest(pull) => {
            put_item(tx, entry, &pull.number.to_string(), pull, seq).await?;
            affected.repositories.insert(pull.repository.clone(), seq);
        }
    }
    Ok(())
}

async fn put_item<T: serde::Serialize>(tx: &mut Tx, entry: &Entry, id: &str, fact: &T, seq: i64) -> Result<()> {
    let mut claims: Vec<&str> = entry.claim.split(',').filter(|c| !c.is_empty()).collect();
    if claims.is_empty() {
        claims.push("");
    }
    for claim in claims {
        let item = Item { repository: entry.fact.repository(), kind: entry.fact.word(), item: id, claim };
        derived::put_item(tx, item, fact, &entry.key, seq).await?;
    }
    Ok(())
}

/// Key by which versions of a fact find each other.
fn fact_key(fact: &Fact, service: Option<&str>, claim: &str) -> String {
    match fact {
        Fact::Deployment(d) => match service {
            Some(service) => format!("{service}\n{}\n{}", d.environment, d.external_id),
            None => format!("parked\n{claim}\n{}\n{}\n{}", fact.repository(), d.environment, d.external_id),
        },
        Fact::Change(c) => format!("{claim}\n{}\n{}", c.repository, c.sha),
        Fact::PullRequest(p) => format!("{claim}\n{}\n{}", p.repository, p.number),
        Fact::Incident(i) => i.external_id.clone(),
        Fact::PipelineRun(r) => {
            // Once the catalog says whose the repository is, all versions find each other.
            let claim = if service.is_some() { "" } else { claim };
            format!("{claim}\n{}\n{}\n{}\n{}", r.provider, r.repository, r.external_id, r.attempt)
        }
        Fact::PipelineJob(j) => format!("{claim}\n{}\n{}\n{}\n{}", j.provider, j.repository, j.run_id, j.attempt),
        Fact::Enrolment(e) => e.service.clone(),
        Fact::Milestone(m) => format!("{}\n{}", m.service, m.kind),
    }
}

/// Living services of a repository that a claim may count for.
async fn mapped(tx: &mut Tx, repository: &str, claim: &str) -> Result<Vec<String>> {
    let all = services::of_repository(tx, repository).await?;
    let mine = all.into_iter().filter(|s| claim.is_empty() || claim.contains(&format!(",{},", s.owner)));
    Ok(mine.map(|s| s.service).collect())
}

/// Service of a deployment: stated, else the one its repository holds, else the one hinted at among several (MET-9).
async fn service_of(tx: &mut Tx, d: &Deployment, claim: &str, hint: &str) -> Result<Option<String>> {
    if let Some(service) = &d.service {
        return Ok(Some(service.clone()));
    }
    let repositories: BTreeSet<&str> = d.parts.iter().map(|p| p.repository.as_str()).collect();
    let mut found: Vec<String> = Vec::new();
    for repository in repositories {
        found.extend(mapped(tx, repository, claim).await?);
    }
    found.sort();
    found.dedup();
    match found.as_slice() {
        [only] => Ok(Some(only.clone())),
        _ => Ok(found.into_iter().find(|s| s == hint)),
    }
}

/// Resolves what waited for a repository to get a service; the result is as if it had been there first.
pub async fn release(tx: &mut Tx, repository: &str, now_us: i64) -> Result<usize> {
    let waiting = ledger::waiting(tx, repository).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let first = ledger::take_numbers(tx, waiting.len()).await?;
    let (mut affected, mut released) = (Affected::default(), 0);
    for (seq, one) in (first..).zip(waiting) {
        let entry = &one.entry;
        let service = match &entry.fact {
            Fact::Deployment(d) => service_of(tx, d, &entry.claim, &entry.hint).await?,
            Fact::PipelineRun(run) => mapped(tx, &run.repository, &entry.claim).await?.pop(),
            _ => None,
        };
        let Some(service) = service else { continue };
        let key = fact_key(&entry.fact, Some(&service), &entry.claim);
        ledger::release(tx, one.seq, &key).await?;
        released += 1;
        if matches!(entry.fact, Fact::Deployment(_)) {
            affected.deployments.insert((key, service), seq);
        } else {
            affected.runs.insert(key, seq);
        }
    }
    fold(tx, now_us, affected).await?;
    Ok(released)
}

async fn fold(tx: &mut Tx, now_us: i64, affected: Affected) -> Result<()> {
    for ((key, service), seq) in affected.deployments {
        fold_deployment(tx, &key, &service, seq, now_us).await?;
    }
    for ((id, service), seq) in affected.incidents {
        let versions: Vec<Version<Incident>> = only(ledger::versions(tx, "incident", &id).await?);
        if let Some(incident) = effective::incident(&versions, &service) {
            derived::put_incident(tx, &service, &incident).await?;
        }
        services::touch(tx, &service, seq).await?;
    }
    for (key, seq) in affected.runs {
        fold_run(tx, &key, seq).await?;
    }
    for (service, seq) in affected.enrolments {
        let versions = ledger::versions(tx, "enrolment", &service).await?;
        if let Some(Fact::Enrolment(enrolment)) = effective::latest(&versions).map(|v| &v.fact) {
            derived::put_enrolment(tx, enrolment).await?;
        }
        services::touch(tx, &service, seq).await?;
    }
    for (key, seq) in affected.milestones {
        let versions = ledger::versions(tx, "milestone", &key).await?;
        if let Some(Fact::Milestone(milestone)) = effective::latest(&versions).map(|v| &v.fact) {
            derived::put_milestone(tx, milestone).await?;
            services::touch(tx, &milestone.service, seq).await?;
        }
    }
    for (repository, seq) in affected.repositories {
        services::touch(tx, &scope_of(&repository), seq).await?;
    }
    Ok(())
}

/// Scope of a repository among the revisions.
pub fn scope_of(repository: &str) -> String {
    format!("repository:{repository}")
}

async fn fold_deployment(tx: &mut Tx, key: &str, service: &str, seq: i64, now_us: i64) -> Result<()> {
    let versions: Vec<Version<Deployment>> = only(ledger::versions(tx, "deployment", key).await?);
    if let Some(deployment) = effective::deployment(&versions)
        && store::deployments::put(tx, service, &deployment, now_us).await?
    {
        let id = store::deployments::id_of(service, &deployment.environment, &deployment.external_id);
        journal::append(tx, event::deployment_recorded(&id, service, &deployment)).await?;
    }
    services::touch(tx, service, seq).await
}

async fn fold_run(tx: &mut Tx, key: &str, seq: i64) -> Result<()> {
    let Some((mut run, heard_us)) = effective::pipeline_run(&ledger::versions(tx, "pipeline_run", key).await?) else {
        return Ok(());
    };
    if run.services.is_empty() {
        let claim = key.split('\n').next().unwrap_or_default();
        run.services = mapped(tx, &run.repository, claim).await?;
    }
    run.services.sort();
    run.services.dedup();
    let run_key = key.rsplit_once('\n').map_or(key, |(run, _)| run);
    runs::put(tx, key, run_key, &run, heard_us).await?;
    for service in &run.services {
        services::touch(tx, service, seq).await?;
    }
    Ok(())
}

/// Versions of one kind.
fn only<T: FromFact>(versions: Vec<Version<Fact>>) -> Vec<Version<T>> {
    versions.into_iter().filter_map(|v| Some(Version { key: v.key, fact: T::from_fact(v.fact)? })).collect()
}

trait FromFact: Sized {
    fn from_fact(fact: Fact) -> Option<Self>;
}

impl FromFact for Deployment {
    fn from_fact(fact: Fact) -> Option<Self> {
        if let Fact::Deployment(d) = fact { Some(d) } else { None }
    }
}

impl FromFact for Incident {
    fn from_fact(fact: Fact) -> Option<Self> {
        if let Fact::Incident(i) = fact { Some(i) } else { None }
    }
}
