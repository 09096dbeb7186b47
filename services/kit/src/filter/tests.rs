//! The grammar, its limits, and that SQL and matching agree on every engine.
use super::*;
use crate::{
    args,
    db::{Migrations, scratch},
};

const FIELDS: [Field; 7] = [
    Field { name: "id", column: "id", kind: Kind::Int },
    Field { name: "name", column: "name", kind: Kind::Text },
    Field { name: "owner", column: "owner", kind: Kind::Text },
    Field { name: "tier", column: "tier", kind: Kind::Words(&[("CRITICAL", "c"), ("STANDARD", "s")]) },
    Field { name: "archived", column: "archived", kind: Kind::Bool },
    Field { name: "create_time", column: "created_us", kind: Kind::Time },
    Field { name: "tags", column: "tags", kind: Kind::List },
];

fn shown(text: &str) -> String {
    fn show(filter: &Filter) -> String {
        let join = |all: &[Filter], word: &str| format!("({})", all.iter().map(show).collect::<Vec<_>>().join(word));
        match filter {
            Filter::All => "all".to_owned(),
            Filter::And(all) => join(all, " & "),
            Filter::Or(all) => join(all, " | "),
            Filter::Not(one) => format!("!{}", show(one)),
            Filter::Compare(c) => format!("{}{}{}", c.path, c.op.text(), c.value),
        }
    }
    show(&parse(text).expect(text))
}

