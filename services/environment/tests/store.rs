//! The store on every engine: uniqueness, versions, reserved hosts, lists, receipts.
#![allow(clippy::unwrap_used)]
mod support;

use slipway_environment::{
    model::{
        environment::{Environment, RetireReason, fixture},
        names::Subject,
        preview::Tombstone,
        receipt,
    },
    store::{ListQuery, OpenDeletion, Store},
};
use slipway_kit::{
    authz::Visible,
    error::{ALREADY_EXISTS, CONFLICT},
    filter::{self, Filter},
    page::{Cursor, OrderBy},
};

fn numbered(n: i64) -> Environment {
    let mut env = fixture::preview();
    env.uid = slipway_kit::id::uuid4();
    env.key = format!("pr:local/1:{n}:{}", env.service);
    env.label_id = format!("pr-{n}-payments");
    env.namespace = format!("payments-pr-{n}");
    env.spec.source.pull_request = Some(n);
    env.created_us = 1000 + n;
    env
}

#[tokio::test]
async fn one_life_per_key_label_and_namespace() {
    for scratch in support::databases().await {
        let store = Store::new(scratch.db.clone());
        let first = numbered(1);
        let mut tx = store.db.begin().await.unwrap();
        store.insert(&mut tx, &first).await.unwrap();
        tx.commit().await.unwrap();
        for change in [
            |e: &mut Environment| e.key = "x".to_owned(),
            |e: &mut Environment| e.label_id = "x".to_owned(),
            |e: &mut Environment| e.namespace = "x".to_owned(),
        ] {
            let mut twin = numbered(1);
            change(&mut twin);
            let mut tx = store.db.begin().await.unwrap();
            assert!(store.insert(&mut tx, &twin).await.unwrap_err().is(&ALREADY_EXISTS), "{}", scratch.engine);
        }
        // A stale version writes nothing; the end of a life frees its names.
        let mut env = store.by_uid(&store.db, &first.uid).await.unwrap().unwrap();
        assert_eq!(env, first);
        let mut tx = store.db.begin().await.unwrap();
        assert!(store.update(&mut tx, &env, 7).await.unwrap_err().is(&CONFLICT));
        (env.version, env.deleted_us) = (2, Some(5));
        store.update(&mut tx, &env, 1).await.unwrap();
        store.insert(&mut tx, &numbered(1)).await.unwrap();
        tx.commit().await.unwrap();
        let living = store.living(&store.db, &env.key).await.unwrap().unwrap();
        assert_ne!(living.uid, env.uid);
        assert_eq!(store.by_label(&store.db, &env.label_id).await.unwrap().unwrap().uid, living.uid);
        assert_eq!(store.purge_deleted(6).await.unwrap(), 1);
        assert_eq!(store.all_living().await.unwrap(), [living.uid]);
    }
}

#[tokio::test]
async fn a_host_belongs_to_its_key_for_ever() {
    for scratch in support::databases().await {
        let store = Store::new(scratch.db.clone());
        let subject = |repository: &str| Subject::PullRequest { repository: repository.to_owned(), number: 7 };
        let mut tx = store.db.begin().await.unwrap();
        let uid = "3f2b8c1e-5a4d-4e6f-9b7a-0c1d2e3f4a5b";
        let first = store.reserve_host(&mut tx, &subject("local/1"), "component:default/a", uid, 1).await.unwrap();
        let again = store.reserve_host(&mut tx, &subject("local/1"), "component:default/a", "other", 2).await.unwrap();
        let clash = store.reserve_host(&mut tx, &subject("local/2"), "component:default/a", uid, 3).await.unwrap();
        let kept = store.reserve_host(&mut tx, &subject("local/2"), "component:default/a", "other", 3).await.unwrap();
        assert_eq!([first.as_str(), &again, &clash, &kept], ["pr-7-a", "pr-7-a", "pr-7-a-h4vyy", "pr-7-a-h4vyy"]);
        tx.commit().await.unwrap();
    }
}

