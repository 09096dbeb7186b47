//! The delivery measures of one service and window (R2–R16), each made from its items. Refuses to count what no item shows.
use super::calendar::{Bucket, Unit, Window, median};
use super::correction;
use super::effective::Effective;
use super::explain::{self, COUNTED, Item, ItemKind, sorted};
use super::fact::Kind;
use super::failure::{Failures, Incident, Unattributed, failures};
use super::report::{Counted, History, Metric, NoData, Ratio, Report, Rules, Span, Value};
use super::tier::Tier;
use super::timeline::{Step, failed_attempts};

/// One question.
pub struct Measure<'a> {
    history: &'a History<'a>,
    window: &'a Window,
    rules: Rules,
    failures: Failures,
    /// Since when the service is tracked.
    tracked_us: Option<i64>,
}

impl<'a> Measure<'a> {
    /// Prepares the answers for one window.
    pub fn new(history: &'a History<'a>, window: &'a Window, rules: Rules) -> Self {
        let h = history;
        let failures = failures(h.timeline, h.deployments, h.graph, h.incidents, rules.attribution_us);
        let tracked_us = h.deployments.iter().map(|d| d.finished_us).chain(h.enrolled_us).min();
        Measure { history, window, rules, failures, tracked_us }
    }

    /// Since when the service is tracked: its enrolment or first deployment in any tier (MET-10).
    pub fn tracked_us(&self) -> Option<i64> {
        self.tracked_us
    }

