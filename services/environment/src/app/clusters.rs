//! Clusters: registered after their checks, read, changed, forgotten; and where a new environment goes.
//!
//! Owns the order check → transaction → registration. Refuses to keep a cluster that cannot work, and to forget one in use.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use slipway_kit::{
    audit::Change,
    authz::Facts,
    error::{CONFLICT, ETAG_MISMATCH, Error, NOT_FOUND, Result, Violations},
    id,
    mutation::{Begun, Mutation},
    page,
    serve::{Call, Shutdown},
    worker::{self, Claim},
};

use super::{App, WORK_CHECK};
use crate::{
    error::{CLUSTER_CONFIGURED, CLUSTER_IN_USE, CLUSTER_UNFIT, CLUSTER_UNKNOWN},
    model::{
        cluster::{self, Check, CheckVerdict, Cluster, Placement},
        environment::Target,
        layout::Routes,
        tier::Tier,
    },
    world::{cluster::Credential, cluster_checks},
};

/// How often registrations by other processes are looked for.
const REFRESH: Duration = Duration::from_secs(10);
/// Environments that a refusal names.
const NAMED_MAX: i64 = 20;
/// How often the checks are run by themselves, and how soon after somebody else's change.
const CHECK_EVERY: Duration = Duration::from_secs(3600);
const CHECK_AGAIN: Duration = Duration::from_secs(60);

/// What a caller sets of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// Name of a kubeconfig file.
    pub kubeconfig_file: String,
    /// Whether it is the cluster we run in.
    pub in_cluster: bool,
    /// How manifests reach it.
    pub target: Target,
    /// Tiers it serves.
    pub tiers: Vec<Tier>,
    /// Whether environments that name no cluster come here.
    pub is_default: bool,
    /// What answers at the hosts of its environments.
    pub routing: Routes,
    /// Image for the self-test of network policies.
    pub check_image: String,
    /// Docker configurations that its environments pull images with.
    pub pull_secret_files: Vec<String>,
}

/// A cluster for an answer: registered, or known from the configuration by its id alone.
#[derive(Clone, Debug)]
pub enum Listed {
    /// Registered.
    Registered(Box<Cluster>),
    /// Of the configuration.
    Configured(String),
}

impl Listed {
    fn id(&self) -> &str {
        match self {
            Listed::Registered(cluster) => &cluster.id,
            Listed::Configured(id) => id,
        }
    }
}

impl App {
    /// Registers a cluster that passes its checks.
    pub async fn create_cluster(&self, call: &Call, id: &str, spec: &ClusterSpec, only_check: bool) -> Result<Cluster> {
        call.check(&Facts::default())?;
        if let Begun::Replay(answer) = Mutation::begin::<Cluster>(&self.store.db, call).await? {
            return Ok(answer);
        }
        let mut v = Violations::new();
        v.check(
            !self.platform.clusters.iter().any(|known| known == id),
            "cluster_id",
            "is a cluster of the configuration",
        );
        let now_us = self.now_us();
        let mut cluster = Cluster {
            id: id.to_owned(),
            uid: id::uuid4(),
            version: 1,
            created_us: now_us,
            updated_us: now_us,
            kubeconfig_file: spec.kubeconfig_file.clone(),
            in_cluster: spec.in_cluster,
            target: spec.target,
            tiers: spec.tiers.clone(),
            is_default: spec.is_default,
            routing: spec.routing,
            check_image: spec.check_image.clone(),
            pull_secret_files: spec.pull_secret_files.clone(),
            git_version: String::new(),
            checks: Vec::new(),
            checked_us: 0,
        };
        self.tried(v, &mut cluster, only_check).await?;
        if only_check {
            return Ok(cluster);
        }
        let mut mutation = match Mutation::begin::<Cluster>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        self.store.insert_cluster(mutation.tx(), &cluster).await?;
        worker::enqueue(mutation.tx(), WORK_CHECK, id, CHECK_EVERY.as_millis() as i64).await?;
        mutation.commit(&cluster, change(&cluster, &["*"])).await?;
        self.refresh_clusters().await?;
        Ok(cluster)
    }

