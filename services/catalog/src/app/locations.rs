//! Verbs on locations: register, get, list, refresh, delete.

use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit,
    authz::Facts,
    error::{ETAG_MISMATCH, Error, NOT_FOUND, PERMISSION_DENIED, Result, Violations},
    id,
    mutation::{Begun, Mutation},
    serve::Call,
};

use super::{App, content::Content, ingest};
use crate::{
    error::{LOCATION_BUILTIN, LOCATION_REGISTERED, LOCATION_UNREADABLE},
    model::location::{BUILTIN_UID, Location, NewLocation, State, Tally, Target},
    store,
};

/// Most bytes of reports in an answer that is kept for replays.
const ANSWER_BYTES_MAX: usize = 48 * 1024;

/// What a refresh did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refreshed {
    /// The location after it.
    pub location: Location,
    /// Whether the sequence was not above the last applied one.
    pub stale: bool,
    /// What changed.
    pub tally: Tally,
}

/// One page of locations.
pub struct Locations {
    /// The locations.
    pub locations: Vec<Location>,
    /// Where the next page begins.
    pub next: Option<(i64, String)>,
    /// Number of all, if asked for.
    pub total: Option<i64>,
}

impl App {
    /// Registers an origin and reads it at once.
    pub async fn register_location(&self, call: &Call, new: NewLocation, validate_only: bool) -> Result<Location> {
        let facts = Facts { owner: Some(new.owner.as_str()), ..Facts::default() };
        call.check(&facts)?;
        if (new.organization || new.templates) && !call.allows("settings.update", &facts) {
            let message = "permission denied: only a platform administrator may set `organization` or `templates`";
            return Err(Error::new(&PERMISSION_DENIED, message));
        }
        if let Some(before) = Mutation::replayed::<Location>(&self.db, call).await? {
            return Ok(before);
        }
        self.check_new(&new).await?;
        let mut location = self.blank(&new);
        let content = self.content(&location).await?;
        if !content.found {
            let message = format!("there is no `{}` in {}", new.target.path(), new.target.text());
            return Err(Error::new(&LOCATION_UNREADABLE, message));
        }
        let mut change = match Mutation::begin::<Location>(&self.db, call).await? {
            Begun::Replay(before) => return Ok(before),
            Begun::Fresh(change) => change,
        };
        store::take_turn(change.tx()).await?;
        if store::target_exists(change.tx(), &new.target).await? {
            let message = format!("{} is registered already", new.target.text());
            return Err(Error::new(&LOCATION_REGISTERED, message));
        }
        self.fill(&mut location, &content);
        store::insert_location(change.tx(), &location).await?;
        let (tally, _) = ingest::apply(change.tx(), &location, &content, location.created_us).await?;
        location.entity_count = tally.added + tally.changed;
        let location = self.answer(change.tx(), &location.uid).await?;
        if !validate_only {
            self.enqueue_reread(change.tx(), &location.uid, self.reread).await?;
            let fields = ["target", "path", "owner", "organization", "templates"];
            let name = location.name();
            change.commit(&location, audit::Change { resource: &name, uid: &location.uid, fields: &fields }).await?;
        }
        Ok(location)
    }

    /// What the store and the configuration say about a new location, all at once.
    async fn check_new(&self, new: &NewLocation) -> Result<()> {
        let mut violations = Violations::new();
        let known = store::group_exists(&self.db, new.owner.as_str()).await?;
        violations.check(known, "location.owner", format!("must be a group of the catalog; `{}` is none", new.owner));
        match &new.target {
            Target::Git { scm, .. } => {
                let ids = self.sources.connections();
                let rule = format!("must name one of the SCM connections {}", ids.join(", "));
                violations.check(ids.contains(&scm.as_str()), "location.target", rule);
            }
            Target::File { .. } => {
                violations.check(
                    self.sources.has_root(),
                    "location.type",
                    "must be GIT: no directory for files is configured",
                );
            }
            Target::Builtin => {}
        }
        violations.finish()
    }

