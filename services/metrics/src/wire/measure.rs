//! Windows, switches, spans, ratios and bases both ways.
use slipway_kit::error::{Result, Violations};
use slipway_proto::metrics::v1 as pb;

use super::{micros, timestamp};
use crate::{
    app::performance::{Basis, Question},
    model::{
        band,
        calendar::{Unit, Window},
        percentile::Summary,
        report::{ATTRIBUTION_US, NoData, Ratio, Rules, Span, Value},
        service_ref,
    },
};

const SECOND_US: i64 = 1_000_000;

/// A question about one service; every violation at once.
pub fn question(
    service: &str,
    window: Option<&pb::Window>,
    rules: Option<&pb::RuleSwitches>,
    zone: &str,
) -> Result<Question> {
    let mut faults = Violations::new();
    faults.check(
        service_ref::canonical(service).is_some(),
        "service",
        "must be a reference, as component:default/payments",
    );
    let window = self::window(window, zone, &mut faults);
    let rules = rules.map(self::rules).unwrap_or_default();
    faults.finish()?;
    let window = window.ok_or_else(|| slipway_kit::error::Error::internal("a window without faults"))?;
    Ok(Question { service: service.to_owned(), window, rules })
}

fn window(window: Option<&pb::Window>, zone: &str, faults: &mut Violations) -> Option<Window> {
    let window = window.cloned().unwrap_or_default();
    let zone = if window.time_zone.is_empty() { zone } else { &window.time_zone };
    let read = match (&window.from_time, &window.to_time, window.from_date.as_str(), window.to_date.as_str()) {
        (Some(from), Some(to), "", "") => Window::between(micros(from), micros(to), zone),
        (None, None, from, to) if !from.is_empty() && !to.is_empty() => Window::dates(from, to, zone),
        _ => Err(("from_time", "give from_time and to_time, or from_date and to_date".to_owned())),
    };
    read.map_err(|(field, rule)| faults.add(format!("window.{field}"), rule)).ok()
}

fn rules(rules: &pb::RuleSwitches) -> Rules {
    let seconds = rules.attribution_window_seconds;
    Rules {
        attribution_us: if seconds == 0 { ATTRIBUTION_US } else { seconds * SECOND_US },
        only_with_changes: rules.only_with_changes,
        count_merge_commits: rules.count_merge_commits,
        by_recovery: rules.recovery_by() == pb::RecoveryBy::Recovery,
    }
}

/// Calendar unit asked for.
pub fn unit(unit: pb::CalendarUnit) -> Option<Unit> {
    match unit {
        pb::CalendarUnit::Unspecified => None,
        pb::CalendarUnit::Day => Some(Unit::Day),
        pb::CalendarUnit::Week => Some(Unit::Week),
        pb::CalendarUnit::Month => Some(Unit::Month),
    }
}

/// What an answer rests on.
pub fn basis(basis: &Basis, window: &Window, rules: Option<Rules>, edition: &str) -> pb::Basis {
    let coverage = match basis.tracked_us {
        Some(since) if since <= window.from_us => pb::Coverage::Full,
        Some(since) if since < window.to_us => pb::Coverage::Partial,
        _ => pb::Coverage::None,
    };
    pb::Basis {
        from_time: Some(timestamp(window.from_us)),
        to_time: Some(timestamp(window.to_us)),
        time_zone: window.zone_name.clone(),
        edition: edition.to_owned(),
        rules: rules.map(|rules| pb::RuleSwitches {
            attribution_window_seconds: rules.attribution_us / SECOND_US,
            only_with_changes: rules.only_with_changes,
            count_merge_commits: rules.count_merge_commits,
            recovery_by: if rules.by_recovery { pb::RecoveryBy::Recovery } else { pb::RecoveryBy::Deployment }.into(),
        }),
        compute_time: Some(timestamp(basis.computed_us)),
        facts_revision: basis.revision,
        coverage: coverage.into(),
        tracked_since: basis.tracked_us.map(timestamp),
    }
}

/// A missing value.
pub fn no_data(reason: pb::NoDataReason) -> pb::NoData {
    let detail = match reason {
        pb::NoDataReason::Unspecified => "",
        pb::NoDataReason::NotTracked => "the service was not tracked over the whole of this window",
        pb::NoDataReason::NoDeployments => "there was no deployment in this window",
        pb::NoDataReason::NoChanges => "no change was deployed in this window",
        pb::NoDataReason::NoIncidentSource => {
            "no source of incidents is connected, and rollbacks could not have been seen"
        }
        pb::NoDataReason::NoIncidents => "there was no incident or failure in this window",
        pb::NoDataReason::NoRuns => "no pipeline run ended in this window",
    };
    pb::NoData { reason: reason.into(), detail: detail.to_owned() }
}

/// Why a value is missing.
pub fn missing(why: NoData) -> pb::NoData {
    no_data(match why {
        NoData::NotTracked => pb::NoDataReason::NotTracked,
        NoData::NoDeployments => pb::NoDataReason::NoDeployments,
        NoData::NoChanges => pb::NoDataReason::NoChanges,
        NoData::NoIncidentSource => pb::NoDataReason::NoIncidentSource,
        NoData::NoIncidents => pb::NoDataReason::NoIncidents,
    })
}

/// A count.
pub fn count(value: Value<usize>) -> pb::Count {
    pb::Count { value: value.ok().map(|n| n as i64), no_data: value.err().map(missing) }
}

/// A ratio.
pub fn ratio(value: Value<Ratio>) -> pb::Ratio {
    match value {
        Ok(ratio) => ratio_of(ratio.numerator, ratio.denominator),
        Err(why) => pb::Ratio { no_data: Some(missing(why)), ..pb::Ratio::default() },
    }
}

/// A ratio of two numbers, the second not zero.
pub fn ratio_of(numerator: usize, denominator: usize) -> pb::Ratio {
    pb::Ratio {
        value: Some(numerator as f64 / denominator as f64),
        numerator: Some(numerator as i64),
        denominator: Some(denominator as i64),
        no_data: None,
    }
}

/// A distribution.
pub fn span(span: &Span) -> pb::Span {
    span_of(span.value.clone().map_err(missing), span.excluded_negative)
}

/// A distribution or why there is none.
pub fn span_of(summary: std::result::Result<Summary, pb::NoData>, negative: usize) -> pb::Span {
    let (value, no_data) = match summary {
        Ok(value) => (Some(value), None),
        Err(why) => (None, Some(why)),
    };
    pb::Span {
        n: value.as_ref().map(|v| v.n as i64),
        mean_seconds: value.as_ref().map(|v| v.mean),
        p50_seconds: value.as_ref().map(|v| v.p50),
        p75_seconds: value.as_ref().map(|v| v.p75),
        p90_seconds: value.as_ref().map(|v| v.p90),
        p95_seconds: value.as_ref().map(|v| v.p95),
        excluded_negative: negative as i64,
        no_data,
    }
}

/// A band.
pub fn band(edition: &band::Edition, band: Option<band::Band>) -> Option<pb::Band> {
    band.map(|band| pb::Band {
        edition: edition.edition.clone(),
        position: band.position as i32,
        title: band.title,
        level: band.level.unwrap_or_default().to_owned(),
        bands: band.all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_tracked_in_part_is_not_called_untracked() {
        let detail = no_data(pb::NoDataReason::NotTracked).detail;
        assert!(detail.contains("the whole of this window"), "{detail}");
    }
}
