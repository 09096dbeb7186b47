//! The kinds of entities and what each demands of `spec` (CAT-14), as one table.
//!
//! Owns shapes of fields. Refuses custom kinds, which come with `CreateKind`.

use super::relation::{self, Relation};

/// API versions of the catalog's own kinds.
const CATALOG_VERSIONS: &[&str] = &["backstage.io/v1alpha1", "backstage.io/v1beta1"];
/// API version of templates.
const TEMPLATE_VERSIONS: &[&str] = &["scaffolder.backstage.io/v1beta3"];

/// The shape a field must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string that is not empty.
    Text,
    /// A list of strings that are not empty.
    Texts,
    /// A mapping with these optional non-empty strings.
    Record(&'static [&'static str]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A mapping.
    Map,
    /// A mapping, or a list of mappings.
    MapOrMaps,
    /// The steps of a template.
    Steps,
}

/// One field of `spec`.
#[derive(Debug)]
pub struct Field {
    /// Key.
    pub name: &'static str,
    /// Shape.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// The relation it makes, if any.
    pub relation: Option<&'static Relation>,
}

/// One kind.
#[derive(Debug)]
pub struct Kind {
    /// Name as documents write it.
    pub name: &'static str,
    /// API versions it may have.
    pub api_versions: &'static [&'static str],
    /// Fields that are checked; others are free.
    pub fields: &'static [Field],
}

const fn need(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: true, relation: None }
}

const fn may(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, required: false, relation: None }
}

const fn to(field: Field, relation: &'static Relation) -> Field {
    Field { relation: Some(relation), ..field }
}

const PROFILE: Shape = Shape::Record(&["displayName", "email", "picture"]);

const COMPONENT: &[Field] = &[
    need("type", Shape::Text),
    need("lifecycle", Shape::Text),
    to(need("owner", Shape::Text), &relation::OWNER),
    to(may("system", Shape::Text), &relation::SYSTEM),
    to(may("subcomponentOf", Shape::Text), &relation::SUBCOMPONENT_OF),
    to(may("providesApis", Shape::Texts), &relation::PROVIDES_APIS),
    to(may("consumesApis", Shape::Texts), &relation::CONSUMES_APIS),
    to(may("dependsOn", Shape::Texts), &relation::DEPENDS_ON),
    to(may("dependencyOf", Shape::Texts), &relation::DEPENDENCY_OF),
];
const API: &[Field] = &[
    need("type", Shape::Text),
    need("lifecycle", Shape::Text),
    to(need("owner", Shape::Text), &relation::OWNER),
    need("definition", Shape::Text),
    to(may("system", Shape::Text), &relation::SYSTEM),
];
const RESOURCE: &[Field] = &[
    need("type", Shape::Text),
    to(need("owner", Shape::Text), &relation::OWNER),
    to(may("system", Shape::Text), &relation::SYSTEM),
    to(may("dependsOn", Shape::Texts), &relation::DEPENDS_ON),
    to(may("dependencyOf", Shape::Texts), &relation::DEPENDENCY_OF),
];
const SYSTEM: &[Field] = &[
    to(need("owner", Shape::Text), &relation::OWNER),
    to(may("domain", Shape::Text), &relation::DOMAIN),
    may("type", Shape::Text),
];
const DOMAIN: &[Field] = &[
    to(need("owner", Shape::Text), &relation::OWNER),
    to(may("subdomainOf", Shape::Text), &relation::DOMAIN),
    may("type", Shape::Text),
];
const GROUP: &[Field] = &[
    need("type", Shape::Text),
    to(need("children", Shape::Texts), &relation::CHILDREN),
    to(may("parent", Shape::Text), &relation::PARENT),
    to(may("members", Shape::Texts), &relation::MEMBERS),
    may("profile", PROFILE),
];
const USER: &[Field] = &[to(need("memberOf", Shape::Texts), &relation::MEMBER_OF), may("profile", PROFILE)];
const LOCATION: &[Field] = &[
    may("type", Shape::Text),
    may("target", Shape::Text),
    may("targets", Shape::Texts),
    may("presence", Shape::Word(&["required", "optional"])),
];
const TEMPLATE: &[Field] = &[
    need("type", Shape::Text),
    need("steps", Shape::Steps),
    to(may("owner", Shape::Text), &relation::OWNER),
    may("parameters", Shape::MapOrMaps),
    may("output", Shape::Map),
];

const fn kind(name: &'static str, fields: &'static [Field]) -> Kind {
    Kind { name, api_versions: CATALOG_VERSIONS, fields }
}

/// Every kind.
pub static KINDS: &[Kind] = &[
    kind("Component", COMPONENT),
    kind("API", API),
    kind("Resource", RESOURCE),
    kind("System", SYSTEM),
    kind("Domain", DOMAIN),
    kind("Group", GROUP),
    kind("User", USER),
    kind("Location", LOCATION),
    Kind { name: "Template", api_versions: TEMPLATE_VERSIONS, fields: TEMPLATE },
];

/// A kind by its name, case-sensitively.
pub fn by_name(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.name == name)
}

/// The kind someone probably meant: the same letters in other case, or one letter off.
pub fn guess(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    KINDS.iter().map(|k| k.name).find(|k| distance_at_most_one(&lower, &k.to_lowercase()))
}

fn distance_at_most_one(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let suffix = a[prefix..].iter().rev().zip(b[prefix..].iter().rev()).take_while(|(x, y)| x == y).count();
    a.len() - prefix - suffix <= 1 && b.len() - prefix - suffix <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_near() {
        for (text, want) in [
            ("component", Some("Component")),
            ("Api", Some("API")),
            ("Componnt", Some("Component")),
            ("Users", Some("User")),
            ("Foo", None),
        ] {
            assert_eq!(guess(text), want, "{text}");
        }
    }
}
