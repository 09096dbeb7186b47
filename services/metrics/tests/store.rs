//! The store on every engine: versions, keyset pages, revisions, and rows that an older version never overwrites.
#![allow(clippy::unwrap_used)]
use slipway_kit::{
    args,
    db::{Db, scratch},
    filter,
    page::OrderBy,
};
use slipway_metrics::{
    model::{
        effective::{Effective, Part},
        fact::{Change, Fact, Origin, PipelineRun, RunStatus, Stage, Status, VersionKey},
        tier::Tier,
    },
    store::{
        self, deployments,
        derived::{self, Item},
        ledger::{self, Entry},
        runs, services,
    },
};

const SERVICE: &str = "component:default/checkout";

fn change(sha: &str, committed_us: i64) -> Change {
    Change {
        repository: "local/shop/checkout".into(),
        sha: sha.into(),
        parents: vec!["p".into()],
        committed_us,
        bot: None,
        picked_from: String::new(),
        patch_id: String::new(),
    }
}

fn key(occurred_us: i64, sequence: i64, sha: &str) -> VersionKey {
    VersionKey { occurred_us, sequence, payload_sha256: sha.into() }
}

fn deployment(id: &str, environment: &str, finished_us: i64) -> Effective {
    Effective {
        environment: environment.into(),
        tier: Tier::of_name(environment),
        external_id: id.into(),
        attempt: 0,
        status: Status::Succeeded,
        parts: vec![Part { repository: "r".into(), sha: "c".into(), finished_us, status: Status::Succeeded }],
        started_us: None,
        finished_us,
        kind: None,
        actor: String::new(),
        remediates: String::new(),
        planned: false,
        origin: Origin::Api,
        url: String::new(),
    }
}

