//! Delivering bound secrets to an environment's namespace, and taking them back (SEC-40 to SEC-46).
//!
//! Owns the order: what is missing, what is sealed and what another wrote is told before anything is written; names are taken first,
//! then the namespace is looked at again, then values go out, each to exactly the object that was read. Killed anywhere, the
//! next delivery ends the same. Refuses forks.
//!
//! Two deliveries at a time cannot put an older value over a newer one: objects are read before values, and written only if they are as
//! they were read.
use std::collections::BTreeMap;

use slipway_kit::{
    audit::{self, Change},
    authz,
    error::{Error, Result},
    serve::Call,
};

use super::{App, Resolve};
use crate::{
    error::{BINDING_NOT_READY, NAMESPACE_CHANGED, SECRET_TAKEN},
    model::{
        binding::Binding,
        delivery::{Kind, LABEL_ENVIRONMENT, PULL_KEY, Place, Stored, Wanted},
        document::Document,
        name::Path,
    },
    store::{secrets, services},
    world::cluster::Cluster,
};

/// A delivery as asked for.
pub struct Deliver {
    /// Which environment's bindings.
    pub resolve: Resolve,
    /// Where to.
    pub place: Place,
    /// Labels of every object.
    pub labels: BTreeMap<String, String>,
    /// Docker configurations that become image pull secrets.
    pub pull_secret_files: Vec<String>,
}

/// A withdrawal as asked for.
pub struct Withdraw {
    /// Uid of the environment.
    pub environment_uid: String,
    /// Where from.
    pub place: Place,
}

/// A Secret that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Name.
    pub name: String,
    /// Uid in the cluster.
    pub uid: String,
    /// Generation of the binding.
    pub generation: i64,
    /// Versions it holds.
    pub versions: BTreeMap<Path, i64>,
}

/// What stands after a delivery, each sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Secrets of bindings.
    pub bound: Vec<Delivery>,
    /// Image pull secrets.
    pub pull: Vec<Delivery>,
}

impl App {
    /// Makes the Secrets of an environment what its bindings say.
    pub async fn deliver(&self, call: &Call, ask: &Deliver) -> Result<Delivered> {
        let (place, uid) = (&ask.place, ask.resolve.environment_uid.as_str());
        let bindings = self.deliverable(call, ask).await?;
        let names: Vec<&str> = bindings.iter().map(|binding| binding.name.id()).collect();
        let about = Change { resource: &place.name(), uid, fields: &names };
        audit::sensitive(&self.db, call, about, "delivery of bound secrets").await?;
        let cluster = self.clusters.open(&place.access).await?;
        check_namespace(&*cluster, place).await?;
        let standing = cluster.secrets(&place.namespace, (LABEL_ENVIRONMENT, uid)).await?;
        // Objects first, values after: see above.
        let mut wanted = self.wanted(self.deliverable(call, ask).await?, &ask.labels).await?;
        wanted.extend(self.pull_secrets(ask).await?);
        let ready = claim(&*cluster, place, uid, &wanted, &standing).await?;
        let mut delivered = Delivered::default();
        for (want, at) in wanted.iter().zip(&ready) {
            let written = cluster.write(&place.namespace, want, at).await?;
            let (name, versions) = (want.name.clone(), want.versions.clone());
            let list = if want.kind == Kind::Pull { &mut delivered.pull } else { &mut delivered.bound };
            list.push(Delivery { name, uid: written.uid, generation: want.generation, versions });
        }
        for gone in standing.iter().filter(|s| s.is_ours(uid) && !wanted.iter().any(|want| want.name == s.name)) {
            cluster.delete(&place.namespace, &gone.name, &gone.uid).await?;
        }
        Ok(delivered)
    }

    /// Removes what was delivered to an environment; answers the names.
    pub async fn withdraw(&self, call: &Call, ask: &Withdraw) -> Result<Vec<String>> {
        call.check(&authz::Facts::default())?;
        let (place, uid) = (&ask.place, ask.environment_uid.as_str());
        let about = Change { resource: &place.name(), uid, fields: &[] };
        audit::sensitive(&self.db, call, about, "withdrawal of bound secrets").await?;
        let cluster = self.clusters.open(&place.access).await?;
        let found = cluster.namespace(&place.namespace).await?;
        if found.is_none_or(|namespace| namespace.uid != place.namespace_uid) {
            return Ok(Vec::new());
        }
        let mut removed = Vec::new();
        for stored in cluster.secrets(&place.namespace, (LABEL_ENVIRONMENT, uid)).await? {
            if stored.is_ours(uid) && cluster.delete(&place.namespace, &stored.name, &stored.uid).await? {
                removed.push(stored.name);
            }
        }
        removed.sort();
        Ok(removed)
    }

    /// The bindings that hold, by name, if every one can be delivered now.
    async fn deliverable(&self, call: &Call, ask: &Deliver) -> Result<Vec<Binding>> {
        let mut bindings = self.resolve_bindings(call, &ask.resolve).await?;
        not_ready(bindings.iter().flat_map(|b| b.missing.iter().map(|text| (b.name.to_string(), text.clone()))))?;
        if !bindings.is_empty() {
            self.engine.ring()?;
        }
        bindings.sort_by(|a, b| a.name.id().cmp(b.name.id()));
        Ok(bindings)
    }

