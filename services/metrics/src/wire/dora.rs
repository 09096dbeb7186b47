//! Delivery performance and explanations as they are answered.
use slipway_proto::metrics::v1 as pb;

use super::{
    measure::{band, basis, count, ratio, span},
    timestamp,
};
use crate::{
    app::performance::{Basis, Explained, Question},
    model::{
        band::Edition,
        explain::Item,
        report::{Counted, Metric, Report, Span},
    },
};

const SECOND_US: i64 = 1_000_000;

/// All measures.
pub fn performance(
    question: &Question,
    rests_on: &Basis,
    report: &Report,
    edition: &Edition,
) -> pb::DeliveryPerformance {
    let window = &question.window;
    let successes = report.deployments_all.ok();
    let median = |span: &Span| span.value.as_ref().ok().map(|s| s.p50);
    let frequency = successes.and_then(|n| edition.frequency.of_frequency(n, report.days, report.days_per_week));
    let (undeployed, oldest) = report.undeployed;
    let until = window.to_us.min(rests_on.computed_us);
    pb::DeliveryPerformance {
        service: rests_on.service.clone(),
        basis: Some(basis(rests_on, window, Some(question.rules), &edition.edition)),
        deployment_frequency: Some(pb::DeploymentFrequency {
            deployments_all: Some(count(report.deployments_all)),
            deployments_with_changes: Some(count(report.deployments_with_changes)),
            failed_attempts: Some(count(report.failed_attempts)),
            attempt_success_rate: Some(ratio(report.attempt_success_rate)),
            per_day: successes.map(|n| n as f64 / report.days),
            per_week: successes.map(|n| n as f64 / report.days * 7.0),
            median_deployment_days_per_week: report.days_per_week,
            buckets: report.buckets.iter().map(bucket).collect(),
            band: band(edition, frequency),
        }),
        change_lead_time: Some(pb::ChangeLeadTime {
            commit: Some(span(&report.lead_commit)),
            pr_first_commit: Some(span(&report.lead_first_commit)),
            pr_merged: Some(span(&report.lead_merged)),
            undeployed_merged: undeployed as i64,
            oldest_undeployed_seconds: oldest.map(|since| (until - since).max(0) / SECOND_US),
            incomplete_graph: report.incomplete,
            diverged: report.diverged,
            band: band(edition, median(&report.lead_commit).and_then(|s| edition.lead_time.of_seconds(s))),
        }),
        change_fail_rate: Some(pb::ChangeFailRate {
            rate: Some(ratio(report.change_fail_rate)),
            failed_deployments: report.failed.clone(),
            band: band(
                edition,
                report
                    .change_fail_rate
                    .ok()
                    .and_then(|r| edition.change_fail_rate.of_ratio(r.numerator as f64 / r.denominator as f64)),
            ),
        }),
        recovery_time: Some(pb::RecoveryTime {
            time: Some(span(&report.recovery)),
            from_detection: Some(span(&report.recovery_from_detection)),
            open: report.recovery_open as i64,
            band: band(edition, median(&report.recovery).and_then(|s| edition.recovery.of_seconds(s))),
        }),
        rework_rate: Some(ratio(report.rework)),
        time_to_restore: Some(span(&report.restore)),
    }
}

fn bucket(counted: &Counted) -> pb::CalendarBucket {
    pb::CalendarBucket {
        start_time: Some(timestamp(counted.bucket.start_us)),
        end_time: Some(timestamp(counted.bucket.end_us)),
        deployments: counted.counts.map(|(n, _)| n as i64),
        deployment_days: counted.counts.map(|(_, days)| days as i64),
        partial: counted.bucket.partial,
    }
}

/// The measure asked for.
pub fn metric(metric: pb::Metric) -> Metric {
    match metric {
        pb::Metric::Unspecified | pb::Metric::DeploymentFrequency => Metric::Frequency,
        pb::Metric::LeadTimeCommit => Metric::LeadCommit,
        pb::Metric::LeadTimePrFirstCommit => Metric::LeadFirstCommit,
        pb::Metric::LeadTimePrMerged => Metric::LeadMerged,
        pb::Metric::ChangeFailRate => Metric::ChangeFailRate,
        pb::Metric::RecoveryTime => Metric::Recovery,
        pb::Metric::RecoveryTimeFromDetection => Metric::RecoveryFromDetection,
        pb::Metric::ReworkRate => Metric::Rework,
        pb::Metric::TimeToRestore => Metric::Restore,
    }
}

/// A page of explanations.
pub fn explained(question: &Question, explained: Explained) -> pb::ExplainMetricResponse {
    pb::ExplainMetricResponse {
        service: explained.basis.service.clone(),
        basis: Some(basis(&explained.basis, &question.window, Some(question.rules), "")),
        items: explained.items.into_iter().map(item).collect(),
        next_page_token: explained.next,
        included: explained.included as i64,
        considered: explained.denominator.unwrap_or(explained.included) as i64,
    }
}

fn item(item: Item) -> pb::ExplainedFact {
    pb::ExplainedFact {
        r#type: item.kind.word().to_owned(),
        id: item.id,
        scope: item.scope,
        url: item.url,
        included: item.included,
        in_denominator: item.in_denominator,
        reason: item.reason.to_owned(),
        rule: item.rule.map(String::from).unwrap_or_default(),
        value_seconds: item.value_s,
        evidence: item.evidence,
        occur_time: Some(timestamp(item.at_us)),
    }
}
