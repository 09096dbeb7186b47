//! Rows of documents: what each location declares, and who claims which reference.

use std::collections::BTreeMap;

use slipway_kit::{
    args,
    db::{Exec, Row, Tx, insert_many},
    error::{Error, Result},
};

use super::{IN_MAX, binds};
use crate::model::{
    entity::Place,
    finding::{Finding, Severity, Span},
    location::Report,
    settle::Claim,
};

/// Most reports answered with a location.
const REPORTS_MAX: i64 = 100;

/// One document as last read.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentRow {
    /// Path of its file.
    pub path: String,
    /// Index in the file.
    pub index: i64,
    /// Canonical reference; empty if it has none.
    pub identity: String,
    /// Whether an entity could come from it.
    pub claims: bool,
    /// Whether it is accepted.
    pub accepted: bool,
    /// Hash of its content.
    pub hash: String,
    /// Line on which it begins.
    pub line: u32,
    /// When its location first claimed the reference.
    pub claimed_us: i64,
    /// Its findings.
    pub findings: Vec<Finding>,
}

fn read(row: &Row) -> Result<DocumentRow> {
    Ok(DocumentRow {
        path: row.text("path")?,
        index: row.int("idx")?,
        identity: row.text("ref")?,
        claims: row.bool("claims")?,
        accepted: row.bool("accepted")?,
        hash: row.text("hash")?,
        line: u32::try_from(row.int("line")?).unwrap_or(1),
        claimed_us: row.int("claimed_us")?,
        findings: row.json("findings")?,
    })
}

const COLUMNS: &str = "path, idx, ref, claims, accepted, hash, line, claimed_us, findings";

/// All documents of a location, by path and index.
pub async fn of_location(exec: impl Into<Exec<'_>>, location: &str) -> Result<Vec<DocumentRow>> {
    let sql = format!("SELECT {COLUMNS} FROM document WHERE location = $1");
    let mut all: Vec<_> =
        exec.into().fetch_all(&sql, args![location]).await?.iter().map(read).collect::<Result<_>>()?;
    all.sort_by(|a, b| (&a.path, a.index).cmp(&(&b.path, b.index)));
    Ok(all)
}

/// Removes and puts documents of a location.
pub async fn change(tx: &mut Tx, location: &str, removed: &[DocumentRow], put: &[DocumentRow]) -> Result<()> {
    for chunk in removed.chunks(IN_MAX) {
        let pairs = (0..chunk.len()).map(|n| format!("(path = ${} AND idx = ${})", 2 * n + 2, 2 * n + 3));
        let sql = format!("DELETE FROM document WHERE location = $1 AND ({})", pairs.collect::<Vec<_>>().join(" OR "));
        let mut values = args![location];
        values.extend(chunk.iter().flat_map(|d| args![&d.path, d.index]));
        tx.execute(&sql, values).await?;
    }
    let mut rows = Vec::with_capacity(put.len());
    for d in put {
        let findings = serde_json::to_string(&d.findings).map_err(Error::internal)?;
        rows.push(args![
            location,
            &d.path,
            d.index,
            &d.identity,
            d.claims,
            d.accepted,
            &d.hash,
            d.line,
            d.claimed_us,
            findings
        ]);
    }
    let suffix = "ON CONFLICT (location, path, idx) DO UPDATE SET ref = excluded.ref, claims = excluded.claims, \
        accepted = excluded.accepted, hash = excluded.hash, line = excluded.line, claimed_us = excluded.claimed_us, \
        findings = excluded.findings";
    insert_many(tx, &format!("document (location, {COLUMNS})"), rows, suffix).await.map(drop)
}

/// Removes every document of a location.
pub async fn remove_all(tx: &mut Tx, location: &str) -> Result<()> {
    tx.execute("DELETE FROM document WHERE location = $1", args![location]).await.map(drop)
}

/// Every claim on these references, of all locations.
pub async fn claims(tx: &mut Tx, refs: &[String]) -> Result<BTreeMap<String, Vec<Claim>>> {
    let mut all: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
    for chunk in refs.chunks(IN_MAX) {
        let sql = format!(
            "SELECT d.location, {COLUMNS}, (SELECT l.commit_sha FROM location l WHERE l.uid = d.location) AS commit_sha \
             FROM document d WHERE d.claims = 1 AND d.ref IN ({})",
            binds(1, chunk.len())
        );
        for row in tx.fetch_all(&sql, chunk.iter().map(Into::into).collect()).await? {
            let document = read(&row)?;
            let place = Place {
                location: row.text("location")?,
                path: document.path,
                index: document.index,
                line: document.line,
                commit: row.opt_text("commit_sha")?.unwrap_or_default(),
            };
            let claim = Claim {
                place,
                claimed_us: document.claimed_us,
                hash: document.hash,
                accepted: document.accepted,
                findings: document.findings,
            };
            all.entry(document.identity).or_default().push(claim);
        }
    }
    Ok(all)
}

/// Documents of a location that are not served as they stand, with the reasons; at most 100.
pub async fn reports(exec: impl Into<Exec<'_>>, location: &str) -> Result<Vec<Report>> {
    let sql = "SELECT d.path, d.idx, d.ref, d.claims, d.accepted, d.hash, d.line, d.claimed_us, d.findings, \
        COALESCE(e.location, '') AS serving, COALESCE(v.path, '') AS serving_path \
        FROM document d LEFT JOIN entity e ON e.ref = d.ref AND d.claims = 1 \
        LEFT JOIN version v ON v.uid = e.uid AND v.number = e.version \
        WHERE d.location = $1 AND d.idx < 1000000 AND (d.accepted = 0 OR e.uid IS NULL OR e.location <> d.location \
        OR v.path <> d.path OR v.idx <> d.idx) ORDER BY d.path, d.idx LIMIT $2";
    let rows = exec.into().fetch_all(sql, args![location, REPORTS_MAX]).await?;
    rows.iter().map(|row| report(row, location)).collect()
}

fn report(row: &Row, location: &str) -> Result<Report> {
    let document = read(row)?;
    let (serving, path) = (row.text("serving")?, row.text("serving_path")?);
    let mut findings = document.findings;
    if document.accepted {
        let (code, message) = if serving == location {
            ("DUPLICATE", format!("`{}` is declared in {path} too, and that document is served", document.identity))
        } else {
            ("CONFLICT", format!("`{}` is served from locations/{serving}, which declared it first", document.identity))
        };
        findings.push(Finding {
            code: code.to_owned(),
            severity: Severity::Error,
            message,
            pointer: "/metadata/name".to_owned(),
            at: Span::start(),
            related: document.identity.clone(),
        });
    }
    Ok(Report {
        path: document.path,
        index: document.index,
        identity: document.identity,
        line: document.line,
        findings,
    })
}
