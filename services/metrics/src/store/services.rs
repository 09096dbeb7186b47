//! Services as the catalog told of them, and the revisions of what touches them. Refuses to decide on rights from these copies.
use slipway_kit::{
    args,
    db::{Exec, Row, Tx},
    error::Result,
};

/// A service as the catalog told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Canonical reference.
    pub service: String,
    /// Canonical reference of the owning group; empty if nobody owns it.
    pub owner: String,
    /// Canonical repository; empty if unknown.
    pub repository: String,
    /// Folder in the repository.
    pub repository_path: String,
    /// False once the catalog has removed it.
    pub known: bool,
}

const COLUMNS: &str = "service, owner, repository, repository_path, known";

fn service(row: &Row) -> Result<Service> {
    Ok(Service {
        service: row.text("service")?,
        owner: row.text("owner")?,
        repository: row.text("repository")?,
        repository_path: row.text("repository_path")?,
        known: row.bool("known")?,
    })
}

/// Writes what the catalog told; answers whether it was new or changed.
pub async fn put(tx: &mut Tx, s: &Service) -> Result<bool> {
    let sql = "INSERT INTO services (service, owner, repository, repository_path, known) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (service) DO UPDATE SET owner = excluded.owner, repository = excluded.repository, \
               repository_path = excluded.repository_path, known = excluded.known \
               WHERE services.owner <> excluded.owner OR services.repository <> excluded.repository \
               OR services.repository_path <> excluded.repository_path OR services.known <> excluded.known";
    let args = args![&s.service, &s.owner, &s.repository, &s.repository_path, s.known];
    Ok(tx.execute(sql, args).await? > 0)
}

/// One service.
pub async fn get(exec: impl Into<Exec<'_>>, name: &str) -> Result<Option<Service>> {
    let sql = format!("SELECT {COLUMNS} FROM services WHERE service = $1");
    exec.into().fetch_optional(&sql, args![name]).await?.as_ref().map(service).transpose()
}

/// The living services whose source is in a repository, in order.
pub async fn of_repository(exec: impl Into<Exec<'_>>, repository: &str) -> Result<Vec<Service>> {
    if repository.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {COLUMNS} FROM services WHERE repository = $1 AND known = 1 ORDER BY service");
    exec.into().fetch_all(&sql, args![repository]).await?.iter().map(service).collect()
}

/// Notes that a fact touched a service or repository.
pub async fn touch(tx: &mut Tx, scope: &str, seq: i64) -> Result<()> {
    let sql = "INSERT INTO revisions (scope, seq) VALUES ($1, $2) ON CONFLICT (scope) DO UPDATE SET seq = excluded.seq \
               WHERE revisions.seq < excluded.seq";
    tx.execute(sql, args![scope, seq]).await.map(drop)
}

/// Greatest number that touched any of the scopes; 0 if none.
pub async fn revision(exec: impl Into<Exec<'_>>, scopes: &[String]) -> Result<i64> {
    let places = (1..=scopes.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(",");
    let sql = format!("SELECT CAST(COALESCE(MAX(seq), 0) AS BIGINT) AS seq FROM revisions WHERE scope IN ({places})");
    exec.into().fetch_one(&sql, scopes.iter().map(Into::into).collect()).await?.int("seq")
}
