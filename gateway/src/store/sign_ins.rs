//! Rows behind sign-ins of browsers: the codes that were used.
//!
//! Refuses to let a code count twice, whichever gateway sees it.

use slipway_kit::{args, error::Result};

use super::Store;

impl Store {
    /// Whether a code is used for the first time; those that are over are forgotten on the way.
    ///
    /// # Errors
    /// As the database.
    pub async fn spend_code(&self, id: &str, expires_us: i64, now_us: i64) -> Result<bool> {
        self.db.execute("DELETE FROM sign_in_codes WHERE expires_us < $1", args![now_us]).await?;
        let sql = "INSERT INTO sign_in_codes (id, expires_us) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        Ok(self.db.execute(sql, args![id, expires_us]).await? == 1)
    }
}
