//! The main job as a developer tells it, over real sockets, on SQLite and on Postgres; and the mistakes of the first day.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use slipway_proto::catalog::v1 as catalog;
use slipway_proto::environment::v1 as environment;
use slipway_proto::environment::v1::EnvironmentState as State;
use slipway_proto::metrics::v1 as metrics;
use slipway_proto::scaffolding::v1 as scaffolding;
use slipway_proto::secrets::v1 as secrets;
use slipway_tests::calls::{fields, reason};
use slipway_tests::main_job::{Job, answered, eventually, id};
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::program;
use tonic::Code;

const OLD: &str = "an older delivery arrives late";

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_ships_from_golden_path_to_delivery_figures() {
    for engine in Engine::shapes() {
        println!("{engine:?}");
        main_job(engine).await;
    }
}

async fn main_job(engine: Engine) {
    if !program::have("the main job", &["git", "helm"]) {
        return;
    }
    let platform = Platform::start(engine).unwrap();
    let job = Job::begin(&platform.handle(), "payments").await.unwrap();
    let run = job.create_service().await.unwrap();
    assert_eq!(run.repository, "local/services/payments");
    assert_eq!(run.service, job.service());
    the_clone_is_whole(&job, engine);
    the_catalog_shows_it(&job).await;
    a_secret_is_bound(&job).await;
    let life = the_preview_lives_and_dies(&platform, &job).await;
    figures_answer_and_explain(&platform, &job).await;
    the_overview_knows_it_all(&job, &life).await;
    log_is_clean(&platform);
}

fn the_clone_is_whole(job: &Job, engine: Engine) {
    let clone = job.handle.scratch().join("clone");
    let bare = job.handle.data().join("scm").join(format!("{}.git", job.repository()));
    program::run("git", &["clone", "--quiet", bare.to_str().unwrap(), clone.to_str().unwrap()], job.handle.scratch())
        .unwrap();
    for file in [
        "catalog-info.yaml",
        "Dockerfile",
        "chart/Chart.yaml",
        ".slipway/golden-path.lock.yaml",
        ".github/workflows/ci.yaml",
    ] {
        assert!(clone.join(file).is_file(), "{file} is missing");
    }
    // The checks of the clone do not depend on the store: once is enough.
    if engine == Engine::Sqlite && program::have("the checks of the clone", &["go", "helm", "actionlint", "promtool"]) {
        check_clone(&clone);
    }
}

fn check_clone(clone: &Path) {
    program::run("go", &["vet", "./..."], clone).unwrap();
    program::run("go", &["test", "-race", "./..."], clone).unwrap();
    let digest = format!("image.digest=sha256:{}", "a".repeat(64));
    program::run("helm", &["lint", "--strict", "chart", "--set", &digest], clone).unwrap();
    program::run("actionlint", &[], clone).unwrap();
    let alerts = clone.join("deploy/alerts");
    let tests = std::fs::read_dir(&alerts).unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let tests: Vec<String> = tests.filter(|name| name.ends_with("_test.yaml")).collect();
    assert!(!tests.is_empty());
    let mut args = vec!["test", "rules"];
    args.extend(tests.iter().map(String::as_str));
    program::run("promtool", &args, &alerts).unwrap();
    built_service_answers(clone);
}

