//! Previews of pull requests: ensured by CI, deleted by people (ENV-20 to ENV-23).
//!
//! Owns the loop of reading the SCM and writing only if nothing changed meanwhile. Refuses to deploy what the SCM does not show.
use std::collections::BTreeMap;

use slipway_kit::{
    audit::Change,
    error::{ALREADY_EXISTS, CONFLICT, Error, Result, Violations},
    mutation::{Begun, Mutation},
    scm::PULL_REQUEST_UNKNOWN,
    serve::Call,
};

use super::{App, changes::Beginning, check, check_etag, missing};
use crate::{
    error::{
        ENVIRONMENT_DELETING, PREVIEW_DISABLED, PREVIEW_ENDED, PULL_REQUEST_ENDED, SCM_UNREACHABLE,
        SERVICE_WITHOUT_REPOSITORY, STALE_COMMIT,
    },
    model::{
        cluster::Placement,
        config,
        environment::{Environment, Kind, RetireReason, Source, Spec},
        lifecycle,
        names::{self, Subject},
        preview::{self, Head, Reading, Wish},
        tier::Tier,
        values,
    },
    world::ServiceFacts,
};

/// How often a change that lost a race is tried again.
const RACES_MAX: usize = 8;

/// Tries again while another change of the same environment wins.
///
/// # Errors
/// The attempt's own; CONFLICT after [`RACES_MAX`] lost races.
pub(super) async fn despite_races<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    for _ in 0..RACES_MAX {
        match attempt().await {
            Err(error) if error.is(&CONFLICT) || error.is(&ALREADY_EXISTS) => {}
            done => return done,
        }
    }
    Err(Error::new(&CONFLICT, format!("the {what} changes faster than it can be written")).retry_after_ms(1000))
}

/// What CI wants.
#[derive(Clone, Debug)]
pub struct WantedPreview {
    /// Reference of the service.
    pub service: String,
    /// Number of the pull request.
    pub pull_request: i64,
    /// Commit the images were built from.
    pub head_sha: String,
    /// Images by name.
    pub images: BTreeMap<String, String>,
    /// Idle time after which it sleeps, in microseconds; as it was if it is not said.
    pub idle_us: Option<i64>,
    /// Only checks.
    pub validate_only: bool,
}

impl App {
    /// Makes sure that the pull request has a preview of its head with these images.
    pub async fn ensure_preview(&self, call: &Call, wanted: &WantedPreview) -> Result<Environment> {
        let service = self.service(call, "service", &wanted.service, Tier::Development.word()).await?;
        let mut v = Violations::new();
        check_images(&mut v, "images", &wanted.images);
        if let Some(Err(rule)) = wanted.idle_us.map(|idle_us| lifecycle::check_idle(Tier::Development, idle_us)) {
            v.add("idle_sleep", rule);
        }
        v.finish()?;
        if let Some(answer) = self.replayed(call).await? {
            return Ok(answer);
        }
        let source = self.pull_source(call, &service, wanted.pull_request).await?;
        let place = self.place(Tier::Development, "").await?;
        despite_races("preview", || self.try_ensure(call, wanted, &service, &source, &place)).await
    }