    fn blank(&self, new: &NewLocation) -> Location {
        let now_us = self.clock.now_us();
        Location {
            uid: id::uuid7(),
            target: new.target.clone(),
            owner: new.owner.to_string(),
            organization: new.organization,
            templates: new.templates,
            state: State::Ready,
            reason: String::new(),
            message: String::new(),
            commit: String::new(),
            content_hash: String::new(),
            sequence: 0,
            version: 1,
            created_us: now_us,
            updated_us: now_us,
            refreshed_us: now_us,
            entity_count: 0,
            reports: Vec::new(),
        }
    }

    fn fill(&self, location: &mut Location, content: &Content) {
        location.commit.clone_from(&content.commit);
        location.content_hash.clone_from(&content.hash);
    }

    /// The location as answered, its reports cut to what is kept for replays.
    async fn answer(&self, tx: &mut slipway_kit::db::Tx, uid: &str) -> Result<Location> {
        let location =
            store::location(&mut *tx, uid).await?.ok_or_else(|| Error::internal("the location was just written"))?;
        let mut location = Location { reports: store::reports(&mut *tx, uid).await?, ..location };
        while serde_json::to_string(&location.reports).map_err(Error::internal)?.len() > ANSWER_BYTES_MAX {
            location.reports.truncate(location.reports.len() / 2);
        }
        Ok(location)
    }

    /// One location with its reports.
    pub async fn get_location(&self, call: &Call, uid: &str) -> Result<Location> {
        call.check(&Facts::default())?;
        let location = store::location(&self.db, uid).await?.ok_or_else(|| unknown(uid))?;
        Ok(Location { reports: store::reports(&self.db, uid).await?, ..location })
    }

    /// A page of locations, oldest first.
    pub async fn list_locations(
        &self,
        call: &Call,
        after: Option<(i64, String)>,
        size: usize,
        count: bool,
    ) -> Result<Locations> {
        call.check(&Facts::default())?;
        let total = if count { Some(store::count_locations(&self.db).await?) } else { None };
        let mut locations = store::locations(&self.db, after, size + 1).await?;
        let more = locations.len() > size;
        locations.truncate(size);
        let next = locations.last().filter(|_| more).map(|l| (l.created_us, l.uid.clone()));
        Ok(Locations { locations, next, total })
    }

    /// Reads a location anew and applies the difference.
    pub async fn refresh_location(
        &self,
        call: &Call,
        uid: &str,
        sequence: i64,
        allow_mass_removal: bool,
    ) -> Result<Refreshed> {
        let mut seen = self.authorised(call, uid).await?;
        if let Some(before) = Mutation::replayed::<Refreshed>(&self.db, call).await? {
            return Ok(before);
        }
        let (content, mut change, location) = loop {
            let content = self.content(&seen).await;
            let mut change = match Mutation::begin::<Refreshed>(&self.db, call).await? {
                Begun::Replay(before) => return Ok(before),
                Begun::Fresh(change) => change,
            };
            store::take_turn(change.tx()).await?;
            let location = store::location(change.tx(), uid).await?.ok_or_else(|| unknown(uid))?;
            if location.version == seen.version {
                break (content, change, location);
            }
            // Another read came between: what was read before it may be older than what it applied.
            seen = location;
        };
        let outdated = sequence > 0 && sequence <= location.sequence;
        let (location, tally) = match content {
            _ if outdated => (location, Tally::default()),
            Ok(content) => {
                let location = Location { sequence: location.sequence.max(sequence), ..location };
                self.apply(change.tx(), location, &content, allow_mass_removal).await?
            }
            Err(error) if error.kind().is_definite() => {
                let (version, mut location) = (location.version, location);
                self.mark_stale(&mut location, &error);
                self.save(change.tx(), &location, version).await?;
                (location, Tally::default())
            }
            Err(error) => return Err(error),
        };
        let location = self.answer(change.tx(), &location.uid).await?;
        let refreshed = Refreshed { location, stale: outdated, tally };
        let fields: &[&str] = if allow_mass_removal { &["content", "allow_mass_removal"] } else { &["content"] };
        let name = refreshed.location.name();
        change.commit(&refreshed, audit::Change { resource: &name, uid, fields }).await?;
        Ok(refreshed)
    }

