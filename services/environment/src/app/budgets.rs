//! Budgets of teams: who is let in, who waits, and the numbers (ENV-12).
//!
//! Owns the turn in which one is let in at a time, the refusal, and the waking of those who wait. Refuses to poll: room that appears
//! wakes the line in the same transaction.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use slipway_kit::{
    audit::Change,
    authz::Facts,
    db::{Exec, Tx},
    error::{Error, Result},
    mutation::{Begun, Mutation},
    page,
    serve::Call,
    worker,
};

use super::{App, WORK_ENVIRONMENT, check_version, facts};
use crate::{
    error::TEAM_BUDGET,
    model::{
        approval,
        budget::{self, Amount, Ask, Kept, Limits, Over, Own, Verdict},
        environment::Environment,
    },
};

/// Most idle environments that a refusal names.
const NAMED_MAX: usize = 10;
/// Most idle environments that a budget tells.
const IDLE_MAX: usize = 50;

/// A budget with what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// The team.
    pub team: String,
    /// Its own numbers.
    pub kept: Kept,
    /// What holds.
    pub limits: Limits,
    /// What is used, by service.
    pub used: BTreeMap<String, Amount>,
    /// Names of those who wait, in the order they are served.
    pub waiting: Vec<String>,
    /// What is awake without being used, longest unused first.
    pub idle: Vec<Idle>,
}

/// An environment that nobody uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// Its name.
    pub environment: String,
    /// When it was last used, in microseconds.
    pub used_us: i64,
    /// What it holds.
    pub held: Amount,
}

/// A change of a budget; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct BudgetChange {
    /// The team's numbers.
    pub team: Option<Own>,
    /// Those of each of its services.
    pub service: Option<Own>,
    /// Version the change is meant for; empty for any.
    pub etag: String,
    /// Whether only to check.
    pub validate_only: bool,
}

impl App {
    /// Lets an environment in if there is room, else puts it into the line; the books stay as they are until the transaction ends.
    pub(crate) async fn claim(&self, tx: &mut Tx, env: &mut Environment) -> Result<Verdict> {
        self.store.budget_turn(tx, &env.owner).await?;
        let limits = self.limits(tx, &env.owner).await?;
        let books = self.store.books(tx, &env.owner).await?;
        let ask = Ask { uid: env.uid.clone(), service: env.service.clone(), adds: budget::adds(env) };
        let verdict = budget::decide(&limits, &books, &ask);
        match verdict {
            Verdict::Granted => budget::grant(env),
            Verdict::Over(..) => budget::queue(env, self.now_us()),
        }
        Ok(verdict)
    }

    async fn limits(&self, tx: &mut Tx, team: &str) -> Result<Limits> {
        Ok(self.store.budget(tx, team).await?.limits(self.platform.budgets))
    }

    /// Lets in what a call asks for, or refuses it with what the caller can do.
    ///
    /// # Errors
    /// TEAM_BUDGET.
    pub(super) async fn admit(
        &self,
        tx: &mut Tx,
        call: &Call,
        before: Option<&Environment>,
        env: &mut Environment,
    ) -> Result<()> {
        // What waits already goes on waiting: the call adds nothing, nor does a fork before it is approved.
        let is_held = approval::is_missing(env) || budget::is_satisfied(env);
        if is_held || before.is_some_and(|before| !budget::is_satisfied(before)) {
            return Ok(());
        }
        let Verdict::Over(over, earlier) = self.claim(tx, env).await? else { return Ok(()) };
        let mut idle = self.store.holding(tx, &env.owner).await?;
        idle.retain(|other| budget::is_idle(other, self.now_us()) && may_sleep(call, other));
        Err(refusal(env, &over, earlier, idle))
    }

    /// A first guess of what a new life needs: what others of its service do.
    pub(super) async fn guess(&self, tx: &mut Tx, env: &mut Environment) -> Result<()> {
        env.status.claim.needed = self.store.typical_need(tx, &env.service).await?;
        Ok(())
    }

    /// Wakes those who wait, if a change lets them in.
    pub(crate) async fn make_room(&self, tx: &mut Tx, before: &Environment, after: &Environment) -> Result<()> {
        if budget::makes_room(before, after) { self.wake_line(tx, &after.owner, &after.uid).await } else { Ok(()) }
    }

    async fn wake_line(&self, tx: &mut Tx, team: &str, but: &str) -> Result<()> {
        for (uid, _) in self.store.budget_line(&mut *tx, team).await? {
            if uid != but {
                worker::enqueue(tx, WORK_ENVIRONMENT, &uid, 0).await?;
            }
        }
        Ok(())
    }

    /// The budget of a team.
    pub async fn get_budget(&self, call: &Call, team: &str) -> Result<Budget> {
        call.check(&Facts { owner: Some(team), ..Facts::default() })?;
        self.budget(&self.store.db, team, None).await
    }