#[test]
fn the_grammar_is_that_of_aip_160() {
    for (text, want) in [
        ("", "all"),
        ("  ", "all"),
        ("a = 1", "a=1"),
        ("a=1 AND b!=2 OR c>3", "(a=1 & (b!=2 | c>3))"),
        ("a=1 b=2", "(a=1 & b=2)"),
        ("NOT a=1 AND -b=2", "(!a=1 & !b=2)"),
        ("(a=1 AND b=2) OR c=3", "((a=1 & b=2) | c=3)"),
        ("NOT (a=1 OR b=2)", "!(a=1 | b=2)"),
        ("owner = group:default/payments", "owner=group:default/payments"),
        ("t >= 2026-01-31T12:00:00Z", "t>=2026-01-31T12:00:00Z"),
        (r#"name = "a \"b\" AND c""#, r#"name=a "b" AND c"#),
        ("name='it is'", "name=it is"),
        ("labels.team:*", "labels.team:*"),
        (r#"annotations."slipway.dev/x" = y"#, "annotations.slipway.dev/x=y"),
        ("NOTE = 1 AND ANDROID = 2", "(NOTE=1 & ANDROID=2)"),
        ("n = -5", "n=-5"),
    ] {
        assert_eq!(shown(text), want, "{text}");
    }
}

#[test]
fn what_does_not_parse_says_where() {
    for (text, position) in [
        ("a", 2),
        ("a =", 4),
        ("a = (b)", 5),
        ("(a = 1", 7),
        ("a = 1)", 6),
        ("a = \"x", 5),
        ("AND", 4),
        ("a = 1 AND", 10),
        ("fn(a)", 3),
        ("a = 1 = 2", 7),
        ("a ~ 1", 3),
        (r#"a = "\q""#, 7),
    ] {
        let error = parse(text).expect_err(text);
        assert!(
            error.is(&FILTER_INVALID) && error.message().contains(&format!("position {position}:")),
            "{text}: {error}"
        );
    }
}

#[test]
fn limits_hold() {
    assert!(parse(&"x".repeat(CHARS_MAX + 1)).expect_err("long").message().contains("2000"));
    assert!(parse(&format!("{}a=1", "(".repeat(1_900))).expect_err("deep").message().contains("levels"));
    assert!(parse(&format!("{}a=1", "NOT ".repeat(400))).expect_err("deep").message().contains("levels"));
    assert!(parse(&vec!["a=1"; 500].join(" ")).is_ok());
}

#[test]
fn unknown_fields_and_wrong_values_list_what_is_possible() {
    for (text, part) in [
        ("size = 1", "fields: id, name, owner, tier, archived, create_time, tags"),
        ("id = x", "an integer"),
        ("tier = GOLD", "one of CRITICAL, STANDARD"),
        ("tier > CRITICAL", "only"),
        ("archived = 1", "true"),
        ("create_time > yesterday", "2026-01-31"),
        ("tags < a", "list"),
    ] {
        let error = parse(text).and_then(|f| f.sql(&FIELDS, 1)).expect_err(text);
        assert!(error.is(&FILTER_INVALID) && error.message().contains(part), "{text}: {error}");
    }
    assert!(parse("labels.a = 1 AND id = 2").expect("f").check(&["labels.", "id"]).is_ok());
    assert!(parse("labels = 1").expect("f").check(&["labels."]).is_err());
}

struct Thing(i64, &'static str, &'static str, &'static str, bool, &'static str, &'static [&'static str]);

const THINGS: [Thing; 4] = [
    Thing(1, "payments", "group:default/pay", "CRITICAL", false, "2026-01-01T00:00:00Z", &["go", "grpc"]),
    Thing(2, "Pay_100%", "", "STANDARD", true, "2026-02-01T00:00:00Z", &[]),
    Thing(10, "it's \"q\"", "group:default/web", "STANDARD", false, "2026-03-01T00:00:00Z", &["Go", "a\"b"]),
    Thing(11, "xa!b", "group:default/web", "CRITICAL", true, "2026-04-01T00:00:00Z", &["gopher"]),
];

fn values(thing: &Thing, field: &str) -> Option<Vec<String>> {
    Some(match field {
        "id" => vec![thing.0.to_string()],
        "name" => vec![thing.1.to_owned()],
        "owner" => vec![thing.2.to_owned()],
        "tier" => vec![thing.3.to_owned()],
        "archived" => vec![thing.4.to_string()],
        "create_time" => vec![thing.5.to_owned()],
        _ => return None,
    })
}

#[tokio::test]
async fn sql_finds_what_is_meant_and_matching_agrees() {
    let cases: [(&str, &[i64]); 24] = [
        ("", &[1, 2, 10, 11]),
        ("name = payments", &[1]),
        ("name != payments", &[2, 10, 11]),
        ("name = \"pay*\"", &[1]),
        ("name : pay", &[1, 2]),
        ("name : \"100%\"", &[2]),
        ("name : \"_\"", &[2]),
        ("name : \"a!b\"", &[11]),
        (r#"name = "it's \"q\"""#, &[10]),
        ("name = \"'; DROP TABLE thing; --\"", &[]),
        ("owner:*", &[1, 10, 11]),
        ("NOT owner:*", &[2]),
        ("id >= 10", &[10, 11]),
        ("id < 10 AND id != 1", &[2]),
        ("tier = CRITICAL OR archived = true", &[1, 2, 11]),
        ("tier = CRITICAL archived = true", &[11]),
        ("create_time > 2026-02-01T00:00:00Z", &[10, 11]),
        ("create_time <= 2026-02-01T01:00:00+01:00", &[1, 2]),
        ("NOT (id = 1 OR id = 2)", &[10, 11]),
        ("tags : go", &[1]),
        ("tags : \"a\\\"b\"", &[10]),
        ("tags != go", &[2, 10, 11]),
        ("tags:*", &[1, 10, 11]),
        ("-tags:*", &[2]),
    ];
    for scratch in scratch::each(&Migrations::none()).await {
        let db = &scratch.db;
        db.execute(
            "CREATE TABLE thing (id BIGINT, name TEXT, owner TEXT, tier TEXT, archived BIGINT, created_us BIGINT, tags TEXT)",
            vec![],
        )
        .await
        .expect("table");
        for Thing(id, name, owner, tier, archived, created, tags) in &THINGS {
            let created: jiff::Timestamp = created.parse().expect("time");
            let (tier, tags) =
                (if *tier == "CRITICAL" { "c" } else { "s" }, serde_json::to_string(tags).expect("json"));
            let row = args![*id, *name, *owner, tier, *archived, created.as_microsecond(), tags];
            db.execute("INSERT INTO thing VALUES ($1, $2, $3, $4, $5, $6, $7)", row).await.expect("row");
        }
        for (text, want) in cases {
            let filter = parse(text).expect(text);
            let (sql, mut binds) = filter.sql(&FIELDS, 2).expect(text);
            binds.insert(0, 0i64.into());
            let rows = db
                .fetch_all(&format!("SELECT id FROM thing WHERE id > $1 AND {sql} ORDER BY id"), binds)
                .await
                .expect(text);
            let found: Vec<i64> = rows.iter().map(|row| row.int("id").expect("id")).collect();
            assert_eq!(found, want, "{text} on {}", scratch.engine);
        }
    }
    for (text, want) in cases.into_iter().filter(|(text, _)| !text.contains("tags")) {
        let filter = parse(text).expect(text);
        let found: Vec<i64> =
            THINGS.iter().filter(|thing| filter.matches(&|field| values(thing, field))).map(|thing| thing.0).collect();
        assert_eq!(found, want, "matching {text}");
    }
}
