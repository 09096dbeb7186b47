//! Budgets on the wire.
//!
//! Owns both directions. Refuses names of no team, masks of other fields, and numbers that are no quantities.
use slipway_kit::error::{Result, Violations};
use slipway_proto::environment::v1 as pb;

use super::time;
use crate::{
    app::{Budget, BudgetChange},
    model::budget::{self, Amount, Own, cpu_milli, memory_bytes},
};

/// Fields that can be changed.
const FIELDS: [&str; 2] = ["limits", "service_limits"];

/// The team that a name says.
///
/// # Errors
/// INVALID_FIELD for what is no name of a budget.
pub fn team(field: &str, name: &str) -> Result<String> {
    let found = budget::team(name);
    let mut v = Violations::new();
    v.check(found.is_some(), field, "must be budgets/<namespace>.<name> of a team");
    v.finish()?;
    Ok(found.unwrap_or_default())
}

/// A budget as callers read it.
pub fn render(budget: &Budget) -> pb::Budget {
    let kept = &budget.kept;
    let team = budget.used.values().fold(Amount::default(), |sum, one| sum.plus(*one));
    pb::Budget {
        name: budget::name(&budget.team),
        etag: kept.etag(),
        update_time: (kept.updated_us > 0).then(|| time(kept.updated_us)),
        updater: kept.updater.clone(),
        team: budget.team.clone(),
        limits: (kept.team != Own::default()).then(|| own(&kept.team)),
        service_limits: (kept.service != Own::default()).then(|| own(&kept.service)),
        effective_limits: Some(limits(budget.limits.team)),
        effective_service_limits: Some(limits(budget.limits.service)),
        usage: Some(usage(team)),
        service_usage: budget.used.iter().map(|(service, used)| (service.clone(), usage(*used))).collect(),
        waiting_environments: budget.waiting.clone(),
        idle_environments: budget.idle.iter().map(idle).collect(),
    }
}

fn idle(idle: &crate::app::Idle) -> pb::IdleEnvironment {
    pb::IdleEnvironment {
        environment: idle.environment.clone(),
        use_time: Some(time(idle.used_us)),
        cpu: idle.held.cpu_text(),
        memory: idle.held.memory_text(),
    }
}

fn count(previews: i64) -> i32 {
    i32::try_from(previews).unwrap_or(i32::MAX)
}

fn limits(amount: Amount) -> pb::BudgetLimits {
    pb::BudgetLimits { previews: Some(count(amount.previews)), cpu: amount.cpu_text(), memory: amount.memory_text() }
}

fn own(own: &Own) -> pb::BudgetLimits {
    let of = |cpu: i64, memory: i64| Amount { previews: 0, cpu, memory };
    pb::BudgetLimits {
        previews: own.previews.map(count),
        cpu: own.cpu.map(|cpu| of(cpu, 0).cpu_text()).unwrap_or_default(),
        memory: own.memory.map(|memory| of(0, memory).memory_text()).unwrap_or_default(),
    }
}

fn usage(amount: Amount) -> pb::BudgetUsage {
    pb::BudgetUsage { previews: count(amount.previews), cpu: amount.cpu_text(), memory: amount.memory_text() }
}

/// A change as asked for, with the team it is about.
///
/// # Errors
/// INVALID_FIELD with every broken rule.
pub fn change(request: pb::UpdateBudgetRequest) -> Result<(String, BudgetChange)> {
    let wished = request.budget.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let is_meant = |field: &str| paths.is_empty() || paths.iter().any(|path| path == field || path == "*");
    let mut v = Violations::new();
    let known = paths.iter().all(|path| path == "*" || FIELDS.contains(&path.as_str()));
    v.check(known, "update_mask", format!("may name {}", FIELDS.join(", ")));
    let team = budget::team(&wished.name);
    v.check(team.is_some(), "budget.name", "must be budgets/<namespace>.<name> of a team");
    let mut take = |field: &str, limits: Option<pb::BudgetLimits>| {
        is_meant(field).then(|| numbers(&mut v, &format!("budget.{field}"), &limits.unwrap_or_default()))
    };
    let (own, service) = (take("limits", wished.limits), take("service_limits", wished.service_limits));
    v.finish()?;
    let change = BudgetChange { team: own, service, etag: wished.etag, validate_only: request.validate_only };
    Ok((team.unwrap_or_default(), change))
}

fn numbers(v: &mut Violations, field: &str, limits: &pb::BudgetLimits) -> Own {
    let mut read = |what: &str, text: &str, parse: fn(&str) -> Option<i64>, rule: &str| {
        let found = parse(text);
        v.check(text.is_empty() || found.is_some(), format!("{field}.{what}"), rule);
        found
    };
    Own {
        previews: limits.previews.map(i64::from),
        cpu: read("cpu", &limits.cpu, cpu_milli, "must be a quantity such as 16 or 1500m"),
        memory: read("memory", &limits.memory, memory_bytes, "must be a quantity such as 32Gi"),
    }
}
