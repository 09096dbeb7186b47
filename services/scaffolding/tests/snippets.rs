//! Snippets of the template language with their results (SCF-11 to SCF-16, SCF-20, SCF-21, SCF-31): the first table holds what
//! Nunjucks 3.2 gives too, the second where SCF-20 decides otherwise, the third the promised errors with their places.
use serde_json::{Value as Json, json};
use slipway_scaffolding::model::templating::{Code, Engine, Stop, Syntax};

fn engine() -> Engine {
    let mut engine = Engine::new(false);
    let values = json!({
        "name": "payments", "title": "Pay \"now\"", "empty": "", "n": 3, "f": 2.5, "whole": 4.0, "yes": true, "no": false, "unset": null,
        "l": [1, "b"], "words": ["b", "A", "c"], "none": [], "obj": {"b": 1, "a": {"deep": "x"}}, "emptyObj": {},
        "people": [{"name": "ann", "team": "x", "age": 3}, {"name": "bob", "team": "y", "age": 4}, {"name": "eve", "team": "x", "age": 5}],
        "repoUrl": "github.com?owner=acme&repo=pay", "text": "one two  three", "html": "<b>a</b> & 'b'", "multi": "a\nb\nc",
    });
    engine.declare("values", values.as_object().expect("an object"));
    engine
}

