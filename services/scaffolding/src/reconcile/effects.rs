//! What the actions do: in the workspace, at the source provider, in the catalog.
//!
//! Owns observation before action and the deterministic names of effects; refuses rights of its own.
use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value as Json, json};
use slipway_kit::{
    authz::{Facts, Relation, decide_permission},
    caller::Caller,
    error::{Error, Kind, PERMISSION_DENIED, STALE_EPOCH},
    files::FilePath,
    git::{Author, FileChange},
    scm::{NewRepository, REPOSITORY_TAKEN, parse_url},
};

use super::{Act, EFFECT_TIMEOUT, Reconciler};
use crate::{
    error::CATALOG_REFUSED,
    model::{
        action::{self, Publish, Register, input, invalid},
        entity::catalog_ref,
        files::{File, Files},
        lock,
        run::{Failure, Run},
        templating::{Code, Stop},
    },
    store::{Effect, Tree},
    world::{Initiator, Registration, Served},
};

/// How often the catalog is asked within one attempt whether it serves the entity.
const LOOKS: usize = 10;
const LOOK_WAIT: Duration = Duration::from_millis(200);

/// Why an effect did not come about.
pub(super) enum Problem {
    /// It will not come about by trying again.
    Failed(Failure),
    /// It may come about by trying again.
    Passing(Error),
    /// The claim is lost; somebody else goes on.
    Lost(Error),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem::Failed(failure)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        if error.is(&STALE_EPOCH) {
            return Problem::Lost(error);
        }
        let definite = error.kind().is_definite() && error.kind() != Kind::Aborted;
        if definite { Problem::Failed(failure(&error)) } else { Problem::Passing(error) }
    }
}

/// The failure that an error of the world is to a run.
pub(super) fn failure(error: &Error) -> Failure {
    let mut message = error.message().to_owned();
    for (field, rule) in error.violations().iter().take(5) {
        message.push_str(&format!("; {field}: {rule}"));
    }
    Failure { reason: error.reason().name.to_owned(), message, step: String::new() }
}

/// What an effect left behind.
#[derive(Default)]
pub(super) struct Effected {
    pub output: Json,
    pub notes: Vec<String>,
    pub workspace: Option<Files>,
    pub delivered: bool,
    pub repository: Option<(String, String)>,
    pub service: Option<String>,
}

/// Writes the lock anew after files of a versioned template were delivered (SCF-110).
pub(super) fn with_lock(mut files: Files, delivered: bool, run: &Run, tree: &Tree) -> Files {
    if delivered && tree.template.locked {
        let created = jiff::Timestamp::from_microsecond(run.create_us).unwrap_or_default();
        let created = created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (name, initiator) = (run.name(), &run.initiator);
        let lineage = lock::Lineage {
            template: &tree.template,
            digest: &run.digest,
            answers: &run.parameters,
            run: &name,
            created: &created,
            initiator,
        };
        let text = lock::render(&lineage, &files);
        files.insert(lock::PATH.to_owned(), File::plain(text));
    }
    files
}

impl Reconciler {
    /// Executes an action within its time.
    pub(super) async fn perform(
        &self,
        run: &Run,
        tree: &Arc<Tree>,
        act: &Act<'_>,
        effect: &Effect,
    ) -> Result<Effected, Problem> {
        let done = async {
            match act.step.action.as_str() {
                "publish:git" => self.publish(run, act).await,
                "catalog:register" => self.register(run, act, effect).await,
                _ => self.local(run, tree, act).await,
            }
        };
        match tokio::time::timeout(EFFECT_TIMEOUT, done).await {
            Ok(done) => done,
            // What only computes takes as long the next time.
            Err(_) if action::find(&act.step.action).is_some_and(|a| a.effects.is_empty()) => {
                let message = format!("the step exceeds {} s", EFFECT_TIMEOUT.as_secs());
                Err(Failure { reason: Code::RenderLimit.as_str().to_owned(), message, step: String::new() }.into())
            }
            Err(_) => Err(Error::new(&slipway_kit::error::DEADLINE_EXCEEDED, "the action took too long").into()),
        }
    }

    /// What an interrupted action left in the world, found without doing anything.
    pub(super) async fn left_behind(&self, run: &Run, act: &Act<'_>) -> Result<Option<Effected>, Problem> {
        match act.step.action.as_str() {
            "publish:git" => self.published(run, &act.input).await,
            "catalog:register" => {
                let (target, path) = location(&input(&act.input)?)?;
                let entity_ref = self.entity_at(run, &path).await?;
                let stands = !entity_ref.is_empty()
                    && self.siblings.serves(&initiator(run), &entity_ref, &target).await? == Served::Here;
                Ok(stands.then(|| registration_done(&target, &path, &entity_ref, "")))
            }
            _ => Ok(None),
        }
    }

