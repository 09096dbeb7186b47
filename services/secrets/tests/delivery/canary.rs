//! Unique values through deliveries that work and that fail: found in the cluster's Secret, and nowhere else.
use std::fs;

use slipway_kit::{
    args,
    db::{Db, DbConfig},
};
use slipway_proto::{environment::v1::EnvironmentTier as Tier, secrets::v1 as pb};

use crate::{
    bench::all,
    cage::{Cage, log},
    rig::{PAYMENTS, Rig, developer, secret},
    service::{Environment, ask, deliver},
};

/// Everything the service keeps: its files on SQLite, every row as text on Postgres.
async fn kept(rig: &Rig) -> Vec<(String, Vec<u8>)> {
    let mut places = Vec::new();
    for entry in fs::read_dir(rig.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        places.push((path.display().to_string(), fs::read(&path).unwrap()));
    }
    if matches!(rig.config.database, DbConfig::Postgres(_)) {
        let db = Db::open(&rig.config.database).await.unwrap();
        let sql = "SELECT table_name::text AS name, query_to_xml(format('SELECT * FROM %I', table_name), true, true, '')::text AS rows \
                   FROM information_schema.tables WHERE table_schema = 'public'";
        let rows = db.fetch_all(sql, args![]).await.unwrap();
        assert!(rows.len() > 10, "the tables of the service and of the kit");
        places.extend(rows.iter().map(|row| (row.text("name").unwrap(), row.text("rows").unwrap().into_bytes())));
        db.close().await;
    }
    places
}

#[tokio::test]
async fn a_delivered_value_is_in_the_clusters_secret_and_nowhere_else() {
    let (log, mut cage) = (log(), Cage::default());
    for bench in all().await {
        for mut rig in Rig::each().await {
            rig.stop().await;
            rig.clusters = bench.clusters();
            rig.go().await;
            let env = Environment::on(&*bench).await;
            let values = [cage.next(), cage.next(), cage.next()];
            let put =
                secret(PAYMENTS, Tier::Development, &[("A", &values[0]), ("B", &values[1]), ("UNBOUND", &values[2])]);
            cage.keep(&rig.put(&developer(), put).await);
            cage.keep(&rig.bind(&developer(), "db", Tier::Development, &[("", "A"), ("", "B")]).await);
            cage.keep(&deliver(&rig, &env).await);
            let data = bench.data(&env.namespace, "db").await.unwrap();
            assert_eq!(data["A"], values[0].as_bytes());
            assert_eq!(data["B"], values[1].as_bytes());
            assert_eq!(data.len(), 2);

            // Renewed, and failing in every way.
            let next = cage.next();
            let mut patch = secret(PAYMENTS, Tier::Development, &[("A", &next)]);
            patch.mode = pb::PutMode::Patch.into();
            cage.keep(&rig.put(&developer(), patch).await);
            cage.keep(&deliver(&rig, &env).await);
            assert_eq!(bench.data(&env.namespace, "db").await.unwrap()["A"], next.as_bytes());
            // Too large for a cluster: its answer may hold what was sent.
            let large = cage.next();
            let huge = secret(PAYMENTS, Tier::Development, &[("A", &large.repeat(7_000)), ("B", &"b".repeat(100_000))]);
            cage.keep(&rig.put(&developer(), huge).await);
            for part in 0..4 {
                let id = format!("large-{part}");
                let mut request = crate::rig::binding(&id, Tier::Development, &[]);
                let item = |n: usize| pb::SecretBindingItem {
                    key: "A".to_owned(),
                    r#as: format!("K{n}"),
                    ..Default::default()
                };
                request.secret_binding.as_mut().unwrap().items = (0..3).map(item).collect();
                let made = rig.bindings(&developer(), "CreateSecretBinding").create_secret_binding(request).await;
                cage.keep(&made.map(|r| r.into_inner()));
            }
            cage.keep(&deliver(&rig, &env).await);
            let fork = pb::DeliverEnvironmentSecretsRequest { fork: true, ..env.request() };
            cage.keep(&ask(&rig, fork).await);
            bench.put_foreign(&env.namespace, "taken", &[], &[("k", "theirs")]).await;
            cage.keep(&rig.bind(&developer(), "taken", Tier::Development, &[("", "A")]).await);
            let taken = deliver(&rig, &env).await;
            assert!(taken.is_err());
            cage.keep(&taken);
            bench.drop_namespace(&env.namespace).await;
            let gone = deliver(&rig, &env).await;
            assert!(gone.is_err());
            cage.keep(&gone);
            rig.stop().await;

            for (place, bytes) in kept(&rig).await {
                assert!(cage.found_in(&bytes).is_empty(), "{place}: {:?}", cage.found_in(&bytes));
            }
        }
    }
    assert!(cage.found_in(&cage.told).is_empty(), "answers: {:?}", cage.found_in(&cage.told));
    let logged = log.0.lock().unwrap().clone();
    assert!(logged.len() > 10_000, "the log was captured at trace level");
    assert!(cage.found_in(&logged).is_empty(), "log: {:?}", cage.found_in(&logged));
}