const EQUAL: &[(&str, &str)] = &[
    // text and outputs
    ("plain\n", "plain\n"),
    ("${{ values.name }}", "payments"),
    ("a${{ values.name }}b\n", "apaymentsb\n"),
    ("{{ values.name }}", "{{ values.name }}"),
    ("${{ values.l }} ", "1,b "),
    ("${{ values.unset }}|", "|"),
    ("${{ values.yes }}${{ values.no }}", "truefalse"),
    ("${{ values.whole }}", "4"),
    ("${{ values.f }}", "2.5"),
    ("${{ values.html }}", "<b>a</b> & 'b'"),
    ("a{# gone #}b", "ab"),
    ("a  {{-}}", "a  {{-}}"),
    ("a  ${{- values.n -}}  b", "a3b"),
    ("a \n {%- if true -%} x {%- endif -%} \n b", "axb"),
    ("{% raw %}${{ github.sha }}{% endraw %}", "${{ github.sha }}"),
    ("{% verbatim %}{% if %}{% endverbatim %}", "{% if %}"),
    ("${{ 'x' if false else \"q\\\"q\" }}", "q\"q"),
    ("${{ \"a\\nb\" }}", "a\nb"),
    // arithmetic
    ("${{ 1 + 2 }}", "3"),
    ("${{ 7 / 2 }}", "3.5"),
    ("${{ 6 / 2 }}", "3"),
    ("${{ 7 // 2 }}", "3"),
    ("${{ 7 % 3 }}", "1"),
    ("${{ 2 ** 10 }}", "1024"),
    ("${{ 2 + 3 * 4 }}", "14"),
    ("${{ (2 + 3) * 4 }}", "20"),
    ("${{ 10 - 2 - 3 }}", "5"),
    ("${{ -values.n }}", "-3"),
    ("${{ 0.1 + 0.2 }}", "0.30000000000000004"),
    ("${{ 'a' + 1 }}", "a1"),
    ("${{ 1 + 'a' }}", "1a"),
    ("${{ 1 + 2 + 'a' }}", "3a"),
    ("${{ 'a' + 1 + 2 }}", "a12"),
    ("${{ 'a' ~ 1 ~ true }}", "a1true"),
    ("${{ '3' * 2 }}", "6"),
    // logic
    ("${{ values.empty or 'x' }}", "x"),
    ("${{ values.name and values.n }}", "3"),
    ("${{ not values.empty }}", "true"),
    ("${{ 1 == 1.0 }}", "true"),
    ("${{ 1 === 1 }}${{ 1 !== 2 }}", "truetrue"),
    ("${{ 'a' < 'b' }}", "true"),
    ("${{ 10 > 9 }}${{ 3 >= 3 }}${{ 2 <= 1 }}", "truetruefalse"),
    ("${{ 'b' in values.l }}", "true"),
    ("${{ 'z' not in values.l }}", "true"),
    ("${{ 'ay' in values.name }}", "true"),
    ("${{ 'a' in values.obj }}", "true"),
    ("${{ 'x' if values.yes }}", "x"),
    ("${{ 'x' if values.no }}|", "|"),
    ("${{ 'x' if values.no else 'y' }}", "y"),
    ("{% if values.none %}t{% else %}f{% endif %}", "t"),
    ("{% if values.emptyObj %}t{% else %}f{% endif %}", "t"),
    ("{% if values.empty %}t{% else %}f{% endif %}", "f"),
    ("{% if values.unset %}t{% elif values.n == 3 %}three{% endif %}", "three"),
    ("{% if false %}a{% elseif true %}b{% endif %}", "b"),
    ("{% if 0 %}t{% else %}f{% endif %}", "f"),
    ("{% if '0' %}t{% endif %}", "t"),
    // members
    ("${{ values.obj.a.deep }}", "x"),
    ("${{ values['name'] }}", "payments"),
    ("${{ values.l[0] }}${{ values.l[1] }}", "1b"),
    ("${{ values.l[9] }}|", "|"),
    ("${{ values.unset.key }}|", "|"),
    ("${{ values.l.length }}${{ values.name.length }}", "28"),
    ("${{ {a: 1, 'b': 2}.b }}", "2"),
    ("${{ [1, 2][1] }}", "2"),
    // loops
    ("{% for x in values.l %}${{ x }};{% endfor %}", "1;b;"),
    ("{% for k, v in values.obj %}${{ k }}{% endfor %}", "ba"),
    ("{% for a, b in [[1, 2], [3, 4]] %}${{ a }}-${{ b }} {% endfor %}", "1-2 3-4 "),
    ("{% for x in values.none %}a{% else %}none{% endfor %}", "none"),
    ("{% for x in values.unset %}a{% else %}none{% endfor %}", "none"),
    (
        "{% for x in ['a', 'b', 'c'] %}${{ loop.index }}${{ loop.index0 }}${{ loop.first }}${{ loop.last }} {% endfor %}",
        "10truefalse 21falsefalse 32falsetrue ",
    ),
    ("{% for x in [1, 2] %}${{ loop.revindex }}${{ loop.revindex0 }}${{ loop.length }}{% endfor %}", "212102"),
    ("{% for i in range(3) %}${{ i }}{% endfor %}", "012"),
    ("{% for i in range(1, 7, 2) %}${{ i }}{% endfor %}", "135"),
    ("{% for i in range(3, 0, -1) %}${{ i }}{% endfor %}", "321"),
    ("{% for c in 'abc' %}${{ c }}.{% endfor %}", "a.b.c."),
    // set, macros, blocks
    ("{% set x = 1 %}${{ x }}", "1"),
    ("{% set x, y = 1 %}${{ x }}${{ y }}", "11"),
    ("{% set x = 0 %}{% for i in [1, 2] %}{% set x = x + i %}{% endfor %}${{ x }}", "3"),
    ("{% if true %}{% set x = 5 %}{% endif %}${{ x }}", "5"),
    ("{% set x %}a${{ values.n }}{% endset %}${{ x }}!", "a3!"),
    (
        "{% macro m(a, b='d') %}${{ a }}-${{ b }}{% endmacro %}${{ m(1) }} ${{ m(1, 2) }} ${{ m(b=3, a=4) }}",
        "1-d 1-2 4-3",
    ),
    ("{% macro w() %}<${{ caller() }}>{% endmacro %}{% call w() %}in{% endcall %}", "<in>"),
    ("{% filter upper %}a${{ values.name }}{% endfilter %}", "APAYMENTS"),
    ("{% set c = cycler('a', 'b') %}${{ c.next() }}${{ c.next() }}${{ c.next() }}${{ c.current }}", "abaa"),
    ("{% set j = joiner('-') %}${{ j() }}a${{ j() }}b", "a-b"),
    // methods
    ("${{ values.name.toUpperCase() }}${{ 'AB'.toLowerCase() }}", "PAYMENTSab"),
    ("${{ values.name.slice(0, 3) }} ${{ values.name.slice(-2) }}", "pay ts"),
    ("${{ values.name.substring(3, 0) }} ${{ values.name.substr(2, 3) }}", "pay yme"),
    ("${{ 'a-b-c'.split('-') }}", "a,b,c"),
    ("${{ 'a-b-c'.split('-')[1] }}", "b"),
    ("${{ 'a-b-c'.replace('-', '_') }} ${{ 'a-b-c'.replaceAll('-', '_') }}", "a_b-c a_b_c"),
    ("${{ values.name.includes('pay') }}${{ values.l.includes('b') }}", "truetrue"),
    ("${{ values.name.startsWith('pay') }}${{ values.name.endsWith('x') }}", "truefalse"),
    ("${{ values.name.indexOf('m') }} ${{ values.name.indexOf('z') }}", "3 -1"),
    ("${{ ' a '.trim() }}|${{ 'ab'.repeat(2) }}|${{ '7'.padStart(3, '0') }}", "a|abab|007"),
    ("${{ values.l.join('+') }} ${{ values.l.concat([3]).length }}", "1+b 3"),
    ("${{ (2.5).toFixed(2) }}", "2.50"),
    ("${{ '🚀a'.length }}", "3"),
    // filters
    ("${{ -3 | abs }}", "3"),
    ("${{ [1,2,3] | batch(2) | dump }}", "[[1,2],[3]]"),
    ("${{ [1,2,3] | batch(2, 0) | dump }}", "[[1,2],[3,0]]"),
    ("${{ 'hELLO wORLD' | capitalize }}", "Hello world"),
    ("[${{ 'ab' | center(6) }}]", "[  ab  ]"),
    (
        "${{ values.unset | default('d') }} ${{ values.empty | default('d') }}| ${{ values.empty | default('d', true) }}",
        "d | d",
    ),
    ("${{ values.obj.missing | default('d') }}", "d"),
    ("${{ {b: 1, A: 2} | dictsort | dump }}", "[[\"A\",2],[\"b\",1]]"),
    ("${{ {b: 1, a: 2} | dictsort(false, 'value') | dump }}", "[[\"b\",1],[\"a\",2]]"),
    ("${{ values.obj | dump }}", "{\"b\":1,\"a\":{\"deep\":\"x\"}}"),
    ("${{ values.title | dump }}", "\"Pay \\\"now\\\"\""),
    ("${{ [1] | dump(2) }}", "[\n  1\n]"),
    ("${{ values.html | escape }}", "&lt;b&gt;a&lt;/b&gt; &amp; &#39;b&#39;"),
    ("${{ values.l | first }}${{ values.l | last }}", "1b"),
    ("${{ '3.7x' | float }} ${{ '12px' | int }} ${{ '3.9' | int }}", "3.7 12 3"),
    ("${{ 'x' | int(7) }} ${{ 'ff' | int(0, 16) }}", "7 255"),
    ("{% for k, v in values.people | groupby('team') %}${{ k }}:${{ v.length }} {% endfor %}", "x:2 y:1 "),
    ("${{ values.multi | indent(2) }}", "a\n  b\n  c"),
    ("${{ values.multi | indent(2, true) }}", "  a\n  b\n  c"),
    ("${{ values.l | join(', ') }}", "1, b"),
    ("${{ values.people | join('/', 'name') }}", "ann/bob/eve"),
    ("${{ values.l | length }}${{ values.obj | length }}${{ values.unset | length }}", "220"),
    ("${{ 'abc' | list | dump }}", "[\"a\",\"b\",\"c\"]"),
    ("${{ 'ABC' | lower }}${{ 'abc' | upper }}", "abcABC"),
    ("${{ values.multi | nl2br }}", "a<br />\nb<br />\nc"),
    ("${{ [0, 1, '', 'a'] | select | dump }} ${{ [1, 2, 3] | select('odd') | dump }}", "[1,\"a\"] [1,3]"),
    ("${{ [1, 2, 3] | reject('odd') | dump }}", "[2]"),
    ("${{ [{a: true, n: 1}, {a: false, n: 2}] | selectattr('a') | join(',', 'n') }}", "1"),
    ("${{ [{a: true, n: 1}, {a: false, n: 2}] | rejectattr('a') | join(',', 'n') }}", "2"),
    ("${{ 'aaa' | replace('a', 'b') }} ${{ 'aaa' | replace('a', 'b', 2) }}", "bbb bba"),
    ("${{ 'abc' | reverse }} ${{ [1, 2] | reverse }}", "cba 2,1"),
    (
        "${{ 4.5 | round }} ${{ 4.56 | round(1) }} ${{ 4.1 | round(0, 'ceil') }} ${{ 4.9 | round(0, 'floor') }}",
        "5 4.6 5 4",
    ),
    ("${{ [1,2,3,4,5] | slice(3) | dump }}", "[[1,2],[3,4],[5]]"),
    (
        "${{ values.words | sort }} ${{ values.words | sort(true) }} ${{ values.words | sort(false, true) }}",
        "A,b,c c,b,A A,b,c",
    ),
    ("${{ values.people | sort(true, false, 'age') | join(',', 'name') }}", "eve,bob,ann"),
    ("${{ 3 | string }}${{ values.name | safe }}", "3payments"),
    ("${{ '<p>a  <b>b</b></p>' | striptags }}", "a b"),
    ("${{ [1, 2, 3] | sum }} ${{ values.people | sum('age') }} ${{ values.people | sum('age', 10) }}", "6 12 22"),
    ("${{ 'hello wORLD' | title }}", "Hello World"),
    ("${{ '  a ' | trim }}|", "a|"),
    (
        "${{ 'foo bar baz' | truncate(8) }} ${{ 'foo bar baz' | truncate(8, true) }} ${{ 'foo bar baz' | truncate(8, true, '') }}",
        "foo bar... foo bar ... foo bar ",
    ),
    ("${{ 'a b&c' | urlencode }} ${{ {a: 'x y', b: 1} | urlencode }}", "a%20b%26c a=x%20y&b=1"),
    ("${{ 'see http://x.org/a now' | urlize }}", "see <a href=\"http://x.org/a\">http://x.org/a</a> now"),
    ("${{ values.text | wordcount }}", "3"),
    ("${{ values.repoUrl | parseRepoUrl | dump }}", "{\"host\":\"github.com\",\"owner\":\"acme\",\"repo\":\"pay\"}"),
    ("${{ values.repoUrl | projectSlug }}", "acme/pay"),
    ("${{ 'group:default/pay' | parseEntityRef | pick('name') }}", "pay"),
    (
        "${{ 'pay' | parseEntityRef({defaultKind: 'group'}) | dump }}",
        "{\"kind\":\"group\",\"namespace\":\"default\",\"name\":\"pay\"}",
    ),
    ("${{ values.obj | pick('a.deep') }}", "x"),
    // tests
    ("${{ values.n is odd }}${{ values.n is even }}${{ values.n is divisibleby(3) }}", "truefalsetrue"),
    ("${{ values.unset is defined }}${{ values.name is defined }}${{ values.unset is none }}", "falsetruetrue"),
    ("${{ values.obj.missing is defined }}", "false"),
    (
        "${{ values.n is number }}${{ values.name is string }}${{ values.obj is mapping }}${{ values.l is iterable }}",
        "truetruetruetrue",
    ),
    ("${{ values.n is gt(2) }}${{ values.n is not eq(3) }}", "truefalse"),
    ("${{ 'a' is lower }}${{ 'A' is upper }}${{ '' is falsy }}${{ 1 is truthy }}", "truetruetruetrue"),
];

