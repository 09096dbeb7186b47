//! What happens to one environment, as it happens: changes of its conditions, and the events of its namespace.
//!
//! Owns what a stream has told already, so that each change is told once. Refuses to keep more than one look of events.
use std::{collections::BTreeMap, time::Duration};

use futures::{Stream, StreamExt as _};
use slipway_kit::{
    error::Result,
    journal::{self, Stored},
    serve::Call,
};

use super::{
    App,
    diagnoses::{is_ours, listed},
    lifetimes::observed,
};
use crate::{
    model::{
        diagnosis::{self, Event},
        environment::Environment,
        outcome::namespace_ref,
    },
    wire::event::{Told, told},
};

/// How often the events of a namespace are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A condition is so.
    Condition(Box<Told>),
    /// Kubernetes recorded an event.
    Cluster(Event),
    /// Everything of now was told.
    Synced,
    /// The cluster gives no answer for now.
    Silent,
    /// The environment is gone.
    Gone,
}

/// What was told already.
struct Teller {
    app: App,
    env: Environment,
    conditions: BTreeMap<String, Told>,
    events: BTreeMap<String, Event>,
    is_silent: bool,
}

impl App {
    /// How an environment is, then each change, until it is gone or the caller ends it.
    ///
    /// # Errors
    /// CLUSTER_NOT_OBSERVED with the target git.
    pub async fn happenings(
        &self,
        call: &Call,
        name: &str,
    ) -> Result<impl Stream<Item = Result<Happening>> + Send + 'static + use<>> {
        // What the journal tells from here on is newer than the environment that is read after it.
        let head = journal::head(&self.store.db).await?;
        let env = self.environment(call, name).await?;
        observed(&env)?;
        let mut teller =
            Teller { app: self.clone(), conditions: BTreeMap::new(), events: BTreeMap::new(), is_silent: false, env };
        Ok(async_stream::try_stream! {
            let is_gone = teller.env.deleted_us.is_some();
            let now = told(&teller.env, &teller.app.platform);
            for happening in teller.conditions(now) { yield happening }
            for happening in teller.look().await { yield happening }
            yield Happening::Synced;
            if is_gone {
                yield Happening::Gone;
                return;
            }
            let follow = journal::follow(&teller.app.store.db, head.seq, teller.app.drain.clone());
            let mut journal = Box::pin(follow);
            let mut looks = tokio::time::interval(LOOK_EVERY);
            looks.tick().await;
            loop {
                let event = tokio::select! {
                    event = journal.next() => Some(event),
                    _ = looks.tick() => None,
                };
                let (news, is_over) = match event {
                    Some(None) => break,
                    Some(Some(event)) => teller.news(&event?)?,
                    None => (teller.look().await, false),
                };
                for happening in news { yield happening }
                if is_over {
                    yield Happening::Gone;
                    break;
                }
            }
        })
    }
}

impl Teller {
    /// What a stored event tells of this environment, and whether it is over.
    fn news(&mut self, event: &Stored) -> Result<(Vec<Happening>, bool)> {
        if event.key != self.env.uid {
            return Ok((Vec::new(), false));
        }
        let Some(seen) = crate::wire::event::seen(event)? else { return Ok((Vec::new(), false)) };
        let is_over = seen.is_over;
        Ok((self.conditions(Told::all(&seen.message)), is_over))
    }

    fn conditions(&mut self, now: Vec<Told>) -> Vec<Happening> {
        let mut news = Vec::new();
        for told in now {
            let is_known = self.conditions.get(told.aspect()).is_some_and(|known| known.says_as(&told));
            if !is_known {
                self.conditions.insert(told.aspect().to_owned(), told.clone());
                news.push(Happening::Condition(Box::new(told)));
            }
        }
        news
    }

    /// Events that are new or were seen again since the last look, oldest first.
    async fn look(&mut self) -> Vec<Happening> {
        let Ok(events) = self.read().await else {
            let is_news = !std::mem::replace(&mut self.is_silent, true);
            return if is_news { vec![Happening::Silent] } else { Vec::new() };
        };
        self.is_silent = false;
        let mut before = std::mem::take(&mut self.events);
        let mut news = Vec::new();
        for event in events.into_iter().rev() {
            if before.remove(&event.uid).as_ref() != Some(&event) {
                news.push(Happening::Cluster(event.clone()));
            }
            self.events.insert(event.uid.clone(), event);
        }
        news
    }

    async fn read(&self) -> Result<Vec<Event>> {
        let cluster = self.app.world.clusters.open(&self.env.cluster).await?;
        let namespace = cluster.get(&namespace_ref(&self.env)).await?;
        if !is_ours(&self.env, namespace.as_ref()) {
            return Ok(Vec::new());
        }
        let live = listed(cluster.as_ref(), &self.env.namespace, &[("v1", "Event")]).await?;
        Ok(diagnosis::events(&live))
    }
}
