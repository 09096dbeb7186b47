//! A circuit breaker around every cluster (ENV-125): one that does not answer is asked now and then, and nobody waits for it in vain.
//!
//! Owns how many answers may fail to come before a circuit opens, and when it is tried. Refuses to hide anything else: what a cluster
//! answers, a refusal too, closes its circuit; other clusters have circuits of their own.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use slipway_kit::{
    clock::Clock,
    error::{Error, Result},
};

use super::cluster::{Answer, Apply, Cluster, Clusters, Credential, Deleted, LogQuery, ObjectRef, Version};
use crate::{error::CLUSTER_UNREACHABLE, model::manifest::Doc};

/// Answers in a row that fail to come before a circuit opens.
const FAILURES_MAX: u32 = 5;
/// Failures after which it is asked more rarely.
const FAILURES_LONG: u32 = 20;
/// How long between two tries of an open circuit, in microseconds.
const TRY_EVERY_US: i64 = 5_000_000;
/// The same once it has been silent for long.
const TRY_EVERY_LONG_US: i64 = 15_000_000;

/// Clusters behind circuit breakers.
pub struct Guarded {
    inner: Arc<dyn Clusters>,
    circuits: Circuits,
}

/// The circuits by cluster; cheap to clone.
#[derive(Clone)]
struct Circuits {
    clock: Clock,
    all: Arc<Mutex<BTreeMap<String, Circuit>>>,
}

/// How a cluster answered lately.
#[derive(Default)]
struct Circuit {
    /// Answers that failed to come, in a row.
    failures: u32,
    /// When an open circuit is tried next, in microseconds.
    try_us: i64,
}

impl Circuit {
    fn every_us(&self) -> i64 {
        if self.failures < FAILURES_LONG { TRY_EVERY_US } else { TRY_EVERY_LONG_US }
    }
}

impl Guarded {
    /// Breakers around these clusters.
    pub fn new(inner: Arc<dyn Clusters>, clock: Clock) -> Self {
        Self { inner, circuits: Circuits { clock, all: Arc::default() } }
    }
}

impl Circuits {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Circuit>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call: at once refused while the circuit is open, but for one call now and then.
    fn begin<'a>(&'a self, id: &'a str) -> Result<Attempt<'a>> {
        let (mut all, now_us) = (self.all(), self.clock.now_us());
        if let Some(circuit) = all.get_mut(id).filter(|circuit| circuit.failures >= FAILURES_MAX) {
            let every_us = circuit.every_us();
            if now_us < circuit.try_us {
                // Not all at one time.
                let wait_ms = (circuit.try_us - now_us + now_us.rem_euclid(every_us)) / 1000;
                let text = format!(
                    "clusters/{id} did not answer {} times in a row; it is tried every few seconds",
                    circuit.failures
                );
                return Err(Error::new(&CLUSTER_UNREACHABLE, text).retry_after_ms(wait_ms.unsigned_abs()));
            }
            circuit.try_us = now_us + every_us;
        }
        Ok(Attempt { circuits: self, id, is_answered: false })
    }
}

/// A call under way. One that is given up, because it took too long, counts as unanswered.
struct Attempt<'a> {
    circuits: &'a Circuits,
    id: &'a str,
    is_answered: bool,
}

impl Attempt<'_> {
    fn end<T>(mut self, answer: Result<T>) -> Result<T> {
        self.is_answered = !matches!(&answer, Err(error) if error.is(&CLUSTER_UNREACHABLE));
        answer
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut all = self.circuits.all();
        if self.is_answered {
            if let Some(circuit) = all.remove(self.id).filter(|circuit| circuit.failures >= FAILURES_MAX) {
                tracing::info!(cluster = self.id, failures = circuit.failures, "the cluster answers again");
            }
            return;
        }
        let circuit = all.entry(self.id.to_owned()).or_default();
        circuit.failures = circuit.failures.saturating_add(1);
        circuit.try_us = self.circuits.clock.now_us() + circuit.every_us();
        if circuit.failures == FAILURES_MAX {
            tracing::warn!(cluster = self.id, "the cluster does not answer; its environments wait");
        }
    }
}

#[async_trait]
impl Clusters for Guarded {
    async fn open(&self, id: &str) -> Result<Arc<dyn Cluster>> {
        let inner = self.inner.open(id).await?;
        Ok(Arc::new(Behind { id: id.to_owned(), inner, circuits: self.circuits.clone() }))
    }

    async fn credential(&self, id: &str) -> Result<Credential> {
        self.inner.credential(id).await
    }

    async fn probe(&self, credential: &Credential) -> Result<Arc<dyn Cluster>> {
        self.inner.probe(credential).await
    }

    fn register(&self, all: BTreeMap<String, Credential>) {
        self.inner.register(all);
    }
}

/// One cluster behind its circuit.
struct Behind {
    id: String,
    inner: Arc<dyn Cluster>,
    circuits: Circuits,
}

impl Behind {
    async fn ask<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let attempt = self.circuits.begin(&self.id)?;
        attempt.end(call.await)
    }
}

#[async_trait]
impl Cluster for Behind {
    async fn version(&self) -> Result<Version> {
        self.ask(self.inner.version()).await
    }

    async fn apply(&self, doc: &Doc, how: Apply) -> Answer<Doc> {
        self.ask(self.inner.apply(doc, how)).await
    }

    async fn admit(&self, doc: &Doc) -> Answer<()> {
        self.ask(self.inner.admit(doc)).await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Doc>> {
        self.ask(self.inner.get(object)).await
    }

    async fn list(&self, api_version: &str, kind: &str, namespace: &str, labels: &[(&str, &str)]) -> Result<Vec<Doc>> {
        self.ask(self.inner.list(api_version, kind, namespace, labels)).await
    }

    async fn remaining(&self, namespace: &str) -> Result<Vec<Doc>> {
        self.ask(self.inner.remaining(namespace)).await
    }

    async fn delete(&self, object: &ObjectRef, uid: &str) -> Answer<Deleted> {
        self.ask(self.inner.delete(object, uid)).await
    }

    async fn logs(&self, namespace: &str, pod: &str, query: &LogQuery) -> Result<BoxStream<'static, Result<String>>> {
        self.ask(self.inner.logs(namespace, pod, query)).await
    }

    /// A watch is begun anew by itself every few seconds, and says nothing about calls.
    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        self.inner.changes().await
    }

    async fn may(&self, verb: &str, group: &str, resource: &str, namespace: &str) -> Result<bool> {
        self.ask(self.inner.may(verb, group, resource, namespace)).await
    }
}
