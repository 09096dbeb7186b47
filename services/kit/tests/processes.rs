//! What only real processes show: one per SQLite file, and workers that are killed or stopped.
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process};
use slipway_kit::{
    args,
    db::{Db, DbConfig, Migrations, scratch},
    error::Result,
    serve::Shutdown,
    worker::{self, Claim, Handler, Next, Worker},
};

const DATABASE: &str = "SLIPWAY_TEST_CHILD_DATABASE";
const GO: &str = "SLIPWAY_TEST_CHILD_GO";
const KIND: &str = "thing";
const LEASE: Duration = Duration::from_millis(1500);

/// Says that it has begun, waits for a file without giving up its thread, and writes under the guard.
struct Slow {
    db: Db,
    go: PathBuf,
}

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        println!("\nchild: begun");
        while !self.go.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let written = write(&self.db, claim, "child").await;
        println!("\nchild: wrote {}", written.as_ref().map_or_else(|e| e.reason().name, |()| "it"));
        written.map(|()| Next::Done)
    }
}

struct Quick(Db);

#[async_trait]
impl Handler for Quick {
    async fn handle(&self, claim: &Claim) -> Result<Next> {
        write(&self.0, claim, "heir").await.map(|()| Next::Done)
    }
}

async fn write(db: &Db, claim: &Claim, who: &str) -> Result<()> {
    let mut tx = db.begin().await?;
    claim.guard(&mut tx).await?;
    tx.execute("INSERT INTO written (who) VALUES ($1)", args![who]).await?;
    tx.commit().await
}

/// Not a test by itself: the body of the child process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(database), Ok(go)) = (std::env::var(DATABASE), std::env::var(GO)) else { return };
    let config = match database.strip_prefix("file:") {
        Some(path) => DbConfig::Sqlite { path: path.into() },
        None => DbConfig::postgres(database),
    };
    match Db::open(&config).await {
        Err(error) => println!("\nchild: refused {}", error.reason().name),
        Ok(db) => {
            let worker = Worker::new(&db).handle(KIND, 1, Slow { db: db.clone(), go: go.into() });
            worker.lease(LEASE).run(Shutdown::new()).await;
        }
    }
}

fn spawn(config: &DbConfig, go: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let database = match config {
        DbConfig::Sqlite { path } => format!("file:{}", path.display()),
        DbConfig::Postgres(postgres) => postgres.url.clone(),
    };
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["child", "--exact", "--nocapture"])
        .env(DATABASE, database)
        .env(GO, go)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(std::result::Result::ok);
    (child, lines.filter_map(|line| line.strip_prefix("child: ").map(str::to_owned)))
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("signalled");
}

async fn prepare(db: &Db) {
    db.execute("CREATE TABLE written (who TEXT NOT NULL)", vec![]).await.expect("table");
    let mut tx = db.begin().await.expect("tx");
    worker::enqueue(&mut tx, KIND, "a", 0).await.expect("enqueue");
    tx.commit().await.expect("commit");
}

async fn take_over(db: &Db) {
    let heir = Worker::new(db).handle(KIND, 1, Quick(db.clone()));
    let end = Instant::now() + Duration::from_secs(30);
    while heir.run_due().await.expect("run") == 0 {
        assert!(Instant::now() < end, "never free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn written(db: &Db) -> Vec<String> {
    let rows = db.fetch_all("SELECT who FROM written", vec![]).await.expect("rows");
    rows.iter().map(|row| row.text("who").expect("who")).collect()
}

#[tokio::test]
async fn a_second_process_on_a_sqlite_file_is_refused() {
    let scratch = scratch::sqlite(&Migrations::none()).await;
    let go = tempfile::tempdir().expect("dir");
    let (mut child, mut lines) = spawn(&scratch.config, &go.path().join("go"));
    assert_eq!(lines.next().expect("a word"), "refused DATABASE_UNAVAILABLE");
    assert!(child.wait().expect("ends").success());
    // The same process may open it again, and a restart may too.
    let again = Db::open(&scratch.config).await.expect("shares the lock");
    again.close().await;
}

#[tokio::test]
async fn a_killed_process_leaves_its_item_to_the_next() {
    for scratch::Scratch { db, engine, config, keep } in scratch::each(&Migrations::none()).await {
        let go = tempfile::tempdir().expect("dir");
        prepare(&db).await;
        // One process per SQLite file: this one leaves it first.
        db.close().await;
        drop(db);
        let (mut child, mut lines) = spawn(&config, &go.path().join("go"));
        assert_eq!(lines.next().expect("a word"), "begun", "{engine}");
        signal(&child, Signal::KILL);
        child.wait().expect("ends");
        let db = Db::open(&config).await.expect("opens after a kill");
        take_over(&db).await;
        assert_eq!(written(&db).await, ["heir"], "{engine}");
        db.close().await;
        drop(keep);
    }
}

#[tokio::test]
async fn a_stopped_process_writes_nothing_when_it_goes_on() {
    for scratch in scratch::each(&Migrations::none()).await {
        // Two processes can share only Postgres.
        if matches!(scratch.config, DbConfig::Sqlite { .. }) {
            continue;
        }
        let dir = tempfile::tempdir().expect("dir");
        let go = dir.path().join("go");
        prepare(&scratch.db).await;
        let (mut child, mut lines) = spawn(&scratch.config, &go);
        assert_eq!(lines.next().expect("a word"), "begun");
        signal(&child, Signal::STOP);
        take_over(&scratch.db).await;
        std::fs::write(&go, "").expect("go");
        signal(&child, Signal::CONT);
        // It drops the item by its own clock before it writes, or the guard refuses the write and it says so.
        let (said, hears) = std::sync::mpsc::channel();
        std::thread::spawn(move || lines.next().map(|line| said.send(line)));
        if let Ok(line) = hears.recv_timeout(Duration::from_secs(3)) {
            assert_eq!(line, "wrote STALE_EPOCH");
        }
        assert_eq!(written(&scratch.db).await, ["heir"]);
        child.kill().expect("killed");
        child.wait().expect("ends");
    }
}