/// The built binary becomes ready, answers, logs JSON and ends on SIGTERM.
fn built_service_answers(clone: &Path) {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    program::run("go", &["build", "-o", "bin/service", "."], clone).unwrap();
    let mut child = std::process::Command::new(clone.join("bin/service"))
        .env("HTTP_ADDRESS", "127.0.0.1:0")
        .env("ADMIN_ADDRESS", "127.0.0.1:0")
        .env("SHUTDOWN_DELAY", "0s")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening = loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["msg"] == "listening" {
            break line;
        }
    };
    let get = |address: &str, path: &str| {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    };
    let admin = listening["admin"].as_str().unwrap();
    for path in ["/healthz", "/readyz"] {
        assert!(get(admin, path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(get(listening["http"].as_str().unwrap(), "/v1/greetings/you").contains("you"));
    assert!(get(admin, "/metrics").contains("http_requests_total"));
    program::run("kill", &["-TERM", &child.id().to_string()], clone).unwrap();
    assert!(child.wait().unwrap().success());
    for line in lines.map_while(Result::ok) {
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

async fn the_catalog_shows_it(job: &Job) {
    let entity = job.entity().await.unwrap();
    assert_eq!(entity.owner, "group:default/payments");
    assert_eq!(entity.service_tier(), catalog::ServiceTier::Critical);
    assert!(entity.relations.iter().any(|r| r.r#type == "ownedBy" && r.target_ref == "group:default/payments"));
    let provided = entity.relations.iter().any(|r| r.r#type == "providesApi" && r.target_ref == "api:default/payments");
    assert!(provided, "{:?}", entity.relations);
}

async fn a_secret_is_bound(job: &Job) {
    let tier: i32 = environment::EnvironmentTier::Development.into();
    let put = secrets::PutSecretRequest {
        secret: Some(secrets::Secret { service: job.service(), tier, ..Default::default() }),
        values: [("API_KEY".to_owned(), "canary-7f3a-value".to_owned())].into_iter().collect(),
        request_id: job.id("secret"),
        ..Default::default()
    };
    let secret = job.ann.secrets().put_secret(put).await.unwrap().into_inner();
    let binding = secrets::CreateSecretBindingRequest {
        secret_binding_id: "app".to_owned(),
        secret_binding: Some(secrets::SecretBinding {
            service: job.service(),
            tier,
            items: vec![secrets::SecretBindingItem {
                secret: secret.name,
                key: "API_KEY".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        request_id: job.id("binding"),
        ..Default::default()
    };
    job.ann.bindings().create_secret_binding(binding).await.unwrap();
}

/// Opens, updates and closes a pull request; the environment's last form.
async fn the_preview_lives_and_dies(platform: &Platform, job: &Job) -> environment::Environment {
    let opened = job
        .handle
        .dev_pr("open", &job.repository(), &["--branch", "faster", "--change", "docs/faster.md=faster"])
        .unwrap();
    let (number, first) = (opened["number"].as_i64().unwrap(), opened["headSha"].as_str().unwrap().to_owned());
    let name = format!("environments/pr-{number}-{}", job.name);
    // The webhook alone brings the preview about; it waits for CI's image.
    let wait = || async {
        Ok(job
            .ann
            .environments()
            .get_environment(environment::GetEnvironmentRequest { name: name.clone() })
            .await
            .ok()
            .map(|e| e.into_inner()))
    };
    eventually("the preview of the webhook", wait, Option::is_some).await.unwrap();
    let stale = job.ensure_preview(number, &"0".repeat(40)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::FailedPrecondition, "STALE_COMMIT"));
    let asked = job.ensure_preview(number, &first).await.unwrap();
    assert_eq!(asked.name, name);
    let published = job.published(&name, &first).await.unwrap();
    assert_eq!(published.url, format!("http://pr-{number}-{}.preview.localhost", job.name));
    let publication = published.publication.clone().unwrap();
    manifests_stand(job, &publication);

    let pushed = job
        .handle
        .dev_pr("push", &job.repository(), &["--number", &number.to_string(), "--change", "docs/faster.md=fastest"])
        .unwrap();
    let second = pushed["headSha"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    job.ensure_preview(number, &second).await.unwrap();
    let updated = job.published(&name, &second).await.unwrap();
    assert_eq!(updated.uid, published.uid);
    assert!(updated.generation > published.generation);

    nothing_old_counts(job, number, &first, &updated).await;

    job.handle.dev_pr("close", &job.repository(), &["--number", &number.to_string()]).unwrap();
    let gone = job.deleted(&name).await.unwrap();
    let receipt = job.receipt(&gone.uid).await.unwrap();
    assert!(!receipt.cluster_observed && !receipt.objects.is_empty());
    assert!(gitops_files(job, &publication).is_empty(), "the manifests are gone");
    let late = environment::EnsurePreviewRequest {
        service: job.service(),
        pull_request: number,
        head_sha: second.clone(),
        request_id: job.id("late CI"),
        ..Default::default()
    };
    let after = job.ann.previews().ensure_preview(late).await.unwrap_err();
    assert_eq!(after.code(), Code::FailedPrecondition, "closing is sticky: {after:?}");
    log_is_clean(platform);
    gone
}

/// Late, doubled and forged deliveries change nothing: the pull request is read anew.
async fn nothing_old_counts(job: &Job, number: i64, first: &str, updated: &environment::Environment) {
    let repository: serde_json::Value = json!({ "id": updated.source.as_ref().unwrap().repository_id.parse::<i64>().unwrap(), "full_name": job.repository() });
    let old = json!({ "action": "opened", "number": number, "repository": repository,
        "pull_request": { "number": number, "state": "open", "head": { "sha": first, "ref": "faster" }, "base": { "ref": "main" } } });
    for delivery in ["late-1", "late-1", "late-2"] {
        assert!((200..300).contains(&job.handle.webhook("pull_request", delivery, &old).await.unwrap()), "{OLD}");
    }
    assert_eq!(
        job.handle
            .post(
                &[
                    ("x-github-event", "pull_request"),
                    ("x-github-delivery", "forged"),
                    ("x-hub-signature-256", "sha256=00")
                ],
                "{}"
            )
            .await
            .unwrap(),
        401
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    let still = job.environment(&updated.name).await.unwrap();
    assert_eq!(
        (still.generation, still.source.unwrap().head_sha),
        (updated.generation, updated.source.clone().unwrap().head_sha),
        "{OLD}"
    );
}

fn gitops(job: &Job, publication: &environment::Publication) -> std::path::PathBuf {
    let dir = job.handle.data().join("gitops").join(format!("{}.git", publication.repository));
    assert!(dir.is_dir(), "{} is no GitOps repository", dir.display());
    dir
}

fn gitops_files(job: &Job, publication: &environment::Publication) -> Vec<String> {
    let dir = gitops(job, publication);
    let listed =
        program::run("git", &["ls-tree", "-r", "--name-only", &publication.branch, "--", &publication.path], &dir)
            .unwrap();
    listed.lines().map(str::to_owned).collect()
}

fn manifests_stand(job: &Job, publication: &environment::Publication) {
    let dir = gitops(job, publication);
    let files = gitops_files(job, publication);
    let texts = files
        .iter()
        .map(|file| program::run("git", &["show", &format!("{}:{file}", publication.branch)], &dir).unwrap());
    let all: String = texts.collect::<Vec<_>>().join("\n---\n");
    for kind in ["Namespace", "ResourceQuota", "LimitRange", "NetworkPolicy", "ServiceAccount", "Deployment", "Service"]
    {
        assert!(all.contains(&format!("kind: {kind}\n")), "no {kind} in {files:?}");
    }
    assert!(all.contains("pod-security.kubernetes.io/enforce"));
    assert!(all.contains("secretRef"), "the bound secret is referred to");
    assert!(!all.contains("canary-7f3a-value") && !all.contains("kind: Secret\n"), "no secret value stands in git");
}

async fn figures_answer_and_explain(platform: &Platform, job: &Job) {
    let now_s = slipway_kit::clock::Clock::system().now_us() / 1_000_000;
    let at = |back: i64| Some(prost_types::Timestamp { seconds: now_s - back, nanos: 0 });
    let head = program::run(
        "git",
        &["rev-parse", "main"],
        &job.handle.data().join("scm").join(format!("{}.git", job.repository())),
    )
    .unwrap();
    let head = head.trim().to_owned();
    let part =
        |sha: &str| metrics::DeploymentPart { repository: job.repository(), sha: sha.to_owned(), ..Default::default() };
    let deployment = |external: &str, sha: &str, back| metrics::Deployment {
        service: job.service(),
        environment: "production".to_owned(),
        external_id: external.to_owned(),
        status: metrics::DeploymentStatus::Succeeded.into(),
        parts: vec![part(sha)],
        finish_time: at(back),
        ..Default::default()
    };
    let incident = metrics::Incident {
        external_id: "INC-1".to_owned(),
        services: vec![job.service()],
        start_time: at(3_000),
        resolve_time: at(2_400),
        ..Default::default()
    };
    let change = metrics::Change {
        repository: job.repository(),
        sha: "b".repeat(40),
        parents: vec![head.clone()],
        commit_time: at(5_400),
        ..Default::default()
    };
    let facts = [
        metrics::fact_event::Fact::Deployment(deployment("d-1", &head, 7_200)),
        metrics::fact_event::Fact::Change(change),
        metrics::fact_event::Fact::Deployment(deployment("d-2", &"b".repeat(40), 3_600)),
        metrics::fact_event::Fact::Incident(incident),
    ];
    let events = facts.into_iter().enumerate().map(|(at, fact)| metrics::FactEvent {
        idempotency_key: format!("story-{at}"),
        fact: Some(fact),
        ..Default::default()
    });
    let request = metrics::IngestEventsRequest { events: events.collect(), ..Default::default() };
    for repeated in [false, true] {
        let answer = job.ann.facts().ingest_events(request.clone()).await.unwrap().into_inner();
        assert!(answer.results.iter().all(|r| r.error.is_none() && r.duplicate == repeated), "{answer:?}");
    }
    let window = Some(metrics::Window { from_time: at(86_400), to_time: at(-60), ..Default::default() });
    let ask =
        metrics::GetDeliveryPerformanceRequest { service: job.service(), window: window.clone(), ..Default::default() };
    let answer = job.ann.dora().get_delivery_performance(ask).await.unwrap().into_inner();
    let frequency = answer.deployment_frequency.unwrap();
    assert_eq!(frequency.deployments_all.unwrap().value, Some(2));
    let explain = metrics::ExplainMetricRequest {
        service: job.service(),
        metric: metrics::Metric::ChangeFailRate.into(),
        window,
        ..Default::default()
    };
    let explained = job.ann.dora().explain_metric(explain).await.unwrap().into_inner();
    assert_eq!((explained.included, explained.considered), (1, 2), "{:?}", explained.items);
    log_is_clean(platform);
}

async fn the_overview_knows_it_all(job: &Job, life: &environment::Environment) {
    let ask = || async {
        let request = catalog::GetServiceOverviewRequest { name: job.service() };
        Ok(job.ann.entities().get_service_overview(request).await?.into_inner())
    };
    let known = |o: &catalog::ServiceOverview| o.deployments.as_ref().is_some_and(|d| d.recent.len() == 2);
    let overview = eventually("the overview with both deployments", ask, known).await.unwrap();
    assert_eq!(overview.service_tier(), catalog::ServiceTier::Critical);
    assert!(overview.owner.unwrap().exists);
    assert!(!overview.docs.is_empty());
    assert!(!overview.environments.unwrap().status.unwrap().unavailable);
    assert_eq!(life.state(), State::Deleted);
}

fn log_is_clean(platform: &Platform) {
    let log = platform.log();
    assert!(!log.contains("canary-7f3a-value"), "a secret stands in the log");
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_what_to_do() {
    if !program::have("the mistakes", &["git", "helm"]) {
        return;
    }
    let platform = Platform::start(Engine::Sqlite).unwrap();
    let job = Job::begin(&platform.handle(), "orders").await.unwrap();
    wrong_parameters(&job).await;
    job.create_service().await.unwrap();
    reused_request_id(&job).await;
    somebody_elses_service(&job).await;
    wrong_environments(&job).await;
    wrong_credentials(&job).await;
}

async fn wrong_parameters(job: &Job) {
    let mut parameters = job.parameters();
    let text = |value: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(value.to_owned())) };
    parameters.fields.insert("name".to_owned(), text("Not A Name"));
    parameters.fields.insert("tier".to_owned(), text("gold"));
    parameters.fields.insert("owner".to_owned(), text("nobody"));
    parameters.fields.remove("title");
    let request = scaffolding::CreateRunRequest {
        template: "templates/go-service".to_owned(),
        parameters: Some(parameters),
        ..Default::default()
    };
    let refused = job.ann.runs().create_run(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let named = fields(&refused);
    for field in ["name", "tier", "owner", "title"] {
        assert!(named.iter().any(|n| n.contains(field)), "{field} is not named in {named:?}");
    }
}

async fn reused_request_id(job: &Job) {
    let mut parameters = job.parameters();
    parameters.fields.insert(
        "title".to_owned(),
        prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("Other".to_owned())) },
    );
    let request = scaffolding::CreateRunRequest {
        template: "templates/go-service".to_owned(),
        parameters: Some(parameters),
        request_id: job.id("run"),
        validate_only: false,
    };
    let refused = job.ann.runs().create_run(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
}

async fn somebody_elses_service(job: &Job) {
    let staging = |calls: &slipway_tests::calls::Calls, service: String| {
        let environment = environment::Environment {
            service,
            kind: environment::EnvironmentKind::LongLived.into(),
            tier: environment::EnvironmentTier::Staging.into(),
            ..Default::default()
        };
        let mut client = calls.environments();
        async move {
            client
                .create_environment(environment::CreateEnvironmentRequest {
                    environment: Some(environment),
                    ..Default::default()
                })
                .await
        }
    };
    let theirs = staging(&job.bob, job.service()).await.unwrap_err();
    let absent = staging(&job.bob, "component:default/absent".to_owned()).await.unwrap_err();
    assert_eq!(theirs.code(), Code::PermissionDenied);
    assert_eq!(
        (theirs.code(), theirs.message()),
        (absent.code(), absent.message()),
        "the answer does not tell what exists"
    );
}

async fn wrong_environments(job: &Job) {
    let personal = environment::Environment {
        service: job.service(),
        kind: environment::EnvironmentKind::Personal.into(),
        ttl: Some(prost_types::Duration { seconds: 90 * 86_400, nanos: 0 }),
        ..Default::default()
    };
    let mut request = environment::CreateEnvironmentRequest {
        environment: Some(personal),
        request_id: job.id("personal"),
        ..Default::default()
    };
    let refused = job.ann.environments().create_environment(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "TTL_TOO_LONG", "{refused:?}");
    request.environment.as_mut().unwrap().ttl = None;
    request.request_id = id(&job.name, "personal again");
    let made = answered(|| async { job.ann.environments().create_environment(request.clone()).await }).await.unwrap();
    let stale =
        environment::DeleteEnvironmentRequest { name: made.name.clone(), etag: "old".to_owned(), ..Default::default() };
    let refused = job.ann.environments().delete_environment(stale).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    broken_chart(job).await;
}

async fn broken_chart(job: &Job) {
    let args = ["--branch", "broken", "--change", "chart/templates/service.yaml={{ .Values.nothing.here }}"];
    let opened = job.handle.dev_pr("open", &job.repository(), &args).unwrap();
    let (number, sha) = (opened["number"].as_i64().unwrap(), opened["headSha"].as_str().unwrap());
    let asked = job.ensure_preview(number, sha).await.unwrap();
    let failed =
        eventually("the failure", || job.environment(&asked.name), |e| e.state() == State::Failed).await.unwrap();
    let told = failed.conditions.iter().any(|c| c.message.contains("service.yaml"));
    assert!(told, "the condition names the file: {:?}", failed.conditions);
}

async fn wrong_credentials(job: &Job) {
    for token in ["", "slw_nonsense", "e30.e30.e30"] {
        let calls = job.handle.calls(token).unwrap();
        let refused = calls
            .entities()
            .get_entity(catalog::GetEntityRequest { name: job.service(), ..Default::default() })
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::Unauthenticated, "INVALID_CREDENTIALS"),
            "{token:?}"
        );
    }
}
