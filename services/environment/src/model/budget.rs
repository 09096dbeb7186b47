//! Budgets of teams and their services: what counts, what fits, and who is served first (ENV-12).
//!
//! Owns the arithmetic and the line of those who wait. Refuses to let one that came later pass one that waits for the same room.
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    approval,
    condition::Aspect,
    environment::{Environment, Power, Target},
    quantity,
    tier::Tier,
};

/// Reason of `Accepted` while there is no room.
pub const TEAM_BUDGET: &str = "TEAM_BUDGET";
/// How long nobody may have used an environment that is named as idle, in microseconds.
pub const IDLE_US: i64 = 15 * 60_000_000;

/// What is counted.
const WHAT: [&str; 3] = ["previews", "cpu", "memory"];

/// Amounts: of what is used, of what may be used, of what is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Previews.
    pub previews: i64,
    /// Requested processors, in thousandths of a core.
    pub cpu: i64,
    /// Requested memory, in bytes.
    pub memory: i64,
}

impl Amount {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { previews: self.previews + other.previews, cpu: self.cpu + other.cpu, memory: self.memory + other.memory }
    }

    /// What is more here than there, nothing below zero.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        Self {
            previews: (self.previews - other.previews).max(0),
            cpu: (self.cpu - other.cpu).max(0),
            memory: (self.memory - other.memory).max(0),
        }
    }

    fn of(self, what: &str) -> i64 {
        match what {
            "previews" => self.previews,
            "cpu" => self.cpu,
            _ => self.memory,
        }
    }

    /// Processors as people write them.
    pub fn cpu_text(self) -> String {
        quantity::cores(self.cpu.into())
    }

    /// Memory as people write it.
    pub fn memory_text(self) -> String {
        quantity::bytes(i128::from(self.memory) * 1_000)
    }
}

/// Processors in thousandths of a core; `None` if it is no quantity, or below nothing.
pub fn cpu_milli(text: &str) -> Option<i64> {
    i64::try_from(quantity::parse(text)?).ok().filter(|milli| *milli >= 0)
}

/// Memory in bytes; `None` if it is no quantity, or below nothing.
pub fn memory_bytes(text: &str) -> Option<i64> {
    i64::try_from(quantity::parse(text)? / 1_000).ok().filter(|bytes| *bytes >= 0)
}

/// Numbers of a team or its services that somebody set; what is `None` follows the platform's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// Previews.
    pub previews: Option<i64>,
    /// Processors, in thousandths of a core.
    pub cpu: Option<i64>,
    /// Memory, in bytes.
    pub memory: Option<i64>,
}

impl Own {
    /// These numbers over others.
    pub fn over(self, platform: Amount) -> Amount {
        Amount {
            previews: self.previews.unwrap_or(platform.previews),
            cpu: self.cpu.unwrap_or(platform.cpu),
            memory: self.memory.unwrap_or(platform.memory),
        }
    }
}

/// What a team may use, and each of its services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The team.
    pub team: Amount,
    /// Each service.
    pub service: Amount,
}

/// The numbers of a team as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Of the team.
    pub team: Own,
    /// Of each of its services.
    pub service: Own,
    /// Grows with each change; 0 before the first.
    pub revision: i64,
    /// When they last changed, in microseconds.
    pub updated_us: i64,
    /// Who changed them last.
    pub updater: String,
}

impl Kept {
    /// Version for guarded changes.
    pub fn etag(&self) -> String {
        self.revision.to_string()
    }

    /// What holds, over the platform's numbers.
    pub fn limits(&self, platform: Limits) -> Limits {
        Limits { team: self.team.over(platform.team), service: self.service.over(platform.service) }
    }
}

/// The part of a budget that an environment has, or waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Whether it was let in: a preview counts from then on.
    pub is_counted: bool,
    /// What its pods request at rest, as rendered last, or as others of its service do.
    pub needed: Amount,
    /// What is held of that while it is awake.
    pub held: Option<Amount>,
    /// Since when it waits, in microseconds; 0 if it does not.
    pub waits_us: i64,
}