    fn of(&self, step: &Step) -> &'a Effective {
        &self.history.deployments[step.deployment]
    }

    fn item(&self, d: &Effective, reason: &'static str) -> Item {
        let mut item = Item::new(ItemKind::Deployment, &d.external_id, &d.environment, d.finished_us, reason);
        item.url.clone_from(&d.url);
        item.because(
            correction::of_deployment(self.history.corrections, d).into_iter().map(|id| format!("corrections/{id}")),
        )
    }

    fn window_steps(&self) -> impl Iterator<Item = (usize, &'a Step, &'a Effective)> {
        let steps = self.history.timeline.steps.iter().enumerate();
        steps.map(|(at, s)| (at, s, self.of(s))).filter(|(.., d)| self.window.contains(d.finished_us))
    }

    /// Items of a measure, in one order.
    pub fn items(&self, metric: Metric) -> Vec<Item> {
        sorted(match metric {
            Metric::Frequency => self.frequency(),
            Metric::LeadCommit => self.lead_commit(),
            Metric::LeadFirstCommit => self.lead_pull(true),
            Metric::LeadMerged => self.lead_pull(false),
            Metric::ChangeFailRate => self.change_fail_rate(),
            Metric::Recovery => self.recovery(false),
            Metric::RecoveryFromDetection => self.recovery(true),
            Metric::Rework => self.rework(),
            Metric::Restore => self.restore(),
        })
    }

    fn frequency(&self) -> Vec<Item> {
        let counted = self.window_steps().map(|(_, step, d)| {
            let mut item = self.item(d, if step.baseline { "BASELINE" } else { COUNTED });
            item.included = true;
            item
        });
        let h = self.history;
        let other = h.deployments.iter().filter(|d| self.window.contains(d.finished_us) && !d.is_live());
        let other =
            other.map(|d| self.item(d, if d.tier == Tier::Production { "FAILED_ATTEMPT" } else { "NOT_PRODUCTION" }));
        counted.chain(other).collect()
    }

    fn lead_commit(&self) -> Vec<Item> {
        let graph = self.history.graph;
        let mut items = Vec::new();
        for (_, step, d) in self.window_steps() {
            let change = |node, reason| {
                let commit = graph.commit(node);
                let item = Item::new(
                    ItemKind::Change,
                    &commit.sha,
                    graph.repository(commit.repository),
                    d.finished_us,
                    reason,
                );
                item.because([d.external_id.clone()])
            };
            for brought in &step.changes {
                if brought.merge && !self.rules.count_merge_commits {
                    items.push(change(brought.node, "MERGE_COMMIT"));
                } else {
                    items.push(change(brought.node, COUNTED).span(brought.begun_us, d.finished_us));
                }
            }
            items.extend(step.copies.iter().filter(|_| !step.baseline).map(|node| change(*node, "ALREADY_DEPLOYED")));
            if step.changes.is_empty() {
                let reason = match step.kind {
                    _ if step.baseline => "BASELINE",
                    Kind::Rollback => "ROLLBACK_NO_CHANGES",
                    Kind::Redeploy => "REDEPLOY_NO_CHANGES",
                    _ => "NO_NEW_CHANGES",
                };
                items.push(self.item(d, reason));
            }
        }
        items
    }

    fn lead_pull(&self, first_commit: bool) -> Vec<Item> {
        let mut items = Vec::new();
        for (_, step, d) in self.window_steps() {
            for brought in &step.pulls {
                let pull = &self.history.pulls[brought.pull];
                let item =
                    Item::new(ItemKind::PullRequest, pull.number.to_string(), &pull.repository, d.finished_us, COUNTED);
                let item = item.because([d.external_id.clone()]);
                let begun = if first_commit { brought.first_commit_us } else { pull.merged_us };
                items.push(match begun {
                    Some(begun) => item.span(begun, d.finished_us),
                    None => Item { reason: "FIRST_COMMIT_UNKNOWN", ..item },
                });
            }
        }
        items
    }

    fn change_fail_rate(&self) -> Vec<Item> {
        let mut items = Vec::new();
        for (at, step, d) in self.window_steps() {
            let failure = self.failures.of_step[at].as_ref();
            let mut item = self.item(d, if failure.is_some() { "FAILED" } else { "NOT_FAILED" });
            item.in_denominator = !self.rules.only_with_changes || !step.changes.is_empty();
            item.included = item.in_denominator && failure.is_some();
            if !item.in_denominator {
                item.reason = if step.kind == Kind::Redeploy { "REDEPLOY_NO_CHANGES" } else { "NO_NEW_CHANGES" };
            }
            item.rule = failure.and_then(|f| f.rule);
            items.push(item.because(self.evidence(at)));
        }
        items.extend(
            self.history
                .deployments
                .iter()
                .filter(|d| self.window.contains(d.finished_us) && !d.is_live())
                .map(|d| self.item(d, if d.tier == Tier::Production { "FAILED_ATTEMPT" } else { "NOT_PRODUCTION" })),
        );
        items.extend(self.incident_items().filter(|i| !i.evidence.iter().any(|e| e.starts_with("deployment:"))));
        items
    }

    /// Incidents that began in the window and what they were put down to.
    fn incident_items(&self) -> impl Iterator<Item = Item> {
        let all = self.history.incidents.iter().enumerate().filter(|(_, i)| self.window.contains(i.started_us));
        all.map(|(at, incident)| {
            let hit = self.failures.of_incident[at].unwrap_or(Err(Unattributed::NoCandidate));
            let reason = match hit {
                Ok(_) => "ATTRIBUTED",
                Err(Unattributed::NoCandidate) => "NO_CANDIDATE",
                Err(Unattributed::OutsideAttributionWindow) => "OUTSIDE_ATTRIBUTION_WINDOW",
                Err(Unattributed::CauseElsewhere) => "CAUSE_ELSEWHERE",
            };
            let mut item =
                Item::new(ItemKind::Incident, &incident.id, self.history.service, incident.started_us, reason);
            item.rule = hit.ok().map(|(_, rule)| rule);
            let target = hit
                .ok()
                .map(|(step, _)| format!("deployment:{}", self.of(&self.history.timeline.steps[step]).external_id));
            item.because(target.into_iter().chain(incident.correction.iter().map(|id| format!("corrections/{id}"))))
        })
    }

    fn evidence(&self, step: usize) -> Vec<String> {
        let Some(failure) = &self.failures.of_step[step] else { return Vec::new() };
        let incidents = failure.incidents.iter().flat_map(|i| {
            let incident = &self.history.incidents[*i];
            let correction = incident.correction.iter().map(|id| format!("corrections/{id}"));
            std::iter::once(format!("incident:{}", incident.id)).chain(correction)
        });
        let repairs = failure
            .repairs
            .iter()
            .map(|s| format!("deployment:{}", self.of(&self.history.timeline.steps[*s]).external_id));
        incidents.chain(repairs).collect()
    }

    fn recovery(&self, from_detection: bool) -> Vec<Item> {
        let mut items = Vec::new();
        for (at, step) in self.history.timeline.steps.iter().enumerate() {
            let (d, Some(failure)) = (self.of(step), &self.failures.of_step[at]) else { continue };
            let incidents = || failure.incidents.iter().map(|i| &self.history.incidents[*i]);
            let open = incidents().any(|i| i.resolved_us.is_none());
            let resolved = incidents().filter_map(|i| i.resolved_us).max();
            let repaired = failure.repairs.first().map(|s| self.of(&self.history.timeline.steps[*s]).finished_us);
            let end = if open { None } else { resolved.or(repaired) };
            let at_us = if self.rules.by_recovery { end.unwrap_or(d.finished_us) } else { d.finished_us };
            if !self.window.contains(at_us) {
                continue;
            }
            let mut item = Item { at_us, ..self.item(d, COUNTED) };
            item.rule = failure.rule;
            let item = item.because(self.evidence(at));
            let detected = incidents().map(|i| i.detected_us.unwrap_or(i.started_us)).min();
            items.push(match (end, detected) {
                (None, _) => Item { reason: "OPEN", ..item },
                (Some(_), None) if from_detection => Item { reason: "NO_INCIDENT", ..item },
                (Some(end), Some(detected)) if from_detection => item.span(detected, end),
                (Some(end), _) => item.span(d.finished_us, end),
            });
        }
        items.extend(self.incident_items().filter(|i| i.reason != "ATTRIBUTED"));
        items
    }

    fn rework(&self) -> Vec<Item> {
        let of = |(at, step, d): (usize, &Step, &Effective)| {
            let rework = &self.failures.rework[at];
            let reason = match step.kind {
                _ if rework.is_none() => "NOT_REWORK",
                Kind::Rollback => "ROLLBACK",
                Kind::Hotfix => "HOTFIX",
                _ if step.revert => "REVERT",
                _ => "REMEDIATION",
            };
            let mut item = self.item(d, reason);
            item.in_denominator = true;
            item.included = rework.is_some();
            let target = rework
                .flatten()
                .map(|s| format!("deployment:{}", self.of(&self.history.timeline.steps[s]).external_id));
            item.rule = target.is_some().then_some('r');
            item.because(target)
        };
        self.window_steps().map(of).collect()
    }

    fn restore(&self) -> Vec<Item> {
        let of = |incident: &Incident| {
            let item = |at, reason| Item::new(ItemKind::Incident, &incident.id, self.history.service, at, reason);
            match incident.resolved_us {
                Some(resolved) if self.window.contains(resolved) => {
                    Some(item(resolved, COUNTED).span(incident.started_us, resolved))
                }
                None if self.window.contains(incident.started_us) => Some(item(incident.started_us, "OPEN")),
                _ => None,
            }
        };
        self.history.incidents.iter().filter_map(of).collect()
    }

    /// All measures.
    pub fn report(&self, unit: Option<Unit>) -> Report {
        let (frequency, failing) = (self.frequency(), self.change_fail_rate());
        let (recovery, detection) = (self.recovery(false), self.recovery(true));
        let (all, attempts) = (explain::included(&frequency), self.attempts());
        let with_changes = self.window_steps().filter(|(_, s, _)| !s.changes.is_empty()).count();
        let ratio = |numerator, denominator| {
            if denominator == 0 {
                Err(self.missing(NoData::NoDeployments))
            } else {
                Ok(Ratio { numerator, denominator })
            }
        };
        let failed = explain::included(&failing);
        let detects = self.detects();
        let unfailed = if all == 0 {
            NoData::NoDeployments
        } else if detects {
            NoData::NoIncidents
        } else {
            NoData::NoIncidentSource
        };
        let unrestored = if self.history.incident_source { NoData::NoIncidents } else { NoData::NoIncidentSource };
        let mut ids: Vec<String> = failing.iter().filter(|i| i.included).map(|i| i.id.clone()).collect();
        ids.sort();
        let rework = self.rework();
        let mut steps = self.window_steps();
        Report {
            tracked_us: self.tracked_us,
            deployments_all: self.count(all),
            deployments_with_changes: self.count(with_changes),
            failed_attempts: self.count(attempts),
            attempt_success_rate: ratio(all, all + attempts),
            days: self.window.days(),
            days_per_week: self.days_per_week(),
            buckets: unit.map(|unit| self.buckets(unit)).unwrap_or_default(),
            lead_commit: self.span(&self.lead_commit(), NoData::NoChanges),
            lead_first_commit: self.span(&self.lead_pull(true), NoData::NoChanges),
            lead_merged: self.span(&self.lead_pull(false), NoData::NoChanges),
            undeployed: self.undeployed(),
            incomplete: self.window_steps().any(|(_, s, _)| s.incomplete),
            diverged: steps.any(|(_, s, _)| s.diverged),
            change_fail_rate: if failed == 0 && all > 0 && !detects {
                Err(NoData::NoIncidentSource)
            } else {
                ratio(failed, explain::denominator(&failing))
            },
            failed: ids,
            recovery: self.span(&recovery, unfailed),
            recovery_from_detection: self.span(&detection, unfailed),
            recovery_open: recovery.iter().filter(|i| i.reason == "OPEN").count(),
            rework: ratio(explain::included(&rework), explain::denominator(&rework)),
            restore: self.span(&self.restore(), unrestored),
        }
    }

    fn attempts(&self) -> usize {
        let deployments = self.history.deployments;
        failed_attempts(deployments).into_iter().filter(|i| self.window.contains(deployments[*i].finished_us)).count()
    }

    /// A count is a number if something was counted, or if the service was tracked all along (R3).
    fn count(&self, n: usize) -> Value<usize> {
        if self.is_untracked() {
            return Err(NoData::NotTracked);
        }
        if n > 0 || self.tracked_us.is_some_and(|t| t <= self.window.from_us) { Ok(n) } else { Err(NoData::NotTracked) }
    }

    fn is_untracked(&self) -> bool {
        self.tracked_us.is_none_or(|t| t >= self.window.to_us)
    }

    fn missing(&self, why: NoData) -> NoData {
        if self.is_untracked() { NoData::NotTracked } else { why }
    }

    fn span(&self, items: &[Item], why: NoData) -> Span {
        let value = if self.is_untracked() { None } else { explain::spans(items) };
        Span { value: value.ok_or(self.missing(why)), excluded_negative: explain::negative(items) }
    }

    /// Whether a failure would have shown: by incidents, or by rollbacks that are stated or can be detected (R3).
    fn detects(&self) -> bool {
        self.history.incident_source || self.window_steps().all(|(_, s, d)| d.kind.is_some() || s.known)
    }

    fn counted(&self, bucket: Bucket) -> Counted {
        let inside = |at: &i64| bucket.start_us <= *at && *at < bucket.end_us;
        let at: Vec<i64> = self.window_steps().map(|(.., d)| d.finished_us).filter(inside).collect();
        let tracked = self.tracked_us.is_some_and(|t| t <= bucket.start_us);
        let counts = (!at.is_empty() || tracked).then(|| (at.len(), self.window.local_days(at.iter().copied())));
        Counted { bucket, counts }
    }

    fn buckets(&self, unit: Unit) -> Vec<Counted> {
        self.window.buckets(unit).into_iter().map(|b| self.counted(b)).collect()
    }

    fn days_per_week(&self) -> Option<f64> {
        let whole = self.window.buckets(Unit::Week).into_iter().filter(|b| !b.partial);
        median(whole.filter_map(|b| self.counted(b).counts).map(|(_, days)| days as i64).collect())
    }

    /// Merged before the window's end and carried by no success until then.
    fn undeployed(&self) -> (usize, Option<i64>) {
        let h = self.history;
        let Some(first) = h.timeline.steps.first().map(|s| self.of(s).finished_us) else { return (0, None) };
        let mut waiting: Vec<i64> = Vec::new();
        for pull in h.pulls {
            let Some(merged) = pull.merged_us.filter(|m| *m < self.window.to_us && !pull.merge_sha.is_empty()) else {
                continue;
            };
            let node = h.graph.find(&pull.repository, &pull.merge_sha);
            let known = node.is_some_and(|n| h.graph.commit(n).known);
            let deployed = node.is_some_and(|n| h.timeline.deployed_before(n, h.deployments, self.window.to_us));
            if !deployed && (known || merged > first) {
                waiting.push(merged);
            }
        }
        (waiting.len(), waiting.into_iter().min())
    }
}
