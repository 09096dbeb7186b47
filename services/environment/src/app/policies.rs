//! Manifest policies: reading, changing, trying (ENV-63).
//!
//! Owns their verbs and the one check that reconcile asks for. Refuses a Rego source that does not compile.
use slipway_kit::{
    audit::Change,
    authz::Facts,
    error::{Error, Result, Violations},
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{App, check_version};
use crate::{
    model::{
        manifest::Doc,
        policy::{
            self, Rules, Violation,
            catalog::{Kept, Policy},
        },
        tier::Tier,
    },
    world::rego,
};

/// What documents are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct For {
    /// Namespace.
    pub namespace: String,
    /// Reserved host.
    pub host: String,
    /// Whether they are a fork's.
    pub fork: bool,
}

/// A change as asked for; what is `None` stays.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    /// Which policy.
    pub tier: Tier,
    /// Version the change is meant for; empty for any.
    pub etag: String,
    /// Fields to take from `policy`.
    pub fields: Vec<&'static str>,
    /// The fields as wished.
    pub policy: Policy,
    /// Documents to try.
    pub samples: Vec<Doc>,
    /// Whether only to check.
    pub validate_only: bool,
}

impl App {
    /// The policy of a tier.
    pub async fn get_policy(&self, call: &Call, tier: Tier) -> Result<Kept> {
        call.check(&Facts::default())?;
        self.store.policy(&self.store.db, tier).await
    }

    /// Violations of the policy of a tier in documents of a caller.
    pub async fn check_manifests(&self, call: &Call, tier: Tier, docs: Vec<Doc>, of: &For) -> Result<Vec<Violation>> {
        call.check(&Facts::default())?;
        self.violations(tier, &docs, &self.sample(of)).await
    }

    /// Changes the policy of a tier; answers it with the violations in the samples.
    pub async fn update_policy(&self, call: &Call, ask: PolicyChange) -> Result<(Kept, Vec<Violation>)> {
        call.check(&Facts::default())?;
        let mut change = match Mutation::begin::<(Kept, Vec<Violation>)>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(change) => change,
        };
        let before = self.store.policy(change.tx(), ask.tier).await?;
        check_version(("policy", "slipway.dev/ManifestPolicy"), &name(ask.tier), &before.etag(), &ask.etag)?;
        let mut policy = before.policy.clone();
        for field in &ask.fields {
            match *field {
                "disabled_rules" => policy.disabled.clone_from(&ask.policy.disabled),
                "allowed_kinds" => policy.kinds.clone_from(&ask.policy.kinds),
                _ => policy.rego.clone_from(&ask.policy.rego),
            }
        }
        let violations = self.try_policy(ask.tier, &policy, &ask.samples).await?;
        let kept = Kept {
            policy,
            revision: before.revision + 1,
            updated_us: self.now_us(),
            updater: call.caller.principal.clone(),
        };
        let answer = (kept, violations);
        if ask.validate_only {
            return Ok(answer);
        }
        self.store.keep_policy(change.tx(), ask.tier, &answer.0).await?;
        let about = Change { resource: &name(ask.tier), uid: ask.tier.word(), fields: &ask.fields };
        change.commit(&answer, about).await?;
        Ok(answer)
    }

    /// Violations of the stored policy of a tier, all at once: the one check before anything is written anywhere.
    pub(crate) async fn violations(&self, tier: Tier, docs: &[Doc], of: &For) -> Result<Vec<Violation>> {
        let kept = self.store.policy(&self.store.db, tier).await?;
        self.checked(tier, kept.policy, docs, of).await
    }

    /// Every fault of a policy, then what it says of samples.
    async fn try_policy(&self, tier: Tier, policy: &Policy, samples: &[Doc]) -> Result<Vec<Violation>> {
        let mut violations = Violations::new();
        policy.check(&mut violations);
        let (of, owned, docs) = (self.sample(&For::default()), policy.clone(), samples.to_vec());
        let faults = self.blocking(tier, of, owned, docs, |docs, rules| {
            rules.policy.rego.iter().map(|rule| rego::fault(rule, docs, rules)).collect::<Vec<_>>()
        });
        for (at, fault) in faults.await?.into_iter().enumerate() {
            let field = format!("manifest_policy.rego_rules[{at}].source");
            violations.check(fault.is_none(), field, fault.unwrap_or_default());
        }
        violations.finish()?;
        self.checked(tier, policy.clone(), samples, &self.sample(&For::default())).await
    }

    async fn checked(&self, tier: Tier, policy: Policy, docs: &[Doc], of: &For) -> Result<Vec<Violation>> {
        self.blocking(tier, of.clone(), policy, docs.to_vec(), |docs, rules| {
            let mut found = policy::check(docs, rules);
            found.extend(rego::check(docs, rules));
            found
        })
        .await
    }

    /// Runs a check beside the loops: rules of the platform team may take their time.
    async fn blocking<T: Send + 'static>(
        &self,
        tier: Tier,
        of: For,
        policy: Policy,
        docs: Vec<Doc>,
        act: impl FnOnce(&[Doc], &Rules<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let platform = self.platform.clone();
        let run = move || {
            let (namespace, host, fork) = (of.namespace.as_str(), of.host.as_str(), of.fork);
            act(&docs, &Rules { namespace, tier, host, fork, registries: &platform.registries, policy: &policy })
        };
        tokio::task::spawn_blocking(run).await.map_err(Error::internal)
    }

    fn sample(&self, of: &For) -> For {
        let or = |text: &str, other: String| if text.is_empty() { other } else { text.to_owned() };
        let host = or(&of.host, self.platform.host("sample"));
        For { namespace: or(&of.namespace, "sample".to_owned()), host, fork: of.fork }
    }
}

/// Name of the policy of a tier.
pub fn name(tier: Tier) -> String {
    format!("manifestPolicies/{}", tier.word())
}
