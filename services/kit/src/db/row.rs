//! Values and rows that are the same on both engines.
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::{Column as _, Row as _, TypeInfo as _, ValueRef as _, postgres::PgRow, sqlite::SqliteRow};

use super::failure;
use crate::error::{Error, Result};

/// A bound or read value; each kind knows its null.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// TEXT.
    Text(Option<String>),
    /// BIGINT; booleans are 0 and 1, times are microseconds.
    Int(Option<i64>),
    /// DOUBLE PRECISION.
    Float(Option<f64>),
    /// BYTEA.
    Bytes(Option<Vec<u8>>),
}

macro_rules! from {
    ($($t:ty => $kind:ident($f:expr)),+ $(,)?) => {$(
        impl From<$t> for Value {
            fn from(v: $t) -> Self { Value::$kind(Some($f(v))) }
        }
        impl From<Option<$t>> for Value {
            fn from(v: Option<$t>) -> Self { Value::$kind(v.map($f)) }
        }
    )+};
}
from! {
    &str => Text(str::to_owned), String => Text(|v| v), &String => Text(String::clone),
    i64 => Int(|v| v), i32 => Int(i64::from), u32 => Int(i64::from), u16 => Int(i64::from), bool => Int(i64::from),
    usize => Int(|v| i64::try_from(v).unwrap_or(i64::MAX)), u64 => Int(|v| i64::try_from(v).unwrap_or(i64::MAX)),
    f64 => Float(|v| v), Vec<u8> => Bytes(|v| v), &[u8] => Bytes(<[u8]>::to_vec), &Vec<u8> => Bytes(Vec::clone),
}

/// One row, decoded and independent of the connection.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Option<Value>>,
}

impl Row {
    fn value(&self, column: &str) -> Result<Option<&Value>> {
        let at = self.columns.iter().position(|c| c == column);
        let at = at.ok_or_else(|| Error::internal(format!("no column {column} in the row")))?;
        Ok(self.values[at].as_ref())
    }

    /// The value as read, or null.
    pub fn opt_value(&self, column: &str) -> Result<Option<Value>> {
        Ok(self.value(column)?.cloned())
    }

    /// Text, or null.
    pub fn opt_text(&self, column: &str) -> Result<Option<String>> {
        match self.value(column)? {
            None => Ok(None),
            Some(Value::Text(v)) => Ok(v.clone()),
            Some(other) => Err(mismatch(column, "text", other)),
        }
    }

    /// Text that is never null.
    pub fn text(&self, column: &str) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| null(column))
    }

    /// Integer, or null.
    pub fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        match self.value(column)? {
            None => Ok(None),
            Some(Value::Int(v)) => Ok(*v),
            Some(other) => Err(mismatch(column, "integer", other)),
        }
    }

    /// Integer that is never null.
    pub fn int(&self, column: &str) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| null(column))
    }

    /// Boolean kept as 0 or 1.
    pub fn bool(&self, column: &str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    /// Floating point number; an integer is taken too.
    pub fn float(&self, column: &str) -> Result<f64> {
        match self.value(column)? {
            Some(Value::Float(Some(v))) => Ok(*v),
            Some(Value::Int(Some(v))) => Ok(*v as f64),
            None => Err(null(column)),
            Some(other) => Err(mismatch(column, "number", other)),
        }
    }

    /// Bytes, or null.
    pub fn opt_bytes(&self, column: &str) -> Result<Option<Vec<u8>>> {
        match self.value(column)? {
            None => Ok(None),
            Some(Value::Bytes(v)) => Ok(v.clone()),
            Some(other) => Err(mismatch(column, "bytes", other)),
        }
    }

    /// Bytes that are never null.
    pub fn bytes(&self, column: &str) -> Result<Vec<u8>> {
        self.opt_bytes(column)?.ok_or_else(|| null(column))
    }

    /// JSON kept as text.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(Error::internal)
    }

    pub(super) fn sqlite(row: &SqliteRow) -> Result<Self> {
        let mut values = Vec::with_capacity(row.len());
        for at in 0..row.len() {
            let raw = row.try_get_raw(at).map_err(failure)?;
            let (null, kind) = (raw.is_null(), raw.type_info().name().to_owned());
            values.push(match (null, kind.as_str()) {
                (true, _) => None,
                (_, "INTEGER" | "BOOLEAN") => Some(Value::Int(Some(row.try_get_unchecked(at).map_err(failure)?))),
                (_, "REAL") => Some(Value::Float(Some(row.try_get_unchecked(at).map_err(failure)?))),
                (_, "BLOB") => Some(Value::Bytes(Some(row.try_get_unchecked(at).map_err(failure)?))),
                _ => Some(Value::Text(Some(row.try_get_unchecked(at).map_err(failure)?))),
            });
        }
        Ok(Self { columns: row.columns().iter().map(|c| c.name().to_owned()).collect(), values })
    }

    pub(super) fn postgres(row: &PgRow) -> Result<Self> {
        let mut values = Vec::with_capacity(row.len());
        for at in 0..row.len() {
            let raw = row.try_get_raw(at).map_err(failure)?;
            let (null, kind) = (raw.is_null(), raw.type_info().name().to_owned());
            values.push(match (null, kind.as_str()) {
                (true, _) => None,
                (_, "INT8") => Some(Value::Int(Some(row.try_get(at).map_err(failure)?))),
                (_, "INT4") => Some(Value::Int(Some(row.try_get::<i32, _>(at).map_err(failure)?.into()))),
                (_, "BOOL") => Some(Value::Int(Some(row.try_get::<bool, _>(at).map_err(failure)?.into()))),
                (_, "FLOAT8") => Some(Value::Float(Some(row.try_get(at).map_err(failure)?))),
                (_, "BYTEA") => Some(Value::Bytes(Some(row.try_get(at).map_err(failure)?))),
                (_, "TEXT" | "VARCHAR" | "NAME") => Some(Value::Text(Some(row.try_get(at).map_err(failure)?))),
                (_, other) => return Err(Error::internal(format!("column type {other} is not used here; cast it"))),
            });
        }
        Ok(Self { columns: row.columns().iter().map(|c| c.name().to_owned()).collect(), values })
    }
}

fn null(column: &str) -> Error {
    Error::internal(format!("column {column} is null"))
}

fn mismatch(column: &str, want: &str, got: &Value) -> Error {
    let got = match got {
        Value::Text(_) => "text",
        Value::Int(_) => "integer",
        Value::Float(_) => "number",
        Value::Bytes(_) => "bytes",
    };
    Error::internal(format!("column {column} holds {got}, not {want}"))
}