const DECIDED: &[(&str, &str)] = &[
    ("${{ '1' == 1 }}", "false"),
    ("${{ 'x' | int }}", "0"),
    ("${{ 'x' | float }}", "0"),
    ("${{ values.name | matches('^pay') }}${{ values.name | matches('^x') }}", "truefalse"),
    ("${{ 'a' ~ values.unset ~ 'b' }}", "ab"),
    ("${{ [1, 2] == [1, 2] }}", "true"),
];

const TYPED: &[(&str, &str)] = &[
    ("${{ values.l }}", r#"[1,"b"]"#),
    (" ${{ values.l }}", r#"" 1,b""#),
    ("${{ values.n }}${{ values.n }}", r#""33""#),
    ("${{ \"3\" }}", r#""3""#),
    ("${{ 3 }}", "3"),
    ("${{ values.yes }}", "true"),
    ("${{ values.unset }}", "null"),
    ("${{ values.obj }}", r#"{"b":1,"a":{"deep":"x"}}"#),
    ("${{ values.n + 1 }}", "4"),
    ("${{ '${{ values.n }}' }}", r#""${{ values.n }}""#),
    ("plain", r#""plain""#),
    ("${{ values.n }} ", r#""3 ""#),
];

/// Source, code, line, column, and a word of the message.
const ERRORS: &[(&str, Code, usize, usize, &str)] = &[
    ("a\n ${{ nope }}", Code::UndeclaredName, 2, 6, "nope"),
    ("${{ values.nope }}", Code::UndeclaredName, 1, 12, "values.nope"),
    ("${{ values.nope | default('x') }}", Code::UndeclaredName, 1, 12, "values.nope"),
    ("${{ values.obj.nope }}", Code::UndeclaredName, 1, 16, "nope"),
    ("${{ values.obj }} ", Code::ObjectInText, 1, 12, "object"),
    ("${{ [values.obj] }} ", Code::ObjectInText, 1, 5, "object"),
    ("${{ values.name | nope }}", Code::UnknownFunction, 1, 19, "nope"),
    ("${{ [1] | random }}", Code::UnknownFunction, 1, 11, "same output"),
    ("${{ now() }}", Code::UnknownFunction, 1, 5, "now"),
    ("${{ values.name.nope() }}", Code::UnknownFunction, 1, 17, "nope"),
    ("${{ values.l.push(1) }}", Code::UnknownFunction, 1, 14, "concat"),
    ("${{ 1 is nope }}", Code::UnknownFunction, 1, 5, "nope"),
    ("${{ a && b }}", Code::Syntax, 1, 7, "write `and`"),
    ("${{ a || b }}", Code::Syntax, 1, 7, "write `or`"),
    ("${{ a ? b : c }}", Code::Syntax, 1, 7, "if condition else"),
    ("${{ a ?? b }}", Code::Syntax, 1, 7, "default"),
    ("${{ !a }}", Code::Syntax, 1, 5, "not"),
    ("${{ r/x/ }}", Code::Syntax, 1, 5, "matches"),
    ("{% include 'x' %}", Code::Syntax, 1, 1, "include"),
    ("{% extends 'x' %}", Code::Syntax, 1, 1, "extends"),
    ("{% import 'x' as y %}", Code::Syntax, 1, 1, "import"),
    ("{% asyncEach x in y %}", Code::Syntax, 1, 1, "for"),
    ("{% switch x %}", Code::Syntax, 1, 1, "switch"),
    ("{% if true %}", Code::Syntax, 1, 14, "endif"),
    ("${{ values.name ", Code::Syntax, 1, 1, "}}"),
    ("{# open", Code::Syntax, 1, 1, "#}"),
    ("{% raw %}x", Code::Syntax, 1, 1, "endraw"),
    ("${{ 1 + }}", Code::Syntax, 1, 8, "expression"),
    ("${{ values.unset + 1 }}", Code::InvalidOperation, 1, 5, "null"),
    ("${{ values.obj - 1 }}", Code::InvalidOperation, 1, 5, "object"),
    ("${{ values.obj < 1 }}", Code::InvalidOperation, 1, 5, "order"),
    ("{% for x in values.obj %}{% endfor %}", Code::InvalidOperation, 1, 20, "two names"),
    ("{% for x in 3 %}{% endfor %}", Code::InvalidOperation, 1, 13, "loop"),
    ("${{ 'x' | parseEntityRef }}", Code::InvalidOperation, 1, 11, "reference"),
    ("{% for i in range(9000000) %}{% endfor %}", Code::RenderLimit, 1, 13, "bytes"),
    (
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        Code::RenderLimit,
        1,
        39,
        "exceed",
    ),
    ("{% macro m() %}${{ m() }}{% endmacro %}${{ m() }}", Code::RenderLimit, 1, 1, "deep"),
    ("${{ 'ab'.repeat(90000000) }}", Code::RenderLimit, 1, 10, "bytes"),
    ("{% for i in range(3000) %}${{ 'x'.repeat(4000) }}{% endfor %}", Code::RenderLimit, 1, 35, "output"),
];

fn rendered(engine: &Engine, source: &str) -> String {
    match engine.render("t", source, Syntax::default()) {
        Ok(rendered) => rendered.text,
        Err(fault) => format!("ERROR {fault}"),
    }
}

#[test]
fn snippets_render_as_promised() {
    let engine = engine();
    let wrong: Vec<String> = EQUAL
        .iter()
        .chain(DECIDED)
        .filter_map(|(source, want)| {
            let got = rendered(&engine, source);
            (got != *want).then(|| format!("{source}\n  want {want:?}\n  got  {got:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(EQUAL.len() >= 100, "only {} snippets", EQUAL.len());
}

#[test]
fn a_lone_expression_keeps_its_type() {
    let engine = engine();
    for (source, want) in TYPED {
        let want: Json = serde_json::from_str(want).expect("JSON");
        assert_eq!(engine.value("t", source).expect(source), want, "{source}");
    }
    let object = json!({"a": "${{ values.n }}", "b": ["x${{ values.n }}", 1, null], "${{ values.name }}": true});
    assert_eq!(engine.json("t", &object).expect("renders"), json!({"a": 3, "b": ["x3", 1, null], "payments": true}));
}

#[test]
fn failures_name_code_and_place() {
    let engine = engine();
    let mut wrong = Vec::new();
    for (source, code, line, column, word) in ERRORS {
        match engine.render("t", source, Syntax::default()) {
            Ok(rendered) => wrong.push(format!("{source} rendered {:?}", rendered.text)),
            Err(fault) => {
                if (fault.code, fault.line, fault.column) != (*code, *line, *column) || !fault.message.contains(word) {
                    wrong.push(format!(
                        "{source}\n  want {code:?} {line}:{column} {word}\n  got  {:?} {fault}",
                        fault.code
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lenient_templates_warn_where_strict_ones_fail() {
    let mut engine = Engine::new(true);
    engine.declare("values", json!({"a": 1}).as_object().expect("an object"));
    let rendered = engine.render("t", "[${{ values.nope }}${{ other }}]", Syntax::default()).expect("lenient");
    assert_eq!(rendered.text, "[]");
    let places: Vec<_> = rendered.warnings.iter().map(|w| (w.line, w.column)).collect();
    assert_eq!(places, [(1, 13), (1, 24)]);
}

#[test]
fn whitespace_switches_act_only_when_asked() {
    let engine = engine();
    let source = "a\n  {% if true %}\nb\n  {% endif %}\nc\n";
    assert_eq!(rendered(&engine, source), "a\n  \nb\n  \nc\n");
    let syntax = Syntax { trim_blocks: true, lstrip_blocks: true, ..Syntax::default() };
    assert_eq!(engine.render("t", source, syntax).expect("renders").text, "a\nb\nc\n");
    let syntax = Syntax { cookiecutter: true, ..Syntax::default() };
    assert_eq!(engine.render("t", "{{ values.name }}", syntax).expect("renders").text, "payments");
}

#[test]
fn long_chains_and_deep_nesting_are_errors_not_crashes() {
    let engine = engine();
    for source in [
        format!("${{{{ values.name{} }}}}", " | upper".repeat(99)),
        format!("${{{{ values.name{} }}}}", " | upper".repeat(5000)),
        format!("${{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000)),
        format!("${{{{ {}1 }}}}", "not ".repeat(5000)),
        format!("${{{{ {}1 }}}}", "-".repeat(5000)),
        format!("{}{}", "{% if true %}".repeat(5000), "{% endif %}".repeat(5000)),
        format!("${{{{ {} }}}}", vec!["1"; 5000].join(" + ")),
        format!("${{{{ {}1{} }}}}", "[".repeat(5000), "]".repeat(5000)),
        "{%".to_owned(),
        "${{".to_owned(),
        "${{ { }}".to_owned(),
    ] {
        if let Err(fault) = engine.render("t", &source, Syntax::default()) {
            assert_eq!(fault.code, Code::Syntax, "{}", fault.message);
        }
    }
    assert!(rendered(&engine, &format!("${{{{ values.name{} }}}}", " | upper".repeat(60))).starts_with("PAY"));
}

#[test]
fn rendering_ends_when_nobody_waits_for_it() {
    let stop = Stop::default();
    stop.within(|| {
        let engine = Engine::new(false);
        assert!(engine.render("t", "${{ 1 }}", Syntax::default()).is_ok());
        drop(stop.on_drop());
        let fault = engine.render("t", "${{ 1 }}", Syntax::default()).expect_err("stopped");
        assert_eq!(fault.code, Code::RenderLimit);
    });
    assert!(Engine::new(false).render("t", "${{ 1 }}", Syntax::default()).is_ok(), "others go on");
}
