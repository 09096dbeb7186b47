//! One database behind one type: SQLite or Postgres under one SQL text.
//!
//! Owns pools, transactions, migrations, and the neutral `Value` and `Row`. Refuses dialects: only `NOW_US()` differs, and it is
//! replaced here. Driver errors end here.
use std::{path::PathBuf, str::FromStr as _, sync::Arc, time::Duration};

use serde::Deserialize;
use sqlx::{
    PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::error::{ALREADY_EXISTS, CONFLICT, DATABASE_UNAVAILABLE, Error, INVALID_CONFIG, Result};

mod exec;
mod lock;
mod migrate;
mod row;
pub mod scratch;
mod signals;

pub use exec::{Exec, Tx, insert_many};
pub use migrate::Migrations;
pub use row::{Row, Value};
pub use signals::Signals;

/// Most readers on one SQLite file (REL-57).
const SQLITE_READERS_MAX: u32 = 8;
/// Most connections of callers to one Postgres database (REL-58).
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
/// Connections to one Postgres database kept for heartbeats, audit and readiness (REL-58).
const POSTGRES_RESERVED: u32 = 2;
/// How long a caller waits for a free connection. SQLite has one writer, so waiting there is the normal way.
const POSTGRES_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const SQLITE_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Postgres: what ends a statement, a wait for a lock, and a transaction in which nothing happens (REL-58).
const POSTGRES_TIMEOUTS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("lock_timeout", "2s"), ("idle_in_transaction_session_timeout", "5s")];

/// Where the data is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "engine", rename_all = "lowercase")]
pub enum DbConfig {
    /// One SQLite file.
    Sqlite {
        /// Path of the file; it is created.
        path: PathBuf,
    },
    /// One Postgres database.
    Postgres(PostgresConfig),
}

/// One Postgres database.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// Connection URL without a password; or with one, where the URL comes from `url_file`.
    pub url: String,
    /// File that holds the connection URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// Leaves the schema alone and refuses to start on an older one: `migrate` was run before, by itself.
    pub expect_migrated: bool,
}

impl DbConfig {
    /// One Postgres database at a URL.
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::Postgres(PostgresConfig { url: url.into(), ..PostgresConfig::default() })
    }

    /// The same database, brought to this build's schema when it is opened.
    #[must_use]
    pub fn migrated_here(mut self) -> Self {
        if let Self::Postgres(config) = &mut self {
            config.expect_migrated = false;
        }
        self
    }
}

impl PostgresConfig {
    fn options(&self) -> Result<PgConnectOptions> {
        let wrong = |text: String| Error::new(&INVALID_CONFIG, text);
        let url = match &self.url_file {
            Some(_) if !self.url.is_empty() => return Err(wrong("database: url and url_file are both given".into())),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|e| wrong(format!("database.url_file: {}: {e}", path.display())))?
                .trim()
                .to_owned(),
            None if self.url.is_empty() => return Err(wrong("database: url or url_file is missing".into())),
            None => self.url.clone(),
        };
        // The driver's error may repeat the URL, and that may hold a password.
        let options = PgConnectOptions::from_str(&url)
            .map_err(|_| wrong("database: the URL must be postgres://user@host:port/name".into()))?;
        Ok(options.options(POSTGRES_TIMEOUTS))
    }
}

/// An open database; cheap to clone.
#[derive(Clone)]
pub struct Db {
    engine: Engine,
    signals: Signals,
    expect_migrated: bool,
}

#[derive(Clone)]
enum Engine {
    /// One connection that writes, some that read, and the lock that keeps other processes out.
    Sqlite { writer: SqlitePool, reader: SqlitePool, _lock: Arc<lock::Lock> },
    /// Callers' connections, and those kept for what must never wait behind callers.
    Postgres { pool: PgPool, reserved: PgPool },
}

impl Db {
    /// Opens the database; the file or server must be reachable. A SQLite file that another process has open is refused.
    pub async fn open(config: &DbConfig) -> Result<Self> {
        let engine = match config {
            DbConfig::Sqlite { path } => {
                let lock = lock::Lock::take(path)?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .pragma("secure_delete", "ON")
                    .busy_timeout(Duration::from_secs(5));
                let pool = |max| SqlitePoolOptions::new().max_connections(max).acquire_timeout(SQLITE_ACQUIRE_TIMEOUT);
                let writer = pool(1).connect_with(options.clone()).await.map_err(failure)?;
                let reader = pool(SQLITE_READERS_MAX).connect_with(options).await.map_err(failure)?;
                Engine::Sqlite { writer, reader, _lock: lock }
            }
            DbConfig::Postgres(config) => {
                let options = config.options()?;
                let pool = |max| {
                    PgPoolOptions::new()
                        .max_connections(max)
                        .acquire_timeout(POSTGRES_ACQUIRE_TIMEOUT)
                        .max_lifetime(Duration::from_secs(30 * 60))
                };
                let reserved = pool(POSTGRES_RESERVED).connect_lazy_with(options.clone());
                let pool = pool(POSTGRES_CONNECTIONS_MAX).connect_with(options).await.map_err(failure)?;
                Engine::Postgres { pool, reserved }
            }
        };
        let expect_migrated = matches!(config, DbConfig::Postgres(postgres) if postgres.expect_migrated);
        Ok(Self { engine, signals: Signals::new(), expect_migrated })
    }

