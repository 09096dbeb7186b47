//! The figures of `docs/benchmarks.md`: gateway against a direct call, catalog reads over 10,000 entities, ingest, memory.
//!
//! Owns what is measured and how the runs are interleaved; judges nothing: absolute times are noise on a shared machine, the ratios
//! between runs of one session are what counts. Refuses to tune to the machine it runs on.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use slipway_gateway::app::rates::Rates;
use slipway_kit::caller::{Caller, CallerKind, Role};
use slipway_kit::serve::Outgoing;
use slipway_proto::catalog::v1 as pb;
use slipway_proto::catalog::v1::entity_service_client::EntityServiceClient;
use slipway_standalone::platform::{Options, Platform};
use slipway_tests::calls::{Calls, Wire};
use tokio::time::Instant as Deadline;

/// Calls refused because the audit could not keep up (SAFE-73), since the last row.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

const ENTITIES: usize = 10_000;
const ENTITIES_PER_FILE: usize = 2_500;
const ROUNDS: usize = 3;
const GETS: usize = 4_000;
const LISTS: usize = 800;

type Direct = EntityServiceClient<slipway_kit::serve::Client>;

/// What one burst of calls cost.
struct Burst {
    cpu_us_per_call: f64,
    calls_per_s: f64,
    p50_us: f64,
    p99_us: f64,
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` only checks that it builds.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut options = Options::new(home.path().join("data"));
    options.database_url = std::env::var("SLIPWAY_BENCH_POSTGRES").ok();
    // One generator stands for many callers here.
    let many = NonZeroU32::new(1_000_000).unwrap();
    options.limits = Rates { reads_per_second: many, read_burst: many, ..Rates::default() };
    let engine = if options.database_url.is_some() { "Postgres" } else { "SQLite" };
    let platform = Platform::start(options).await.unwrap();
    println!("# Slipway, release build, one process, {engine}\n");
    ingest(&platform).await;
    gateway_against_direct(&platform).await;
    memory_of_this(&platform);
    platform.stop().await.unwrap();
    memory_of_processes(home.path());
}

fn admin() -> Caller {
    Caller {
        principal: "user:default/admin".to_owned(),
        kind: CallerKind::User,
        credential: "tokens/bench000".to_owned(),
        teams: Default::default(),
        roles: [Role::PlatformAdmin].into_iter().collect(),
        scopes: None,
        job: None,
    }
}

/// A client that goes straight to the catalog, with an assertion as the gateway makes it.
fn direct(platform: &Platform, rpc: &str) -> Direct {
    let method = format!("/slipway.catalog.v1.EntityService/{rpc}");
    let assertion = Some(platform.signer.assert(&admin(), &["catalog"], &method, None).unwrap());
    let outgoing = Outgoing { assertion, ..Outgoing::default() };
    let peers = platform.hub.peers("gateway");
    EntityServiceClient::new(peers.forwarding("catalog", outgoing, Deadline::now() + Duration::from_secs(50)))
}

fn through_gateway(platform: &Platform) -> EntityServiceClient<Wire> {
    Calls::new(platform.address, platform.first_token.as_deref().unwrap()).unwrap().entities()
}

async fn ingest(platform: &Platform) {
    let calls = Calls::new(platform.address, platform.first_token.as_deref().unwrap()).unwrap();
    let mut took = Duration::ZERO;
    let mut again = Duration::ZERO;
    for file in 0..ENTITIES / ENTITIES_PER_FILE {
        let mut text = String::new();
        for at in file * ENTITIES_PER_FILE..(file + 1) * ENTITIES_PER_FILE {
            let tier = ["critical", "standard", "experimental"][at % 3];
            let _ = write!(
                text,
                "---\napiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: service-{at:05}\n  title: Service {at}\n  \
                 description: The service number {at} of the benchmark, described in one sentence of usual length.\n  labels: {{ slipway.dev/tier: {tier}, \
                 region: r{} }}\n  tags: [go, t{}]\nspec:\n  type: service\n  lifecycle: production\n  owner: team-{}\n  system: system-{}\n  \
                 dependsOn: [component:service-{:05}]\n",
                at % 7,
                at % 11,
                at % 40,
                at % 200,
                (at * 7) % ENTITIES
            );
        }
        std::fs::write(platform.layout.files().join(format!("bench-{file}.yaml")), text).unwrap();
        let location = pb::Location {
            r#type: pb::LocationType::File.into(),
            target: format!("bench-{file}.yaml"),
            owner: "group:default/platform".to_owned(),
            ..Default::default()
        };
        let start = Instant::now();
        let request = pb::RegisterLocationRequest { location: Some(location), ..Default::default() };
        let made = calls.locations().register_location(request).await.unwrap().into_inner();
        took += start.elapsed();
        assert_eq!(made.entity_count, ENTITIES_PER_FILE as i64, "{:?}", made.documents);
        let start = Instant::now();
        let request = pb::RefreshLocationRequest { name: made.name, ..Default::default() };
        let answer = calls.locations().refresh_location(request).await.unwrap().into_inner();
        assert_eq!((answer.added, answer.changed, answer.removed), (0, 0, 0));
        again += start.elapsed();
    }
    println!("## Catalog ingest, {ENTITIES} entities in calls of {ENTITIES_PER_FILE}\n");
    println!("| case | seconds | entities/s |\n|---|---|---|");
    println!("| new | {:.2} | {:.0} |", took.as_secs_f64(), ENTITIES as f64 / took.as_secs_f64());
    println!("| unchanged | {:.2} | {:.0} |\n", again.as_secs_f64(), ENTITIES as f64 / again.as_secs_f64());
}

/// Runs `calls` calls with `streams` of them in flight.
async fn burst<F, Fut>(calls: usize, streams: usize, call: F) -> Burst
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = ()>,
{
    let (cpu, start) = (cpu_us(), Instant::now());
    let mut spans = Vec::with_capacity(calls);
    let timed = |at: usize| {
        let made = call(at);
        async move {
            let start = Instant::now();
            made.await;
            start.elapsed()
        }
    };
    let mut flying: FuturesUnordered<_> = (0..streams).map(&timed).collect();
    let mut next = streams;
    while let Some(span) = flying.next().await {
        spans.push(span.as_secs_f64() * 1e6);
        if next < calls {
            flying.push(timed(next));
            next += 1;
        }
    }
    spans.sort_by(f64::total_cmp);
    let at = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize];
    Burst {
        cpu_us_per_call: (cpu_us() - cpu) / calls as f64,
        calls_per_s: calls as f64 / start.elapsed().as_secs_f64(),
        p50_us: at(0.5),
        p99_us: at(0.99),
    }
}

fn get_request(at: usize) -> pb::GetEntityRequest {
    pb::GetEntityRequest { name: format!("component:default/service-{:05}", (at * 7919) % ENTITIES), view: 0 }
}

fn list_request(at: usize) -> pb::ListEntitiesRequest {
    pb::ListEntitiesRequest {
        page_size: 20,
        filter: format!("kind = \"component\" AND owner = \"group:default/team-{}\"", at % 40),
        order_by: "title desc".to_owned(),
        total: slipway_proto::resource::v1::TotalMode::Exact.into(),
        ..Default::default()
    }
}

async fn gateway_against_direct(platform: &Platform) {
    println!("## Gateway against a direct call, medians of {ROUNDS} interleaved rounds\n");
    println!("The generator runs in the same process: its share of the processor is in every figure of a row alike.\n");
    println!(
        "| call | streams | direct µs CPU | gateway µs CPU | ratio | direct p50/p99 ms | gateway p50/p99 ms | gateway calls/s | refused |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for streams in [1, 10, 100] {
        let (mut straight, mut through) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let client = direct(platform, "GetEntity");
            straight.push(burst(GETS, streams, |at| get(client.clone(), at)).await);
            let client = through_gateway(platform);
            through.push(burst(GETS, streams, |at| get(client.clone(), at)).await);
        }
        row("GetEntity", streams, straight, through);
    }
    for streams in [1, 8] {
        let (mut straight, mut through) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let client = direct(platform, "ListEntities");
            straight.push(burst(LISTS, streams, |at| list(client.clone(), at)).await);
            let client = through_gateway(platform);
            through.push(burst(LISTS, streams, |at| list(client.clone(), at)).await);
        }
        row("ListEntities, filter, order, total, 20 of 250", streams, straight, through);
    }
    println!();
}

/// Counts a call that came faster than its audit record could be kept; any other error is a defect.
async fn refused(status: &tonic::Status) {
    assert_eq!(slipway_tests::calls::reason(status), "AUDIT_UNAVAILABLE", "{status:?}");
    REFUSED.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(20)).await;
}

async fn get<T>(mut client: EntityServiceClient<T>, at: usize)
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    loop {
        match client.get_entity(get_request(at)).await {
            Ok(entity) => return assert!(!entity.get_ref().uid.is_empty()),
            Err(status) => refused(&status).await,
        }
    }
}

async fn list<T>(mut client: EntityServiceClient<T>, at: usize)
where
    T: tonic::client::GrpcService<tonic::body::Body>,
    T::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    loop {
        match client.list_entities(list_request(at)).await {
            Ok(page) => {
                let page = page.into_inner();
                return assert_eq!((page.entities.len(), page.total_size), (20, Some((ENTITIES / 40) as i64)));
            }
            Err(status) => refused(&status).await,
        }
    }
}

fn row(call: &str, streams: usize, straight: Vec<Burst>, through: Vec<Burst>) {
    let median = |bursts: &[Burst], of: fn(&Burst) -> f64| {
        let mut values: Vec<f64> = bursts.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (direct, gateway) = (median(&straight, |b| b.cpu_us_per_call), median(&through, |b| b.cpu_us_per_call));
    let spans = |bursts: &[Burst]| {
        format!("{:.2}/{:.2}", median(bursts, |b| b.p50_us) / 1e3, median(bursts, |b| b.p99_us) / 1e3)
    };
    println!(
        "| {call} | {streams} | {direct:.0} | {gateway:.0} | {:.2} | {} | {} | {:.0} | {} |",
        gateway / direct,
        spans(&straight),
        spans(&through),
        median(&through, |b| b.calls_per_s),
        REFUSED.swap(0, Ordering::Relaxed)
    );
}

/// Processor time of this process so far, in microseconds.
fn cpu_us() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // USER_HZ is 100 on every Linux that Rust supports.
    ticks * 10_000.0
}

fn rss_mib(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn memory_of_this(_: &Platform) {
    println!("## Memory, resident\n\n| case | MiB |\n|---|---|");
    println!(
        "| {ENTITIES} entities loaded, after the calls above, generator included | {:.0} |",
        rss_mib(std::process::id())
    );
}

/// Starts the released program at rest and with the example, and looks at each after a while.
fn memory_of_processes(home: &std::path::Path) {
    let program = program();
    for (case, options) in [("at rest", &[][..]), ("with the example", &["--example"][..])] {
        let data = home.join(case.replace(' ', "-"));
        let mut command = std::process::Command::new(&program);
        command.arg("up").arg("--data").arg(&data).args(["--listen", "127.0.0.1:0"]).args(options);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let start = Instant::now();
        assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "{case}: the platform ended");
        let ready = start.elapsed();
        std::thread::sleep(Duration::from_secs(3));
        println!("| {case}, ready after {:.1} s | {:.0} |", ready.as_secs_f64(), rss_mib(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn program() -> PathBuf {
    let bench = std::env::current_exe().unwrap();
    bench.parent().and_then(std::path::Path::parent).unwrap().join("slipway")
}
