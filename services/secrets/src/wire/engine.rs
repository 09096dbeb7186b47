//! The engine's state on the wire.
//!
//! Owns its words. Refuses key material.
use slipway_proto::secrets::v1 as pb;

use crate::{app::Status, world::engine::Seal};

/// State of the engine.
pub fn engine(status: &Status) -> pb::Engine {
    let (state, known_writes, witnessed_writes) = match status.seal {
        None => (pb::EngineState::Open, 0, 0),
        Some(Seal::RolledBack { known, witnessed }) => (pb::EngineState::RolledBack, known, witnessed),
        Some(_) => (pb::EngineState::Sealed, 0, 0),
    };
    let finding = |f: &crate::app::Finding| pb::EngineFinding { secret: f.path.name(), what: f.what.to_owned() };
    pb::Engine {
        state: state.into(),
        cause: status.seal.map_or(String::new(), |seal| seal.word().to_owned()),
        known_writes,
        witnessed_writes,
        findings: status.findings.iter().map(finding).collect(),
    }
}
