//! What routes need of the rows of environments.
//!
//! Owns the note of use, which is no change of the environment. Refuses to overwrite one: the version it was read with must stand.
use slipway_kit::{
    args,
    db::Tx,
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

    /// Keeps the routes of a render that are not applied, beside its files.
    pub async fn keep_routes(&self, tx: &mut Tx, uid: &str, routes: &[(String, String)]) -> Result<()> {
        let routes = serde_json::to_string(routes).map_err(Error::internal)?;
        tx.execute("UPDATE renders SET routes = $1 WHERE uid = $2", args![routes, uid]).await.map(drop)
    }

    /// The files that were rendered last, whatever their generation, and the routes among them that are not applied.
    pub async fn last_render(&self, uid: &str) -> Result<Vec<(String, String)>> {
        let row = self.db.fetch_optional("SELECT files, routes FROM renders WHERE uid = $1", args![uid]).await?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let mut files: Vec<(String, String)> = row.json("files")?;
        files.extend(row.json::<Vec<(String, String)>>("routes")?);
        Ok(files)
    }
}