    /// Ends a location; its entities become tombstones or pass to the next claimant. Answers how many became tombstones.
    pub async fn delete_location(&self, call: &Call, uid: &str, etag: &str) -> Result<i64> {
        let location = self.authorised_or_gone(call, uid).await?;
        let mut change = match Mutation::begin::<i64>(&self.db, call).await? {
            Begun::Replay(before) => return Ok(before),
            Begun::Fresh(change) => change,
        };
        let location = location.ok_or_else(|| unknown(uid))?;
        if location.target == Target::Builtin {
            return Err(Error::new(&LOCATION_BUILTIN, "the built-in organisation cannot be deleted"));
        }
        store::take_turn(change.tx()).await?;
        let location = store::location(change.tx(), uid).await?.ok_or_else(|| unknown(uid))?;
        if !etag.is_empty() && etag != location.etag() {
            return Err(Error::new(&ETAG_MISMATCH, "the location changed since it was read")
                .resource("location", location.name()));
        }
        let claimed = store::documents(change.tx(), uid).await?;
        let refs: std::collections::BTreeSet<_> =
            claimed.into_iter().filter(|d| d.claims).map(|d| d.identity).collect();
        store::remove_documents(change.tx(), uid).await?;
        let refs: Vec<_> = refs.into_iter().collect();
        let (tally, _) =
            ingest::settle_all(change.tx(), &refs, &Default::default(), (uid, ""), self.clock.now_us()).await?;
        store::delete_location(change.tx(), &location).await?;
        slipway_kit::worker::cancel(change.tx(), super::LOCATION_WORK, uid).await?;
        let name = location.name();
        change.commit(&tally.removed, audit::Change { resource: &name, uid, fields: &["deleted"] }).await?;
        Ok(tally.removed)
    }

    /// The location, once the caller may change it; without the right, not existing looks the same (SAFE-41).
    async fn authorised(&self, call: &Call, uid: &str) -> Result<Location> {
        self.authorised_or_gone(call, uid).await?.ok_or_else(|| unknown(uid))
    }

    /// As [`App::authorised`]; absent if it is gone, so that repeating its deletion still finds the first answer.
    async fn authorised_or_gone(&self, call: &Call, uid: &str) -> Result<Option<Location>> {
        let location = store::location(&self.db, uid).await?;
        let owner = match &location {
            Some(location) => Some(location.owner.clone()),
            None => store::owner_of_gone(&self.db, uid).await?,
        };
        call.check(&Facts { owner: owner.as_deref(), ..Facts::default() })?;
        Ok(location)
    }

    /// Registers the built-in organisation and reads it, at every start.
    pub async fn ensure_organization(&self) -> Result<()> {
        let owner = crate::model::entity_ref::EntityRef::new("group", "default", "platform");
        let new = NewLocation { target: Target::Builtin, owner, organization: true, templates: false };
        let blank = Location { uid: BUILTIN_UID.to_owned(), ..self.blank(&new) };
        let content = self.content(&blank).await?;
        let mut tx = self.db.begin().await?;
        store::take_turn(&mut tx).await?;
        if store::location(&mut tx, BUILTIN_UID).await?.is_none() {
            store::insert_location(&mut tx, &blank).await?;
        }
        let location = store::location(&mut tx, BUILTIN_UID).await?.unwrap_or(blank);
        if location.content_hash == content.hash {
            return Ok(());
        }
        self.apply(&mut tx, location, &content, true).await?;
        tx.commit().await
    }
}

fn unknown(uid: &str) -> Error {
    let name = format!("locations/{uid}");
    Error::new(&NOT_FOUND, format!("there is no {name}")).resource("location", name)
}
