//! Platform tokens and callers on the wire.
//!
//! Refuses secrets: only the answer of CreateToken has one, and it is not made here.

use slipway_kit::caller::{Caller, CallerKind, Scope};
use slipway_proto::access::v1 as pb;

use super::{etag, role, time};
use crate::model::noun::Token;

/// A token as answered.
#[must_use]
pub fn token(t: &Token) -> pb::Token {
    pb::Token {
        name: t.name(),
        uid: t.uid.clone(),
        etag: etag(t.version),
        display_name: t.display_name.clone(),
        owner: t.owner.clone(),
        scopes: token_scopes(&t.scopes),
        create_time: time(t.created_us),
        update_time: time(t.updated_us),
        expire_time: time(t.expires_us),
        revoke_time: time(t.revoked_us),
        last_use_time: time(t.last_use_us),
        warnings: Vec::new(),
    }
}

/// Scopes as answered.
#[must_use]
pub fn token_scopes(scopes: &[Scope]) -> Vec<pb::TokenScope> {
    let one = |s: &Scope| pb::TokenScope { permission: s.permission.clone(), resource: s.resource.clone() };
    scopes.iter().map(one).collect()
}

/// Scopes as asked for.
#[must_use]
pub fn scopes(scopes: Vec<pb::TokenScope>) -> Vec<Scope> {
    scopes.into_iter().map(|s| Scope { permission: s.permission, resource: s.resource }).collect()
}

/// Whom the credential of a call speaks for.
#[must_use]
pub fn who_am_i(caller: &Caller) -> pb::WhoAmIResponse {
    let kind = match caller.kind {
        CallerKind::User => "user",
        CallerKind::Token => "token",
        CallerKind::Workload => "workload",
        CallerKind::CiJob => "ci_job",
        CallerKind::Service => "service",
    };
    let team = |(team, held): (&String, &slipway_kit::caller::Role)| pb::TeamRole {
        team: team.clone(),
        role: role(*held).into(),
    };
    pb::WhoAmIResponse {
        caller: caller.principal.clone(),
        kind: kind.to_owned(),
        credential: caller.credential.clone(),
        teams: caller.teams.iter().map(team).collect(),
        roles: caller.roles.iter().map(|held| role(*held).into()).collect(),
        scopes: caller.scopes.as_deref().map(token_scopes).unwrap_or_default(),
    }
}
