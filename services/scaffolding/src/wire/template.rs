//! Templates and revisions.
use serde_json::Value as Json;
use slipway_kit::error::{Error, INVALID_FIELD, Result};
use slipway_proto::scaffolding::v1 as pb;

use super::time;
use crate::{
    app::Publication,
    model::{
        files::{File, Files},
        finding::{Finding, Severity},
        revision::Channel,
    },
    store::{Revision, TemplateRow},
};

/// A template as callers read it.
#[must_use]
pub fn template(row: TemplateRow) -> pb::Template {
    let page = |p: crate::model::template::Page| pb::ParameterPage {
        title: p.title,
        schema_json: Json::Object(p.schema).to_string(),
    };
    let name = format!("templates/{}", row.id);
    let stable = &row.stable_version;
    pb::Template {
        stable_revision: if stable.is_empty() { String::new() } else { format!("{name}/revisions/{stable}") },
        entity_ref: format!("template:default/{}", row.id),
        name,
        uid: row.uid,
        etag: format!("\"{}\"", row.changes),
        create_time: time(row.create_us),
        update_time: time(row.update_us),
        title: row.title,
        description: row.description,
        r#type: row.kind,
        owner: row.owner,
        tags: row.tags,
        parameter_pages: row.pages.into_iter().map(page).collect(),
    }
}

/// A revision as callers read it.
#[must_use]
pub fn revision(revision: Revision) -> pb::Revision {
    let channel = match revision.channel {
        Channel::Canary => pb::Channel::Canary,
        Channel::Stable => pb::Channel::Stable,
        Channel::Retired => pb::Channel::Retired,
    };
    pb::Revision {
        name: revision.name(),
        uid: revision.uid,
        etag: format!("\"{}\"", revision.channel.as_str()),
        create_time: time(revision.create_us),
        update_time: time(revision.create_us),
        version: revision.version,
        digest: revision.digest,
        commit: revision.commit,
        channel: channel.into(),
        security: revision.security,
        publisher: revision.publisher,
        file_count: revision.file_count,
        findings: revision.findings.into_iter().map(finding).collect(),
    }
}

/// A finding as callers read it.
pub(super) fn finding(finding: Finding) -> pb::Finding {
    let severity = match finding.severity {
        Severity::Info => pb::Severity::Info,
        Severity::Warning => pb::Severity::Warning,
        Severity::Error => pb::Severity::Error,
    };
    pb::Finding {
        severity: severity.into(),
        code: finding.code,
        message: finding.message,
        path: finding.path,
        line: i32::try_from(finding.line).unwrap_or_default(),
        column: i32::try_from(finding.column).unwrap_or_default(),
    }
}

/// A tree as callers send it.
///
/// # Errors
/// INVALID_FIELD for every path that is given twice.
pub(super) fn files(sent: Vec<pb::TemplateFile>) -> Result<Files> {
    let mut files = Files::new();
    let mut twice = Vec::new();
    for (i, file) in sent.into_iter().enumerate() {
        let content = File { executable: file.executable, content: file.content.into() };
        if files.insert(file.path, content).is_some() {
            twice.push(i);
        }
    }
    if twice.is_empty() {
        return Ok(files);
    }
    let error = Error::new(&INVALID_FIELD, "invalid: files");
    Err(twice.into_iter().fold(error, |error, i| error.violation(format!("files[{i}].path"), "is given twice")))
}

/// What is to be published.
///
/// # Errors
/// As [`files`].
pub fn publication(request: pb::PublishRevisionRequest) -> Result<Publication> {
    let channel = match request.channel() {
        pb::Channel::Canary => Channel::Canary,
        pb::Channel::Retired => Channel::Retired,
        pb::Channel::Stable | pb::Channel::Unspecified => Channel::Stable,
    };
    Ok(Publication {
        files: files(request.files)?,
        commit: request.commit,
        channel,
        security: request.security,
        validate_only: request.validate_only,
    })
}
