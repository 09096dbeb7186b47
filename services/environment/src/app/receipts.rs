//! Receipts of teardowns, read only.
//!
//! Owns who may read them: whoever may read the environment. Refuses to tell a missing one from a foreign one.
use slipway_kit::{
    authz::Facts,
    error::{Error, NOT_FOUND, Result},
    page,
    serve::Call,
};

use super::App;
use crate::{model::receipt::Receipt, store::After};

impl App {
    /// The receipt of one life.
    pub async fn receipt(&self, call: &Call, name: &str) -> Result<Receipt> {
        let uid = name.strip_prefix("teardownReceipts/").unwrap_or_default();
        match self.store.receipt(&self.store.db, uid).await? {
            Some(receipt) => {
                let owner = Some(receipt.owner.as_str()).filter(|o| !o.is_empty());
                call.check(&Facts { owner, environment_tier: Some(receipt.tier.word()), ..Facts::default() })?;
                call.refuse_job()?;
                Ok(receipt)
            }
            None => {
                call.check(&Facts::default())?;
                Err(Error::new(&NOT_FOUND, format!("there is no {name}")).resource("slipway.dev/TeardownReceipt", name))
            }
        }
    }

    /// A page of receipts, newest first, and the token of the next.
    pub async fn receipts(
        &self,
        call: &Call,
        service: &str,
        page_size: i32,
        token: &str,
    ) -> Result<(Vec<Receipt>, String)> {
        let after: Option<After> = self.sealer.open(call, service, token)?;
        let limit = page::size(page_size);
        let mut found = self.store.receipts(&call.visible(), service, after.as_ref(), limit).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = match found.last() {
            Some(last) if more => {
                let after = After { deleted_us: last.deleted_us, uid: last.uid.clone() };
                self.sealer.seal(call, service, &after)
            }
            _ => String::new(),
        };
        Ok((found, next))
    }
}
