//! Rows of templates and revisions.
use serde::{Deserialize, Serialize};
use slipway_kit::{
    args,
    db::{Exec, Row, Tx, Value},
    error::Result,
    page::{Cursor, OrderBy},
};

use super::{Store, blobs::Owner};
use crate::model::{files::Files, finding::Finding, revision::Channel, template::Page};

/// A template as listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateRow {
    /// Id, the last part of the name.
    pub id: String,
    /// Stable id.
    pub uid: String,
    /// Counts changes; the etag.
    pub changes: i64,
    /// When the first revision was published.
    pub create_us: i64,
    /// When it last changed.
    pub update_us: i64,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// `spec.type`.
    pub kind: String,
    /// Owning group; empty for the platform's own.
    pub owner: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Newest stable version; empty if none.
    pub stable_version: String,
    /// Parameters of that version.
    pub pages: Vec<Page>,
}

/// An immutable revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Id of the template.
    pub template: String,
    /// Semantic version.
    pub version: String,
    /// Stable id.
    pub uid: String,
    /// When it was published.
    pub create_us: i64,
    /// SHA-256 of the tree.
    pub digest: String,
    /// Commit the tree was taken from; empty if unknown.
    pub commit: String,
    /// Who it is meant for.
    pub channel: Channel,
    /// Whether it fixes something that matters for security.
    pub security: bool,
    /// Who published it.
    pub publisher: String,
    /// Number of files.
    pub file_count: i32,
    /// What the lint remarked.
    pub findings: Vec<Finding>,
}

impl Revision {
    /// Resource name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("templates/{}/revisions/{}", self.template, self.version)
    }
}

/// A page of templates.
pub struct TemplatePage {
    /// Templates.
    pub items: Vec<TemplateRow>,
    /// Where the next page starts.
    pub next: Option<Cursor>,
}

/// A page of revisions.
pub struct RevisionPage {
    /// Revisions.
    pub items: Vec<Revision>,
    /// Version after which the next page starts, as it sorts.
    pub next: Option<String>,
}

/// A version as text that sorts as versions do: numbers padded, pre-releases before their release.
#[must_use]
pub fn sort_key(version: &semver::Version) -> String {
    let numbers = format!("{:020}.{:020}.{:020}", version.major, version.minor, version.patch);
    if version.pre.is_empty() {
        return format!("{numbers}~");
    }
    // Numeric identifiers sort before others and by value; a shorter list sorts first.
    let part = |p: &str| p.parse::<u64>().map_or_else(|_| format!("z{p}"), |n| format!("0{n:020}"));
    format!("{numbers}-{}", version.pre.split('.').map(part).collect::<Vec<_>>().join(" "))
}

fn template(row: &Row) -> Result<TemplateRow> {
    Ok(TemplateRow {
        id: row.text("id")?,
        uid: row.text("uid")?,
        changes: row.int("changes")?,
        create_us: row.int("create_us")?,
        update_us: row.int("update_us")?,
        title: row.text("title")?,
        description: row.text("description")?,
        kind: row.text("kind")?,
        owner: row.text("owner")?,
        tags: row.json("tags")?,
        stable_version: row.text("stable_version")?,
        pages: row.json("pages")?,
    })
}

fn revision(row: &Row) -> Result<Revision> {
    Ok(Revision {
        template: row.text("template")?,
        version: row.text("version")?,
        uid: row.text("uid")?,
        create_us: row.int("create_us")?,
        digest: row.text("digest")?,
        commit: row.text("commit_id")?,
        channel: Channel::from_word(&row.text("channel")?),
        security: row.bool("security")?,
        publisher: row.text("publisher")?,
        file_count: i32::try_from(row.int("file_count")?).unwrap_or(i32::MAX),
        findings: row.json("findings")?,
    })
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(slipway_kit::error::Error::internal)
}

impl Store {
    /// The template of that id.
    pub async fn template(&self, exec: impl Into<Exec<'_>>, id: &str) -> Result<Option<TemplateRow>> {
        let row = exec.into().fetch_optional("SELECT * FROM templates WHERE id = $1", args![id]).await?;
        row.as_ref().map(template).transpose()
    }

