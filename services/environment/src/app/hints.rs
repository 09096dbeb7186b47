//! Hints: something may have changed in a source (ENV-20).
//!
//! Owns what a hint leads to: looking. Refuses to take state from a hint; late, doubled and reordered ones therefore change nothing.
use serde_json::Value;
use slipway_kit::{
    db::Tx,
    error::{ALREADY_EXISTS, CONFLICT, NOT_FOUND, Result, SERVICE_UNKNOWN},
    worker,
};

use super::{
    App, WORK_ENVIRONMENT, WORK_PULL_REQUEST,
    previews::{first_spec, pull_beginning, pull_subject},
};
use crate::{
    model::{
        budget, config,
        environment::Source,
        hold, names, orphan,
        preview::{self, Reading, Wish},
        receipt,
        tier::Tier,
    },
    wire::event::BindingChange,
    world::{Repository, ServiceFacts},
};

/// How long deleted lives can be read, in microseconds.
const DELETED_KEEP_US: i64 = 30 * 86_400_000_000;

/// Id of the work that looks at a pull request.
pub fn pull_request_id(scm: &str, repository_id: &str, number: i64) -> String {
    format!("{scm}/{repository_id}/{number}")
}

impl App {
    /// Takes a webhook delivery: only its names count, never its state (SAFE-28).
    pub async fn hint(&self, scm: &str, event: &str, body: &[u8]) -> Result<()> {
        if !self.world.sources.connections().iter().any(|id| id == scm) {
            return Ok(());
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return Ok(()) };
        let Some(repository_id) = body.pointer("/repository/id").and_then(Value::as_i64).map(|id| id.to_string())
        else {
            return Ok(());
        };
        let mut tx = self.store.db.begin().await?;
        match event {
            "pull_request" => {
                let number =
                    body.get("number").or_else(|| body.pointer("/pull_request/number")).and_then(Value::as_i64);
                if let Some(number) = number.filter(|n| *n > 0) {
                    worker::enqueue(&mut tx, WORK_PULL_REQUEST, &pull_request_id(scm, &repository_id, number), 0)
                        .await?;
                }
            }
            "push" => {
                let branch = body.get("ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("refs/heads/"));
                for uid in self.store.on_branch(&mut tx, scm, &repository_id, branch.unwrap_or_default()).await? {
                    worker::enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await?;
                }
            }
            _ => {}
        }
        tx.commit().await
    }

    /// Looks at a pull request: wakes its environments, and begins those that are missing. False if the catalog does not yet know
    /// a service that the repository declares.
    pub async fn look(&self, scm: &str, repository_id: &str, number: i64) -> Result<bool> {
        let Some(repository) = self.world.sources.repository_by_id(scm, repository_id).await? else { return Ok(true) };
        let (services, is_complete) = self.services_of(scm, &repository).await?;
        for service in services {
            let source = Source {
                scm: scm.to_owned(),
                repository: repository.name.clone(),
                repository_id: repository.id.clone(),
                folder: service.folder.trim_matches('/').to_owned(),
                pull_request: Some(number),
                ..Source::default()
            };
            match self.look_for(&service, &source).await {
                // Somebody else was faster: what it did is as new as what was read here, or newer.
                Err(error) if error.is(&ALREADY_EXISTS) || error.is(&CONFLICT) => {}
                done => done?,
            }
        }
        Ok(is_complete)
    }

    async fn look_for(&self, service: &ServiceFacts, source: &Source) -> Result<()> {
        let subject = pull_subject(source);
        let key = names::natural_key(&subject, &service.reference);
        let ending = self.store.living(&self.store.db, &key).await?;
        if let Some(env) = &ending {
            let mut tx = self.store.db.begin().await?;
            // Webhooks have living ones looked at: the source told, so that one reading counts (ENV-42).
            self.store.tell(&mut tx, &env.uid, self.now_us()).await?;
            worker::enqueue(&mut tx, WORK_ENVIRONMENT, &env.uid, 0).await?;
            tx.commit().await?;
            // A life that ends stands in nobody's way: the pull request may be open again.
            if env.retire.is_none() {
                return Ok(());
            }
        }
        let Reading::Open(head) = self.world.sources.read(source).await else { return Ok(()) };
        let is_configured = !head.config.as_ref().is_err_and(|fault| fault.starts_with(config::MISSING));
        if !is_configured || preview::unwanted(&head, true).is_some() {
            return Ok(());
        }
        let place = self.place(Tier::Development, "").await?;
        let mut tx = self.store.db.begin().await?;
        let last = match ending.and_then(|env| env.tombstone()) {
            Some(last) => Some(last),
            None => self.store.tombstone(&mut tx, &key).await?,
        };
        if last.is_some_and(|last| !preview::may_live_again(&last, &head, Wish::Seen)) {
            return Ok(());
        }
        let beginning = pull_beginning(&subject, service, first_spec(source, &head, Default::default()), &place);
        let mut env = self.conceive(&mut tx, beginning).await?;
        // Nobody waits for an answer: it stands in the line of its team, and is let in by its worker.
        budget::queue(&mut env, self.now_us());
        self.begin_life(&mut tx, &env).await?;
        tx.commit().await
    }

    /// Services whose source the catalog says this repository is, and whether the catalog knows every one it declares.
    async fn services_of(&self, scm: &str, repository: &Repository) -> Result<(Vec<ServiceFacts>, bool)> {
        let (mut found, mut is_complete) = (Vec::new(), true);
        for reference in self.world.sources.components(scm, repository).await? {
            match self.world.directory.service(&reference).await {
                Ok(facts) if facts.scm == scm && facts.repository == repository.name => found.push(facts),
                Ok(_) => {}
                Err(error) if error.is(&SERVICE_UNKNOWN) || error.is(&NOT_FOUND) => is_complete = false,
                Err(error) => return Err(error),
            }
        }
        Ok((found, is_complete))
    }

    /// Looks through a connection for open pull requests without a preview, which heals lost webhooks (REL-65), and for answers that hold
    /// what it seems to have ended.
    pub async fn poll(&self, scm: &str) -> Result<()> {
        let sweep = self.begin_sweep(scm).await?;
        for repository in self.sweep_source(&sweep).await?.iter().filter(|r| !r.archived) {
            let listed = self.world.sources.open_pull_requests(scm, &repository.name).await;
            self.sweep_listing(&sweep, repository, &listed).await?;
            // One repository that cannot be read hides no other.
            let open = match listed {
                Ok(open) if open.is_empty() => continue,
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(error = ?error, repository = %repository.name, "open pull requests cannot be listed");
                    continue;
                }
            };
            let (services, _) = self.services_of(scm, repository).await?;
            let mut tx = self.store.db.begin().await?;
            for number in open {
                if self.is_missing(&mut tx, scm, repository, &services, number).await? {
                    worker::enqueue(&mut tx, WORK_PULL_REQUEST, &pull_request_id(scm, &repository.id, number), 0)
                        .await?;
                }
            }
            tx.commit().await?;
        }
        Ok(())
    }

