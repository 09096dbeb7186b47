//! Statements on a database or inside a transaction, with one set of calls for both.
use sqlx::{
    AssertSqlSafe, Postgres, Sqlite, Transaction, postgres::PgArguments, query::Query, sqlite::SqliteArguments,
};

use super::{Db, Engine, Row, Signals, Value, dialect, failure};
use crate::{
    error::{Error, Result},
    journal::{self, NewEvent},
};

/// Most bound values in one statement; below the limits of both engines.
const BINDS_MAX: usize = 30_000;

/// A writing transaction; dropped without [`Tx::commit`], it rolls back.
pub struct Tx {
    inner: Inner,
    signals: Signals,
    /// Events that the commit writes to the journal, last of all.
    events: Vec<NewEvent>,
    /// Whether the commit wakes workers.
    wakes_work: bool,
    traceparent: String,
}

enum Inner {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(super) async fn begin(db: &Db) -> Result<Self> {
        let inner = match &db.engine {
            Engine::Sqlite { writer, .. } => {
                Inner::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await.map_err(failure)?)
            }
            Engine::Postgres { pool, .. } => Inner::Postgres(pool.begin().await.map_err(failure)?),
        };
        Ok(Self {
            inner,
            signals: db.signals.clone(),
            events: Vec::new(),
            wakes_work: false,
            traceparent: String::new(),
        })
    }

    /// Makes the changes durable and wakes whoever waits for them. An error leaves the outcome unknown to the caller:
    /// UNAVAILABLE, never success (REL-42).
    pub async fn commit(mut self) -> Result<()> {
        let events = std::mem::take(&mut self.events);
        let wakes = (!events.is_empty(), self.wakes_work);
        journal::write(&mut self, events).await?;
        match self.inner {
            Inner::Sqlite(tx) => tx.commit().await,
            Inner::Postgres(tx) => tx.commit().await,
        }
        .map_err(failure)?;
        self.signals.wake(wakes);
        Ok(())
    }

    /// The W3C trace context that events of this transaction carry.
    pub fn set_traceparent(&mut self, traceparent: &str) {
        traceparent.clone_into(&mut self.traceparent);
    }

    pub(crate) fn traceparent(&self) -> &str {
        &self.traceparent
    }

    pub(crate) fn push_event(&mut self, event: NewEvent) {
        self.events.push(event);
    }

    pub(crate) fn wake_work(&mut self) {
        self.wakes_work = true;
    }

    /// Undoes everything.
    pub async fn rollback(self) -> Result<()> {
        match self.inner {
            Inner::Sqlite(tx) => tx.rollback().await,
            Inner::Postgres(tx) => tx.rollback().await,
        }
        .map_err(failure)
    }

    /// Runs one statement; answers the number of rows changed.
    pub async fn execute(&mut self, sql: &str, args: Vec<Value>) -> Result<u64> {
        Exec::from(self).execute(sql, args).await
    }

    /// All rows of a query.
    pub async fn fetch_all(&mut self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        Exec::from(self).fetch_all(sql, args).await
    }

    /// The first row, if any.
    pub async fn fetch_optional(&mut self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Exec::from(self).fetch_optional(sql, args).await
    }

    /// The first row of a query that always has one.
    pub async fn fetch_one(&mut self, sql: &str, args: Vec<Value>) -> Result<Row> {
        Exec::from(self).fetch_one(sql, args).await
    }
}

/// Where a store function runs its statements: `impl Into<Exec<'_>>` takes `&Db` and `&mut Tx`, and what another was given.
pub enum Exec<'a> {
    /// Each statement by itself.
    Db(&'a Db),
    /// Inside a transaction.
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Db> for Exec<'a> {
    fn from(db: &'a Db) -> Self {
        Exec::Db(db)
    }
}

impl<'a> From<&'a mut Tx> for Exec<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Exec::Tx(tx)
    }
}

impl<'a> From<&'a mut Exec<'_>> for Exec<'a> {
    fn from(exec: &'a mut Exec<'_>) -> Self {
        match exec {
            Exec::Db(db) => Exec::Db(db),
            Exec::Tx(tx) => Exec::Tx(tx),
        }
    }
}

