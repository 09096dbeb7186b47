//! Environments: created, read, listed, extended, waited for.
//!
//! Owns which fields each kind needs. Refuses names and lifetimes the model refuses.
use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    error::{CONFLICT, Error, Result, Violations},
    filter::Filter,
    mutation::{Begun, Mutation},
    page::{self, Cursor, OrderBy},
    serve::Call,
};
use tokio::time::Instant;

use super::{
    App,
    changes::Beginning,
    check_etag,
    previews::{check_image_names, check_images, despite_races, first_spec},
};
use crate::{
    error::{BRANCH_UNKNOWN, CLUSTER_UNKNOWN, ENVIRONMENT_DELETING, NEEDS_PERSON, SCM_UNREACHABLE, TTL_TOO_LONG},
    model::{
        approval,
        cluster::Placement,
        environment::{Environment, Kind, Source, Spec},
        lifecycle,
        names::{self, Subject},
        preview::{Head, Reading},
        state::State,
        tier::{self, Tier, TtlFault},
    },
    store::{FILTER, ListQuery},
    world::ServiceFacts,
};

/// Fields a list can be ordered by.
const ORDER: &[(&str, &str)] = &[("name", "label_id"), ("create_time", "created_us"), ("update_time", "updated_us")];
const ORDER_DEFAULT: &str = "create_time desc";
/// Most matches an estimate counts.
const ESTIMATE_MAX: i64 = 1000;
/// Longest wait of one call.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Time of a call that is left for its answer.
const ANSWER_TIME: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An environment that is asked for.
#[derive(Clone, Debug, Default)]
pub struct NewEnvironment {
    /// Reference of the service.
    pub service: String,
    /// What it belongs to.
    pub kind: Option<Kind>,
    /// Tier, if stated.
    pub tier: Option<Tier>,
    /// Name within the service.
    pub label: String,
    /// Cluster.
    pub cluster: String,
    /// Branch; the default branch if empty.
    pub branch: String,
    /// Images by name.
    pub images: BTreeMap<String, String>,
    /// Time to live, in microseconds.
    pub ttl_us: Option<i64>,
    /// Idle time after which it sleeps, in microseconds; 0 means never.
    pub idle_us: Option<i64>,
    /// Only checks.
    pub validate_only: bool,
}

/// A list that is asked for.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Items of a page.
    pub page_size: i32,
    /// Token of the page before.
    pub page_token: String,
    /// AIP-160 filter.
    pub filter: String,
    /// Order.
    pub order_by: String,
    /// Deleted ones too.
    pub show_deleted: bool,
    /// Whether a total is counted, and whether exactly.
    pub total: Option<bool>,
}

/// A page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    /// Its environments.
    pub environments: Vec<Environment>,
    /// Token of the next page.
    pub next: String,
    /// Number of matches.
    pub total: Option<i64>,
    /// Whether there are more.
    pub is_estimate: bool,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// The newest generation came to rest.
    Settled,
    /// The teardown is finished.
    Deleted,
}

impl App {
    /// Creates an environment, or brings the living one under the same key to this spec.
    pub async fn create(&self, call: &Call, new: &NewEnvironment) -> Result<Environment> {
        let tier = new.tier.unwrap_or(Tier::Development);
        let service = self.service(call, "environment.service", &new.service, tier.word()).await?;
        let place = self.place(tier, &new.cluster).await;
        let kind = check_new(new, tier, place.as_ref().err())?;
        let place = place?;
        if kind == Kind::Personal && !call.caller.principal.starts_with("user:") {
            return Err(Error::new(&NEEDS_PERSON, "a personal environment belongs to a person"));
        }
        if let Some(answer) = self.replayed(call).await? {
            return Ok(answer);
        }
        let source = Source { branch: new.branch.clone(), ..self.service_source(&service).await? };
        call.check_job(&service.reference, Some((&source.repository_id, None)))?;
        despite_races("environment", || self.try_create(call, new, (kind, tier, &place), &service, &source)).await
    }

