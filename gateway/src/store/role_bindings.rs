//! Rows of role bindings.
//!
//! Refuses a second binding of the same subject, role and team: the table's own rule.

use slipway_kit::{
    args,
    db::{Exec, Row, Tx},
    error::{Error, Result},
    filter::{Field, Kind},
};

use super::{Condition, Page, Store};
use crate::model::{
    noun::{Binding, role_of, role_word},
    rights::Grant,
};

/// Fields a filter may name.
pub const BINDING_FIELDS: &[Field] = &[
    Field { name: "subject", column: "subject", kind: Kind::Text },
    Field {
        name: "role",
        column: "role",
        kind: Kind::Words(&[
            ("ROLE_VIEWER", "viewer"),
            ("ROLE_DEVELOPER", "developer"),
            ("ROLE_MAINTAINER", "maintainer"),
            ("ROLE_AUTOMATION", "automation"),
            ("ROLE_AUDITOR", "auditor"),
            ("ROLE_OPERATOR", "operator"),
            ("ROLE_PLATFORM_ADMIN", "platform-admin"),
        ]),
    },
    Field { name: "team", column: "team", kind: Kind::Text },
    Field { name: "create_time", column: "created_us", kind: Kind::Time },
];

const COLUMNS: &str = "uid, version, subject, role, team, created_us, updated_us";

impl Store {
    /// Every binding, as decisions need it.
    ///
    /// # Errors
    /// As the database.
    pub async fn grants(&self) -> Result<Vec<Grant>> {
        let rows = self.db.fetch_all("SELECT subject, role, team FROM role_bindings", args![]).await?;
        let grant = |row: Row| Ok(Grant { subject: row.text("subject")?, role: role(&row)?, team: row.text("team")? });
        rows.into_iter().map(grant).collect()
    }

    /// Adds a binding.
    ///
    /// # Errors
    /// ALREADY_EXISTS if the subject has this role there; else as the database.
    pub async fn add_binding(&self, tx: &mut Tx, b: &Binding) -> Result<()> {
        let sql = format!("INSERT INTO role_bindings ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)");
        let args = args![&b.uid, b.version, &b.subject, role_word(b.role), &b.team, b.created_us, b.updated_us];
        tx.execute(&sql, args).await?;
        self.raise_version(tx).await
    }

    /// One binding, by what it binds.
    ///
    /// # Errors
    /// As the database.
    pub async fn find_binding(&self, exec: impl Into<Exec<'_>>, b: &Binding) -> Result<Option<Binding>> {
        let sql = format!("SELECT {COLUMNS} FROM role_bindings WHERE subject = $1 AND role = $2 AND team = $3");
        let row = exec.into().fetch_optional(&sql, args![&b.subject, role_word(b.role), &b.team]).await?;
        row.as_ref().map(read_binding).transpose()
    }

    /// One binding by uid.
    ///
    /// # Errors
    /// As the database.
    pub async fn binding(&self, exec: impl Into<Exec<'_>>, uid: &str) -> Result<Option<Binding>> {
        let sql = format!("SELECT {COLUMNS} FROM role_bindings WHERE uid = $1");
        exec.into().fetch_optional(&sql, args![uid]).await?.as_ref().map(read_binding).transpose()
    }

    /// Removes a binding.
    ///
    /// # Errors
    /// As the database.
    pub async fn remove_binding(&self, tx: &mut Tx, uid: &str) -> Result<()> {
        // The version row is locked first, so that two removals never both see the other's administrator.
        self.raise_version(tx).await?;
        tx.execute("DELETE FROM role_bindings WHERE uid = $1", args![uid]).await.map(|_| ())
    }

    /// How many bindings of `platform-admin` there are, counted behind the lock of a change of access.
    ///
    /// # Errors
    /// As the database.
    pub async fn administrators(&self, tx: &mut Tx) -> Result<i64> {
        self.raise_version(tx).await?;
        let sql = "SELECT COUNT(*) AS n FROM role_bindings WHERE role = $1 AND team = ''";
        tx.fetch_one(sql, args!["platform-admin"]).await?.int("n")
    }

    /// One page of bindings.
    ///
    /// # Errors
    /// As the database.
    pub async fn bindings(&self, page: &Page) -> Result<Vec<Row>> {
        self.page("role_bindings", COLUMNS, page).await
    }

    /// How many bindings match; stops one above `cap`.
    ///
    /// # Errors
    /// As the database.
    pub async fn count_bindings(&self, rows: &Condition, cap: usize) -> Result<i64> {
        self.count("role_bindings", rows, cap).await
    }
}

/// Reads a row of [`Store::bindings`].
pub fn read_binding(row: &Row) -> Result<Binding> {
    Ok(Binding {
        uid: row.text("uid")?,
        version: row.int("version")?,
        subject: row.text("subject")?,
        role: role(row)?,
        team: row.text("team")?,
        created_us: row.int("created_us")?,
        updated_us: row.int("updated_us")?,
    })
}

fn role(row: &Row) -> Result<slipway_kit::caller::Role> {
    let word = row.text("role")?;
    role_of(&word).ok_or_else(|| Error::internal(format!("stored role {word} is unknown")))
}