async fn put_change(db: &Db, claim: &str, committed_us: i64, version: VersionKey, seq: i64) {
    let mut tx = db.begin().await.unwrap();
    let item = Item { repository: "local/shop/checkout", kind: "change", item: "c1", claim };
    derived::put_item(&mut tx, item, &change("c1", committed_us), &version, seq).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn the_ledger_numbers_without_gaps_and_knows_its_versions() {
    for s in scratch::each(&store::MIGRATIONS).await {
        let mut tx = s.db.begin().await.unwrap();
        assert_eq!(ledger::take_numbers(&mut tx, 3).await.unwrap(), 1);
        tx.rollback().await.unwrap();
        let mut tx = s.db.begin().await.unwrap();
        assert_eq!(ledger::take_numbers(&mut tx, 2).await.unwrap(), 1, "{}: a rollback gives numbers back", s.engine);
        assert_eq!(ledger::take_numbers(&mut tx, 1).await.unwrap(), 3);
        let entry = Entry {
            fact: Fact::Change(change("c1", 5)),
            key: key(5, 0, "a"),
            fact_key: "k".into(),
            claim: String::new(),
            source: "api".into(),
            principal: "user:default/ann".into(),
            hint: String::new(),
            parked: false,
        };
        ledger::insert(&mut tx, 1, &entry, 9).await.unwrap();
        assert!(ledger::has(&mut tx, &entry).await.unwrap());
        assert!(!ledger::has(&mut tx, &Entry { key: key(5, 1, "a"), ..entry.clone() }).await.unwrap());
        let versions = ledger::versions(&mut tx, "change", "k").await.unwrap();
        assert_eq!((versions.len(), &versions[0].fact, &versions[0].key), (1, &entry.fact, &entry.key));
        ledger::remember_event(&mut tx, "ann", "k1", "body").await.unwrap();
        assert_eq!(ledger::event_body(&mut tx, "ann", "k1").await.unwrap().as_deref(), Some("body"));
        assert_eq!(ledger::event_body(&mut tx, "bob", "k1").await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_older_version_never_overwrites_and_a_claimed_one_gives_way() {
    for s in scratch::each(&store::MIGRATIONS).await {
        let read = async |owner: &str, after| {
            let all: Vec<Change> = derived::items(&s.db, "local/shop/checkout", "change", owner, after).await.unwrap();
            all.into_iter().map(|c| c.committed_us).collect::<Vec<_>>()
        };
        put_change(&s.db, "group:default/find", 1, key(50, 0, "a"), 1).await;
        assert_eq!((read("group:default/find", 0).await, read("group:default/shop", 0).await), (vec![1], vec![]));
        put_change(&s.db, "", 20, key(20, 2, "b"), 2).await;
        for older in [key(10, 9, "z"), key(20, 1, "z"), key(20, 2, "a"), key(20, 2, "b")] {
            put_change(&s.db, "", 99, older, 3).await;
        }
        assert_eq!(read("group:default/shop", 0).await, [20], "{}", s.engine);
        for (newer, committed) in [(key(20, 2, "c"), 21), (key(20, 3, "a"), 22), (key(21, 0, "a"), 23)] {
            put_change(&s.db, "", committed, newer, committed).await;
            assert_eq!(read("group:default/shop", 0).await, [committed]);
        }
        put_change(&s.db, "group:default/shop", 7, key(90, 0, "a"), 30).await;
        assert_eq!(read("group:default/shop", 22).await, [23], "what counts for all is not claimed over");
        assert!(read("group:default/shop", 23).await.is_empty(), "only what is newer than asked");
    }
}

#[tokio::test]
async fn pages_of_deployments_drop_and_repeat_nothing() {
    for s in scratch::each(&store::MIGRATIONS).await {
        let mut tx = s.db.begin().await.unwrap();
        for n in 0..40 {
            // Four share each instant.
            let d = deployment(&format!("d{n}"), if n % 2 == 0 { "production" } else { "staging" }, 100 + n / 4);
            assert!(deployments::put(&mut tx, SERVICE, &d, 1).await.unwrap());
            assert!(!deployments::put(&mut tx, SERVICE, &d, 2).await.unwrap(), "an equal row is no change");
            deployments::put(&mut tx, "component:default/other", &d, 1).await.unwrap();
        }
        tx.commit().await.unwrap();
        let filter = filter::parse("").unwrap();
        let order = OrderBy::parse("", deployments::ORDER, "finish_time desc", "id").unwrap();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let mut rows = deployments::page(&s.db, SERVICE, &filter, &order, after.as_ref(), 7).await.unwrap();
            let more = rows.len() > 7;
            rows.truncate(7);
            seen.extend(rows.iter().map(|(d, _)| (d.effective.finished_us, d.effective.external_id.clone())));
            after = rows.pop().map(|(_, cursor)| cursor);
            if !more {
                break;
            }
        }
        let mut ids: Vec<&String> = seen.iter().map(|(_, id)| id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((seen.len(), ids.len()), (40, 40), "{}", s.engine);
        assert!(seen.windows(2).all(|w| w[0].0 >= w[1].0));
        let staging = filter::parse("tier = STAGING").unwrap();
        assert_eq!(deployments::count(&s.db, SERVICE, &staging, i64::MAX).await.unwrap(), 20);
        assert_eq!(deployments::count(&s.db, SERVICE, &filter, 11).await.unwrap(), 11, "counting stops where told");
    }
}

#[tokio::test]
async fn a_run_is_found_by_its_services_and_replaced_as_a_whole() {
    for s in scratch::each(&store::MIGRATIONS).await {
        let mut run = PipelineRun {
            provider: "github".into(),
            repository: "local/shop/checkout".into(),
            external_id: "9".into(),
            attempt: 1,
            title: "CI".into(),
            branch: "main".into(),
            sha: "c1".into(),
            pull_request: 0,
            trigger: None,
            status: RunStatus::Running,
            queued_us: Some(5),
            started_us: None,
            finished_us: None,
            url: String::new(),
            stages: vec![Stage {
                title: "build".into(),
                status: RunStatus::Running,
                started_us: None,
                finished_us: None,
            }],
            services: vec![SERVICE.into(), "component:default/billing".into()],
        };
        let put = async |run: &PipelineRun| {
            let mut tx = s.db.begin().await.unwrap();
            runs::put(&mut tx, "k\n1", "k", run, 6).await.unwrap();
            tx.commit().await.unwrap();
        };
        let find = async |text: &str| {
            let filter = filter::parse(text).unwrap();
            let order = OrderBy::parse("", runs::ORDER, "start_time desc", "r.id").unwrap();
            let page = runs::page(&s.db, &filter, &order, None, 10).await.unwrap();
            assert_eq!(runs::count(&s.db, &filter, i64::MAX).await.unwrap(), page.len() as i64);
            page.len()
        };
        put(&run).await;
        assert_eq!(find("service = billing AND stage_kind : BUILD").await, 1, "{}", s.engine);
        (run.status, run.finished_us, run.services) = (RunStatus::Failed, Some(20), vec![SERVICE.into()]);
        put(&run).await;
        assert_eq!((find("service = billing").await, find("service != billing").await), (0, 1));
        assert_eq!(find("service = checkout AND status = FAILED").await, 1);
        assert_eq!(runs::ended(&s.db, SERVICE, 20, 21).await.unwrap().len(), 1);
        assert_eq!(runs::ended(&s.db, SERVICE, 0, 20).await.unwrap().len(), 0, "the end is exclusive");
        assert_eq!(runs::get(&s.db, &runs::id_of("k\n1")).await.unwrap().unwrap().run, run);
    }
}

#[tokio::test]
async fn services_change_and_revisions_only_grow() {
    for s in scratch::each(&store::MIGRATIONS).await {
        let service = services::Service {
            service: SERVICE.into(),
            owner: "group:default/shop".into(),
            repository: "local/shop/checkout".into(),
            repository_path: String::new(),
            known: true,
        };
        let mut tx = s.db.begin().await.unwrap();
        assert!(services::put(&mut tx, &service).await.unwrap());
        assert!(!services::put(&mut tx, &service).await.unwrap());
        for (scope, seq) in [("a", 5), ("b", 9), ("a", 3)] {
            services::touch(&mut tx, scope, seq).await.unwrap();
        }
        tx.commit().await.unwrap();
        assert_eq!(services::of_repository(&s.db, "local/shop/checkout").await.unwrap(), vec![service.clone()]);
        assert!(services::of_repository(&s.db, "").await.unwrap().is_empty());
        let revision = async |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|s| (*s).to_owned()).collect();
            services::revision(&s.db, &scopes).await.unwrap()
        };
        assert_eq!(
            (revision(&["a"]).await, revision(&["a", "b"]).await, revision(&["c"]).await),
            (5, 9, 0),
            "{}",
            s.engine
        );
        let mut tx = s.db.begin().await.unwrap();
        services::put(&mut tx, &services::Service { known: false, ..service }).await.unwrap();
        assert!(services::of_repository(&mut tx, "local/shop/checkout").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn questions_about_a_service_use_its_index() {
    let s = scratch::sqlite(&store::MIGRATIONS).await;
    for sql in [
        "SELECT effective FROM deployments WHERE service = $1 ORDER BY finished_us, environment, external_id",
        "SELECT fact FROM repository_facts WHERE repository = $1 AND kind = 'change' AND seq > 5",
        "SELECT fact FROM incidents WHERE service = $1",
        "SELECT run_id FROM run_services WHERE service = $1 AND finished_us >= 5",
        "SELECT payload FROM facts WHERE kind = 'deployment' AND fact_key = $1",
    ] {
        // The plan is a statement that writes nothing; its rows tell whether a table is read as a whole.
        let plan = s.db.fetch_all(&format!("EXPLAIN QUERY PLAN {sql}"), args![SERVICE]).await.unwrap();
        let text: Vec<String> = plan.iter().map(|row| row.text("detail").unwrap()).collect();
        assert!(text.iter().all(|line| !line.starts_with("SCAN")), "{sql}: {text:?}");
    }
}