impl Exec<'_> {
    fn is_postgres(&self) -> bool {
        matches!(
            self,
            Exec::Db(Db { engine: Engine::Postgres { .. }, .. }) | Exec::Tx(Tx { inner: Inner::Postgres(_), .. })
        )
    }

    /// Runs one statement; answers the number of rows changed.
    pub async fn execute(&mut self, sql: &str, args: Vec<Value>) -> Result<u64> {
        let done = match self {
            Exec::Db(Db { engine: Engine::Sqlite { writer, .. }, .. }) => {
                sqlite(sql, args).execute(writer).await.map(|d| d.rows_affected())
            }
            Exec::Db(Db { engine: Engine::Postgres { pool, .. }, .. }) => {
                postgres(sql, args).execute(pool).await.map(|d| d.rows_affected())
            }
            Exec::Tx(Tx { inner: Inner::Sqlite(tx), .. }) => {
                sqlite(sql, args).execute(&mut **tx).await.map(|d| d.rows_affected())
            }
            Exec::Tx(Tx { inner: Inner::Postgres(tx), .. }) => {
                postgres(sql, args).execute(&mut **tx).await.map(|d| d.rows_affected())
            }
        };
        done.map_err(failure)
    }

    /// All rows of a query; on SQLite a statement that changes something goes to the writer.
    pub async fn fetch_all(&mut self, sql: &str, args: Vec<Value>) -> Result<Vec<Row>> {
        match self {
            Exec::Db(Db { engine: Engine::Sqlite { writer, reader, .. }, .. }) => {
                let pool = if is_read(sql) { reader } else { writer };
                sqlite(sql, args).fetch_all(pool).await.map_err(failure)?.iter().map(Row::sqlite).collect()
            }
            Exec::Db(Db { engine: Engine::Postgres { pool, .. }, .. }) => {
                postgres(sql, args).fetch_all(pool).await.map_err(failure)?.iter().map(Row::postgres).collect()
            }
            Exec::Tx(Tx { inner: Inner::Sqlite(tx), .. }) => {
                sqlite(sql, args).fetch_all(&mut **tx).await.map_err(failure)?.iter().map(Row::sqlite).collect()
            }
            Exec::Tx(Tx { inner: Inner::Postgres(tx), .. }) => {
                postgres(sql, args).fetch_all(&mut **tx).await.map_err(failure)?.iter().map(Row::postgres).collect()
            }
        }
    }

    /// The first row, if any.
    pub async fn fetch_optional(&mut self, sql: &str, args: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.fetch_all(sql, args).await?.into_iter().next())
    }

    /// The first row of a query that always has one.
    pub async fn fetch_one(&mut self, sql: &str, args: Vec<Value>) -> Result<Row> {
        self.fetch_optional(sql, args).await?.ok_or_else(|| Error::internal("a query that always has a row had none"))
    }
}

/// Inserts many rows in as few statements as the engines allow: `insert_many(tx, "t(a,b)", rows, "ON CONFLICT …")`.
///
/// All rows have the same columns. Answers the number of rows changed.
pub async fn insert_many(exec: impl Into<Exec<'_>>, into: &str, rows: Vec<Vec<Value>>, suffix: &str) -> Result<u64> {
    let mut exec = exec.into();
    let width = rows.first().map_or(1, Vec::len).max(1);
    let numbered = exec.is_postgres();
    let mut changed = 0;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let chunk: Vec<_> = rows.by_ref().take((BINDS_MAX / width).clamp(1, 1000)).collect();
        let tuples = (0..chunk.len()).map(|r| {
            // SQLite finds a named parameter by walking all names, for each one: a statement of thousands takes seconds.
            let bind = |c| if numbered { format!("${}", r * width + c) } else { "?".to_owned() };
            format!("({})", (1..=width).map(bind).collect::<Vec<_>>().join(","))
        });
        let sql = format!("INSERT INTO {into} VALUES {} {suffix}", tuples.collect::<Vec<_>>().join(","));
        changed += exec.execute(&sql, chunk.into_iter().flatten().collect()).await?;
    }
    Ok(changed)
}

fn is_read(sql: &str) -> bool {
    let head = sql.trim_start().get(..6).unwrap_or_default().to_ascii_uppercase();
    head == "SELECT"
        || (head.starts_with("WITH")
            && !["INSERT ", "UPDATE ", "DELETE "].iter().any(|w| sql.to_ascii_uppercase().contains(w)))
}

fn sqlite(sql: &str, args: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(dialect(sql, false)));
    for value in args {
        query = match value {
            Value::Text(v) => query.bind(v),
            Value::Int(v) => query.bind(v),
            Value::Float(v) => query.bind(v),
            Value::Bytes(v) => query.bind(v),
        };
    }
    query
}

fn postgres(sql: &str, args: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(dialect(sql, true)));
    for value in args {
        query = match value {
            Value::Text(v) => query.bind(v),
            Value::Int(v) => query.bind(v),
            Value::Float(v) => query.bind(v),
            Value::Bytes(v) => query.bind(v),
        };
    }
    query
}