    async fn try_ensure(
        &self,
        call: &Call,
        wanted: &WantedPreview,
        service: &ServiceFacts,
        source: &Source,
        place: &Placement,
    ) -> Result<Environment> {
        let subject = pull_subject(source);
        let key = names::natural_key(&subject, &service.reference);
        let before = self.store.living(&self.store.db, &key).await?;
        let reading = self.world.sources.read(source).await;
        if let Reading::Open(Head { fork: true, .. }) = &reading {
            call.refuse_job()?;
        }
        let head = head_of(reading, wanted.pull_request, &wanted.head_sha, before.is_some())?;
        check_image_names("images", &wanted.images, &head)?;
        let mut mutation = match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let now = self.store.living(mutation.tx(), &key).await?;
        if now.as_ref().map(|env| (&env.uid, env.version)) != before.as_ref().map(|env| (&env.uid, env.version)) {
            return Err(Error::new(&CONFLICT, "the preview changed while the pull request was read"));
        }
        // Of a life that ends, what will remain of it decides on the next one.
        let ending = now.as_ref().and_then(Environment::tombstone);
        let lives_again = ending.is_some_and(|last| preview::may_live_again(&last, &head, Wish::Asked));
        let env = match now.filter(|_| !lives_again) {
            Some(env) => self.renew(call, &mut mutation, env, &head, wanted).await?,
            None => {
                let tombstone = self.store.tombstone(mutation.tx(), &key).await?.filter(|_| !lives_again);
                if tombstone.is_some_and(|last| !preview::may_live_again(&last, &head, Wish::Asked)) {
                    return Err(Error::new(&PREVIEW_ENDED, "the preview of this pull request was deleted"));
                }
                let spec = first_spec(source, &head, wanted.images.clone());
                let spec = Spec { idle_us: wanted.idle_us, ..spec };
                let beginning = pull_beginning(&subject, service, spec, place);
                let mut env = self.conceive(mutation.tx(), beginning).await?;
                self.admit(mutation.tx(), call, None, &mut env).await?;
                self.begin_life(mutation.tx(), &env).await?;
                env
            }
        };
        if wanted.validate_only {
            return Ok(env);
        }
        let fields = ["source", "images", "idle_sleep"];
        mutation.commit(&env, Change { resource: &env.name(), uid: &env.uid, fields: &fields }).await?;
        Ok(env)
    }

    async fn renew(
        &self,
        call: &Call,
        mutation: &mut Mutation,
        mut env: Environment,
        head: &Head,
        asked: &WantedPreview,
    ) -> Result<Environment> {
        if env.retire.is_some() {
            return Err(
                Error::new(&ENVIRONMENT_DELETING, format!("{} is being torn down", env.name())).retry_after_ms(2000)
            );
        }
        let before = env.clone();
        let mut spec = crate::model::step::wanted(&env, head);
        if !asked.images.is_empty() {
            spec.images.clone_from(&asked.images);
        }
        spec.idle_us = asked.idle_us.or(spec.idle_us);
        if env.want(spec, self.now_us()) {
            self.admit(mutation.tx(), call, Some(&before), &mut env).await?;
            self.save(mutation.tx(), &before, &mut env).await?;
        }
        Ok(env)
    }

    /// Deletes the preview of a pull request; it must be reopened to get another one.
    pub async fn delete_preview(
        &self,
        call: &Call,
        service: &str,
        pull_request: i64,
        etag: &str,
    ) -> Result<Environment> {
        let service = self.service(call, "service", service, Tier::Development.word()).await?;
        let source = self.pull_source(call, &service, pull_request).await?;
        let key = names::natural_key(&pull_subject(&source), &service.reference);
        let mut mutation = match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let name = format!("preview of pull request {pull_request} of {}", service.reference);
        let Some(found) = self.store.living(mutation.tx(), &key).await? else { return Err(missing(&name)) };
        let mut env = check(call, Some(found), &name)?;
        check_etag(&env, etag)?;
        let (before, now_us) = (env.clone(), self.now_us());
        if env.end(RetireReason::Requested, &call.caller.principal, now_us, now_us) {
            self.save(mutation.tx(), &before, &mut env).await?;
        }
        mutation.commit(&env, Change { resource: &env.name(), uid: &env.uid, fields: &["state"] }).await?;
        Ok(env)
    }

    /// The source of a pull request in the service's repository; a CI job sees only its own (SAFE-18).
    async fn pull_source(&self, call: &Call, service: &ServiceFacts, number: i64) -> Result<Source> {
        let source = Source { pull_request: Some(number), ..self.service_source(service).await? };
        call.check_job(&service.reference, Some((&source.repository_id, source.pull_request)))?;
        Ok(source)
    }

    /// The repository of a service, without a branch or pull request.
    pub(super) async fn service_source(&self, service: &ServiceFacts) -> Result<Source> {
        let unknown = || {
            let text = format!("no repository is known of {}", service.reference);
            Error::new(&SERVICE_WITHOUT_REPOSITORY, text).resource("slipway.dev/Entity", &service.reference)
        };
        if service.scm.is_empty() || service.repository.is_empty() {
            return Err(unknown());
        }
        let found = self.world.sources.repository(&service.scm, &service.repository).await?.ok_or_else(unknown)?;
        Ok(Source {
            scm: service.scm.clone(),
            repository: found.name,
            repository_id: found.id,
            folder: service.folder.trim_matches('/').to_owned(),
            ..Source::default()
        })
    }
}

