//! One transaction for each decision of a run: guard, journal of the effect, workspace, events, the run, the service's journal.
use slipway_kit::{error::Result, journal, worker::Claim};

use super::{Act, Progress, Reconciler};
use crate::{
    model::{
        files::Files,
        run::{Event, Run},
    },
    store::Effect,
    wire,
};

/// What is written with a changed run.
#[derive(Default)]
pub(super) struct Also<'a> {
    /// Intent of an effect.
    pub intend: Option<(&'a Act<'a>, &'a Effect)>,
    /// Outcome of an effect: step, iteration, word.
    pub conclude: Option<(&'a str, usize, &'static str)>,
    /// The workspace as it is now.
    pub workspace: Option<&'a Files>,
    /// Whether the run has ended, which others are told.
    pub finished: bool,
}

impl Reconciler {
    pub(super) async fn save(&self, claim: &Claim, run: Run, events: Vec<Event>, also: Also<'_>) -> Result<Progress> {
        self.keep(claim, run, events, also).await.map(|_| Progress::More)
    }

    /// As [`Reconciler::save`], and answers the run as it is kept.
    pub(super) async fn keep(&self, claim: &Claim, mut run: Run, events: Vec<Event>, also: Also<'_>) -> Result<Run> {
        let now_us = self.clock.now_us();
        let mut tx = self.store.db().begin().await?;
        claim.guard(&mut tx).await?;
        if let Some((act, effect)) = also.intend {
            self.store.intend(&mut tx, &run.uid, &act.step.id, act.iteration, effect, now_us).await?;
        }
        if let Some((step, iteration, outcome)) = also.conclude {
            self.store.conclude(&mut tx, &run.uid, step, iteration, outcome, now_us).await?;
        }
        if let Some(files) = also.workspace {
            self.store.put_workspace(&mut tx, &run.uid, files, now_us).await?;
        }
        self.store.append_events(&mut tx, &mut run, events, now_us).await?;
        self.store.update_run(&mut tx, &mut run, now_us).await?;
        if also.finished {
            journal::append(&mut tx, wire::event::run_finished(&run)).await?;
        }
        tx.commit().await?;
        self.store.wake();
        Ok(run)
    }
}