    async fn try_create(
        &self,
        call: &Call,
        new: &NewEnvironment,
        (kind, tier, place): (Kind, Tier, &Placement),
        service: &ServiceFacts,
        source: &Source,
    ) -> Result<Environment> {
        let subject = subject(call, new, kind, tier, source);
        let key = names::natural_key(&subject, &service.reference);
        let before = self.store.living(&self.store.db, &key).await?;
        let head = self.branch_head(source).await?;
        check_image_names("environment.images", &new.images, &head)?;
        let mut mutation = match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let now = self.store.living(mutation.tx(), &key).await?;
        if now.as_ref().map(|env| (&env.uid, env.version)) != before.as_ref().map(|env| (&env.uid, env.version)) {
            return Err(Error::new(&CONFLICT, "the environment changed while the branch was read"));
        }
        let env = match now {
            Some(env) => self.revise(call, &mut mutation, env, new, &head).await?,
            None => {
                let (ttl_us, idle_us) = (new.ttl_us, new.idle_us);
                let spec = Spec { ttl_us, idle_us, ..first_spec(source, &head, new.images.clone()) };
                let label = if let Subject::LongLived { label, .. } = &subject { label.as_str() } else { "" };
                let user = if kind == Kind::Personal { call.caller.principal.as_str() } else { "" };
                let beginning = Beginning { subject: &subject, kind, tier, service, place, label, user, spec };
                let mut env = self.conceive(mutation.tx(), beginning).await?;
                self.admit(mutation.tx(), call, None, &mut env).await?;
                self.begin_life(mutation.tx(), &env).await?;
                env
            }
        };
        if !new.validate_only {
            let fields = ["source", "images", "ttl", "idle_sleep"];
            mutation.commit(&env, Change { resource: &env.name(), uid: &env.uid, fields: &fields }).await?;
        }
        Ok(env)
    }

    async fn revise(
        &self,
        call: &Call,
        mutation: &mut Mutation,
        mut env: Environment,
        new: &NewEnvironment,
        head: &Head,
    ) -> Result<Environment> {
        if env.retire.is_some() {
            return Err(
                Error::new(&ENVIRONMENT_DELETING, format!("{} is being torn down", env.name())).retry_after_ms(2000)
            );
        }
        let before = env.clone();
        let mut spec = crate::model::step::wanted(&env, head);
        if !new.images.is_empty() {
            spec.images.clone_from(&new.images);
        }
        (spec.ttl_us, spec.idle_us) = (new.ttl_us.or(spec.ttl_us), new.idle_us.or(spec.idle_us));
        if env.want(spec, self.now_us()) {
            self.admit(mutation.tx(), call, Some(&before), &mut env).await?;
            self.save(mutation.tx(), &before, &mut env).await?;
        }
        Ok(env)
    }

    async fn branch_head(&self, source: &Source) -> Result<Head> {
        match self.world.sources.read(source).await {
            Reading::Open(head) => Ok(head),
            Reading::Unknown { message, .. } => Err(Error::new(&SCM_UNREACHABLE, message).retry_after_ms(5000)),
            Reading::Ended { .. } | Reading::Fixed => {
                let text = format!("{} has no branch {:?}", source.repository, source.branch);
                Err(Error::new(&BRANCH_UNKNOWN, text).violation("environment.source.branch", "must exist"))
            }
        }
    }

    /// One environment.
    pub async fn get(&self, call: &Call, name: &str) -> Result<Environment> {
        self.environment(call, name).await
    }

    /// A page of the environments the caller may see.
    pub async fn list(&self, call: &Call, list: &List) -> Result<Page> {
        let bound = format!("{}\n{}\n{}", list.filter, list.order_by, list.show_deleted);
        let (filter, order, cursor) = page::question(
            Filter::read(&list.filter, FILTER),
            OrderBy::parse(&list.order_by, ORDER, ORDER_DEFAULT, "uid"),
            self.sealer.open::<Cursor>(call, &bound, &list.page_token),
        )?;
        let limit = page::size(list.page_size);
        let query = ListQuery {
            visible: call.visible(),
            filter: &filter,
            order: &order,
            cursor: cursor.as_ref(),
            limit,
            show_deleted: list.show_deleted,
        };
        let (environments, next) = self.sealer.cut(call, &bound, self.store.list(&query).await?, limit);
        let most = if list.total == Some(true) { i64::MAX } else { ESTIMATE_MAX + 1 };
        let counted = if list.total.is_some() { Some(self.store.count(&query, most).await?) } else { None };
        let is_estimate = list.total == Some(false) && counted.is_some_and(|n| n > ESTIMATE_MAX);
        let total = counted.map(|n| if is_estimate { ESTIMATE_MAX } else { n });
        Ok(Page { environments, next, total, is_estimate })
    }

    /// Lets an environment live longer, from now on.
    pub async fn extend(&self, call: &Call, name: &str, ttl_us: i64, etag: &str) -> Result<Environment> {
        let found = self.environment(call, name).await?;
        finish(Violations::new(), "ttl", tier::check_ttl(found.tier, ttl_us))?;
        let mut mutation = match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let found = self.store.by_label(mutation.tx(), &found.label_id).await?;
        let mut env = super::check(call, found, name)?;
        check_etag(&env, etag)?;
        if env.retire.is_some() {
            return Err(Error::new(&ENVIRONMENT_DELETING, format!("{name} is being torn down")));
        }
        let end_us = self.now_us().saturating_add(ttl_us);
        if let Some(limit_us) = approval::limit_us(&env).filter(|limit| end_us > *limit) {
            let cap_seconds = (limit_us - self.now_us()).max(0) / 1_000_000;
            let rule = format!(
                "TTL_TOO_LONG: a fork's preview lives at most 24 hours from its approval; {cap_seconds}s are left"
            );
            let error = Error::new(&TTL_TOO_LONG, rule.clone()).violation("ttl", rule);
            return Err(error.meta("cap_seconds", cap_seconds.to_string()));
        }
        let before = env.clone();
        // Who asks for a longer life must not get a shorter one.
        env.expire_us = env.expire_us.max(Some(end_us));
        self.save(mutation.tx(), &before, &mut env).await?;
        mutation.commit(&env, Change { resource: &env.name(), uid: &env.uid, fields: &["expire_time"] }).await?;
        Ok(env)
    }

