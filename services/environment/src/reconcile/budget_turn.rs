//! Asking for an environment's part of its team's budget (ENV-12).
//!
//! Owns the one transaction in which it is let in, or put into the line and told so. Refuses to hold the item of work while others
//! have their turn: the turn is taken first.
use std::time::Duration;

use slipway_kit::{
    error::Result,
    worker::{Claim, Next},
};

use super::Reconciler;
use crate::model::{
    budget::{self, Verdict},
    condition::{Aspect, Verdict as Said},
    environment::Environment,
};

/// How long until one that waits looks at its source again; room wakes it sooner.
const WAIT: Duration = Duration::from_secs(60);

impl Reconciler {
    pub(super) async fn claim_budget(&self, claim: &Claim, mut env: Environment) -> Result<Option<Next>> {
        let before = env.clone();
        let mut tx = self.0.store.db.begin().await?;
        let verdict = self.0.claim(&mut tx, &mut env).await?;
        claim.guard(&mut tx).await?;
        let next = match verdict {
            Verdict::Granted => {
                // What waited begins now: to be used, and to wait for its images.
                if before.status.claim.waits_us > 0 {
                    let now_us = self.0.now_us();
                    (env.used_us, env.status.generation_us) = (env.used_us.max(now_us), now_us);
                }
                None
            }
            Verdict::Over(over, earlier) => {
                let (text, at) = (budget::sentence(&over, earlier), env.at(self.0.now_us()));
                env.status.conditions.set(Aspect::Accepted, Said::False, budget::TEAM_BUDGET, text, at);
                Some(Next::After(WAIT))
            }
        };
        if env != before {
            self.0.save_status(&mut tx, &before, &mut env).await?;
        }
        tx.commit().await?;
        Ok(next)
    }
}
