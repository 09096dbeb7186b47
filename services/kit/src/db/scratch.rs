//! Fresh databases for store suites: each suite runs on every engine that is at hand.
//!
//! Owns their making and their removal. Refuses to be used for data that matters.
use std::{str::FromStr as _, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Db, DbConfig, Migrations};

/// Names the server on which scratch databases of Postgres are made.
const SERVER_VARIABLE: &str = "SLIPWAY_TEST_POSTGRES";

/// An empty, migrated database that is removed when this is dropped.
pub struct Scratch {
    /// The database.
    pub db: Db,
    /// Name of the engine, for messages.
    pub engine: &'static str,
    /// How to open it once more, as another process or after a restart would.
    pub config: DbConfig,
    /// Removes it when dropped.
    pub keep: Keep,
}

/// Removes the database when dropped.
pub enum Keep {
    /// Directory of the SQLite file.
    Sqlite(tempfile::TempDir),
    /// Server and name of the Postgres database.
    Postgres {
        /// URL of the server.
        server: String,
        /// Name of the database.
        name: String,
    },
}

/// One database for each engine at hand. Panics if one cannot be made, as a test wants.
pub async fn each(migrations: &Migrations) -> Vec<Scratch> {
    let mut all = vec![sqlite(migrations).await];
    match std::env::var(SERVER_VARIABLE) {
        Ok(server) if !server.is_empty() => all.push(postgres(&server, migrations).await),
        _ => eprintln!("skipped: Postgres ({SERVER_VARIABLE} is not set)"),
    }
    all
}

/// A fresh SQLite file.
pub async fn sqlite(migrations: &Migrations) -> Scratch {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = DbConfig::Sqlite { path: dir.path().join("scratch.db") };
    open(config, Keep::Sqlite(dir), migrations).await
}

async fn postgres(server: &str, migrations: &Migrations) -> Scratch {
    let name = format!("scratch_{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
    administer(server, create).await.expect("a scratch database on the test server");
    let mut url = url::Url::parse(server).expect("a connection URL");
    url.set_path(&name);
    let keep = Keep::Postgres { server: server.to_owned(), name };
    open(DbConfig::postgres(url.to_string()), keep, migrations).await
}

async fn open(config: DbConfig, keep: Keep, migrations: &Migrations) -> Scratch {
    let db = Db::open(&config).await.expect("the scratch database opens");
    db.migrate(migrations).await.expect("the scratch database takes the migrations");
    Scratch { engine: db.engine(), db, config, keep }
}

async fn administer(server: &str, sql: String) -> sqlx::Result<()> {
    let mut connection: PgConnection = PgConnectOptions::from_str(server)?.connect().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await
}

impl Drop for Keep {
    fn drop(&mut self) {
        let Self::Postgres { server, name } = self else { return };
        let (server, sql) = (server.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // A runtime of its own: the test's may be shutting down, and a drop cannot await.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            // The timer needs the runtime, so it is made inside.
            runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(10), administer(&server, sql)).await })
                .ok()?
                .ok()
        });
        if !matches!(removal.join(), Ok(Some(()))) {
            eprintln!("scratch database was left behind");
        }
    }
}
