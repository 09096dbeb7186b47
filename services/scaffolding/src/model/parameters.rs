//! Parameters of a run: defaults, and every violation of the pages' JSON Schemas (SCF-4).
//!
//! Owns which names exist and what they may be; refuses unknown names, so that they never reach a template.
use std::collections::BTreeSet;

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value as Json, json};

use super::template::Page;

/// Keywords that hold one schema.
const SINGLE: [&str; 4] = ["if", "then", "else", "items"];
/// Keywords that hold a list of schemas.
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// Keywords that hold schemas by name.
const NAMED: [&str; 3] = ["dependencies", "dependentSchemas", "patternProperties"];
/// Longest sentence of one violation, in characters.
const RULE_CHARS_MAX: usize = 300;

/// Parameters that hold, or what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The parameters with the defaults applied.
    pub values: Map<String, Json>,
    /// Field, such as `parameters.owner`, and the rule it breaks, with its JSON pointer.
    pub violations: Vec<(String, String)>,
}

/// Applies the defaults of all pages and checks the result.
#[must_use]
pub fn check(pages: &[Page], given: &Map<String, Json>) -> Checked {
    let mut values = given.clone();
    for page in pages {
        apply_defaults(&page.schema, &mut values);
    }
    let mut violations = Vec::new();
    let open = pages.iter().any(|p| matches!(p.schema.get("additionalProperties"), Some(a) if *a != json!(false)));
    let known = names(pages);
    if !open {
        for name in values.keys().filter(|n| !known.contains(*n)) {
            violations.push(violation(&[name.as_str()], "is not a parameter of this template"));
        }
    }
    let instance = Json::Object(values.clone());
    for page in pages {
        match compile(&page.schema) {
            Ok(validator) => violations.extend(validator.iter_errors(&instance).flat_map(|e| told(&e))),
            Err(message) => violations.push(("parameters".to_owned(), message)),
        }
    }
    let mut seen = BTreeSet::new();
    violations.retain(|v| seen.insert(v.clone()));
    Checked { values, violations }
}

/// Every name that the pages declare.
#[must_use]
pub fn names(pages: &[Page]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for page in pages {
        declared(&page.schema, &mut found);
    }
    found
}

/// The values with a null for each declared name that has none (SCF-13).
#[must_use]
pub fn complete(pages: &[Page], values: &Map<String, Json>) -> Map<String, Json> {
    let mut all = values.clone();
    for name in names(pages) {
        all.entry(name).or_insert(Json::Null);
    }
    all
}

/// The name of the parameter that says who will own the result.
#[must_use]
pub fn owner_name(pages: &[Page]) -> Option<String> {
    if names(pages).contains("owner") {
        return Some("owner".to_owned());
    }
    let picks = |(name, schema): (&String, &Json)| {
        (schema.get("ui:field").and_then(Json::as_str) == Some("OwnerPicker")).then(|| name.clone())
    };
    pages.iter().filter_map(|p| p.schema.get("properties")?.as_object()).find_map(|all| all.iter().find_map(picks))
}

/// A schema ready to check with: no remote references, nested objects closed, the page itself open for other pages' fields.
///
/// # Errors
/// Why it is no schema.
pub fn compile(schema: &Map<String, Json>) -> Result<jsonschema::Validator, String> {
    let mut page = schema.clone();
    page.remove("additionalProperties");
    page.insert("type".to_owned(), json!("object"));
    if let Some(Json::Object(properties)) = page.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft7).offline();
    let options = options.with_pattern_options(jsonschema::PatternOptions::regex());
    options.build(&Json::Object(page)).map_err(|e| format!("the schema is not valid: {}", cut(&e.to_string())))
}

/// Closes an object that lists its properties and says nothing else about others.
fn close(schema: &mut Json) {
    let Json::Object(map) = schema else { return };
    let composed = LISTS.iter().chain(&["if", "dependencies", "$ref", "patternProperties", "additionalProperties"]);
    let closed = !composed.into_iter().any(|k| map.contains_key(*k));
    if closed && map.contains_key("properties") {
        map.insert("additionalProperties".to_owned(), json!(false));
    }
    if let Some(Json::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(close);
    }
    if let Some(items) = map.get_mut("items") {
        close(items);
    }
}

fn declared(schema: &Map<String, Json>, found: &mut BTreeSet<String>) {
    if let Some(Json::Object(properties)) = schema.get("properties") {
        found.extend(properties.keys().cloned());
    }
    for inner in conditional(schema) {
        declared(inner, found);
    }
}

/// Schemas that speak of the same object.
fn conditional(schema: &Map<String, Json>) -> Vec<&Map<String, Json>> {
    let single = ["if", "then", "else"].iter().filter_map(|k| schema.get(*k)?.as_object());
    let lists = LISTS.iter().filter_map(|k| schema.get(*k)?.as_array()).flatten().filter_map(Json::as_object);
    let named = ["dependencies", "dependentSchemas"].iter().filter_map(|k| schema.get(*k)?.as_object());
    single.chain(lists).chain(named.flat_map(Map::values).filter_map(Json::as_object)).collect()
}