    /// Templates that meet a condition over `$1…`, from a cursor on.
    pub async fn templates(
        &self,
        condition: (String, Vec<Value>),
        order: &OrderBy,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<TemplatePage> {
        let (sql, mut binds) = condition;
        let (keyset, more) = order.after(after, binds.len() + 1)?;
        binds.extend(more);
        let columns = order.columns();
        let sql = format!(
            "SELECT templates.*{columns} FROM templates WHERE ({sql}) AND ({keyset}) ORDER BY {} LIMIT {}",
            order.sql(),
            limit + 1
        );
        let rows = self.db.fetch_all(&sql, binds).await?;
        let next = if rows.len() > limit { rows.get(limit - 1).map(|r| order.cursor(r)).transpose()? } else { None };
        Ok(TemplatePage { items: rows.iter().take(limit).map(template).collect::<Result<_>>()?, next })
    }

    /// How many rows of a table meet a condition, at most `limit`.
    pub async fn count(&self, table: &str, condition: &(String, Vec<Value>), limit: i64) -> Result<i64> {
        let sql = format!(
            "SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM {table} WHERE {} LIMIT {limit}) AS some",
            condition.0
        );
        self.db.fetch_one(&sql, condition.1.clone()).await?.int("n")
    }

    /// The revision of that version.
    pub async fn revision(&self, exec: impl Into<Exec<'_>>, id: &str, version: &str) -> Result<Option<Revision>> {
        let sql = "SELECT * FROM revisions WHERE template = $1 AND version = $2";
        exec.into().fetch_optional(sql, args![id, version]).await?.as_ref().map(revision).transpose()
    }

    /// Every version of a template, as text.
    pub async fn versions(&self, exec: impl Into<Exec<'_>>, id: &str) -> Result<Vec<String>> {
        let rows = exec.into().fetch_all("SELECT version FROM revisions WHERE template = $1", args![id]).await?;
        rows.iter().map(|r| r.text("version")).collect()
    }

    /// Revisions of a template, the highest first, below a sort key.
    pub async fn revisions(&self, id: &str, below: Option<&str>, limit: usize) -> Result<RevisionPage> {
        let sql = format!(
            "SELECT * FROM revisions WHERE template = $1 AND sort_key < $2 ORDER BY sort_key DESC LIMIT {}",
            limit + 1
        );
        // Every key begins with a digit, so that `~` is above all.
        let rows = self.db.fetch_all(&sql, args![id, below.unwrap_or("~")]).await?;
        let next = if rows.len() > limit { rows.get(limit - 1).map(|r| r.text("sort_key")).transpose()? } else { None };
        Ok(RevisionPage { items: rows.iter().take(limit).map(revision).collect::<Result<_>>()?, next })
    }

    /// The tree of a revision.
    pub async fn revision_files(&self, id: &str, version: &str) -> Result<Files> {
        self.read_tree(Owner::Revision(id, version)).await
    }

    /// Writes a new revision with its tree.
    pub async fn insert_revision(&self, tx: &mut Tx, new: &Revision, sort: &str, files: &Files) -> Result<()> {
        tx.execute(
            "INSERT INTO revisions (template, version, sort_key, uid, create_us, digest, commit_id, channel, security, publisher, \
             file_count, findings) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            args![
                &new.template,
                &new.version,
                sort,
                &new.uid,
                new.create_us,
                &new.digest,
                &new.commit,
                new.channel.as_str(),
                new.security,
                &new.publisher,
                new.file_count,
                json(&new.findings)?
            ],
        )
        .await?;
        self.write_tree(tx, Owner::Revision(&new.template, &new.version), files, new.create_us).await
    }

    /// Writes a template, new or changed.
    pub async fn put_template(&self, tx: &mut Tx, row: &TemplateRow) -> Result<()> {
        tx.execute(
            "INSERT INTO templates (id, uid, changes, create_us, update_us, title, description, kind, owner, tags, stable_version, pages) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO UPDATE SET changes = excluded.changes, \
             update_us = excluded.update_us, title = excluded.title, description = excluded.description, kind = excluded.kind, \
             owner = excluded.owner, tags = excluded.tags, stable_version = excluded.stable_version, pages = excluded.pages",
            args![
                &row.id,
                &row.uid,
                row.changes,
                row.create_us,
                row.update_us,
                &row.title,
                &row.description,
                &row.kind,
                &row.owner,
                json(&row.tags)?,
                &row.stable_version,
                json(&row.pages)?
            ],
        )
        .await
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::sort_key;

    #[test]
    fn keys_sort_as_versions_do() {
        let ordered = [
            "0.9.0",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-beta",
            "1.0.0",
            "1.2.0",
            "1.10.0",
            "10.0.0",
        ];
        let keys: Vec<_> = ordered.iter().map(|v| sort_key(&semver::Version::parse(v).expect("a version"))).collect();
        assert!(keys.is_sorted(), "{keys:#?}");
    }
}
