//! Rules of the platform team in Rego, evaluated in process.
//!
//! Owns the bounds: a quarter of a second a rule, a hundred violations, no builtin that reaches beyond the input. Refuses to fail open: a
//! rule that errs is a violation.
use std::{num::NonZeroU32, time::Duration};

use regorus::{Engine, Value, utils::limits::ExecutionTimerConfig};
use serde_json::json;

use crate::model::{
    manifest::{self, Doc},
    policy::{Rules, Violation, catalog::RegoRule},
};

/// Longest evaluation of one rule.
const LIMIT: Duration = Duration::from_millis(250);
/// Most violations of one rule that are told.
const VIOLATIONS_MAX: usize = 100;
/// Longest message of a violation.
const MESSAGE_CHARS_MAX: usize = 500;
/// Builtins that are not let in: they yield another answer each time, print, or take memory without end.
const REFUSED: [&str; 8] = ["http.", "opa.", "rand.", "time.", "uuid.", "numbers.range", "trace(", "print("];

/// A rule that is ready.
struct Ready {
    engine: Engine,
    query: String,
}

fn open(rule: &RegoRule) -> Result<Ready, String> {
    if let Some(word) = REFUSED.iter().find(|word| rule.source.contains(**word)) {
        return Err(format!("{word} is not available to rules"));
    }
    let mut engine = Engine::new();
    let check_interval = NonZeroU32::MIN.saturating_add(99);
    engine.set_execution_timer_config(ExecutionTimerConfig { limit: LIMIT, check_interval });
    engine.set_gather_prints(true);
    let package = engine.add_policy(format!("{}.rego", rule.id), rule.source.clone()).map_err(|e| line(&e))?;
    Ok(Ready { engine, query: format!("{package}.violation") })
}

fn line(error: &impl std::fmt::Display) -> String {
    let text: Vec<String> =
        error.to_string().lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    cut(&text.join(" "))
}

fn cut(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// The fault of a rule that does not compile, or errs on these documents; nothing if it is sound.
pub fn fault(rule: &RegoRule, docs: &[Doc], rules: &Rules<'_>) -> Option<String> {
    evaluate(rule, &input(docs, rules), docs).err()
}

/// Violations of every rule of the policy, in their order.
pub fn check(docs: &[Doc], rules: &Rules<'_>) -> Vec<Violation> {
    if rules.policy.rego.is_empty() {
        return Vec::new();
    }
    let input = input(docs, rules);
    let mut found = Vec::new();
    for rule in &rules.policy.rego {
        match evaluate(rule, &input, docs) {
            Ok(violations) => found.extend(violations),
            Err(fault) => found.push(Violation {
                id: rule.id.clone(),
                document: "all".to_owned(),
                path: "/".to_owned(),
                rule: format!("the rule cannot be evaluated, so nothing passes it: {fault}"),
            }),
        }
    }
    found
}

fn input(docs: &[Doc], rules: &Rules<'_>) -> Value {
    let (tier, namespace, host, fork) = (rules.tier.word(), rules.namespace, rules.host, rules.fork);
    Value::from(json!({ "documents": docs, "tier": tier, "namespace": namespace, "host": host, "fork": fork }))
}

fn evaluate(rule: &RegoRule, input: &Value, docs: &[Doc]) -> Result<Vec<Violation>, String> {
    let mut ready = open(rule)?;
    ready.engine.set_input(input.clone());
    let value = ready.engine.eval_rule(ready.query).map_err(|e| line(&e))?;
    let Value::Set(entries) = value else { return Err("`violation` must be a partial set of objects".to_owned()) };
    let violation = |entry: &Value| {
        let text = |key: &str| entry[key].as_string().map(|text| cut(text)).ok();
        let at = entry["document"].as_u64().ok().and_then(|at| usize::try_from(at).ok());
        let named = at.and_then(|at| docs.get(at).map(|doc| format!("{} (document {})", manifest::title(doc), at + 1)));
        Violation {
            id: rule.id.clone(),
            document: named.unwrap_or_else(|| "all".to_owned()),
            path: text("path").unwrap_or_else(|| "/".to_owned()),
            rule: text("message").unwrap_or_else(|| rule.sentence.clone()),
        }
    };
    Ok(entries.iter().take(VIOLATIONS_MAX).map(violation).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{policy::catalog::Policy, tier::Tier};

    fn rule(source: &str) -> RegoRule {
        let (id, sentence) = ("replicas".to_owned(), "At most three replicas.".to_owned());
        RegoRule { id, sentence, remedy: String::new(), source: source.to_owned() }
    }

    fn run(source: &str, docs: &[Doc]) -> Vec<Violation> {
        let policy = Policy { rego: vec![rule(source)], ..Policy::default() };
        let (namespace, host, tier) = ("ns", "h", Tier::Staging);
        check(docs, &Rules { namespace, tier, host, fork: false, registries: &[], policy: &policy })
    }

    const REPLICAS: &str = "package slipway.replicas\nviolation contains {\"document\": at, \"path\": \"/spec/replicas\", \"message\": msg} if {\n\
        some at, doc in input.documents\n doc.kind == \"Deployment\"\n doc.spec.replicas > 3\n input.tier == \"staging\"\n\
        msg := sprintf(\"%d replicas; at most 3\", [doc.spec.replicas])\n}\n";

    #[test]
    fn a_rule_tells_document_path_and_message() {
        let docs = [
            json!({"kind": "Service", "metadata": {"name": "a"}}),
            json!({"kind": "Deployment", "metadata": {"name": "b"}, "spec": {"replicas": 5}}),
        ];
        let found = run(REPLICAS, &docs);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "Deployment/b (document 2) /spec/replicas: 5 replicas; at most 3");
        assert_eq!(found[0].id, "replicas");
        assert_eq!(run(REPLICAS, &docs[..1]), []);
    }

    #[test]
    fn what_cannot_be_evaluated_is_a_violation() {
        let endless = "package a\nviolation contains x if {\n some i in input.documents\n some j in input.documents\n some k in input.documents\n\
            some l in input.documents\n some m in input.documents\n i.n + j.n + k.n + l.n + m.n == -1\n x := {\"path\": \"/\"}\n}\n";
        let many: Vec<Doc> = (0..200).map(|n| json!({ "n": n })).collect();
        let started = std::time::Instant::now();
        for (source, docs) in [
            ("package a\nviolation := 7", &many[..1]),
            ("package a\nallow := true", &many[..1]),
            ("not rego", &many[..1]),
            ("package a\nviolation contains x if { x := http.send({}) }", &many[..1]),
            ("package a\nviolation contains x if { x := opa.runtime() }", &many[..1]),
            ("package a\nviolation contains x if { x := numbers.range(1, 1000000000) }", &many[..1]),
            ("package a\nviolation contains x if { x := no.such(1) }", &many[..1]),
            (endless, &many[..]),
        ] {
            let found = run(source, docs);
            assert_eq!(found.len(), 1, "{source}: {found:?}");
            assert!(found[0].rule.contains("cannot be evaluated"), "{source}: {found:?}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn the_output_is_bounded() {
        let source = "package a\nviolation contains {\"document\": at, \"message\": doc.text} if { some at, doc in input.documents }";
        let many: Vec<Doc> = (0..150).map(|_| json!({ "text": "x".repeat(2 * MESSAGE_CHARS_MAX) })).collect();
        let found = run(source, &many);
        assert_eq!(found.len(), VIOLATIONS_MAX);
        assert_eq!(found[0].rule.len(), MESSAGE_CHARS_MAX);
    }
}
