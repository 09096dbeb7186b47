//! Templates and their revisions: publishing, reading, listing (SCF-2, SCF-3).
use semver::Version;
use slipway_kit::{
    audit::Change,
    authz::Facts,
    db::Tx,
    error::{Error, INVALID_FIELD, Result},
    filter::{self, Field, Kind},
    id, journal,
    mutation::{Begun, Mutation},
    page::{self, Cursor, OrderBy},
    serve::Call,
};

use super::{App, List, Page, unknown};
use crate::{
    error::{REVISION_EXISTS, TEMPLATE_INVALID, VERSION_TOO_LOW},
    model::{
        files::{Files, digest},
        finding::Finding,
        lint::lint,
        revision::{Channel, may_follow, parse_name},
        template::Template,
        templating::Stop,
    },
    store::{Revision, TemplateRow, sort_key},
    wire,
};

/// A tree to be published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The whole tree.
    pub files: Files,
    /// Commit it was taken from; empty if unknown.
    pub commit: String,
    /// Channel.
    pub channel: Channel,
    /// Whether it fixes something that matters for security.
    pub security: bool,
    /// Check only.
    pub validate_only: bool,
}

const FIELDS: [Field; 4] = [
    Field { name: "id", column: "id", kind: Kind::Text },
    Field { name: "type", column: "kind", kind: Kind::Text },
    Field { name: "owner", column: "owner", kind: Kind::Text },
    Field { name: "title", column: "title", kind: Kind::Text },
];
const ORDER: [(&str, &str); 3] = [("id", "id"), ("title", "title"), ("create_time", "create_us")];

/// Most findings that are told of a refused tree.
const FINDINGS_MAX: usize = 40;

impl App {
    /// One template.
    pub async fn get_template(&self, call: &Call, name: &str) -> Result<TemplateRow> {
        call.check(&Facts::default())?;
        match parse_name(name) {
            Some((id, None)) => self.store.template(self.store.db(), id).await?.ok_or_else(|| unknown(name)),
            _ => Err(unknown(name)),
        }
    }

    /// Templates.
    pub async fn list_templates(&self, call: &Call, list: &List) -> Result<Page<TemplateRow>> {
        call.check(&Facts::default())?;
        let bound = format!("templates|{}|{}", list.filter, list.order_by);
        let (condition, order, after) = page::question(
            filter::parse(&list.filter).and_then(|filter| filter.sql(&FIELDS, 1)),
            OrderBy::parse(&list.order_by, &ORDER, "id", "id"),
            self.sealer.open::<Cursor>(call, &bound, &list.page_token),
        )?;
        let (total, is_estimate) = self.total("templates", &condition, list.total).await?;
        let found = self.store.templates(condition, &order, after.as_ref(), page::size(list.page_size)).await?;
        let next = found.next.map(|c| self.sealer.seal(call, &bound, &c)).unwrap_or_default();
        Ok(Page { items: found.items, next, total, is_estimate })
    }

    /// One revision.
    pub async fn get_revision(&self, call: &Call, name: &str) -> Result<Revision> {
        call.check(&Facts::default())?;
        match parse_name(name) {
            Some((id, Some(version))) => {
                self.store.revision(self.store.db(), id, version).await?.ok_or_else(|| unknown(name))
            }
            _ => Err(unknown(name)),
        }
    }

    /// Revisions of a template, the highest version first.
    pub async fn list_revisions(&self, call: &Call, parent: &str, list: &List) -> Result<Page<Revision>> {
        let template = self.get_template(call, parent).await?;
        let bound = format!("revisions|{parent}");
        let below: Option<String> = self.sealer.open(call, &bound, &list.page_token)?;
        let found = self.store.revisions(&template.id, below.as_deref(), page::size(list.page_size)).await?;
        let next = found.next.map(|key| self.sealer.seal(call, &bound, &key)).unwrap_or_default();
        Ok(Page { items: found.items, next, total: None, is_estimate: false })
    }

    /// Publishes a tree as a new revision, or answers the one it already is.
    pub async fn publish(&self, call: &Call, publication: Publication) -> Result<Revision> {
        call.check(&Facts::default())?;
        if publication.channel == Channel::Retired {
            return Err(Error::new(&INVALID_FIELD, "invalid: channel").violation("channel", "must be canary or stable"));
        }
        let (template, new) = self.prepare(&publication, &call.caller.principal).await?;
        let mut change = match Mutation::begin::<Revision>(self.store.db(), call).await? {
            Begun::Replay(revision) => return Ok(revision),
            Begun::Fresh(change) => change,
        };
        let revision = self.record(change.tx(), &template, new, &publication.files).await?;
        if publication.validate_only {
            return Ok(revision);
        }
        let name = revision.name();
        change.commit(&revision, Change { resource: &name, uid: &revision.uid, fields: &["files", "channel"] }).await?;
        Ok(revision)
    }

