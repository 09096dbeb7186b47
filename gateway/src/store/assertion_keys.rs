//! Rows of the public keys that assertions are checked with.

use slipway_kit::{args, caller::PublicKey, error::Result};

use super::Store;

impl Store {
    /// Publishes a key until `expires_us`, and forgets those that are over.
    ///
    /// # Errors
    /// As the database.
    pub async fn publish_key(&self, key: &PublicKey, now_us: i64, expires_us: i64) -> Result<()> {
        let mut tx = self.db.begin().await?;
        tx.execute("DELETE FROM assertion_keys WHERE expires_us <= $1", args![now_us]).await?;
        let sql = "INSERT INTO assertion_keys (id, public_key, created_us, expires_us) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (id) DO UPDATE SET expires_us = excluded.expires_us";
        tx.execute(sql, args![&key.id, key.bytes.clone(), now_us, expires_us]).await?;
        tx.commit().await
    }

    /// Every key that is not over.
    ///
    /// # Errors
    /// As the database.
    pub async fn keys(&self, now_us: i64) -> Result<Vec<PublicKey>> {
        let sql = "SELECT id, public_key FROM assertion_keys WHERE expires_us > $1 ORDER BY id";
        let rows = self.db.fetch_all(sql, args![now_us]).await?;
        rows.iter().map(|row| Ok(PublicKey { id: row.text("id")?.clone(), bytes: row.bytes("public_key")? })).collect()
    }
}
