//! Approval of a fork's commit by a person (ENV-31).
//!
//! Owns who may approve and on which cluster. Refuses the author, machines, and any commit but the one that the SCM shows now.
use std::collections::BTreeMap;

use slipway_kit::{
    audit::Change,
    error::{CONFLICT, Error, Result, SERVICE_UNKNOWN, Violations},
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{
    App, check, check_etag,
    previews::{check_image_names, check_images, despite_races, head_of},
};
use crate::{
    error::{ENVIRONMENT_DELETING, IMAGE_UNKNOWN, NEEDS_PERSON, NETWORK_NOT_ENFORCED, NOT_A_FORK, SELF_APPROVAL},
    model::{
        approval,
        cluster::{CheckVerdict, NETWORK_POLICY},
        environment::{Environment, Spec},
        names,
        preview::Head,
        step,
    },
};

/// An approval as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct NewApproval {
    /// `environments/<label>`.
    pub name: String,
    /// Commit that is approved.
    pub head_sha: String,
    /// Images built of it; those that are known if empty.
    pub images: BTreeMap<String, String>,
    /// Version it is meant for.
    pub etag: String,
    /// Only checks.
    pub validate_only: bool,
}

impl App {
    /// Approves what a fork's preview would show; the same content again changes nothing.
    ///
    /// # Errors
    /// NEEDS_PERSON, NOT_A_FORK, STALE_COMMIT, SELF_APPROVAL, IMAGE_UNKNOWN, NETWORK_NOT_ENFORCED, ENVIRONMENT_DELETING.
    pub async fn approve_preview(&self, call: &Call, new: &NewApproval) -> Result<Environment> {
        let found = self.environment(call, &new.name).await?;
        call.refuse_job()?;
        if !call.caller.principal.starts_with("user:") {
            return Err(Error::new(&NEEDS_PERSON, "a fork is approved by people"));
        }
        let mut v = Violations::new();
        check_images(&mut v, "images", &new.images);
        v.finish()?;
        if let Some(answer) = self.replayed(call).await? {
            return Ok(answer);
        }
        despite_races("preview", || self.try_approve(call, new, &found.label_id)).await
    }

    async fn try_approve(&self, call: &Call, new: &NewApproval, label_id: &str) -> Result<Environment> {
        let found = self.store.by_label(&self.store.db, label_id).await?;
        let before = check(call, found, &new.name)?;
        check_etag(&before, &new.etag)?;
        if before.retire.is_some() || before.deleted_us.is_some() {
            return Err(Error::new(&ENVIRONMENT_DELETING, format!("{} is being torn down", new.name)));
        }
        let head = self.fork_head(&before, new).await?;
        self.refuse_author(call, &head).await?;
        let (spec, note) = (approved_spec(&before, &head, new)?, self.enforcement(&before.cluster).await?);
        let mut mutation = match Mutation::begin::<Environment>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        let now = self.store.by_uid(mutation.tx(), &before.uid).await?;
        if now.is_none_or(|now| now.version != before.version) {
            return Err(Error::new(&CONFLICT, "the preview changed while the pull request was read"));
        }
        let (mut env, now_us) = (before.clone(), self.now_us());
        env.want(spec, now_us);
        if approval::is_missing(&env) {
            approval::approve(&mut env, &call.caller.principal, &note, now_us);
        }
        if env != before {
            self.save(mutation.tx(), &before, &mut env).await?;
            slipway_kit::worker::enqueue(mutation.tx(), super::WORK_ENVIRONMENT, &env.uid, 0).await?;
        }
        if !new.validate_only {
            let fields = ["approval", "images"];
            mutation.commit(&env, Change { resource: &env.name(), uid: &env.uid, fields: &fields }).await?;
        }
        Ok(env)
    }

    /// The head as the SCM shows it now, if it is a fork's and the one that was named.
    async fn fork_head(&self, env: &Environment, new: &NewApproval) -> Result<Head> {
        let not_one = || Error::new(&NOT_A_FORK, format!("{} shows no fork and runs without approval", new.name));
        let number = env.spec.source.pull_request.ok_or_else(not_one)?;
        let head = head_of(self.world.sources.read(&env.spec.source).await, number, &new.head_sha, true)?;
        if head.fork { Ok(head) } else { Err(not_one()) }
    }

    /// The author is known by the name of the platform's user, or by the login that the catalog has of that user.
    async fn refuse_author(&self, call: &Call, head: &Head) -> Result<()> {
        let principal = &call.caller.principal;
        let login = match self.world.directory.login(principal).await {
            Err(error) if error.is(&SERVICE_UNKNOWN) => String::new(),
            answer => answer?,
        };
        if approval::is_author(&head.author, &[names::short(principal).to_owned(), login]) {
            let text = format!("{} opened the pull request; another member of the team has to approve it", head.author);
            return Err(Error::new(&SELF_APPROVAL, text).meta("author", &head.author));
        }
        Ok(())
    }

    /// Whether policies keep a fork's pods apart on this cluster, by its self-test: refused where they are known not to be enforced; where nothing is
    /// known, the words that say so (ENV-62).
    async fn enforcement(&self, cluster: &str) -> Result<String> {
        let registered = self.store.cluster(&self.store.db, cluster).await?;
        let check = registered.and_then(|known| known.checks.into_iter().find(|check| check.check == NETWORK_POLICY));
        let unknown = |why: &str| {
            format!(
                "Whether cluster {cluster} enforces network policies is not known ({why}); without that a fork's pods reach others."
            )
        };
        match check {
            Some(check) if check.verdict == CheckVerdict::Passed => Ok(String::new()),
            Some(check) if check.verdict == CheckVerdict::Unknown => Ok(unknown(&check.message)),
            Some(check) => {
                let text = format!("cluster {cluster} does not enforce network policies: {}", check.message);
                let error = Error::new(&NETWORK_NOT_ENFORCED, text).meta("cluster", cluster);
                Err(error.precondition("NETWORK_NOT_ENFORCED", format!("clusters/{cluster}"), check.remedy))
            }
            None => Ok(unknown("it was never checked")),
        }
    }
}

/// What is approved: the head with the images that were named or are known, if those are all.
fn approved_spec(env: &Environment, head: &Head, new: &NewApproval) -> Result<Spec> {
    check_image_names("images", &new.images, head)?;
    let mut spec = step::wanted(env, head);
    if !new.images.is_empty() {
        spec.images.clone_from(&new.images);
    }
    let missing = spec.config.as_ref().map(|config| config.images_missing(&spec.images)).unwrap_or_default();
    if missing.is_empty() {
        return Ok(spec);
    }
    let text = format!("no digest is known for commit {} of: {}", head.head_sha, missing.join(", "));
    Err(Error::new(&IMAGE_UNKNOWN, text).meta("images", missing.join(",")))
}
