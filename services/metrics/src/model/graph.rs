//! The commit graph of the repositories of a service, interned. Refuses order: commits may come in any.
use std::collections::{HashMap, HashSet};

use super::fact::Change;

/// Place of a commit in its graph.
pub type Node = u32;

/// What is known of one commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Place of its repository.
    pub repository: u32,
    /// Its id.
    pub sha: String,
    /// Parents.
    pub parents: Vec<Node>,
    /// Committer time.
    pub committed_us: i64,
    /// False while it is only known as someone's parent or head.
    pub known: bool,
    /// Original of a cherry-pick.
    pub origin: Option<Node>,
    /// Patch id; empty if unknown.
    pub patch_id: String,
}

/// Commits of some repositories.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    repositories: Vec<String>,
    by_name: HashMap<String, u32>,
    commits: Vec<Commit>,
    nodes: Vec<HashMap<String, Node>>,
    picks: HashMap<Node, Vec<Node>>,
    patches: HashMap<(u32, String), Vec<Node>>,
}

impl Graph {
    /// Number of nodes, known or not.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// The commit at a node.
    pub fn commit(&self, node: Node) -> &Commit {
        &self.commits[node as usize]
    }

    /// Name of a repository.
    pub fn repository(&self, place: u32) -> &str {
        &self.repositories[place as usize]
    }

    /// Node of a commit, if there is one.
    pub fn find(&self, repository: &str, sha: &str) -> Option<Node> {
        self.nodes[*self.by_name.get(repository)? as usize].get(sha).copied()
    }

    /// Node of a commit, made unknown if it is new.
    pub fn intern(&mut self, repository: &str, sha: &str) -> Node {
        let place = match self.by_name.get(repository) {
            Some(place) => *place,
            None => {
                let place = self.repositories.len() as u32;
                self.repositories.push(repository.to_owned());
                self.by_name.insert(repository.to_owned(), place);
                self.nodes.push(HashMap::new());
                place
            }
        };
        self.intern_at(place, sha)
    }

    fn intern_at(&mut self, repository: u32, sha: &str) -> Node {
        if let Some(node) = self.nodes[repository as usize].get(sha) {
            return *node;
        }
        let node = self.commits.len() as Node;
        self.commits.push(Commit {
            repository,
            sha: sha.to_owned(),
            parents: Vec::new(),
            committed_us: 0,
            known: false,
            origin: None,
            patch_id: String::new(),
        });
        self.nodes[repository as usize].insert(sha.to_owned(), node);
        node
    }

    /// Adds a commit, or what is now known of it.
    pub fn add(&mut self, change: &Change) {
        let node = self.intern(&change.repository, &change.sha);
        let repository = self.commits[node as usize].repository;
        let parents = change.parents.iter().map(|sha| self.intern_at(repository, sha)).collect();
        let origin = (!change.picked_from.is_empty() && change.picked_from != change.sha)
            .then(|| self.intern_at(repository, &change.picked_from));
        self.forget(node);
        if let Some(origin) = origin {
            self.picks.entry(origin).or_default().push(node);
        }
        if !change.patch_id.is_empty() {
            self.patches.entry((repository, change.patch_id.clone())).or_default().push(node);
        }
        let commit = &mut self.commits[node as usize];
        commit.parents = parents;
        commit.committed_us = change.committed_us;
        commit.known = true;
        commit.origin = origin;
        commit.patch_id.clone_from(&change.patch_id);
    }

    /// Takes back the links of an earlier version of the commit.
    fn forget(&mut self, node: Node) {
        let (origin, key) = {
            let commit = &self.commits[node as usize];
            (commit.origin, (commit.repository, commit.patch_id.clone()))
        };
        if let Some(copies) = origin.and_then(|o| self.picks.get_mut(&o)) {
            copies.retain(|n| *n != node);
        }
        if let Some(copies) = self.patches.get_mut(&key) {
            copies.retain(|n| *n != node);
        }
    }

    /// Whether the commit has copies or is one.
    pub fn is_linked(&self, node: Node) -> bool {
        let commit = self.commit(node);
        commit.origin.is_some() || !commit.patch_id.is_empty() || self.picks.contains_key(&node)
    }

    /// The commit and all its copies and originals (R6).
    pub fn copies(&self, node: Node) -> Vec<Node> {
        let mut found = vec![node];
        let mut at = 0;
        while let Some(node) = found.get(at).copied() {
            at += 1;
            let commit = self.commit(node);
            let key = (commit.repository, commit.patch_id.clone());
            let same = if commit.patch_id.is_empty() { None } else { self.patches.get(&key) };
            let next = commit
                .origin
                .iter()
                .chain(self.picks.get(&node).into_iter().flatten())
                .chain(same.into_iter().flatten());
            for other in next {
                if !found.contains(other) {
                    found.push(*other);
                }
            }
        }
        found
    }

    /// Instant a lead time begins at: the original's if the commit is a copy of a known one.
    pub fn begun_us(&self, node: Node) -> i64 {
        let mut first = node;
        let mut seen = vec![node];
        while let Some(origin) = self.commit(first).origin.filter(|o| self.commit(*o).known && !seen.contains(o)) {
            seen.push(origin);
            first = origin;
        }
        let commit = self.commit(first);
        let key = (commit.repository, commit.patch_id.clone());
        let twins = if commit.patch_id.is_empty() { None } else { self.patches.get(&key) };
        let earliest =
            twins.into_iter().flatten().filter(|n| self.commit(**n).known).map(|n| self.commit(*n).committed_us).min();
        earliest.map_or(commit.committed_us, |at| at.min(commit.committed_us))
    }

    /// Whether `node` is an ancestor of `of`, or the same.
    pub fn reaches(&self, of: Node, node: Node) -> bool {
        // A set, for most answers are found near by; the graph may be large.
        let mut seen = HashSet::new();
        let mut open = std::collections::VecDeque::from([of]);
        while let Some(at) = open.pop_front() {
            if at == node {
                return true;
            }
            if seen.insert(at) {
                open.extend(&self.commit(at).parents);
            }
        }
        false
    }
}