    /// As [`Db::open`], making the Postgres database first if its server has none of that name.
    pub async fn create(config: &DbConfig) -> Result<Self> {
        if let DbConfig::Postgres(postgres) = config {
            let options = postgres.options()?;
            let name = options.get_database().unwrap_or_default().to_owned();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
            if !name.is_empty() && name.chars().all(plain) {
                let one = PgPoolOptions::new().max_connections(1).acquire_timeout(POSTGRES_ACQUIRE_TIMEOUT);
                let server = one.connect_with(options.database("postgres")).await.map_err(failure)?;
                let sql = "SELECT 1 FROM pg_database WHERE datname = $1";
                let known = sqlx::query(sql).bind(&name).fetch_optional(&server).await.map_err(failure)?;
                if known.is_none() {
                    // The name cannot be bound; it was checked above.
                    let made = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{name}\"")));
                    made.execute(&server).await.map_err(failure)?;
                }
                server.close().await;
            }
        }
        Self::open(config).await
    }

    /// Name of the engine for people.
    pub fn engine(&self) -> &'static str {
        match self.engine {
            Engine::Sqlite { .. } => "SQLite",
            Engine::Postgres { .. } => "Postgres",
        }
    }

    /// What wakes when a transaction of this process commits.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The same database through the connections kept for heartbeats, audit and readiness.
    #[must_use]
    pub fn reserved(&self) -> Self {
        let engine = match &self.engine {
            Engine::Postgres { reserved, .. } => {
                Engine::Postgres { pool: reserved.clone(), reserved: reserved.clone() }
            }
            sqlite @ Engine::Sqlite { .. } => sqlite.clone(),
        };
        Self { engine, signals: self.signals.clone(), expect_migrated: self.expect_migrated }
    }

    /// Begins a writing transaction; SQLite takes its write lock at once. Dropped without commit, it rolls back.
    pub async fn begin(&self) -> Result<Tx> {
        Tx::begin(self).await
    }

    /// Runs one statement by itself; answers the number of rows changed.
    pub async fn execute(&self, sql: &str, args: Vec<Value>) -> Result<u64> {
        Exec::from(self).execute(sql, args).await
    }

    /// All rows of a query.
    pub async fn fetch_all(&self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        Exec::from(self).fetch_all(sql, args).await
    }

    /// The first row, if any.
    pub async fn fetch_optional(&self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Exec::from(self).fetch_optional(sql, args).await
    }

    /// The first row of a query that always has one.
    pub async fn fetch_one(&self, sql: &str, args: Vec<Value>) -> Result<Row> {
        Exec::from(self).fetch_one(sql, args).await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { writer, reader, .. } => {
                reader.close().await;
                writer.close().await;
            }
            Engine::Postgres { pool, reserved } => {
                reserved.close().await;
                pool.close().await;
            }
        }
    }
}

/// The statement as the engine wants it.
pub(crate) fn dialect(sql: &str, postgres: bool) -> String {
    let now = if postgres {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    } else {
        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    };
    sql.replace("NOW_US()", now)
}

enum Meaning {
    /// Another transaction was in the way; a repeat helps.
    Contended,
    /// The database cannot do its work now.
    Away,
    /// The statement is wrong.
    Defect,
}

/// What an engine's code means: five characters are Postgres's SQLSTATE, fewer SQLite's extended result code.
fn meaning(code: &str) -> Meaning {
    if code.len() == 5 {
        return match (code, &code[..2]) {
            ("40001" | "40P01" | "55P03", _) => Meaning::Contended,
            // Cut off, read-only after a failover, idle too long; then connection, resources, operator, system.
            ("57014" | "25006" | "25P03" | "25P04", _) | (_, "08" | "53" | "57" | "58") => Meaning::Away,
            _ => Meaning::Defect,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        // Busy and locked; then read-only, input and output, full, cannot open.
        Ok(5 | 6) => Meaning::Contended,
        Ok(8 | 10 | 13 | 14) => Meaning::Away,
        _ => Meaning::Defect,
    }
}

/// What a driver error means to a caller.
pub(crate) fn failure(error: sqlx::Error) -> Error {
    if let sqlx::Error::Database(inner) = &error {
        if inner.is_unique_violation() {
            return Error::new(&ALREADY_EXISTS, "a resource of that name exists").source(error);
        }
        match meaning(&inner.code().unwrap_or_default()) {
            Meaning::Contended => return Error::new(&CONFLICT, "a concurrent change won").source(error),
            Meaning::Defect => return Error::internal(error),
            Meaning::Away => {}
        }
    }
    match error {
        sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::RowNotFound => Error::internal(error),
        _ => Error::new(&DATABASE_UNAVAILABLE, "the database does not answer").source(error),
    }
}

/// Makes the arguments of a statement: `args![name, count, Some(text)]`.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Value::from($value)),*] };
}

/// Embeds a directory of migrations: `migrations!("../../migrations/catalog")`, relative to the crate.
#[macro_export]
macro_rules! migrations {
    ($path:literal) => {
        $crate::db::Migrations::new($crate::db::sqlx_migrate!($path))
    };
}
#[doc(hidden)]
pub use sqlx::migrate as sqlx_migrate;
