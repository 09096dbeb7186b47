//! JSON read strictly: no duplicate keys, a bound on depth, nothing behind the document (SAFE-8, SAFE-45).
//!
//! Refuses what a lenient reader would silently repair.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one JSON document of at most `max_depth` nested arrays and objects.
///
/// # Errors
/// The reader's text, without the value, when the document is not strict JSON.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { left: max_depth }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads a document that must be an object.
///
/// # Errors
/// As [`parse`], and when it is no object.
pub fn object(bytes: &[u8], max_depth: usize) -> Result<Map<String, Value>, serde_json::Error> {
    match parse(bytes, max_depth)? {
        Value::Object(map) => Ok(map),
        _ => Err(serde_json::Error::custom("not an object")),
    }
}

#[derive(Clone, Copy)]
struct Strict {
    left: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.left.checked_sub(1).map(|left| Self { left }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_documents_read_as_they_stand() {
        for text in [r#"{"a":[1,-2,1.5,"x",null,true],"b":{}}"#, "[]", "7", r#""x""#] {
            assert_eq!(parse(text.as_bytes(), 4).ok(), serde_json::from_str(text).ok(), "{text}");
        }
    }

    #[test]
    fn loose_documents_are_refused() {
        let loose = [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"[{"a":1,"a":2}]"#,
            "{} {}",
            "{}x",
            "{'a':1}",
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            "",
            "{\"a\":\"\u{1}\"}",
        ];
        for text in loose {
            assert!(parse(text.as_bytes(), 4).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"", 4).is_err());
    }

    #[test]
    fn depth_is_counted_exactly() {
        assert!(parse(b"[[[1]]]", 3).is_ok());
        assert!(parse(b"[[[1]]]", 2).is_err());
        assert!(parse("[".repeat(100_000).as_bytes(), 16).is_err());
        assert!(object(b"[]", 3).is_err());
    }
}
