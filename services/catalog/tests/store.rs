//! The store on every engine at hand: bulk ingest, equal content writes nothing, and lists over many entities.
#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, time::Instant};

use slipway_catalog::{
    model::{
        document::{self, Body},
        entity::{Cause, Place, State},
        entity_ref::EntityRef,
        settle::Standing,
    },
    store::{self, Ask, Count, Order, Write},
};
use slipway_kit::{
    caller::Caller,
    db::{Db, scratch},
    serve::Call,
};

fn documents(count: usize) -> Vec<(EntityRef, String, Body, String)> {
    let one = |n: usize| {
        let (title, system) = ((n * 7919) % count, n % 50);
        let text = format!(
            "apiVersion: backstage.io/v1alpha1\nkind: {}\nmetadata:\n  name: svc-{n}\n  title: Title {title}\n  description: {}\n  tags: [go, t{}]\n  labels: {{tier: standard, team: t{}}}\nspec: {{type: service, lifecycle: production, owner: team-{}, system: sys-{system}, definition: x}}\n",
            if n.is_multiple_of(2) { "Component" } else { "API" },
            "d".repeat(400),
            n % 20,
            n % 30,
            n % 100,
        );
        let document = document::read(text.as_bytes()).remove(0).check();
        (document.identity.unwrap(), document.hash, document.body.unwrap(), document.raw)
    };
    (0..count).map(one).collect()
}

async fn put(db: &Db, documents: &[(EntityRef, String, Body, String)], version: i64) {
    let bodies: Vec<_> = documents.iter().map(|(_, hash, body, raw)| (hash.clone(), body, raw.as_str())).collect();
    let mut tx = db.begin().await.unwrap();
    store::put_bodies(&mut tx, &bodies).await.unwrap();
    let writes: Vec<_> = documents
        .iter()
        .map(|(identity, hash, body, _)| Write {
            uid: format!("uid-{identity}"),
            identity: identity.clone(),
            cause: if version == 1 { Cause::Created } else { Cause::Changed },
            version,
            standing: Standing {
                state: State::Active,
                hash: hash.clone(),
                place: Place { location: "l".into(), line: 1, ..Place::default() },
                findings: Vec::new(),
            },
            body: Some(body),
            content_changed: true,
            created_us: 1,
        })
        .collect();
    store::write(&mut tx, &writes, version).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_attributes_and_edges_follow_the_content() {
    for found in scratch::each(&store::MIGRATIONS).await {
        let db = &found.db;
        let all = documents(10);
        put(db, &all, 1).await;
        put(db, &all[..3], 2).await;
        let served = store::get(db, "component:default/svc-2", true).await.unwrap().unwrap();
        assert_eq!(
            (served.version, served.raw == all[2].3, served.head.owner.as_str()),
            (2, true, "group:default/team-2")
        );
        let first = store::history(db, &served.uid, 1).await.unwrap().unwrap();
        assert_eq!((first.0, first.1.version, first.1.updated_us), (Cause::Created, 1, 1));
        assert!(store::history(db, &served.uid, 3).await.unwrap().is_none());
        let edges = store::relations(db, "system:default/sys-2").await.unwrap();
        assert_eq!(
            edges.iter().map(|e| format!("{} {}", e.relation, e.target)).collect::<Vec<_>>(),
            ["hasPart component:default/svc-2"]
        );
        let page = store::snapshot_page(db, "", 4).await.unwrap();
        let rest = store::snapshot_page(db, &page[3].identity, 100).await.unwrap();
        assert_eq!((page.len(), rest.len()), (4, 6));
        let mut tx = db.begin().await.unwrap();
        let known = store::standing(&mut tx, &["component:default/svc-2".into(), "x:y/z".into()]).await.unwrap();
        assert_eq!(known.len(), 1);
        let heads: HashMap<_, _> = store::heads(&mut tx, &[all[0].1.clone()]).await.unwrap();
        assert_eq!(heads.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_walks_every_row_once() {
    let call = Call::for_test(Caller::system(), "/slipway.catalog.v1.EntityService/ListEntities");
    for found in scratch::each(&store::MIGRATIONS).await {
        put(&found.db, &documents(9), 1).await;
        let filter = store::prepare("", &call).unwrap();
        for order_by in ["", "ref desc", "title", "title desc", "system desc, name desc", "tier, update_time desc"] {
            let order = Order::parse(order_by).unwrap();
            let (mut walked, mut after) = (Vec::new(), None);
            loop {
                let ask = Ask { filter: &filter, order: &order, after, size: 2, show_deleted: false, total: None };
                let page =
                    store::list(&found.db, &ask).await.unwrap_or_else(|e| panic!("{} {order_by}: {e:?}", found.engine));
                walked.extend(page.entities.into_iter().map(|e| e.identity));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let all: std::collections::BTreeSet<_> = walked.iter().collect();
            assert_eq!((walked.len(), all.len()), (9, 9), "{} {order_by}", found.engine);
        }
    }
}

/// Not a benchmark: shows that lists over many entities answer, count exactly, and tell how long they took.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_over_many_entities() {
    for found in scratch::each(&store::MIGRATIONS).await {
        let db = &found.db;
        let all = documents(2_000);
        let began = Instant::now();
        for chunk in all.chunks(500) {
            put(db, chunk, 1).await;
        }
        eprintln!("{}: {} entities written in {:?}", found.engine, all.len(), began.elapsed());
        let call = Call::for_test(Caller::system(), "/slipway.catalog.v1.EntityService/ListEntities");
        for (text, order_by, want) in [
            ("kind = component", "title", 1000),
            ("kind = api AND tags:t7", "title desc", 100),
            ("owner = team-3", "", 20),
            ("spec.system = sys-9", "name", 40),
        ] {
            let filter = store::prepare(text, &call).unwrap();
            let order = Order::parse(order_by).unwrap();
            let ask = Ask {
                filter: &filter,
                order: &order,
                after: None,
                size: 20,
                show_deleted: false,
                total: Some(Count::Exact),
            };
            store::list(db, &ask).await.unwrap();
            let began = Instant::now();
            let page = store::list(db, &ask).await.unwrap();
            eprintln!("{}: {text} by {order_by}: {:?}", found.engine, began.elapsed());
            assert_eq!((page.entities.len(), page.total, page.next.is_some()), (20, Some((want, false)), want > 20));
        }
    }
}
