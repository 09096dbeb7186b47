//! Relations: which fields make them, how they read in both directions, and the edges of one entity (CAT-20 to CAT-23).
//!
//! Owns the table of relation fields. Edges are a set; their targets need not exist.

use serde::{Deserialize, Serialize};

/// What a field says about another entity.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    /// Kind of a reference that names none, in lower case; absent if it must be written.
    pub default_kind: Option<&'static str>,
    /// The relation as seen from the declaring entity.
    pub forward: &'static str,
    /// Kinds that make sense as target, in lower case; empty for any.
    pub expected: &'static [&'static str],
}

const fn relation(default_kind: &'static str, forward: &'static str, expected: &'static [&'static str]) -> Relation {
    Relation { default_kind: Some(default_kind), forward, expected }
}

/// `owner`.
pub static OWNER: Relation = relation("group", "ownedBy", &["group", "user"]);
/// `system`.
pub static SYSTEM: Relation = relation("system", "partOf", &["system"]);
/// `subcomponentOf`.
pub static SUBCOMPONENT_OF: Relation = relation("component", "partOf", &["component"]);
/// `domain` of a system and `subdomainOf` of a domain.
pub static DOMAIN: Relation = relation("domain", "partOf", &["domain"]);
/// `providesApis`.
pub static PROVIDES_APIS: Relation = relation("api", "providesApi", &["api"]);
/// `consumesApis`.
pub static CONSUMES_APIS: Relation = relation("api", "consumesApi", &["api"]);
/// `dependsOn`.
pub static DEPENDS_ON: Relation = Relation { default_kind: None, forward: "dependsOn", expected: &[] };
/// `dependencyOf`.
pub static DEPENDENCY_OF: Relation = Relation { default_kind: None, forward: "dependencyOf", expected: &[] };
/// `parent` of a group.
pub static PARENT: Relation = relation("group", "childOf", &["group"]);
/// `children` of a group.
pub static CHILDREN: Relation = relation("group", "parentOf", &["group"]);
/// `members` of a group.
pub static MEMBERS: Relation = relation("user", "hasMember", &["user"]);
/// `memberOf` of a user.
pub static MEMBER_OF: Relation = relation("group", "memberOf", &["group"]);

const PAIRS: &[(&str, &str)] = &[
    ("ownedBy", "ownerOf"),
    ("partOf", "hasPart"),
    ("providesApi", "apiProvidedBy"),
    ("consumesApi", "apiConsumedBy"),
    ("dependsOn", "dependencyOf"),
    ("childOf", "parentOf"),
    ("memberOf", "hasMember"),
];

/// The relation read from the other side; `None` for a word that is no relation.
pub fn inverse(relation: &str) -> Option<&'static str> {
    PAIRS.iter().find_map(|(a, b)| match relation {
        r if r == *a => Some(*b),
        r if r == *b => Some(*a),
        _ => None,
    })
}

/// One relation as declared by an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// The relation as seen from the declaring entity.
    pub relation: String,
    /// Canonical reference of the target.
    pub target: String,
}

/// All relations of an entity: those it declares, and those others declare of it, as one set sorted by relation, then target.
pub fn both_ways(declared: Vec<Edge>, inbound: Vec<Edge>) -> Vec<Edge> {
    let reversed = inbound.into_iter().filter_map(|edge| {
        let relation = inverse(&edge.relation)?.to_owned();
        Some(Edge { relation, target: edge.target })
    });
    let mut all: Vec<Edge> = declared.into_iter().chain(reversed).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_field_reads_both_ways() {
        let all = [
            &OWNER,
            &SYSTEM,
            &SUBCOMPONENT_OF,
            &DOMAIN,
            &PROVIDES_APIS,
            &CONSUMES_APIS,
            &DEPENDS_ON,
            &DEPENDENCY_OF,
            &PARENT,
            &CHILDREN,
            &MEMBERS,
            &MEMBER_OF,
        ];
        for r in all {
            let back = inverse(r.forward).unwrap();
            assert_eq!(inverse(back), Some(r.forward));
        }
        assert_eq!(inverse("likes"), None);
    }

    #[test]
    fn the_same_relation_from_both_sides_is_one() {
        let edge = |relation: &str, target: &str| Edge { relation: relation.into(), target: target.into() };
        let got = both_ways(
            vec![edge("memberOf", "group:default/a")],
            vec![edge("hasMember", "group:default/a"), edge("ownedBy", "api:default/x")],
        );
        assert_eq!(got, [edge("memberOf", "group:default/a"), edge("ownerOf", "api:default/x")]);
    }
}