    /// The entity that a catalog file of the workspace declares; empty if there is none.
    async fn entity_at(&self, run: &Run, path: &str) -> Result<String, Problem> {
        let files = self.store.workspace(&run.uid).await?;
        Ok(files.get(path).and_then(|f| catalog_ref(&f.content)).unwrap_or_default())
    }

    async fn local(&self, run: &Run, tree: &Arc<Tree>, act: &Act<'_>) -> Result<Effected, Problem> {
        let mut workspace = self.store.workspace(&run.uid).await?;
        let (action, given, tree) = (act.step.action.clone(), act.input.clone(), Arc::clone(tree));
        let stop = Stop::default();
        let _given_up = stop.on_drop();
        let work = move || {
            let before = workspace.clone();
            let work = || action::local(&action, &given, &tree.template, &tree.files, &mut workspace);
            let done = stop.within(work);
            done.map(|done| done.map(|d| (d, (before != workspace).then_some(workspace))))
        };
        // Rendering computes for up to seconds; it must not hold up the threads that answer calls.
        let done = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
        let Some((done, workspace)) = done else {
            return Err(invalid(&format!("there is no action `{}`", act.step.action)).into());
        };
        Ok(Effected {
            output: done.output,
            notes: done.notes,
            workspace,
            delivered: done.delivered,
            ..Effected::default()
        })
    }

    /// The initiator with its present rights, if they allow this for the run's owner.
    async fn permitted(&self, run: &Run, permission: &str) -> Result<Caller, Problem> {
        let caller = self.siblings.rights(&initiator(run)).await?;
        let owner = (!run.owner.is_empty()).then_some(run.owner.as_str());
        let facts = Facts { owner, ..Facts::default() };
        match decide_permission(&caller, Relation::OwnerTeam, permission, &facts) {
            Ok(()) => Ok(caller),
            Err(_) => Err(Error::new(&PERMISSION_DENIED, "whoever started the run may not do this any more").into()),
        }
    }

    /// The repository of a publishing step, if this run has made it.
    pub(super) async fn published(&self, run: &Run, given: &Map<String, Json>) -> Result<Option<Effected>, Problem> {
        let name = input::<Publish>(given)?.name()?;
        let Some(found) = self.forge.find(&name).await? else { return Ok(None) };
        if found.marker != run.uid {
            return Err(Error::new(&REPOSITORY_TAKEN, format!("repository {name} exists")).into());
        }
        let Some(commit) = found.first_commit else { return Ok(None) };
        let url = self.forge.url(&name);
        let full = format!("{}/{name}", self.forge.connection());
        Ok(Some(Effected {
            output: json!({ "remoteUrl": url, "repoContentsUrl": url, "commitHash": commit, "repository": full }),
            notes: vec![format!("Repository {name}, first commit {commit}")],
            repository: Some((full, commit)),
            ..Effected::default()
        }))
    }

    async fn publish(&self, run: &Run, act: &Act<'_>) -> Result<Effected, Problem> {
        let wanted: Publish = input(&act.input)?;
        let name = wanted.name()?;
        let full = format!("{}/{name}", self.forge.connection());
        if run.repository == full {
            return Err(invalid(&format!("an earlier step of this run created {name}")).into());
        }
        let caller = self.permitted(run, "runs.create").await?;
        if let Some(done) = self.published(run, &act.input).await? {
            return Ok(done);
        }
        let files = self.store.workspace(&run.uid).await?;
        let new = NewRepository {
            name: name.clone(),
            description: wanted.description.unwrap_or_default(),
            default_branch: wanted.default_branch.unwrap_or_else(|| "main".to_owned()),
            marker: run.uid.clone(),
            files: changes(&files, wanted.source_path.as_deref().unwrap_or_default())?,
            message: format!(
                "{}\n\nSlipway-Run: {}\n",
                wanted.git_commit_message.as_deref().unwrap_or("Initial commit").trim_end(),
                run.uid
            ),
            author: Author::new(
                wanted.git_author_name.as_deref().unwrap_or(&caller.principal),
                wanted.git_author_email.as_deref().unwrap_or("slipway@localhost"),
                run.create_us / 1_000_000,
            ),
        };
        self.forge.create(&new).await?;
        let done = self.published(run, &act.input).await?;
        done.ok_or_else(|| Problem::Passing(Error::internal(format!("repository {name} has no first commit"))))
    }

    async fn register(&self, run: &Run, act: &Act<'_>, effect: &Effect) -> Result<Effected, Problem> {
        let wanted: Register = input(&act.input)?;
        match self.registered(run, &wanted, effect).await {
            Err(Problem::Failed(failure)) if wanted.optional => {
                let note = format!("not registered: {} ({})", failure.message, failure.reason);
                Ok(Effected { output: json!({}), notes: vec![note], ..Effected::default() })
            }
            other => other,
        }
    }

