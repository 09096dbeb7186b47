//! The service that secrets and bindings belong to, with the facts that decide.
//!
//! Owns nothing but the noun: the catalog owns the facts.
use serde::{Deserialize, Serialize};

/// A service as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Canonical reference, for example `component:default/payments`.
    pub reference: String,
    /// Uid of the entity.
    pub uid: String,
    /// Owning group; empty if nobody owns it.
    pub owner: String,
    /// `critical`, `standard` or `experimental`; may be empty.
    pub service_tier: String,
}

/// A service that has secrets or bindings here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// First segment of its paths.
    pub segment: String,
    /// Facts as last told.
    pub facts: Facts,
    /// Key-encryption key for new versions; empty before the first.
    pub key_id: String,
}

impl Service {
    /// The facts that count now: those the catalog tells of the same entity, nobody's if it is gone or another took its name.
    #[must_use]
    pub fn present(&self, told: Option<Facts>) -> Facts {
        match told {
            Some(facts) if facts.uid == self.facts.uid => facts,
            _ => Facts { owner: String::new(), ..self.facts.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_took_the_name_of_another_gets_none_of_its_secrets() {
        let facts = |uid: &str, owner: &str| Facts {
            reference: "component:default/payments".to_owned(),
            uid: uid.to_owned(),
            owner: owner.to_owned(),
            service_tier: "critical".to_owned(),
        };
        let service = Service {
            segment: "payments-aaaaa".to_owned(),
            facts: facts("1", "group:default/a"),
            key_id: String::new(),
        };
        assert_eq!(service.present(Some(facts("1", "group:default/b"))).owner, "group:default/b");
        assert_eq!(service.present(Some(facts("2", "group:default/b"))).owner, "");
        assert_eq!(service.present(None).owner, "");
    }
}
