//! Reading pipeline history.
use slipway_kit::{
    error::{Error, Result},
    page::{self, Cursor, OrderBy},
    serve::Call,
};

use super::{
    App,
    deployments::{Asked, Page},
    performance::Basis,
};
use crate::{
    error::PIPELINE_RUN_UNKNOWN,
    model::{
        calendar::Window,
        fact::RunStatus,
        pipeline::{self, Attempt, Stats},
    },
    store::runs::{self, ORDER, Stored},
};

/// A run with the state that silence gives it.
pub struct Shown {
    /// The run.
    pub stored: Stored,
    /// Said to run, but silent for too long.
    pub stale: bool,
}

impl App {
    /// A page of runs.
    pub async fn list_runs(&self, call: &Call, asked: &Asked) -> Result<Page<Shown>> {
        let bound = format!("{}\n{}", asked.filter, asked.order);
        let (filter, order, after) = page::question(
            runs::filter(&asked.filter),
            OrderBy::parse(&asked.order, ORDER, "start_time desc", "r.id"),
            self.sealer.open::<Cursor>(call, &bound, &asked.token),
        )?;
        let size = page::size(asked.size);
        let rows = runs::page(&self.db, &filter, &order, after.as_ref(), size).await?;
        let rows = rows.into_iter().map(|(run, cursor)| (self.shown(run), cursor)).collect();
        let total = match asked.total.most() {
            Some(most) => Some(runs::count(&self.db, &filter, most).await?),
            None => None,
        };
        Ok(Page::cut(rows, size, total, |cursor| self.sealer.seal(call, &bound, cursor)))
    }

    /// One run.
    pub async fn run(&self, name: &str) -> Result<Shown> {
        let id = name.strip_prefix("pipelineRuns/").unwrap_or_default();
        let found = runs::get(&self.db, id).await?;
        let unknown =
            || Error::new(&PIPELINE_RUN_UNKNOWN, "there is no such pipeline run").resource("pipeline run", name);
        found.map(|run| self.shown(run)).ok_or_else(unknown)
    }

    /// Figures over the runs of a service that ended in a window; `None` if there was none.
    pub async fn pipeline_stats(&self, service: &str, window: &Window) -> Result<(Basis, Stats)> {
        let service = self.service(service).await?;
        let history = self.history(&service).await?;
        let ended = runs::ended(&self.db, &service, window.from_us, window.to_us).await?;
        let attempts: Vec<Attempt> = ended
            .into_iter()
            .map(|(run, r)| Attempt {
                run,
                attempt: r.attempt,
                sha: r.sha,
                status: r.status,
                queued_us: r.queued_us,
                started_us: r.started_us,
                finished_us: r.finished_us,
            })
            .filter(|a| {
                matches!(a.status, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::Skipped)
            })
            .collect();
        let tracked_us = history.deployments.iter().map(|d| d.finished_us).chain(history.enrolled_us).min();
        let basis = Basis { service, computed_us: self.clock.now_us(), revision: history.revision, tracked_us };
        Ok((basis, pipeline::stats(&attempts)))
    }

    fn shown(&self, stored: Stored) -> Shown {
        let stale = pipeline::is_stale(stored.run.status, stored.heard_us, self.clock.now_us());
        Shown { stored, stale }
    }
}