fn query<'a>(filter: &'a Filter, order: &'a OrderBy, cursor: Option<&'a Cursor>) -> ListQuery<'a> {
    let visible = Visible::Owners(vec![support::OWNER.to_owned()]);
    ListQuery { visible, filter, order, cursor, limit: 6, show_deleted: false }
}

#[tokio::test]
async fn lists_show_what_is_visible_in_order_without_gaps() {
    for scratch in support::databases().await {
        let store = Store::new(scratch.db.clone());
        let mut tx = store.db.begin().await.unwrap();
        for n in 0..25 {
            let mut env = numbered(n);
            env.owner = if n % 5 == 0 { "group:default/other".to_owned() } else { env.owner };
            store.insert(&mut tx, &env).await.unwrap();
        }
        tx.commit().await.unwrap();
        let order = OrderBy::parse("", &[("create_time", "created_us")], "create_time desc", "uid").unwrap();
        let all = filter::parse("state = PENDING AND kind = PULL_REQUEST").unwrap();
        assert_eq!(store.count(&query(&all, &order, None), 1000).await.unwrap(), 20);
        assert_eq!(store.count(&query(&all, &order, None), 3).await.unwrap(), 3);
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.list(&query(&all, &order, cursor.as_ref())).await.unwrap();
            let more = page.len() > 6;
            seen.extend(page.iter().take(6).map(|(env, _)| env.created_us));
            if !more {
                break;
            }
            cursor = Some(page[5].1.clone());
        }
        let mut want: Vec<i64> = (0..25).filter(|n| n % 5 != 0).map(|n| 1000 + n).collect();
        want.reverse();
        assert_eq!(seen, want, "{}", scratch.engine);
    }
}

#[tokio::test]
async fn what_ends_is_buried_counted_and_receipted() {
    for scratch in support::databases().await {
        let store = Store::new(scratch.db.clone());
        let mut env = numbered(1);
        let mut tx = store.db.begin().await.unwrap();
        store.insert(&mut tx, &env).await.unwrap();
        store.insert(&mut tx, &numbered(2)).await.unwrap();
        env.end(RetireReason::Closed, "", 40, 50);
        store.update(&mut tx, &env, 1).await.unwrap();
        let tombstone = Tombstone { reason: RetireReason::Closed, at_us: 40, head_sha: "a".to_owned() };
        store.bury(&mut tx, &env.key, &tombstone).await.unwrap();
        store.insert_receipt(&mut tx, &receipt::of(&env, 60)).await.unwrap();
        store.insert_receipt(&mut tx, &receipt::of(&env, 99)).await.unwrap();
        let files = vec![("a".to_owned(), "b".to_owned())];
        store.keep_render(&mut tx, &env.uid, 1, &files).await.unwrap();
        let open = OpenDeletion {
            uid: env.uid.clone(),
            token: "t".to_owned(),
            requester: "u".to_owned(),
            confirmers: vec!["v".to_owned()],
            expire_us: 9,
        };
        store.keep_deletion(&mut tx, &open).await.unwrap();
        assert_eq!(store.open_deletion(&mut tx, &env.uid, 8).await.unwrap(), Some(open));
        assert_eq!(store.open_deletion(&mut tx, &env.uid, 9).await.unwrap(), None);
        tx.commit().await.unwrap();
        assert_eq!(store.tombstone(&store.db, &env.key).await.unwrap(), Some(tombstone));
        assert_eq!(store.render(&env.uid, 1).await.unwrap(), Some(files));
        assert_eq!(store.render(&env.uid, 2).await.unwrap(), None);
        assert_eq!(store.receipt(&store.db, &env.uid).await.unwrap().unwrap().deleted_us, 60);
        let mine = Visible::Owners(vec![support::OWNER.to_owned()]);
        assert_eq!(store.receipts(&mine, &env.service, None, 10).await.unwrap().len(), 1);
        assert_eq!(store.receipts(&Visible::Owners(Vec::new()), "", None, 10).await.unwrap(), []);
        assert_eq!(store.purge_receipts(61).await.unwrap(), 1);
        assert_eq!(store.on_branch(&store.db, "local", "1", "feature").await.unwrap().len(), 2);
    }
}
