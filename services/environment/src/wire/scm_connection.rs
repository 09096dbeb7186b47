//! SCM connections on the wire.
//!
//! Owns both directions. Refuses a credential's value: there is no field for one.
use slipway_kit::scm::{Check, Verdict};
use slipway_proto::environment::v1 as pb;

use super::{duration, duration_us, time};
use crate::model::scm_connection::{POLL_SECONDS, ScmConnection, ScmKind};

/// Renders a connection.
pub fn render(connection: &ScmConnection) -> pb::ScmConnection {
    let kind = match connection.kind {
        ScmKind::Local => pb::ScmKind::Local,
        ScmKind::Github => pb::ScmKind::Github,
    };
    let instant = |us: i64| Some(time(us)).filter(|_| us > 0);
    pb::ScmConnection {
        name: connection.name(),
        uid: connection.uid.clone(),
        etag: connection.etag(),
        kind: kind.into(),
        api_url: connection.api_url.clone(),
        git_url: connection.git_url.clone(),
        app_id: connection.app_id,
        installation_id: connection.installation_id,
        private_key_file: connection.private_key_file.clone(),
        token_file: connection.token_file.clone(),
        poll_interval: Some(duration(connection.poll_seconds.saturating_mul(1_000_000))),
        is_configured: connection.is_configured(),
        create_time: instant(connection.created_us),
        update_time: instant(connection.updated_us),
    }
}

/// What is asked for, under an id.
pub fn wanted(id: &str, asked: pb::ScmConnection) -> ScmConnection {
    let kind = if asked.kind() == pb::ScmKind::Github { ScmKind::Github } else { ScmKind::Local };
    ScmConnection {
        id: id.to_owned(),
        kind,
        api_url: asked.api_url,
        git_url: asked.git_url,
        app_id: asked.app_id,
        installation_id: asked.installation_id,
        private_key_file: asked.private_key_file,
        token_file: asked.token_file,
        poll_seconds: asked.poll_interval.map_or(POLL_SECONDS, |interval| duration_us(&interval) / 1_000_000),
        ..ScmConnection::default()
    }
}

/// Renders what was tried.
pub fn checks(checks: Vec<Check>) -> pb::TestConnectionResponse {
    let is_usable = checks.iter().all(|check| check.verdict != Verdict::Failed);
    let check = |check: Check| pb::ScmCheck {
        check: check.name,
        verdict: match check.verdict {
            Verdict::Passed => pb::ScmVerdict::Passed,
            Verdict::Failed => pb::ScmVerdict::Failed,
            Verdict::Unknown => pb::ScmVerdict::Unknown,
        }
        .into(),
        detail: check.detail,
        remedy: check.remedy,
    };
    pb::TestConnectionResponse { checks: checks.into_iter().map(check).collect(), is_usable }
}
