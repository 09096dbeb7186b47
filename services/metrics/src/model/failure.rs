//! Which deployment a failure is put down to, and what repaired it (R9, R12, R14, R15).
use super::effective::Effective;
use super::fact::Kind;
use super::graph::{Graph, Node};
use super::timeline::{Step, Timeline};

/// What is stated of an incident's cause, seen from one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing.
    Unstated,
    /// A deployment of this service, by external id.
    Deployment(String),
    /// A commit of this service's repositories, by its nodes.
    Commit(Vec<Node>),
    /// Something that is no deployment of this service.
    Elsewhere,
}

/// One incident as a service sees it.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Provider's id.
    pub id: String,
    /// Begin.
    pub started_us: i64,
    /// Detection, if known.
    pub detected_us: Option<i64>,
    /// Last resolve; `None` while open.
    pub resolved_us: Option<i64>,
    /// Stated cause.
    pub cause: Cause,
    /// Name of the correction that changed the cause, if any.
    pub correction: Option<String>,
}

/// Why an incident was put down to no deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattributed {
    /// No success precedes it.
    NoCandidate,
    /// The newest success is too old.
    OutsideAttributionWindow,
    /// Its stated cause is no success of this service.
    CauseElsewhere,
}

/// One hit: the step and the letter of the rule.
pub type Hit = (usize, char);

/// What failed one deployment.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// Incidents put down to it, as places in the list given.
    pub incidents: Vec<usize>,
    /// Letter of the first rule that hit; `r` for a remediation.
    pub rule: Option<char>,
    /// Successes that repaired it, in order.
    pub repairs: Vec<usize>,
}

/// Failures and rework of a whole timeline.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// Per step; `None` if it did not fail.
    pub of_step: Vec<Option<Failure>>,
    /// Per incident.
    pub of_incident: Vec<Option<Result<Hit, Unattributed>>>,
    /// Per step: whether it is rework, and the step it repairs, if any.
    pub rework: Vec<Option<Option<usize>>>,
}

/// Attributes incidents and remediations. `attribution_us` bounds what is attributed by time.
pub fn failures(
    timeline: &Timeline,
    deployments: &[Effective],
    graph: &Graph,
    incidents: &[Incident],
    attribution_us: i64,
) -> Failures {
    let steps = &timeline.steps;
    let mut all =
        Failures { of_step: vec![None; steps.len()], of_incident: Vec::new(), rework: vec![None; steps.len()] };
    for (place, incident) in incidents.iter().enumerate() {
        let hit = attribute(incident, timeline, deployments, graph, attribution_us);
        if let Ok((step, rule)) = hit {
            let failure = all.of_step[step].get_or_insert_default();
            failure.incidents.push(place);
            failure.rule.get_or_insert(rule);
        }
        all.of_incident.push(Some(hit));
    }
    for number in 0..steps.len() {
        let (target, rework) = repaired(number, steps, deployments, attribution_us);
        if let Some(target) = target {
            let failure = all.of_step[target].get_or_insert_default();
            failure.repairs.push(number);
            failure.rule.get_or_insert('r');
        }
        all.rework[number] = rework.then_some(target);
    }
    all
}

/// The success an incident is put down to: stated, by commit, or by time (R12).
fn attribute(
    incident: &Incident,
    timeline: &Timeline,
    deployments: &[Effective],
    graph: &Graph,
    attribution_us: i64,
) -> Result<Hit, Unattributed> {
    let steps = &timeline.steps;
    let of = |step: &Step| &deployments[step.deployment];
    match &incident.cause {
        Cause::Elsewhere => return Err(Unattributed::CauseElsewhere),
        Cause::Deployment(id) => {
            if let Some(step) = steps.iter().position(|s| of(s).external_id == *id) {
                return Ok((step, 'a'));
            }
            if deployments.iter().any(|d| d.external_id == *id) {
                return Err(Unattributed::CauseElsewhere);
            }
        }
        Cause::Commit(nodes) => {
            if let Some(step) =
                nodes.iter().filter(|n| graph.len() > **n as usize).filter_map(|n| timeline.carrier(*n)).min()
            {
                return Ok((step, 'b'));
            }
        }
        Cause::Unstated => {}
    }
    let at = incident.started_us;
    let under_way = |s: &Step| of(s).started_us.is_some_and(|begun| begun <= at) && at < of(s).finished_us;
    if let Some(step) = steps.iter().position(under_way) {
        return Ok((step, 'c'));
    }
    let newest = steps.iter().rposition(|s| of(s).finished_us <= at).ok_or(Unattributed::NoCandidate)?;
    if at - of(&steps[newest]).finished_us < attribution_us {
        Ok((newest, 'c'))
    } else {
        Err(Unattributed::OutsideAttributionWindow)
    }
}

/// The step a success repairs, and whether the success is rework.
fn repaired(number: usize, steps: &[Step], deployments: &[Effective], attribution_us: i64) -> (Option<usize>, bool) {
    let step = &steps[number];
    let d = &deployments[step.deployment];
    let unplanned = matches!(step.kind, Kind::Rollback | Kind::Hotfix) || step.revert;
    if !d.remediates.is_empty() {
        let same = |s: &Step, here: bool| {
            let e = &deployments[s.deployment];
            e.external_id == d.remediates && (!here || e.environment == d.environment)
        };
        let earlier = &steps[..number];
        let target =
            earlier.iter().rposition(|s| same(s, true)).or_else(|| earlier.iter().rposition(|s| same(s, false)));
        return (target, unplanned || target.is_some());
    }
    let target = match step.kind {
        Kind::Rollback if d.planned => None,
        Kind::Rollback => step.displaced,
        _ if step.kind == Kind::Hotfix || step.revert => steps[..number].iter().rposition(|s| {
            let e = &deployments[s.deployment];
            s.kind == Kind::Normal && e.environment == d.environment && d.finished_us - e.finished_us < attribution_us
        }),
        _ => None,
    };
    (target, unplanned)
}