    /// Changes a registered cluster as `apply` says, after its checks.
    pub async fn update_cluster(
        &self,
        call: &Call,
        id: &str,
        etag: &str,
        only_check: bool,
        apply: impl Fn(ClusterSpec) -> ClusterSpec,
    ) -> Result<Cluster> {
        let read = self.registered(call, id).await?;
        if let Begun::Replay(answer) = Mutation::begin::<Cluster>(&self.store.db, call).await? {
            return Ok(answer);
        }
        if !etag.is_empty() && etag != read.etag() {
            return Err(Error::new(&ETAG_MISMATCH, "the cluster changed since it was read").meta("etag", read.etag()));
        }
        let mut cluster = read.clone();
        let new = apply(ClusterSpec {
            kubeconfig_file: read.kubeconfig_file.clone(),
            in_cluster: read.in_cluster,
            target: read.target,
            tiers: read.tiers.clone(),
            is_default: read.is_default,
            routing: read.routing,
            check_image: read.check_image.clone(),
            pull_secret_files: read.pull_secret_files.clone(),
        });
        (cluster.kubeconfig_file, cluster.in_cluster, cluster.target) =
            (new.kubeconfig_file, new.in_cluster, new.target);
        (cluster.tiers, cluster.is_default, cluster.routing) = (new.tiers, new.is_default, new.routing);
        (cluster.check_image, cluster.pull_secret_files) = (new.check_image, new.pull_secret_files);
        self.stays_for_the_living(&read, &cluster).await?;
        self.tried(Violations::new(), &mut cluster, only_check).await?;
        if only_check { Ok(cluster) } else { self.keep(call, &read, cluster, &["*"]).await }
    }

    /// Runs the checks of a registered cluster and keeps what they say.
    pub async fn check_cluster(&self, call: &Call, id: &str) -> Result<Cluster> {
        let read = self.registered(call, id).await?;
        if let Begun::Replay(answer) = Mutation::begin::<Cluster>(&self.store.db, call).await? {
            return Ok(answer);
        }
        let mut cluster = read.clone();
        self.tried(Violations::new(), &mut cluster, true).await?;
        self.keep(call, &read, cluster, &["checks"]).await
    }

    /// Runs the checks of a registered cluster again if the last ones are an hour old; when to come again, or `None` if it is gone.
    pub async fn recheck(&self, claim: &Claim) -> Result<Option<Duration>> {
        let Some(read) = self.store.cluster(&self.store.db, &claim.id).await? else { return Ok(None) };
        let age_us = self.now_us() - read.checked_us;
        let young = CHECK_EVERY.saturating_sub(Duration::from_micros(age_us.max(0).unsigned_abs()));
        if read.target == Target::Git || !young.is_zero() {
            return Ok((read.target != Target::Git).then_some(young));
        }
        let mut cluster = read.clone();
        self.tried(Violations::new(), &mut cluster, true).await?;
        for check in cluster.checks.iter().filter(|check| check.verdict == CheckVerdict::Failed) {
            tracing::warn!(
                cluster = cluster.id,
                check = check.check,
                message = check.message,
                "a cluster fails a check"
            );
        }
        let mut tx = self.store.db.begin().await?;
        claim.guard(&mut tx).await?;
        // The etag stays: nothing changed that a caller set.
        match self.store.update_cluster(&mut tx, &cluster, read.version).await {
            Err(error) if error.is(&CONFLICT) => return Ok(Some(CHECK_AGAIN)),
            done => done?,
        }
        tx.commit().await?;
        Ok(Some(CHECK_EVERY))
    }

    /// Forgets a cluster that nothing lives on.
    pub async fn delete_cluster(&self, call: &Call, id: &str, etag: &str) -> Result<()> {
        let read = self.registered(call, id).await?;
        if !etag.is_empty() && etag != read.etag() {
            return Err(Error::new(&ETAG_MISMATCH, "the cluster changed since it was read").meta("etag", read.etag()));
        }
        let mut mutation = match Mutation::begin::<()>(&self.store.db, call).await? {
            Begun::Replay(()) => return Ok(()),
            Begun::Fresh(mutation) => mutation,
        };
        let living = self.store.living_on(mutation.tx(), id, NAMED_MAX).await?;
        if !living.is_empty() {
            let text = format!("{} carries environments: {}", read.name(), living.join(", "));
            return Err(Error::new(&CLUSTER_IN_USE, text).resource("slipway.dev/Cluster", read.name()));
        }
        self.store.delete_cluster(mutation.tx(), id).await?;
        mutation.commit(&(), change(&read, &["*"])).await?;
        self.refresh_clusters().await
    }

