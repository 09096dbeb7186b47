//! Rows behind sign-ins of browsers: the key that seals what they carry, and the codes that were used.
//!
//! Refuses to let a code count twice, whichever gateway sees it.

use slipway_kit::{args, error::Result};

use super::Store;

impl Store {
    /// A key that seals what callers carry for us: made once, and shared by all who use the database.
    ///
    /// # Errors
    /// As the database.
    pub async fn seal_key(&self, name: &str) -> Result<Vec<u8>> {
        let fresh: [u8; 32] = rand::random();
        let sql = "INSERT INTO seal_key (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        self.db.execute(sql, args![name, fresh.to_vec()]).await?;
        self.db.fetch_one("SELECT secret FROM seal_key WHERE name = $1", args![name]).await?.bytes("secret")
    }

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