/// Whether budgets count it: environments of the tier development, while they are wanted.
pub fn is_bound(env: &Environment) -> bool {
    env.tier == Tier::Development && env.retire.is_none() && env.deleted_us.is_none()
}

/// What it counts now.
pub fn counted(env: &Environment) -> Amount {
    let claim = &env.status.claim;
    if !is_bound(env) {
        return Amount::default();
    }
    let previews = i64::from(claim.is_counted && env.is_preview());
    Amount { previews, ..claim.held.unwrap_or_default() }
}

/// What it will count more once it is served.
pub fn adds(env: &Environment) -> Amount {
    if !is_bound(env) {
        return Amount::default();
    }
    let needed = if env.power == Power::Awake { env.status.claim.needed } else { Amount::default() };
    Amount { previews: i64::from(env.is_preview()), ..needed }.beyond(counted(env))
}

/// Whether it has all it needs.
pub fn is_satisfied(env: &Environment) -> bool {
    let claim = &env.status.claim;
    let is_held = || claim.held.is_some_and(|held| claim.needed.beyond(held) == Amount::default());
    !is_bound(env) || (claim.is_counted && (env.power == Power::Asleep || is_held()))
}

/// Lets it in.
pub fn grant(env: &mut Environment) {
    let claim = &mut env.status.claim;
    claim.is_counted = true;
    claim.held = (env.power == Power::Awake).then_some(claim.needed);
    claim.waits_us = 0;
}

/// Puts it into the line, unless it stands in it: what never ran by when it was wanted first, anything else at the end.
pub fn queue(env: &mut Environment, now_us: i64) {
    // A fork that nobody approved keeps nobody waiting.
    if is_bound(env) && env.status.claim.waits_us == 0 && !approval::is_missing(env) {
        let has_run = env.status.progress.applied > 0 || env.status.publication.is_some();
        env.status.claim.waits_us = if has_run { now_us.max(1) } else { env.created_us.max(1) };
    }
}

/// Takes what it was rendered to need; less is given back at once, more has to be asked for.
pub fn needs(env: &mut Environment, needed: Amount) {
    let claim = &mut env.status.claim;
    claim.needed = Amount { previews: 0, ..needed };
    if claim.held.is_some_and(|held| claim.needed.beyond(held) == Amount::default()) {
        claim.held = Some(claim.needed);
    }
}

/// What sleeps holds nothing; what has all it needs waits for nothing.
pub fn settle(env: &mut Environment) {
    if env.power == Power::Asleep || approval::is_missing(env) {
        env.status.claim.held = None;
    }
    let is_stalled = env.status.claim.is_counted && env.status.conditions.holds(Aspect::Stalled, env.generation);
    if is_satisfied(env) || is_stalled || approval::is_missing(env) {
        env.status.claim.waits_us = 0;
    }
}

/// Whether it is awake, could sleep, and nobody uses it.
pub fn is_idle(env: &Environment, now_us: i64) -> bool {
    let is_awake = env.power == Power::Awake && env.target == Target::Apply && env.status.progress.applied > 0;
    is_bound(env) && is_awake && env.used_us.max(env.status.progress.applied_us) + IDLE_US <= now_us
}

/// Whether a change lets others in: something is given back, or one left the line.
pub fn makes_room(before: &Environment, after: &Environment) -> bool {
    let less = counted(before).beyond(counted(after)) != Amount::default();
    less || (before.status.claim.waits_us > 0 && after.status.claim.waits_us == 0)
        || (after.deleted_us.is_some() && before.deleted_us.is_none())
}

/// One that asks for room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Uid of its life.
    pub uid: String,
    /// Service.
    pub service: String,
    /// What it adds.
    pub adds: Amount,
}

/// What a team uses now, and who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// What is used, by service.
    pub used: BTreeMap<String, Amount>,
    /// Who waits, first come first.
    pub line: Vec<Ask>,
}

impl Books {
    /// What the whole team uses.
    pub fn team(&self) -> Amount {
        self.used.values().fold(Amount::default(), |sum, one| sum.plus(*one))
    }

    /// What a service uses.
    pub fn service(&self, service: &str) -> Amount {
        self.used.get(service).copied().unwrap_or_default()
    }