    /// One cluster.
    pub async fn get_cluster(&self, call: &Call, id: &str) -> Result<Listed> {
        call.check(&Facts::default())?;
        if let Some(found) = self.store.cluster(&self.store.db, id).await? {
            return Ok(Listed::Registered(Box::new(found)));
        }
        if self.platform.clusters.iter().any(|known| known == id) {
            return Ok(Listed::Configured(id.to_owned()));
        }
        Err(missing(id))
    }

    /// Every cluster in the order of the ids.
    pub async fn list_clusters(&self, call: &Call) -> Result<Vec<Listed>> {
        call.check(&Facts::default())?;
        let mut all: BTreeMap<String, Listed> =
            self.platform.clusters.iter().map(|id| (id.clone(), Listed::Configured(id.clone()))).collect();
        for cluster in self.store.clusters().await? {
            all.insert(cluster.id.clone(), Listed::Registered(Box::new(cluster)));
        }
        Ok(all.into_values().collect())
    }

    /// A page of the clusters and the token of the next.
    pub async fn cluster_page(&self, call: &Call, page_size: i32, token: &str) -> Result<(Vec<Listed>, String)> {
        let after: Option<String> = self.sealer.open(call, "clusters", token)?;
        let all = self.list_clusters(call).await?;
        let rest = all.into_iter().filter(|listed| after.as_deref().is_none_or(|after| listed.id() > after));
        let limit = page::size(page_size);
        let mut rest: Vec<Listed> = rest.take(limit + 1).collect();
        let more = rest.len() > limit;
        rest.truncate(limit);
        let next = match rest.last() {
            Some(last) if more => self.sealer.seal(call, "clusters", &last.id().to_owned()),
            _ => String::new(),
        };
        Ok((rest, next))
    }

    /// Where a new environment of a tier goes. Asked before a transaction begins.
    ///
    /// # Errors
    /// CLUSTER_UNKNOWN if none of that name serves the tier.
    pub(super) async fn place(&self, tier: Tier, named: &str) -> Result<Placement> {
        let registered = self.store.clusters().await?;
        if let Some(cluster) = cluster::place(&registered, tier, named) {
            return Ok(Placement { cluster: cluster.id.clone(), target: cluster.target });
        }
        if let Some(other) = registered.iter().find(|cluster| cluster.id == named) {
            let tiers: Vec<&str> = other.tiers.iter().map(|tier| tier.word()).collect();
            let text = format!("{} takes {} and nothing of the tier {}", other.name(), tiers.join(", "), tier.word());
            return Err(Error::new(&CLUSTER_UNKNOWN, text).violation("environment.cluster", "must serve the tier"));
        }
        let configured = &self.platform.clusters;
        let known = if named.is_empty() { configured.first() } else { configured.iter().find(|id| *id == named) };
        let Some(cluster) = known else {
            let text = format!("there is no cluster {named:?} for {}", tier.word());
            return Err(Error::new(&CLUSTER_UNKNOWN, text).violation("environment.cluster", "must serve the tier"));
        };
        let target = match self.world.clusters.open(cluster).await {
            Ok(_) => Target::Apply,
            Err(error) if error.is(&CLUSTER_UNKNOWN) => Target::Git,
            Err(error) => return Err(error),
        };
        Ok(Placement { cluster: cluster.clone(), target })
    }

