//! Tokens that hold, and orders that drop nothing, on every engine.
use super::*;
use crate::{
    args,
    caller::Caller,
    db::{Migrations, Row, scratch},
};

const METHOD: &str = "/slipway.catalog.v1.CatalogService/ListEntities";

#[test]
fn sizes_are_bounded() {
    assert_eq!([0, -1, 1, 1000, 5000].map(size), [50, 50, 1, 1000, 1000]);
}

#[tokio::test]
async fn a_token_is_good_for_its_caller_method_and_question_only() {
    for scratch in scratch::each(&Migrations::none()).await {
        let clock = Clock::manual(1_000_000);
        let sealer = Sealer::load(&scratch.db).await.expect("a key").with_clock(clock.clone());
        let ann = Call::for_test(Caller::service("ann"), METHOD);
        let bob = Call::for_test(Caller::service("bob"), METHOD);
        let other = Call::for_test(Caller::service("ann"), "/slipway.catalog.v1.CatalogService/ListLocations");
        let token = sealer.seal(&ann, "kind=API", &("x", 7));
        assert!(!token.contains("kind"));
        let read = |call: &Call, bound: &str, token: &str| sealer.open::<(String, i64)>(call, bound, token);
        assert_eq!(read(&ann, "kind=API", &token).expect("good"), Some(("x".to_owned(), 7)));
        assert_eq!(read(&ann, "kind=API", "").expect("first"), None);
        let forged = format!("{}{}", if token.starts_with('A') { 'B' } else { 'A' }, &token[1..]);
        for (call, bound, token) in [
            (&bob, "kind=API", &token),
            (&other, "kind=API", &token),
            (&ann, "kind=Group", &token),
            (&ann, "kind=API", &forged),
        ] {
            assert!(read(call, bound, token).expect_err("bad token").is(&PAGE_TOKEN_INVALID));
        }
        // Another process on the same database has the same key; time ends a token.
        let second = Sealer::load(&scratch.db).await.expect("the key").with_clock(clock.clone());
        assert!(second.open::<(String, i64)>(&ann, "kind=API", &token).is_ok());
        clock.advance_us(LIFE_US);
        assert!(read(&ann, "kind=API", &token).expect_err("old").is(&PAGE_TOKEN_INVALID));
    }
}

#[tokio::test]
async fn all_that_is_wrong_with_a_question_is_told_at_once() {
    let scratch = scratch::each(&Migrations::none()).await.remove(0);
    let sealer = Sealer::load(&scratch.db).await.expect("a key");
    let call = Call::for_test(Caller::service("ann"), METHOD);
    const FIELDS: &[crate::filter::Field] =
        &[crate::filter::Field { name: "age", column: "age", kind: crate::filter::Kind::Int }];
    let ask = |filter: &str, order: &str, token: &str| {
        let order = OrderBy::parse(order, &[("age", "age")], "age", "id");
        question(crate::filter::Filter::read(filter, FIELDS), order, sealer.open::<i64>(&call, filter, token))
    };
    let fields = |error: &Error| error.violations().iter().map(|(field, _)| field.clone()).collect::<Vec<_>>();
    let all = ask("age = x", "size", "made up").expect_err("three mistakes");
    assert!(all.is(&crate::error::INVALID_FIELD) && fields(&all) == ["filter", "order_by", "page_token"], "{all:?}");
    let two = ask("size = 1", "age", "made up").expect_err("two mistakes");
    assert_eq!(fields(&two), ["filter", "page_token"]);
    let one = ask("age = 1", "age", "made up").expect_err("one mistake");
    assert!(one.is(&PAGE_TOKEN_INVALID));
    assert!(ask("age = 1", "age desc", "").is_ok());
    let away = question(Err::<(), _>(one), Ok(()), Err::<(), _>(Error::internal("no key")));
    assert!(away.expect_err("a defect").is(&crate::error::INTERNAL));
}

async fn walk(db: &Db, order: &OrderBy, size: usize) -> Vec<i64> {
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let (after, mut binds) = order.after(cursor.as_ref(), 1).expect("a cursor of this order");
        binds.push(size.into());
        let sql = format!(
            "SELECT id{} FROM thing WHERE {after} ORDER BY {} LIMIT ${}",
            order.columns(),
            order.sql(),
            binds.len()
        );
        let rows: Vec<Row> = db.fetch_all(&sql, binds).await.expect("a page");
        let Some(last) = rows.last() else { return seen };
        cursor = Some(order.cursor(last).expect("a place"));
        seen.extend(rows.iter().map(|row| row.int("id").expect("id")));
    }
}

#[tokio::test]
async fn every_order_tells_every_row_once() {
    const FIELDS: [(&str, &str); 3] = [("owner", "NULLIF(owner, '')"), ("age", "age"), ("id", "id")];
    for scratch in scratch::each(&Migrations::none()).await {
        let db = &scratch.db;
        db.execute("CREATE TABLE thing (id BIGINT PRIMARY KEY, owner TEXT NOT NULL, age BIGINT)", vec![])
            .await
            .expect("table");
        for id in 0..40i64 {
            let owner = ["", "a", "b", "ü"][(id % 4) as usize];
            let age = if id % 3 == 0 { None } else { Some(id % 5) };
            db.execute("INSERT INTO thing VALUES ($1, $2, $3)", args![id, owner, age]).await.expect("row");
        }
        for text in
            ["", "owner", "owner desc", "age, owner desc", "age desc, owner", "owner, age desc, id desc", "id desc"]
        {
            let order = OrderBy::parse(text, &FIELDS, "id", "id").expect("an order");
            let whole = walk(db, &order, 100).await;
            assert_eq!(whole.len(), 40, "{text} on {}", scratch.engine);
            for size in [1, 3, 7, 39] {
                assert_eq!(walk(db, &order, size).await, whole, "{text} by {size} on {}", scratch.engine);
            }
        }
        let desc = OrderBy::parse("owner desc", &FIELDS, "id", "id").expect("an order");
        let last: Vec<i64> = walk(db, &desc, 100).await.split_off(30);
        assert!(last.iter().all(|id| id % 4 == 0), "missing values come last: {last:?}");
    }
}

#[test]
fn a_bad_order_names_what_is_possible() {
    for text in ["size", "age upwards", "age desc desc", "age, age", "age,"] {
        let error = OrderBy::parse(text, &[("age", "age"), ("name", "name")], "name", "name").expect_err(text);
        assert!(error.is(&crate::error::ORDER_INVALID) && error.message().contains("fields: age, name"), "{error}");
    }
}