    /// Blocks until the environment is as waited for, or the time is over; answers it as it then is.
    pub async fn wait(&self, call: &Call, name: &str, what: WaitFor, timeout: Option<Duration>) -> Result<Environment> {
        let first = self.environment(call, name).await?;
        let until = Instant::now() + timeout.unwrap_or(WAIT_MAX).min(WAIT_MAX);
        let until = until.min(call.deadline - ANSWER_TIME.min(call.remaining()));
        let mut woken = self.store.db.signals().journal();
        loop {
            woken.mark_unchanged();
            let Some(env) = self.store.by_uid(&self.store.db, &first.uid).await? else { return Ok(first) };
            let is_over = match what {
                WaitFor::Settled => env.is_settled(),
                WaitFor::Deleted => env.state() == State::Deleted,
            };
            if is_over || Instant::now() >= until {
                return Ok(env);
            }
            tokio::select! {
                _ = woken.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// The violations, or TTL_TOO_LONG when that is all that is wrong.
fn finish(mut violations: Violations, field: &str, ttl: std::result::Result<(), TtlFault>) -> Result<()> {
    match ttl {
        Ok(()) => violations.finish(),
        Err(fault @ TtlFault::TooLong { cap_seconds }) if violations.is_empty() => {
            let error = Error::new(&TTL_TOO_LONG, fault.rule()).violation(field, fault.rule());
            Err(error.meta("cap_seconds", cap_seconds.to_string()))
        }
        Err(fault) => {
            violations.add(field, fault.rule());
            violations.finish()
        }
    }
}

fn subject(call: &Call, new: &NewEnvironment, kind: Kind, tier: Tier, source: &Source) -> Subject {
    match kind {
        Kind::Branch | Kind::PullRequest => Subject::Branch {
            repository: format!("{}/{}", source.scm, source.repository_id),
            scm_host: source.scm.clone(),
            repository_id: source.repository_id.clone(),
            branch: source.branch.clone(),
        },
        Kind::Personal => Subject::Personal { user: call.caller.principal.clone() },
        Kind::LongLived => {
            let label = if new.label.is_empty() { tier.word().to_owned() } else { new.label.clone() };
            Subject::LongLived { label, tier }
        }
    }
}

/// Every broken rule of a request at once.
fn check_new(new: &NewEnvironment, tier: Tier, misplaced: Option<&Error>) -> Result<Kind> {
    let mut v = Violations::new();
    let kind = match new.kind {
        Some(Kind::PullRequest) => {
            v.add("environment.kind", "previews of pull requests are made by EnsurePreview");
            Kind::PullRequest
        }
        Some(kind) => kind,
        None => {
            v.add("environment.kind", "must be stated");
            Kind::Personal
        }
    };
    if kind == Kind::LongLived {
        v.check(new.tier.is_some_and(|t| t != Tier::Development), "environment.tier", "must be STAGING or PRODUCTION");
        let label = new.label.is_empty() || slipway_kit::id::slug(&new.label, 63) == new.label;
        v.check(label, "environment.label", "must be lower case letters, digits and dashes");
    } else {
        v.check(tier == Tier::Development, "environment.tier", "must be DEVELOPMENT or left out for this kind");
        v.check(new.label.is_empty(), "environment.label", "only long-lived environments have one");
    }
    v.check(kind != Kind::Branch || !new.branch.is_empty(), "environment.source.branch", "must be named");
    let branch = new.branch.is_empty() || slipway_kit::git::RefName::branch(&new.branch).is_ok();
    v.check(branch, "environment.source.branch", "must be a valid branch name, without refs/heads/");
    check_images(&mut v, "environment.images", &new.images);
    if let Some(Err(rule)) = new.idle_us.map(|idle_us| lifecycle::check_idle(tier, idle_us)) {
        v.add("environment.idle_sleep", rule);
    }
    let ttl = new.ttl_us.map_or(Ok(()), |ttl| tier::check_ttl(tier, ttl));
    if let Some(error) = misplaced.filter(|error| error.is(&CLUSTER_UNKNOWN)) {
        if v.is_empty() && ttl.is_ok() {
            return Ok(kind);
        }
        v.add("environment.cluster", format!("CLUSTER_UNKNOWN: {}", error.message()));
    }
    finish(v, "environment.ttl", ttl)?;
    Ok(kind)
}