/// Every reference that is not pinned, at once.
pub(super) fn check_images(v: &mut Violations, field: &str, images: &BTreeMap<String, String>) {
    for (name, reference) in images {
        let rule = "must be <repository>@sha256:<64 hex>; tags are never deployed";
        v.check(values::pinned(reference).is_ok(), format!("{field}[{name:?}]"), rule);
    }
}

/// Every image that the configuration of the commit does not declare; without a readable one, its fault is told by the condition.
pub(super) fn check_image_names(field: &str, images: &BTreeMap<String, String>, head: &Head) -> Result<()> {
    let Ok(config) = &head.config else { return Ok(()) };
    let declared: Vec<&str> = config.images.iter().map(|image| image.name.as_str()).collect();
    let mut v = Violations::new();
    for name in images.keys() {
        let rule = format!("is no image of this commit's {}; it declares {}", config::PATH, declared.join(", "));
        v.check(declared.contains(&name.as_str()), format!("{field}[{name:?}]"), rule);
    }
    v.finish()
}

/// The head, if the SCM shows the commit that was named.
pub(super) fn head_of(reading: Reading, number: i64, named_sha: &str, lives: bool) -> Result<Head> {
    let head = match reading {
        Reading::Open(head) => head,
        Reading::Unknown { reason: "PULL_REQUEST_UNKNOWN", message } => {
            return Err(Error::new(&PULL_REQUEST_UNKNOWN, message));
        }
        Reading::Unknown { message, .. } => return Err(Error::new(&SCM_UNREACHABLE, message).retry_after_ms(5000)),
        Reading::Ended { reason, .. } => {
            let text = format!("pull request {} ended: {}", number, reason.word());
            return Err(Error::new(&PULL_REQUEST_ENDED, text).meta("state", reason.word()));
        }
        Reading::Fixed => return Err(Error::internal("a pull request is never fixed")),
    };
    if head.head_sha != named_sha {
        let text = format!("pull request {} is at {}", number, head.head_sha);
        let error = Error::new(&STALE_COMMIT, text).meta("head_sha", &head.head_sha).meta("named_sha", named_sha);
        return Err(error.precondition("STALE_COMMIT", format!("pull request {}", number), "build the present head"));
    }
    match preview::unwanted(&head, true) {
        None => Ok(head),
        // What does not end a preview that lives does not keep it from its next commit either (ENV-27).
        Some(reason) if lives && !preview::retires(&head.config, reason) => Ok(head),
        Some(reason) => {
            let text = format!("pull request {} gets no preview: {}", number, reason.word());
            Err(Error::new(&PREVIEW_DISABLED, text).meta("cause", reason.word()))
        }
    }
}

/// What the names of a pull request's preview are made of.
pub(super) fn pull_subject(source: &Source) -> Subject {
    let repository = format!("{}/{}", source.scm, source.repository_id);
    Subject::PullRequest { repository, number: source.pull_request.unwrap_or(0) }
}

/// The first spec of a life.
pub(super) fn first_spec(source: &Source, head: &Head, images: BTreeMap<String, String>) -> Spec {
    let source = Source {
        repository: head.repository.clone(),
        branch: head.branch.clone(),
        head_sha: head.head_sha.clone(),
        base_sha: head.base_sha.clone(),
        fork: head.fork,
        ..source.clone()
    };
    Spec { source, images, ttl_us: None, idle_us: None, config: head.config.clone() }
}

/// What a preview's life is made of.
pub(super) fn pull_beginning<'a>(
    subject: &'a Subject,
    service: &'a ServiceFacts,
    spec: Spec,
    place: &'a Placement,
) -> Beginning<'a> {
    Beginning { subject, kind: Kind::PullRequest, tier: Tier::Development, service, place, label: "", user: "", spec }
}
