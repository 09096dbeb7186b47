//! References between entities: the grammar of CAT-18, the canonical form of CAT-19 and the resource name.
//!
//! Owns spelling and identity of references; refuses to know whether the entity exists.

use std::fmt;

/// A reference as written, with the parts that were left out still missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialRef {
    /// Kind, if written.
    pub kind: Option<String>,
    /// Namespace, if written.
    pub namespace: Option<String>,
    /// Everything after kind and namespace; not checked further.
    pub name: String,
}

/// Why a text is no reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefError {
    /// Kind, namespace or name is written but empty.
    EmptyPart,
    /// The field has no default kind and the reference names none.
    KindMissing,
}

impl RefError {
    /// The rule broken, for people.
    pub fn rule(self) -> &'static str {
        match self {
            Self::EmptyPart => "must have the form `[kind:][namespace/]name` without an empty part",
            Self::KindMissing => {
                "must name its kind, as in `component:default/name`, because the field has no default kind"
            }
        }
    }
}

impl PartialRef {
    /// Reads `[kind:][namespace/]name`: a `:` before any `/` ends the kind, the first `/` ends the namespace.
    pub fn parse(text: &str) -> Result<Self, RefError> {
        let slash = text.find('/');
        let colon = text.find(':').filter(|c| slash.is_none_or(|s| *c < s));
        let kind = colon.map(|c| &text[..c]);
        let after_kind = colon.map_or(0, |c| c + 1);
        let namespace = slash.map(|s| &text[after_kind..s]);
        let name = &text[slash.map_or(after_kind, |s| s + 1)..];
        if kind == Some("") || namespace == Some("") || name.is_empty() {
            return Err(RefError::EmptyPart);
        }
        Ok(Self { kind: kind.map(str::to_owned), namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    /// Fills the missing parts and canonicalises; `default_kind` absent means the kind must be written.
    pub fn complete(&self, default_kind: Option<&str>, default_namespace: &str) -> Result<EntityRef, RefError> {
        let kind = self.kind.as_deref().or(default_kind).ok_or(RefError::KindMissing)?;
        Ok(EntityRef::new(kind, self.namespace.as_deref().unwrap_or(default_namespace), &self.name))
    }
}

/// A canonical reference: `kind:namespace/name`, lower-cased. Two spellings of one entity are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityRef {
    text: String,
    kind_end: usize,
    namespace_end: usize,
}

impl EntityRef {
    /// Builds the canonical form of three parts that are not empty.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        let mut text = kind.to_lowercase();
        let kind_end = text.len();
        text.push(':');
        text.push_str(&namespace.to_lowercase());
        let namespace_end = text.len();
        text.push('/');
        text.push_str(&name.to_lowercase());
        Self { text, kind_end, namespace_end }
    }

    /// Reads any spelling; the namespace defaults to `default`.
    pub fn parse(text: &str, default_kind: Option<&str>) -> Result<Self, RefError> {
        PartialRef::parse(text)?.complete(default_kind, "default")
    }

    /// Reads a resource name `entities/{kind}/{namespace}/{name}` or, failing that, any spelling of a reference.
    pub fn from_name_or_ref(text: &str, default_kind: Option<&str>) -> Result<Self, RefError> {
        let Some(rest) = text.strip_prefix("entities/") else {
            return Self::parse(text, default_kind);
        };
        let mut parts = rest.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(namespace), Some(name)) if ![kind, namespace, name].contains(&"") => {
                Ok(Self::new(kind, namespace, name))
            }
            _ => Err(RefError::EmptyPart),
        }
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Kind in lower case.
    pub fn kind(&self) -> &str {
        &self.text[..self.kind_end]
    }

    /// Namespace in lower case.
    pub fn namespace(&self) -> &str {
        &self.text[self.kind_end + 1..self.namespace_end]
    }

    /// Name in lower case.
    pub fn name(&self) -> &str {
        &self.text[self.namespace_end + 1..]
    }

    /// The resource name `entities/{kind}/{namespace}/{name}`.
    pub fn resource_name(&self) -> String {
        format!("entities/{}/{}/{}", self.kind(), self.namespace(), self.name())
    }
}

impl fmt::Display for EntityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parts(text: &str) -> (Option<String>, Option<String>, String) {
        let p = PartialRef::parse(text).unwrap();
        (p.kind, p.namespace, p.name)
    }

    #[test]
    fn grammar_follows_the_first_colon_and_slash() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(parts("x"), (None, None, "x".into()));
        assert_eq!(parts("a/b:c"), (None, some("a"), "b:c".into()));
        assert_eq!(parts("a:b:c"), (some("a"), None, "b:c".into()));
        assert_eq!(parts("a:b/c/d"), (some("a"), some("b"), "c/d".into()));
        assert_eq!(parts("a: b / c "), (some("a"), some(" b "), " c ".into()));
        for bad in ["", "user:", ":x", "/x", "a/", "a:/x", "a:b/", ":", "/", ":/"] {
            assert_eq!(PartialRef::parse(bad), Err(RefError::EmptyPart), "{bad}");
        }
    }

    #[test]
    fn identity_is_the_lower_cased_form() {
        assert_eq!(EntityRef::parse("My_Svc", Some("Component")), EntityRef::parse("COMPONENT:Default/my_svc", None));
        assert_eq!(EntityRef::new("K", "d", "\u{212a}").as_str(), "k:d/k");
        assert_eq!(EntityRef::new("K", "d", "\u{130}").name().chars().count(), 2);
        assert_eq!(EntityRef::parse("x", None), Err(RefError::KindMissing));
    }

    #[test]
    fn resource_names_and_references_name_the_same_entity() {
        let r = EntityRef::from_name_or_ref("entities/Component/default/Pay", None).unwrap();
        assert_eq!(r.as_str(), "component:default/pay");
        assert_eq!(EntityRef::from_name_or_ref(&r.resource_name(), None).unwrap(), r);
        assert_eq!(EntityRef::from_name_or_ref("pay", Some("component")).unwrap(), r);
        assert!(EntityRef::from_name_or_ref("entities/component/default", None).is_err());
    }
}