    /// The Secrets with their values.
    async fn wanted(&self, bindings: Vec<Binding>, labels: &BTreeMap<String, String>) -> Result<Vec<Wanted>> {
        let mut documents = BTreeMap::new();
        let mut all = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let mut want = Wanted {
                kind: Kind::Bound,
                name: binding.name.id().to_owned(),
                labels: labels.clone(),
                generation: binding.generation,
                versions: BTreeMap::new(),
                values: BTreeMap::new(),
            };
            let mut missing = Vec::new();
            for item in &binding.items {
                let key = (item.path.clone(), item.version);
                if !documents.contains_key(&key) {
                    documents.insert(key.clone(), self.opened(&item.path, item.version).await?);
                }
                let found = documents.get(&key).and_then(Option::as_ref);
                let value = found.and_then(|(version, document)| Some((*version, document.get(&item.key)?)));
                match value {
                    Some((version, value)) => {
                        want.versions.insert(item.path.clone(), version);
                        want.values.insert(item.target.clone(), value.clone());
                    }
                    None if item.optional => {}
                    None => missing
                        .push((binding.name.to_string(), format!("{} has no key {}", item.path.name(), item.key))),
                }
            }
            not_ready(missing.into_iter())?;
            all.push(want);
        }
        Ok(all)
    }

    /// The image pull secrets with their logins.
    async fn pull_secrets(&self, ask: &Deliver) -> Result<Vec<Wanted>> {
        let mut all = Vec::with_capacity(ask.pull_secret_files.len());
        for file in &ask.pull_secret_files {
            let logins = self.clusters.registry_logins(file).await?;
            all.push(Wanted {
                kind: Kind::Pull,
                name: slipway_credentials::pull_secret_name(file),
                labels: ask.labels.clone(),
                generation: 0,
                versions: BTreeMap::new(),
                values: BTreeMap::from([(PULL_KEY.to_owned(), logins)]),
            });
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The document of a version, the newest for 0; `None` if it cannot be had because of what somebody did to the secret.
    async fn opened(&self, path: &Path, version: i64) -> Result<Option<(i64, Document)>> {
        let ring = self.engine.ring()?;
        let Some(service) = services::find(&self.db, path.segment()).await? else { return Ok(None) };
        let Some(secret) = secrets::find(&self.db, path).await? else { return Ok(None) };
        let Ok(version) = secret.version_meant(version) else { return Ok(None) };
        match self.document(&self.db, &ring, &service, path, version).await {
            Ok(document) => Ok(Some((version, document))),
            Err(error) if error.is(&crate::error::VERSION_DESTROYED) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Tells what is missing, all at once, by binding; never a value.
fn not_ready(missing: impl Iterator<Item = (String, String)>) -> Result<()> {
    let missing: Vec<_> = missing.collect();
    let texts: Vec<&str> = missing.iter().map(|(_, text)| text.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut error = Error::new(&BINDING_NOT_READY, texts.join("; "));
    for (binding, text) in &missing {
        error = error.precondition("BINDING_NOT_READY", binding, text);
    }
    Err(error)
}

async fn check_namespace(cluster: &dyn Cluster, place: &Place) -> Result<()> {
    let found = cluster.namespace(&place.namespace).await?;
    if found.is_some_and(|namespace| namespace.uid == place.namespace_uid && !namespace.is_ending) {
        return Ok(());
    }
    let text = "the namespace is gone, being deleted, or another of the same name";
    Err(Error::new(&NAMESPACE_CHANGED, text).resource("Namespace", place.namespace.as_str()))
}

/// The object of each wanted Secret, in order. What another wrote is told before any name is taken; names are taken without values,
/// and given back if the namespace turns out to be another.
async fn claim(
    cluster: &dyn Cluster,
    place: &Place,
    uid: &str,
    wanted: &[Wanted],
    standing: &[Stored],
) -> Result<Vec<Stored>> {
    let mut found = Vec::with_capacity(wanted.len());
    for want in wanted {
        let known = match standing.iter().find(|stored| stored.name == want.name) {
            Some(stored) => Some(stored.clone()),
            None => cluster.secret(&place.namespace, &want.name).await?,
        };
        if known.as_ref().is_some_and(|stored| !stored.is_ours(uid)) {
            return Err(taken(&want.name));
        }
        found.push(known);
    }
    let mut ready = Vec::with_capacity(wanted.len());
    let mut claimed = Vec::new();
    for (want, known) in wanted.iter().zip(found) {
        let stored = match known {
            Some(stored) => stored,
            None => {
                let made = cluster.claim(&place.namespace, want).await?.ok_or_else(|| taken(&want.name))?;
                claimed.push(made.clone());
                made
            }
        };
        ready.push(stored);
    }
    if !claimed.is_empty()
        && let Err(error) = check_namespace(cluster, place).await
    {
        for made in &claimed {
            cluster.delete(&place.namespace, &made.name, &made.uid).await?;
        }
        return Err(error);
    }
    Ok(ready)
}

fn taken(name: &str) -> Error {
    let text = format!("the namespace has a Secret {name} that another wrote");
    Error::new(&SECRET_TAKEN, text).resource("Secret", name)
}