    /// Judges a tree: the template, and the revision it would be.
    pub(super) async fn prepare(&self, publication: &Publication, publisher: &str) -> Result<(Template, Revision)> {
        let files = publication.files.clone();
        // The lint renders the template's tests, which computes for a while.
        let stop = Stop::default();
        let _given_up = stop.on_drop();
        let work = move || stop.within(|| lint(&files));
        let (template, findings) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
        let Some(template) = template else { return Err(refused(&findings)) };
        let revision = Revision {
            template: template.id.clone(),
            version: template.version.to_string(),
            uid: id::uuid4(),
            create_us: self.clock.now_us(),
            digest: digest(&publication.files),
            commit: publication.commit.clone(),
            channel: publication.channel,
            security: publication.security,
            publisher: publisher.to_owned(),
            file_count: i32::try_from(publication.files.len()).unwrap_or(i32::MAX),
            findings,
        };
        Ok((template, revision))
    }

    /// Writes a revision if it is new; the same content under the same version is answered as it is.
    pub(super) async fn record(
        &self,
        tx: &mut Tx,
        template: &Template,
        new: Revision,
        files: &Files,
    ) -> Result<Revision> {
        if let Some(before) = self.store.revision(&mut *tx, &new.template, &new.version).await? {
            if before.digest == new.digest {
                return Ok(before);
            }
            let text = format!("{} was published with other content", new.name());
            return Err(Error::new(&REVISION_EXISTS, text).resource("revision", new.name()));
        }
        let published = self.store.versions(&mut *tx, &new.template).await?;
        let published: Vec<Version> = published.iter().filter_map(|v| Version::parse(v).ok()).collect();
        if !may_follow(&template.version, &published) {
            let newest = published.iter().max().map(ToString::to_string).unwrap_or_default();
            let text = format!("{} is lower than the newest version {newest}", template.version);
            return Err(Error::new(&VERSION_TOO_LOW, text).precondition("VERSION", new.name(), "raise the version"));
        }
        self.store.insert_revision(tx, &new, &sort_key(&template.version), files).await?;
        let row = self.store.template(&mut *tx, &new.template).await?;
        self.store.put_template(tx, &changed(row, template, &new)).await?;
        let row = self.store.template(&mut *tx, &new.template).await?;
        let uid = row.map(|r| r.uid).unwrap_or_default();
        journal::append(tx, wire::event::revision_published(&new, &uid)).await?;
        Ok(new)
    }
}

/// The template's row after a revision: what people see follows the newest stable one.
fn changed(row: Option<TemplateRow>, template: &Template, new: &Revision) -> TemplateRow {
    let version = |text: &str| Version::parse(text).ok();
    let stable_before = row.as_ref().map(|r| r.stable_version.clone()).unwrap_or_default();
    let leads =
        new.channel == Channel::Stable && version(&stable_before).is_none_or(|before| template.version > before);
    let fresh = TemplateRow {
        id: template.id.clone(),
        uid: row.as_ref().map_or_else(id::uuid4, |r| r.uid.clone()),
        changes: row.as_ref().map_or(1, |r| r.changes + 1),
        create_us: row.as_ref().map_or(new.create_us, |r| r.create_us),
        update_us: new.create_us,
        title: template.title.clone(),
        description: template.description.clone(),
        kind: template.kind.clone(),
        owner: template.owner.clone(),
        tags: template.tags.clone(),
        stable_version: if leads { new.version.clone() } else { stable_before.clone() },
        pages: if leads { template.pages.clone() } else { Vec::new() },
    };
    match row {
        // An older line or a canary changes nothing that people see.
        Some(row) if !leads && !stable_before.is_empty() => {
            TemplateRow { changes: fresh.changes, update_us: fresh.update_us, ..row }
        }
        _ => fresh,
    }
}

pub(super) fn refused(findings: &[Finding]) -> Error {
    let errors: Vec<&Finding> = findings.iter().filter(|f| f.is_error()).collect();
    let error = Error::new(&TEMPLATE_INVALID, format!("the template breaks {}", counted(errors.len())));
    errors.into_iter().take(FINDINGS_MAX).fold(error, |error, f| {
        let place = if f.line > 0 { format!("{}:{}:{}", f.path, f.line, f.column) } else { f.path.clone() };
        error.violation(format!("files[{place}]"), format!("{}: {}", f.code, f.message))
    })
}

fn counted(rules: usize) -> String {
    if rules == 1 { "1 rule".to_owned() } else { format!("{rules} rules") }
}