fn apply_defaults(schema: &Map<String, Json>, values: &mut Map<String, Json>) {
    if let Some(Json::Object(properties)) = schema.get("properties") {
        for (name, property) in properties {
            let Json::Object(property) = property else { continue };
            if let (None, Some(default)) = (values.get(name), property.get("default")) {
                values.insert(name.clone(), default.clone());
            }
            if let Some(Json::Object(inner)) = values.get_mut(name) {
                apply_defaults(property, inner);
            }
        }
    }
    for branch in chosen(schema, values) {
        apply_defaults(&branch, values);
    }
}

/// The branches of a schema that hold for the values.
fn chosen(schema: &Map<String, Json>, values: &Map<String, Json>) -> Vec<Map<String, Json>> {
    let instance = Json::Object(values.clone());
    let holds = |s: &Json| compile_any(s).is_some_and(|v| v.is_valid(&instance));
    let mut branches = Vec::new();
    branches.extend(
        schema.get("allOf").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_object).cloned(),
    );
    if let Some(condition) = schema.get("if") {
        let branch = schema.get(if holds(condition) { "then" } else { "else" });
        branches.extend(branch.and_then(Json::as_object).cloned());
    }
    for key in ["oneOf", "anyOf"] {
        let list = schema.get(key).and_then(Json::as_array).into_iter().flatten();
        branches.extend(list.filter(|s| decides(s, values)).filter_map(Json::as_object).take(1).cloned());
    }
    for key in ["dependencies", "dependentSchemas"] {
        let all = schema.get(key).and_then(Json::as_object).into_iter().flatten();
        branches.extend(all.filter(|(name, _)| values.contains_key(*name)).filter_map(|(_, s)| s.as_object()).cloned());
    }
    branches
}

/// Whether the values agree with every `const` and `enum` a branch puts on them, and at least one is there.
fn decides(branch: &Json, values: &Map<String, Json>) -> bool {
    let Some(properties) = branch.get("properties").and_then(Json::as_object) else { return false };
    let mut any = false;
    for (name, property) in properties {
        let allowed = match (property.get("const"), property.get("enum").and_then(Json::as_array)) {
            (Some(value), _) => vec![value.clone()],
            (None, Some(list)) => list.clone(),
            _ => continue,
        };
        let Some(value) = values.get(name) else { continue };
        if !allowed.contains(value) {
            return false;
        }
        any = true;
    }
    any
}

fn compile_any(schema: &Json) -> Option<jsonschema::Validator> {
    jsonschema::options().with_draft(jsonschema::Draft::Draft7).offline().build(schema).ok()
}

fn told(error: &jsonschema::ValidationError<'_>) -> Vec<(String, String)> {
    let pointer = error.instance_path().as_str().to_owned();
    let path: Vec<&str> = pointer.split('/').skip(1).collect();
    let below = |name: &str| path.iter().copied().chain([name]).map(str::to_owned).collect::<Vec<_>>();
    let at = |name: &str, rule: &str| {
        let path = below(name);
        violation(&path.iter().map(String::as_str).collect::<Vec<_>>(), rule)
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => vec![at(property.as_str().unwrap_or_default(), "is required")],
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|name| at(name, "is not a parameter of this template")).collect()
        }
        ValidationErrorKind::Enum { options } => {
            vec![violation(&path, &cut(&format!("{} is none of {}", error.instance(), choices(options))))]
        }
        _ => vec![violation(&path, &cut(&error.to_string()))],
    }
}

/// Every value a parameter may take, as written in JSON.
fn choices(options: &Json) -> String {
    let values = options.as_array().into_iter().flatten().map(Json::to_string);
    values.collect::<Vec<_>>().join(", ")
}

fn violation(path: &[&str], rule: &str) -> (String, String) {
    let field = std::iter::once("parameters").chain(path.iter().copied()).collect::<Vec<_>>().join(".");
    let pointer: String = path.iter().map(|p| format!("/{p}")).collect();
    (field, if pointer.is_empty() { rule.to_owned() } else { format!("{pointer}: {rule}") })
}

fn cut(text: &str) -> String {
    text.chars().take(RULE_CHARS_MAX).collect()
}

/// Schemas inside a schema, with their pointers; for the lint.
#[must_use]
pub fn walk(schema: &Map<String, Json>, pointer: &str) -> Vec<(String, Map<String, Json>)> {
    let mut found = vec![(pointer.to_owned(), schema.clone())];
    let mut inner = |at: String, s: &Json| {
        if let Json::Object(s) = s {
            found.extend(walk(s, &at));
        }
    };
    for key in SINGLE {
        schema.get(key).into_iter().for_each(|s| inner(format!("{pointer}/{key}"), s));
    }
    for key in LISTS {
        let list = schema.get(key).and_then(Json::as_array).into_iter().flatten();
        list.enumerate().for_each(|(i, s)| inner(format!("{pointer}/{key}/{i}"), s));
    }
    for key in NAMED.iter().chain(&["properties"]) {
        let all = schema.get(*key).and_then(Json::as_object).into_iter().flatten();
        all.for_each(|(name, s)| inner(format!("{pointer}/{key}/{name}"), s));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wrong_choice_names_every_right_one() {
        let schema = json!({"properties": {"size": {"enum": ["a", "b", "c", "d", "e"]}}});
        let validator = compile_any(&schema).unwrap();
        let told: Vec<_> = validator.iter_errors(&json!({"size": "x"})).flat_map(|e| told(&e)).collect();
        let rule = r#"/size: "x" is none of "a", "b", "c", "d", "e""#.to_owned();
        assert_eq!(told, [("parameters.size".to_owned(), rule)]);
    }
}
