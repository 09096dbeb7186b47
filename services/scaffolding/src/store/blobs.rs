//! Trees of files as manifests and contents by hash (SCF-54).
use std::collections::BTreeMap;

use slipway_kit::{
    args,
    db::{Exec, Row, Tx, Value},
    error::{Error, Result},
};

use super::Store;
use crate::model::files::{File, Files};

/// Contents asked for in one statement.
const BATCH: usize = 200;
/// A content that nothing names is kept this long, so that one that is just being named stays.
const UNNAMED_US: i64 = 3600 * 1_000_000;

/// Which rows a tree stands in.
pub(super) enum Owner<'a> {
    /// A revision: template and version.
    Revision(&'a str, &'a str),
    /// The workspace of a run.
    Run(&'a str),
}

impl Owner<'_> {
    fn table(&self) -> &'static str {
        match self {
            Owner::Revision(..) => "revision_files",
            Owner::Run(_) => "run_files",
        }
    }

    fn condition(&self) -> (&'static str, Vec<Value>) {
        match self {
            Owner::Revision(template, version) => ("template = $1 AND version = $2", args![*template, *version]),
            Owner::Run(run) => ("run = $1", args![*run]),
        }
    }
}

impl Store {
    /// Writes a tree in place of the one that stands there.
    pub(super) async fn write_tree(&self, tx: &mut Tx, owner: Owner<'_>, files: &Files, now_us: i64) -> Result<()> {
        let (condition, key) = owner.condition();
        let old: BTreeMap<String, (bool, String)> =
            self.manifest(&mut *tx, &owner).await?.into_iter().map(|(p, e, s)| (p, (e, s))).collect();
        for path in old.keys().filter(|p| !files.contains_key(*p)) {
            let mut binds = key.clone();
            let sql = format!("DELETE FROM {} WHERE {condition} AND path = ${}", owner.table(), binds.len() + 1);
            binds.push(Value::from(path));
            tx.execute(&sql, binds).await?;
        }
        for (path, file) in files {
            let sha256 = file.sha256();
            if old.get(path) == Some(&(file.executable, sha256.clone())) {
                continue;
            }
            tx.execute(
                "INSERT INTO blobs (sha256, content, touched_us) VALUES ($1, $2, $3) \
                 ON CONFLICT (sha256) DO UPDATE SET touched_us = excluded.touched_us",
                args![&sha256, &file.content[..], now_us],
            )
            .await?;
            let mut binds = key.clone();
            binds.extend(args![path, file.executable, &sha256]);
            let sql = match owner {
                Owner::Revision(..) => {
                    "INSERT INTO revision_files (template, version, path, executable, sha256) VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT (template, version, path) DO UPDATE SET executable = excluded.executable, sha256 = excluded.sha256"
                }
                Owner::Run(_) => {
                    "INSERT INTO run_files (run, path, executable, sha256) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (run, path) DO UPDATE SET executable = excluded.executable, sha256 = excluded.sha256"
                }
            };
            tx.execute(sql, binds).await?;
        }
        Ok(())
    }

    async fn manifest(&self, exec: impl Into<Exec<'_>>, owner: &Owner<'_>) -> Result<Vec<(String, bool, String)>> {
        let (condition, key) = owner.condition();
        let sql = format!("SELECT path, executable, sha256 FROM {} WHERE {condition} ORDER BY path", owner.table());
        let rows = exec.into().fetch_all(&sql, key).await?;
        rows.iter().map(|r| Ok((r.text("path")?, r.bool("executable")?, r.text("sha256")?))).collect()
    }

    /// Reads a tree.
    pub(super) async fn read_tree(&self, owner: Owner<'_>) -> Result<Files> {
        let manifest = self.manifest(&self.db, &owner).await?;
        let mut contents: BTreeMap<String, std::sync::Arc<[u8]>> = BTreeMap::new();
        let mut wanted: Vec<&String> = manifest.iter().map(|(_, _, sha)| sha).collect();
        wanted.sort();
        wanted.dedup();
        for batch in wanted.chunks(BATCH) {
            let binds = (1..=batch.len()).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
            let sql = format!("SELECT sha256, content FROM blobs WHERE sha256 IN ({binds})");
            let rows: Vec<Row> = self.db.fetch_all(&sql, batch.iter().map(|s| Value::from(*s)).collect()).await?;
            for row in rows {
                contents.insert(row.text("sha256")?, row.bytes("content")?.into());
            }
        }
        let file = |(path, executable, sha): (String, bool, String)| {
            let content =
                contents.get(&sha).cloned().ok_or_else(|| Error::internal(format!("content {sha} is missing")))?;
            Ok((path, File { executable, content }))
        };
        manifest.into_iter().map(file).collect()
    }

    /// Removes workspaces of runs that ended long ago, and contents that nothing names; answers how many contents.
    pub async fn sweep(&self, now_us: i64, kept_us: i64, kept_failed_us: i64) -> Result<u64> {
        self.db
            .execute(
                "DELETE FROM run_files WHERE run IN (SELECT uid FROM runs WHERE end_us > 0 AND end_us < \
                 CASE WHEN state = 'FAILED' THEN $1 ELSE $2 END)",
                args![now_us - kept_failed_us, now_us - kept_us],
            )
            .await?;
        self.db
            .execute(
                "DELETE FROM blobs WHERE touched_us < $1 AND NOT EXISTS (SELECT 1 FROM run_files f WHERE f.sha256 = blobs.sha256) \
                 AND NOT EXISTS (SELECT 1 FROM revision_files f WHERE f.sha256 = blobs.sha256)",
                args![now_us - UNNAMED_US],
            )
            .await
    }
}