    async fn registered(&self, run: &Run, wanted: &Register, effect: &Effect) -> Result<Effected, Problem> {
        let (target, path) = location(wanted)?;
        if run.owner.is_empty() {
            return Err(invalid("a location needs an owner: give the template a parameter `owner`").into());
        }
        let entity_ref = self.entity_at(run, &path).await?;
        let who = initiator(run);
        let registration = Registration {
            target: target.clone(),
            path: path.clone(),
            owner: run.owner.clone(),
            request_id: request_id(&effect.key),
        };
        let registered = self.siblings.register(&who, &registration).await?;
        let done = registration_done(&target, &path, &entity_ref, &registered.location);
        if entity_ref.is_empty() {
            return Ok(done);
        }
        for look in 0..LOOKS {
            match self.siblings.serves(&who, &entity_ref, &target).await? {
                Served::Here => return Ok(done),
                Served::Elsewhere(first) => {
                    let text =
                        format!("{entity_ref} is served from {first}, which declared it first; take another name");
                    return Err(Error::new(&CATALOG_REFUSED, text).into());
                }
                Served::No => {}
            }
            if !registered.problems.is_empty() {
                let text = format!("the catalog does not serve {entity_ref}: {}", registered.problems.join("; "));
                return Err(Error::new(&CATALOG_REFUSED, text).into());
            }
            if look + 1 < LOOKS {
                tokio::time::sleep(LOOK_WAIT).await;
            }
        }
        let text = format!("the catalog does not serve {entity_ref} yet");
        Err(Problem::Passing(Error::new(&slipway_kit::error::DEPENDENCY_UNAVAILABLE, text)))
    }
}

/// What a registered location gives to later steps.
fn registration_done(target: &str, path: &str, entity_ref: &str, location: &str) -> Effected {
    let info = format!("{target}/{path}");
    let named = if entity_ref.is_empty() { String::new() } else { format!(" as {entity_ref}") };
    Effected {
        output: json!({ "entityRef": entity_ref, "catalogInfoUrl": info, "location": location }),
        notes: vec![format!("Registered {info}{named}")],
        service: Some(entity_ref.to_owned()).filter(|e| !e.is_empty()),
        ..Effected::default()
    }
}

fn initiator(run: &Run) -> Initiator {
    Initiator { principal: run.initiator.clone(), credential: run.credential.clone() }
}

/// Target and path of a location from the inputs of `catalog:register`.
fn location(wanted: &Register) -> Result<(String, String), Failure> {
    let address = match (&wanted.catalog_info_url, &wanted.repo_contents_url) {
        (info, _) if !info.is_empty() => info.clone(),
        (_, contents) if !contents.is_empty() => {
            let path = wanted.catalog_info_path.as_deref().unwrap_or("/catalog-info.yaml");
            format!("{}/{}", contents.trim_end_matches('/'), path.trim_start_matches('/'))
        }
        _ => return Err(invalid("give `repoContentsUrl` or `catalogInfoUrl`")),
    };
    let unknown = || invalid(&format!("`{address}` is not an address of a repository of this platform"));
    let (connection, name) = parse_url(&address).ok_or_else(unknown)?;
    let target = format!("scm://{connection}/{name}");
    let path = address.strip_prefix(&format!("{target}/")).filter(|p| !p.is_empty()).ok_or_else(unknown)?;
    Ok((target, path.to_owned()))
}

/// A request id that is the same for every attempt: a UUID of version 8 made from the effect's key.
fn request_id(key: &str) -> String {
    let mut hex: Vec<char> =
        key.chars().filter(char::is_ascii_hexdigit).chain(std::iter::repeat('0')).take(32).collect();
    (hex[12], hex[16]) = ('8', '8');
    let part = |range: std::ops::Range<usize>| hex[range].iter().collect::<String>();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

fn changes(files: &Files, source: &str) -> Result<Vec<FileChange>, Problem> {
    let below = source.trim_start_matches("./").trim_matches('/');
    let prefix = if below.is_empty() || below == "." { String::new() } else { format!("{below}/") };
    let chosen = files.iter().filter_map(|(path, file)| Some((path.strip_prefix(&prefix)?, file)));
    let change = |(path, file): (&str, &File)| {
        let path = FilePath::parse(path)?;
        Ok(FileChange::Write { path, bytes: file.content.to_vec(), executable: file.executable })
    };
    let all: Vec<FileChange> = chosen.map(change).collect::<Result<_, Error>>()?;
    if all.is_empty() { Err(invalid("there are no files to publish; fetch some first").into()) } else { Ok(all) }
}
