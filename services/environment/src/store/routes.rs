//! What routes need of the rows of environments.
//!
//! Owns the note of use, which is no change of the environment. Refuses to overwrite one: the version it was read with must stand.
use slipway_kit::{
    args,
    error::{Error, Result},
};

use super::Store;
use crate::model::environment::Environment;

impl Store {
    /// Notes when an environment was last used, without a new version: traffic must not void anybody's etag. If it changed
    /// meanwhile, nothing is noted; the next word of use comes within a minute.
    pub async fn note_use(&self, env: &Environment) -> Result<()> {
        let body = serde_json::to_string(env).map_err(Error::internal)?;
        let sql = "UPDATE environments SET body = $1 WHERE uid = $2 AND version = $3";
        self.db.execute(sql, args![body, &env.uid, env.version]).await.map(drop)
    }

    /// The files that were rendered last, whatever their generation.
    pub async fn last_render(&self, uid: &str) -> Result<Vec<(String, String)>> {
        let row = self.db.fetch_optional("SELECT files FROM renders WHERE uid = $1", args![uid]).await?;
        row.map_or(Ok(Vec::new()), |row| row.json("files"))
    }
}
