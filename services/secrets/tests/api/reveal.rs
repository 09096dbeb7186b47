//! Who is shown a value, what is needed for it, and what stays on record.
use std::collections::BTreeSet;

use slipway_kit::{
    args,
    caller::{Caller, CallerKind, Role},
    db::Db,
};
use slipway_proto::environment::v1::EnvironmentTier as Tier;

use crate::rig::{PAYMENTS, Rig, admin, developer, fields, maintainer, refused, reveal, secret, stranger};

const NAME: &str = "secrets/payments-h4vyy/production";

async fn written() -> Rig {
    let rig = Rig::start().await;
    rig.put(&maintainer(), secret(PAYMENTS, Tier::Production, &[("A", "value-of-a")])).await.unwrap();
    rig
}

#[tokio::test]
async fn maintainers_with_a_reason_and_nobody_else() {
    let rig = written().await;
    assert_eq!(rig.reveal(&maintainer(), NAME, "A").await.unwrap().remaining, 9);
    for who in [developer(), stranger()] {
        refused(rig.reveal(&who, NAME, "A").await, "PERMISSION_DENIED");
    }
    refused(rig.reveal(&stranger(), "secrets/nothing-aaaaa/production", "A").await, "PERMISSION_DENIED");
    let auditor = Caller { roles: BTreeSet::from([Role::Auditor, Role::Operator]), ..developer() };
    refused(rig.reveal(&auditor, NAME, "A").await, "PERMISSION_DENIED");
    let job = Caller { kind: CallerKind::CiJob, principal: "ci:github/1".to_owned(), ..maintainer() };
    refused(rig.reveal(&job, NAME, "A").await, "PERMISSION_DENIED");
    let mut blank = reveal(NAME, "A");
    blank.reason = " ".repeat(20);
    let status = refused(rig.secrets(&maintainer(), "RevealSecret").reveal_secret(blank).await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["reason"]);
    refused(rig.reveal(&maintainer(), NAME, "B").await, "NOT_FOUND");
    let mut later = reveal(NAME, "A");
    later.version = 2;
    refused(rig.secrets(&maintainer(), "RevealSecret").reveal_secret(later).await, "NOT_FOUND");
}

#[tokio::test]
async fn ten_in_an_hour_on_every_engine() {
    for rig in Rig::each().await {
        rig.put(&maintainer(), secret(PAYMENTS, Tier::Production, &[("A", "v")])).await.unwrap();
        for left in (0..10).rev() {
            assert_eq!(rig.reveal(&maintainer(), NAME, "A").await.unwrap().remaining, left);
        }
        refused(rig.reveal(&maintainer(), NAME, "A").await, "RATE_LIMITED");
        let other = Caller { principal: "user:default/bob".to_owned(), ..maintainer() };
        assert_eq!(rig.reveal(&other, NAME, "A").await.unwrap().remaining, 9);
    }
}

#[tokio::test]
async fn an_administrator_breaks_the_glass_with_a_ticket_and_the_owner_is_told() {
    let mut rig = written().await;
    let status = refused(rig.reveal(&admin(), NAME, "A").await, "INVALID_FIELD");
    assert_eq!(fields(&status), ["ticket"]);
    let mut ask = reveal(NAME, "A");
    ask.ticket = "OPS-7".to_owned();
    let answer = rig.secrets(&admin(), "RevealSecret").reveal_secret(ask).await.unwrap();
    assert_eq!(answer.into_inner().value, "value-of-a");

    rig.stop().await;
    let db = Db::open(&rig.config.database).await.unwrap();
    let sql = "SELECT payload FROM journal WHERE subject = 'slipway.secrets.v1.SecretRevealed'";
    let told = db.fetch_one(sql, args![]).await.unwrap().text("payload").unwrap();
    for part in ["\"breakGlass\":true", "OPS-7", "user:default/root", "group:default/payments"] {
        assert!(told.contains(part), "{told}");
    }
    let sql = "SELECT reason, fields, decision FROM audit WHERE method LIKE '%RevealSecret' AND principal = 'user:default/root' \
               AND code = 'OK'";
    let row = db.fetch_one(sql, args![]).await.unwrap();
    assert_eq!(row.text("reason").unwrap(), "break-glass OPS-7: looking into incident 7");
    assert_eq!((row.text("fields").unwrap().as_str(), row.text("decision").unwrap().as_str()), ("A", "ALLOWED"));
}
