//! Who belongs to which group, transitively through parent groups (SAFE-30).
//!
//! Works on edges of trusted organisation sources only; whose they are, the store decides.

use std::collections::{BTreeMap, BTreeSet};

use super::relation::Edge;

/// Deepest chain of parents followed (CAT-72).
const DEPTH_MAX: usize = 20;

/// One declared edge of a group or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Canonical reference of the declaring entity.
    pub source: String,
    /// The relation and its target.
    pub edge: Edge,
}

/// Every (user, group) pair, sorted; a member of a group is a member of its parents. Only entities in `known` count.
pub fn resolve(known: &BTreeSet<String>, declared: &[Declared]) -> Vec<(String, String)> {
    let mut parents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut direct: BTreeSet<(&str, &str)> = BTreeSet::new();
    for Declared { source, edge } in declared {
        if !known.contains(source) || !known.contains(&edge.target) {
            continue;
        }
        let (here, there) = (source.as_str(), edge.target.as_str());
        match edge.relation.as_str() {
            "memberOf" => drop(direct.insert((here, there))),
            "hasMember" => drop(direct.insert((there, here))),
            "childOf" => drop(parents.entry(here).or_default().insert(there)),
            "parentOf" => drop(parents.entry(there).or_default().insert(here)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    for (user, group) in direct {
        let mut frontier = BTreeSet::from([group]);
        let mut seen = frontier.clone();
        for _ in 0..DEPTH_MAX {
            frontier = frontier
                .iter()
                .filter_map(|g| parents.get(g))
                .flatten()
                .copied()
                .filter(|g| !seen.contains(g))
                .collect();
            seen.extend(&frontier);
        }
        all.extend(seen.into_iter().map(|g| (user.to_owned(), g.to_owned())));
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(source: &str, relation: &str, target: &str) -> Declared {
        Declared { source: source.into(), edge: Edge { relation: relation.into(), target: target.into() } }
    }

    #[test]
    fn members_belong_to_parents_too_and_cycles_end() {
        let known = ["user:a", "user:b", "group:x", "group:y", "group:z"].map(String::from).into();
        let declared = [
            edge("user:a", "memberOf", "group:x"),
            edge("group:y", "hasMember", "user:b"),
            edge("group:x", "childOf", "group:y"),
            edge("group:z", "parentOf", "group:y"),
            edge("group:z", "childOf", "group:x"),
            edge("user:b", "memberOf", "group:unknown"),
        ];
        let got: Vec<_> = resolve(&known, &declared);
        let want = [
            ("user:a", "group:x"),
            ("user:a", "group:y"),
            ("user:a", "group:z"),
            ("user:b", "group:x"),
            ("user:b", "group:y"),
            ("user:b", "group:z"),
        ];
        assert_eq!(got, want.map(|(u, g)| (u.to_owned(), g.to_owned())));
    }
}