    /// A page of the budgets the caller may see, by team.
    pub async fn list_budgets(&self, call: &Call, page_size: i32, token: &str) -> Result<(Vec<Budget>, String)> {
        let after: Option<String> = self.sealer.open(call, "budgets", token)?;
        let (visible, limit) = (call.visible(), page::size(page_size));
        let mut teams = self.store.budget_teams().await?;
        teams.retain(|team| visible.sees(Some(team)) && after.as_deref().is_none_or(|after| team.as_str() > after));
        let next = match teams.get(limit.saturating_sub(1)) {
            Some(last) if teams.len() > limit => self.sealer.seal(call, "budgets", last),
            _ => String::new(),
        };
        let mut found = Vec::new();
        for team in teams.iter().take(limit) {
            found.push(self.budget(&self.store.db, team, None).await?);
        }
        Ok((found, next))
    }

    /// Changes the numbers of a team; larger ones let in who waits.
    ///
    /// # Errors
    /// ETAG_MISMATCH.
    pub async fn update_budget(&self, call: &Call, team: &str, ask: &BudgetChange) -> Result<Budget> {
        call.check(&Facts { owner: Some(team), ..Facts::default() })?;
        let mut change = match Mutation::begin::<Budget>(&self.store.db, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Fresh(change) => change,
        };
        self.store.budget_turn(change.tx(), team).await?;
        let before = self.store.budget(change.tx(), team).await?;
        let name = budget::name(team);
        check_version(("budget", "slipway.dev/Budget"), &name, &before.etag(), &ask.etag)?;
        let kept = Kept {
            team: ask.team.unwrap_or(before.team),
            service: ask.service.unwrap_or(before.service),
            revision: before.revision + 1,
            updated_us: self.now_us(),
            updater: call.caller.principal.clone(),
        };
        let answer = self.budget(change.tx(), team, Some(kept)).await?;
        if ask.validate_only {
            return Ok(answer);
        }
        self.store.keep_budget(change.tx(), team, &answer.kept).await?;
        self.wake_line(change.tx(), team, "").await?;
        change.commit(&answer, Change { resource: &name, uid: team, fields: &["limits", "service_limits"] }).await?;
        Ok(answer)
    }

    /// A budget with what is used of it, over the numbers given or else those that are kept.
    async fn budget(&self, exec: impl Into<Exec<'_>>, team: &str, kept: Option<Kept>) -> Result<Budget> {
        let mut exec = exec.into();
        let kept = match kept {
            Some(kept) => kept,
            None => self.store.budget(&mut exec, team).await?,
        };
        let mut used = self.store.books(&mut exec, team).await?.used;
        used.retain(|_, amount| *amount != Amount::default());
        let waiting = self.store.budget_line(&mut exec, team).await?;
        let mut idle = self.store.holding(exec, team).await?;
        idle.retain(|env| budget::is_idle(env, self.now_us()));
        idle.sort_by_key(|env| (env.used_us, env.label_id.clone()));
        Ok(Budget {
            team: team.to_owned(),
            limits: kept.limits(self.platform.budgets),
            kept,
            used,
            waiting: waiting.into_iter().map(|(_, label)| format!("environments/{label}")).collect(),
            idle: idle.iter().take(IDLE_MAX).map(told).collect(),
        })
    }
}

fn told(env: &Environment) -> Idle {
    let held = env.status.claim.held.unwrap_or_default();
    Idle { environment: env.name(), used_us: env.used_us, held }
}

/// Whether the caller may put it to sleep.
fn may_sleep(call: &Call, env: &Environment) -> bool {
    let source = &env.spec.source;
    let job = call.caller.job.as_ref();
    let is_jobs = job.is_none_or(|job| {
        job.may("environments.update", &env.service) && job.reaches(&source.repository_id, source.pull_request)
    });
    is_jobs && call.allows("environments.update", &facts(env))
}

fn refusal(env: &Environment, over: &[Over], earlier: usize, mut idle: Vec<Environment>) -> Error {
    let (name, sentence) = (budget::name(&env.owner), budget::sentence(over, earlier));
    idle.sort_by_key(|env| (env.used_us, env.label_id.clone()));
    let names: Vec<String> = idle.iter().take(NAMED_MAX).map(Environment::name).collect();
    let help = if names.is_empty() { String::new() } else { format!(" Idle: {}.", names.join(", ")) };
    let mut error = Error::new(&TEAM_BUDGET, format!("{sentence}{help}")).meta("budget", &name);
    for over in over {
        let subject = if over.is_service { format!("{name}/{}", env.service) } else { name.clone() };
        error = error.quota(format!("{subject}/{}", over.what), &over.text);
    }
    if over.is_empty() {
        error = error.quota(&name, &sentence);
    }
    error.meta("idle_environments", names.join(","))
}