    fn add(&mut self, ask: &Ask) {
        let used = self.used.entry(ask.service.clone()).or_default();
        *used = used.plus(ask.adds);
    }
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// Whether the service's budget is meant, and not the team's.
    pub is_service: bool,
    /// `previews`, `cpu` or `memory`.
    pub what: &'static str,
    /// In words.
    pub text: String,
}

/// What an ask comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is room.
    Granted,
    /// There is none; what is over, and how many are served before.
    Over(Vec<Over>, usize),
}

/// Whether there is room for one that asks: after all who came before, unless they wait for other room (a service's own).
pub fn decide(limits: &Limits, books: &Books, ask: &Ask) -> Verdict {
    let mut books = books.clone();
    let line = std::mem::take(&mut books.line);
    // What earlier ones wait for: a resource of the team, or of one service.
    let (mut awaited, mut before) = (BTreeSet::new(), 0);
    let is_behind = |awaited: &BTreeSet<(String, &str)>, ask: &Ask| {
        let is_awaited = |whose: &str, what| awaited.contains(&(whose.to_owned(), what));
        WHAT.into_iter().any(|what| ask.adds.of(what) > 0 && (is_awaited("", what) || is_awaited(&ask.service, what)))
    };
    for other in line.iter().take_while(|other| other.uid != ask.uid) {
        let over = over(limits, &books, other);
        if over.is_empty() && !is_behind(&awaited, other) {
            books.add(other);
            continue;
        }
        // What would not fit into an empty budget keeps nobody waiting.
        if !self::over(limits, &Books::default(), other).is_empty() {
            continue;
        }
        before += 1;
        let whose = |over: &Over| if over.is_service { other.service.clone() } else { String::new() };
        awaited.extend(over.iter().map(|over| (whose(over), over.what)));
    }
    let over = over(limits, &books, ask);
    if over.is_empty() && !is_behind(&awaited, ask) {
        return Verdict::Granted;
    }
    Verdict::Over(over, before)
}

/// Everything that is over once this is added.
fn over(limits: &Limits, books: &Books, ask: &Ask) -> Vec<Over> {
    let mut found = Vec::new();
    for (is_service, limit, used) in
        [(false, limits.team, books.team()), (true, limits.service, books.service(&ask.service))]
    {
        let whose = if is_service { format!("{} has", ask.service) } else { "the team has".to_owned() };
        for what in WHAT {
            let (limit, used, adds) = (limit.of(what), used.of(what), ask.adds.of(what));
            if adds > 0 && used + adds > limit {
                let [used, limit, adds] = [used, limit, adds].map(|n| text(what, n));
                let text = format!("{what}: {whose} {used} of {limit} in use, {adds} more are asked for");
                found.push(Over { is_service, what, text });
            }
        }
    }
    found
}

fn text(what: &str, amount: i64) -> String {
    match what {
        "cpu" => Amount { cpu: amount, ..Amount::default() }.cpu_text(),
        "memory" => Amount { memory: amount, ..Amount::default() }.memory_text(),
        _ => amount.to_string(),
    }
}

/// The refusal in words.
pub fn sentence(over: &[Over], before: usize) -> String {
    let texts: Vec<&str> = over.iter().map(|over| over.text.as_str()).collect();
    match (texts.is_empty(), before) {
        (true, n) => format!("{n} that came earlier are served first."),
        (false, 0) => format!("{}.", texts.join("; ")),
        (false, n) => format!("{}; {n} that came earlier are served first.", texts.join("; ")),
    }
}

/// `budgets/<namespace>.<name>` of a team `group:<namespace>/<name>`.
pub fn name(team: &str) -> String {
    let rest = team.strip_prefix("group:").unwrap_or(team);
    format!("budgets/{}", rest.replacen('/', ".", 1))
}

/// The team of a name; `None` if it is none.
pub fn team(name: &str) -> Option<String> {
    let (namespace, group) = name.strip_prefix("budgets/")?.split_once('.')?;
    let plain = |text: &str, also: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && text.chars().all(fits)
    };
    (plain(namespace, "-") && plain(group, "._-")).then(|| format!("group:{namespace}/{group}"))
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