    async fn is_missing(
        &self,
        tx: &mut Tx,
        scm: &str,
        repository: &Repository,
        services: &[ServiceFacts],
        number: i64,
    ) -> Result<bool> {
        let source = Source {
            scm: scm.to_owned(),
            repository_id: repository.id.clone(),
            pull_request: Some(number),
            ..Source::default()
        };
        for service in services {
            let key = names::natural_key(&pull_subject(&source), &service.reference);
            if self.store.living(&mut *tx, &key).await?.is_none_or(|env| env.retire.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the news of a binding: environments that it concerns get a new generation.
    pub async fn rebind(&self, tx: &mut Tx, change: &BindingChange) -> Result<()> {
        let Some(tier) = change.tier else { return Ok(()) };
        for uid in self.store.of_service(&mut *tx, &change.service, tier.word()).await? {
            if !change.environment_uid.is_empty() && change.environment_uid != uid {
                continue;
            }
            let Some(mut env) = self.store.by_uid(&mut *tx, &uid).await? else { continue };
            let before = env.clone();
            if env.rebind(&change.secret_name, change.is_gone, self.now_us()) {
                self.save(tx, &before, &mut env).await?;
            }
        }
        Ok(())
    }

    /// Drops receipts after 90 days and deleted lives after 30.
    pub async fn purge(&self) -> Result<()> {
        let now_us = self.now_us();
        self.store.purge_receipts(now_us - receipt::KEEP_US).await?;
        self.store.purge_deleted(now_us - DELETED_KEEP_US).await?;
        self.store.purge_holds(now_us - hold::KEEP_US).await?;
        self.store.purge_orphans(now_us - orphan::KEEP_US).await?;
        Ok(())
    }

    /// Puts everything that must be looked at after a start into the queue.
    pub async fn wake_all(&self) -> Result<()> {
        let living = self.store.all_living().await?;
        let mut tx = self.store.db.begin().await?;
        for uid in living {
            worker::enqueue(&mut tx, WORK_ENVIRONMENT, &uid, 0).await?;
        }
        for scm in self.world.sources.connections() {
            worker::enqueue(&mut tx, super::WORK_POLL, &scm, 0).await?;
        }
        worker::enqueue(&mut tx, super::WORK_PURGE, "all", 60_000).await?;
        for cluster in self.store.clusters().await? {
            worker::enqueue(&mut tx, super::WORK_CHECK, &cluster.id, 60_000).await?;
        }
        tx.commit().await
    }
}
