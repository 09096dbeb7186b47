//! Migrations: kit's own tables first, then the service's; forward only, under the driver's lock.
use sqlx::migrate::Migrator;

use super::{Db, Engine};
use crate::error::{DATABASE_UNAVAILABLE, Error, Result};

/// The migrations of one database, embedded at build time.
pub struct Migrations(Migrator);

static KIT: Migrator = sqlx::migrate!("../../migrations/kit");

impl Migrations {
    /// Kit's own tables and no others.
    pub fn none() -> Self {
        Self(Migrator { migrations: std::borrow::Cow::Borrowed(&[]), ..Migrator::DEFAULT })
    }

    /// Wraps what [`crate::migrations!`] embedded.
    pub const fn new(migrator: Migrator) -> Self {
        Self(migrator)
    }
}

impl Db {
    /// Brings the database to the schema of this build; a database of a newer or changed schema is refused. Where the schema is
    /// brought up apart from serving, only checks that it holds everything of this build: a newer one keeps serving the builds
    /// before it, by expand and contract.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<()> {
        if self.expect_migrated {
            let missing = self.pending(migrations).await?;
            return match missing.first() {
                None => Ok(()),
                Some(first) => {
                    let n = missing.len();
                    let text = format!("the schema lacks {n} migrations, the first is {first}: run `migrate` first");
                    Err(Error::new(&DATABASE_UNAVAILABLE, text))
                }
            };
        }
        let ours: i64 = KIT.iter().map(|m| m.version).max().unwrap_or(0);
        debug_assert!(migrations.0.iter().all(|m| m.version > ours), "a service's migrations are numbered above kit's");
        let all: Vec<_> = KIT.iter().chain(migrations.0.iter()).cloned().collect();
        let migrator = Migrator { migrations: all.into(), ..Migrator::DEFAULT };
        let done = match &self.engine {
            Engine::Sqlite { writer, .. } => migrator.run(writer).await,
            Engine::Postgres { pool, .. } => migrator.run(pool).await,
        };
        done.map_err(|e| Error::new(&DATABASE_UNAVAILABLE, "the database could not be migrated").source(e))?;
        // Identity of this database: positions and page tokens of another one are refused.
        let sql = "INSERT INTO journal_head (id, store_id, seq) VALUES (1, $1, 0) ON CONFLICT (id) DO NOTHING";
        self.execute(sql, crate::args![crate::id::uuid4()]).await?;
        Ok(())
    }

    /// Numbers of this build's migrations that the database does not have.
    pub async fn pending(&self, migrations: &Migrations) -> Result<Vec<i64>> {
        let table = match &self.engine {
            Engine::Sqlite { .. } => "SELECT 1 AS one FROM sqlite_master WHERE name = '_sqlx_migrations'",
            Engine::Postgres { .. } => "SELECT 1 AS one FROM pg_tables WHERE tablename = '_sqlx_migrations'",
        };
        let mut applied = std::collections::BTreeSet::new();
        if self.fetch_optional(table, Vec::new()).await?.is_some() {
            for row in self.fetch_all("SELECT version FROM _sqlx_migrations WHERE success", Vec::new()).await? {
                applied.insert(row.int("version")?);
            }
        }
        let ours = KIT.iter().chain(migrations.0.iter()).map(|m| m.version);
        Ok(ours.filter(|version| !applied.contains(version)).collect())
    }
}
