//! Delivery performance and its explanation. Refuses to keep answers: they follow from the history in a moment.
use slipway_kit::{
    error::{Error, Result},
    page,
    serve::Call,
};

use super::{App, history::History};
use crate::{
    error::EDITION_UNKNOWN,
    model::{
        band,
        calendar::{Unit, Window},
        explain::{self, Item},
        failure::Incident,
        measure::Measure,
        report::{self, Metric, Report, Rules},
    },
};

/// A question about one service.
#[derive(Clone, Debug)]
pub struct Question {
    /// The service as written.
    pub service: String,
    /// Window.
    pub window: Window,
    /// Rule switches.
    pub rules: Rules,
}

/// What every answer rests on.
#[derive(Clone, Debug)]
pub struct Basis {
    /// Canonical reference of the service.
    pub service: String,
    /// When it was computed.
    pub computed_us: i64,
    /// Revision of the facts.
    pub revision: i64,
    /// Since when the service is tracked.
    pub tracked_us: Option<i64>,
}

/// A page of explanations.
pub struct Explained {
    /// What it rests on.
    pub basis: Basis,
    /// Items of the page.
    pub items: Vec<Item>,
    /// Token of the next page.
    pub next: String,
    /// Items that count, over all pages.
    pub included: usize,
    /// Items in the denominator, over all pages; `None` where there is none.
    pub denominator: Option<usize>,
}

impl App {
    /// All measures of a window, in an edition's bands.
    pub async fn delivery(
        &self,
        question: &Question,
        edition: &str,
        unit: Option<Unit>,
    ) -> Result<(Basis, Report, &'static band::Edition)> {
        let name = if edition.is_empty() { band::DEFAULT } else { edition };
        let edition = band::edition(name).ok_or_else(|| {
            let why = format!("must be one of {}", band::names().join(", "));
            Error::new(&EDITION_UNKNOWN, format!("there is no edition {name}; editions: {}", band::names().join(", ")))
                .violation("edition", why)
        })?;
        let (history, incidents) = self.facts(question).await?;
        let report = {
            let view = view(&history, &incidents);
            Measure::new(&view, &question.window, question.rules).report(unit)
        };
        Ok((self.basis(&history, report.tracked_us), report, edition))
    }

    /// The items behind one measure.
    pub async fn explain(
        &self,
        call: &Call,
        question: &Question,
        metric: Metric,
        size: i32,
        token: &str,
    ) -> Result<Explained> {
        let w = &question.window;
        let bound = format!(
            "{}\n{}\n{}\n{}\n{:?}\n{metric:?}",
            question.service, w.from_us, w.to_us, w.zone_name, question.rules
        );
        let start: usize = self.sealer.open(call, &bound, token)?.unwrap_or(0);
        let (history, incidents) = self.facts(question).await?;
        let (items, tracked) = {
            let view = view(&history, &incidents);
            let measure = Measure::new(&view, w, question.rules);
            (measure.items(metric), measure.tracked_us())
        };
        let size = page::size(size);
        let more = items.len() > start.saturating_add(size);
        let ratio = matches!(metric, Metric::ChangeFailRate | Metric::Rework);
        Ok(Explained {
            basis: self.basis(&history, tracked),
            next: if more { self.sealer.seal(call, &bound, &(start + size)) } else { String::new() },
            included: explain::included(&items),
            denominator: ratio.then(|| explain::denominator(&items)),
            items: items.into_iter().skip(start).take(size).collect(),
        })
    }

    async fn facts(&self, question: &Question) -> Result<(std::sync::Arc<History>, Vec<Incident>)> {
        let service = self.service(&question.service).await?;
        let history = self.history(&service).await?;
        let incidents = self.incidents(&history).await?;
        Ok((history, incidents))
    }

    fn basis(&self, history: &History, tracked_us: Option<i64>) -> Basis {
        Basis {
            service: history.service.clone(),
            computed_us: self.clock.now_us(),
            revision: history.revision,
            tracked_us,
        }
    }
}

fn view<'a>(history: &'a History, incidents: &'a [Incident]) -> report::History<'a> {
    report::History {
        deployments: &history.deployments,
        graph: &history.graph,
        pulls: &history.pulls,
        timeline: &history.timeline,
        incidents,
        corrections: &history.corrections,
        service: &history.service,
        incident_source: history.incident_source || !incidents.is_empty(),
        enrolled_us: history.enrolled_us,
    }
}
