//! Lanes: which queue an environment is worked on in, so that what ends and what is stuck slows nobody (ENV-47, ENV-125).
//!
//! Owns the three kinds of work and the hand-over between them. What lives is in the first lane, what is torn down in the second, what
//! is blocked there in the third. An item comes by the first lane always: whoever has news of an environment need not know where it is.
//! Refuses to tear down while an item of the first lane is left: nothing is applied beside a teardown.
use std::time::Duration;

use slipway_kit::{
    error::Result,
    worker::{self, Claim, Next},
};

use super::Reconciler;
use crate::{
    app::{WORK_BLOCKED, WORK_ENVIRONMENT, WORK_TEARDOWN},
    model::{environment::Environment, state::State},
};

/// Time one visit of a teardown may take; what a cluster keeps waiting gives its place to the next.
pub(super) const BUDGET: Duration = Duration::from_secs(20);
/// How long until a teardown that ran out of its time is visited again.
pub(super) const OVERTIME_WAIT: Duration = Duration::from_secs(10);
/// How long until it is looked whether the first lane has let go.
const HAND_OVER_WAIT: Duration = Duration::from_millis(200);

impl Reconciler {
    /// Where the work goes on, if not here.
    pub(super) async fn change_lane(&self, claim: &Claim, env: &Environment) -> Result<Option<Next>> {
        let lane = match (env.retire.is_some() && env.deleted_us.is_none(), env.state()) {
            (false, _) => WORK_ENVIRONMENT,
            (true, State::DeleteBlocked) => WORK_BLOCKED,
            // What was blocked once stays where it hinders nobody.
            (true, _) if claim.kind == WORK_BLOCKED => WORK_BLOCKED,
            (true, _) => WORK_TEARDOWN,
        };
        if claim.kind != lane {
            if lane != WORK_ENVIRONMENT {
                self.hand_over(lane, &env.uid).await?;
            }
            return Ok(Some(Next::Done));
        }
        if claim.kind != WORK_ENVIRONMENT && worker::item(&self.0.store.db, WORK_ENVIRONMENT, &env.uid).await?.is_some()
        {
            self.hand_over(WORK_ENVIRONMENT, &env.uid).await?;
            return Ok(Some(Next::After(HAND_OVER_WAIT)));
        }
        Ok(None)
    }

    /// Makes an item due in a lane; of the two that tear down it is in one.
    async fn hand_over(&self, lane: &str, uid: &str) -> Result<()> {
        let mut tx = self.0.store.db.begin().await?;
        match lane {
            WORK_BLOCKED => worker::cancel(&mut tx, WORK_TEARDOWN, uid).await?,
            WORK_TEARDOWN if worker::item(&mut tx, WORK_BLOCKED, uid).await?.is_some() => {
                worker::enqueue(&mut tx, WORK_BLOCKED, uid, 0).await?;
                return tx.commit().await;
            }
            _ => {}
        }
        worker::enqueue(&mut tx, lane, uid, 0).await?;
        tx.commit().await
    }
}