    /// Docker configurations that images of a tier's environments on a cluster are pulled with: of the profile, then of the cluster.
    pub async fn pull_secret_files(&self, tier: Tier, cluster: &str) -> Result<Vec<String>> {
        let mut files = self.platform.profile(tier).pull_secret_files;
        let registered = self.store.cluster(&self.store.db, cluster).await?;
        for file in registered.into_iter().flat_map(|cluster| cluster.pull_secret_files) {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Makes what is registered known to the world, and keeps it so until shutdown.
    pub async fn keep_clusters(self, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.refresh_clusters().await {
                tracing::warn!(?error, "the registered clusters could not be read");
            }
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
    }

    /// Makes what is registered known to the world.
    pub async fn refresh_clusters(&self) -> Result<()> {
        let all = self.store.clusters().await?;
        let reached = all.into_iter().filter(|cluster| cluster.target == Target::Apply);
        self.world.clusters.register(reached.map(|cluster| (cluster.id.clone(), credential(&cluster))).collect());
        Ok(())
    }

    async fn registered(&self, call: &Call, id: &str) -> Result<Cluster> {
        call.check(&Facts::default())?;
        match self.store.cluster(&self.store.db, id).await? {
            Some(found) => Ok(found),
            None if self.platform.clusters.iter().any(|known| known == id) => {
                Err(Error::new(&CLUSTER_CONFIGURED, format!("clusters/{id} cannot be changed here")))
            }
            None => Err(missing(id)),
        }
    }

    /// Runs the checks; every broken rule at once, and unless only checks are wanted an unfit cluster is an error.
    async fn tried(&self, mut v: Violations, cluster: &mut Cluster, only_check: bool) -> Result<()> {
        for (field, rule) in cluster.faults() {
            v.add(field, rule);
        }
        v.finish()?;
        if cluster.target == Target::Git {
            (cluster.git_version, cluster.checks) = (String::new(), Vec::new());
            return Ok(());
        }
        let (git_version, checks) = match self.world.clusters.probe(&credential(cluster)).await {
            Ok(world) => cluster_checks::run(world.as_ref(), &self.scope(cluster).await).await,
            Err(error) => {
                let remedy = "Put a kubeconfig of that name into the directory of credentials.";
                let check = Check::other("REACHABLE", CheckVerdict::Failed, error.message(), remedy);
                (String::new(), vec![check])
            }
        };
        (cluster.git_version, cluster.checks, cluster.checked_us) = (git_version, checks, self.now_us());
        if only_check || !cluster.is_unfit() {
            return Ok(());
        }
        let said: Vec<String> = cluster.unfit().map(|c| format!("{}: {}. {}", c.check, c.message, c.remedy)).collect();
        Err(Error::new(&CLUSTER_UNFIT, said.join(" ")).resource("slipway.dev/Cluster", cluster.name()))
    }

    /// What the checks of a cluster are told.
    async fn scope(&self, cluster: &Cluster) -> cluster_checks::Scope {
        let profiles = Tier::ALL.into_iter().filter(|tier| cluster.serves(*tier));
        let named = profiles.flat_map(|tier| self.platform.profile(tier).pull_secret_files);
        let files: BTreeSet<String> = named.chain(cluster.pull_secret_files.clone()).collect();
        let mut pull_secrets = Vec::with_capacity(files.len());
        for file in files {
            let read = self.world.clusters.registries(&file).await;
            pull_secrets.push((file, read.map_err(|error| error.message().to_owned())));
        }
        cluster_checks::Scope {
            domain: self.platform.domain.clone(),
            scheme: self.platform.scheme.clone(),
            port: self.platform.port,
            gateway: self.platform.gateway.clone(),
            routing: cluster.routing,
            check_image: cluster.check_image.clone(),
            patience: cluster_checks::Patience::default(),
            pull_secrets,
        }
    }

    /// Refuses to take from a cluster what environments on it live by, and names them.
    async fn stays_for_the_living(&self, read: &Cluster, new: &Cluster) -> Result<()> {
        let moves = read.target != new.target;
        let lost = |tier: &Tier| moves || (read.serves(*tier) && !new.serves(*tier));
        let lost: Vec<Tier> = Tier::ALL.into_iter().filter(lost).collect();
        let living = self.store.living_of_tiers(&read.id, &lost, NAMED_MAX).await?;
        if living.is_empty() {
            return Ok(());
        }
        let text = format!(
            "{} carries environments that need what would be taken away: {}. Set default to false to keep new ones away",
            read.name(),
            living.join(", ")
        );
        Err(Error::new(&CLUSTER_IN_USE, text).resource("slipway.dev/Cluster", read.name()))
    }

    async fn keep(&self, call: &Call, read: &Cluster, mut cluster: Cluster, fields: &[&str]) -> Result<Cluster> {
        let mut mutation = match Mutation::begin::<Cluster>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(mutation) => mutation,
        };
        (cluster.version, cluster.updated_us) = (read.version + 1, self.now_us());
        self.store.update_cluster(mutation.tx(), &cluster, read.version).await?;
        mutation.commit(&cluster, change(&cluster, fields)).await?;
        self.refresh_clusters().await?;
        Ok(cluster)
    }
}

fn credential(cluster: &Cluster) -> Credential {
    if cluster.in_cluster { Credential::InCluster } else { Credential::KubeconfigFile(cluster.kubeconfig_file.clone()) }
}

fn missing(id: &str) -> Error {
    let name = format!("clusters/{id}");
    Error::new(&NOT_FOUND, format!("there is no {name}")).resource("slipway.dev/Cluster", name)
}

fn change<'a>(cluster: &'a Cluster, fields: &'a [&'a str]) -> Change<'a> {
    Change { resource: &cluster.id, uid: &cluster.uid, fields }
}
