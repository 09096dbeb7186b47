//! Durable runs on both engines: killed anywhere and resumed, they end alike and nothing is doubled (SCF-51, SCF-53, SCF-57).
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use slipway_kit::{
    db::{Db, scratch},
    error::PERMISSION_DENIED,
    journal,
    worker::Worker,
};
use slipway_proto::scaffolding::v1 as pb;
use slipway_scaffolding::{
    app::Publication,
    error::RUN_ENDED,
    model::{
        files::{File, Files, manifest},
        revision::Channel,
        run::{Run, RunState, StepState},
    },
    reconcile::KIND,
    store::MIGRATIONS,
    world::fake::Fake,
};
use support::{Bench, CANCEL, CREATE, GET, PUBLISH, admin, call, developer, golden, object, world};

fn ann() -> slipway_kit::caller::Caller {
    developer("ann", "group:default/payments")
}

fn worker(bench: &Bench) -> Worker {
    Worker::new(&bench.db).handle(KIND, 4, bench.reconciler())
}

/// As time would do to the work of a killed process: its lease is over, and what it held is due.
async fn expire(db: &Db) {
    db.execute("UPDATE members SET lease_until_us = 0", Vec::new()).await.expect("expired");
    db.execute("UPDATE work SET next_us = 0", Vec::new()).await.expect("due");
}

/// Works until nothing is due, waiting out pauses.
async fn finish(bench: &Bench, uid: &str) -> Run {
    for _ in 0..50 {
        // What was cut off in the middle of a statement holds its rows until its connection has rolled back; that passes.
        match worker(bench).run_due().await {
            Err(error) if error.is(&slipway_kit::error::CONFLICT) => continue,
            done => done.map(drop).expect("works"),
        }
        let run = bench.app.store.run(&bench.db, uid).await.expect("readable").expect("is there");
        if run.state.is_ended() {
            return run;
        }
        expire(&bench.db).await;
    }
    panic!("the run does not end");
}

/// What must not depend on where a run was interrupted.
fn end(run: &Run) -> serde_json::Value {
    json!({
        "state": run.state, "service": run.service, "repository": run.repository, "error": run.error,
        "steps": run.steps.iter().map(|s| (s.id.clone(), format!("{:?}", s.state), s.outputs.len())).collect::<Vec<_>>(),
        "links": run.output.as_ref().map(|o| o.links.len()),
    })
}

async fn finished_events(db: &Db, uid: &str) -> Vec<pb::RunFinished> {
    let all = journal::read(db, 0, 1000).await.expect("readable");
    all.iter().filter(|e| e.key == uid).map(|e| e.decode().expect("a RunFinished")).collect()
}

fn doubled(fake: &Fake, runs: usize) {
    let state = fake.state();
    assert_eq!(state.repositories.len(), runs);
    assert!(state.repositories.values().all(|(_, made)| *made == 1), "{:?}", state.repositories);
    assert_eq!(state.registrations.len(), runs);
}

async fn gapless(bench: &Bench, uid: &str) {
    let events = bench.app.store.events(uid, 0, 10_000).await.expect("readable");
    let sequences: Vec<i64> = events.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (1..=i64::try_from(events.len()).expect("few")).collect::<Vec<_>>());
    assert!(events.last().expect("some").run_state.is_some_and(RunState::is_ended));
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.iter().filter(|e| e.step_state.is_some_and(StepState::is_ended)) {
        *ends.entry(event.step.clone()).or_default() += 1;
    }
    assert!(ends.values().all(|n| *n == 1), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_any_effect_a_run_ends_the_same() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let calm = Bench::new(&scratch.db, world()).await;
        let made = calm.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
        let undisturbed = finish(&calm, &made.uid).await;
        assert_eq!(undisturbed.state, RunState::Succeeded, "{:?}", undisturbed.error);
        let moments = calm.world.state().calls;
        let files = calm.app.store.workspace(&made.uid).await.expect("readable");
        doubled(&calm.world, 1);
        assert!(moments >= 6, "{moments} moments");
        for kill_at in 0..moments {
            let bench = Bench::new(&scratch.db, world()).await;
            bench.world.state().kill_at = Some(kill_at);
            let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
            let first = worker(&bench);
            tokio::select! {
                done = first.run_due() => panic!("{}: not killed at {kill_at}: {done:?}", scratch.engine),
                () = bench.world.killed() => {}
            }
            expire(&scratch.db).await;
            let run = finish(&bench, &made.uid).await;
            assert_eq!(end(&run), end(&undisturbed), "{}: killed at {kill_at}", scratch.engine);
            doubled(&bench.world, 1);
            gapless(&bench, &made.uid).await;
            assert_eq!(finished_events(&scratch.db, &made.uid).await.len(), 1);
            let lock = ".slipway/golden-path.lock.yaml";
            let rest = |files: &Files| manifest(files).into_iter().filter(|e| e.path != lock).collect::<Vec<_>>();
            assert_eq!(rest(&bench.app.store.workspace(&made.uid).await.expect("readable")), rest(&files));
        }
    }
}

/// Drops a future after it was polled so many times, as a kill at any await would.
async fn polled<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = times;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_await_a_run_ends_the_same() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let mut undisturbed = None;
        for polls in (5..).step_by(9) {
            let bench = Bench::new(&scratch.db, world()).await;
            let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
            let through = polled(worker(&bench).run_due(), polls).await.is_some();
            expire(&scratch.db).await;
            let run = finish(&bench, &made.uid).await;
            assert_eq!(*undisturbed.get_or_insert_with(|| end(&run)), end(&run), "{}: {polls} polls", scratch.engine);
            assert_eq!(run.state, RunState::Succeeded);
            doubled(&bench.world, 1);
            gapless(&bench, &made.uid).await;
            assert_eq!(finished_events(&scratch.db, &made.uid).await.len(), 1);
            if through {
                break;
            }
        }
    }
}

#[tokio::test]
async fn outages_are_waited_out_and_end_after_five_attempts() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let bench = Bench::new(&scratch.db, world()).await;
        bench.world.state().outages = 3;
        let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
        let run = finish(&bench, &made.uid).await;
        assert_eq!(run.state, RunState::Succeeded);
        assert_eq!(run.steps[1].attempts, 4);
        doubled(&bench.world, 1);

        let bench = Bench::new(&scratch.db, world()).await;
        bench.world.state().outages = 1000;
        let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
        let run = finish(&bench, &made.uid).await;
        let error = run.error.expect("an error");
        assert_eq!(
            (run.state, error.reason.as_str(), error.step.as_str()),
            (RunState::Failed, "DEPENDENCY_UNAVAILABLE", "publish")
        );
        assert_eq!((run.steps[1].attempts, run.steps[2].state), (5, StepState::Cancelled));
    }
}

#[tokio::test]
async fn effects_need_the_initiators_present_rights() {
    let scratch = scratch::sqlite(&MIGRATIONS).await;
    let bench = Bench::new(&scratch.db, world()).await;
    let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
    let moved = developer("ann", "group:default/other");
    bench.world.state().callers.insert(moved.principal.clone(), moved);
    let run = finish(&bench, &made.uid).await;
    let error = run.error.expect("an error");
    assert_eq!((run.state, error.reason.as_str()), (RunState::Failed, "PERMISSION_DENIED"));
    assert!(bench.world.state().repositories.is_empty());
}

#[tokio::test]
async fn a_run_is_cancelled_at_once_or_after_its_running_step() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let bench = Bench::new(&scratch.db, world()).await;
        let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
        let bob = developer("bob", "group:default/other");
        let error = bench.app.cancel_run(&call(&bob, CANCEL), &made.name(), "").await.expect_err("not his");
        assert!(error.is(&PERMISSION_DENIED));
        let stale = bench.app.cancel_run(&call(&ann(), CANCEL), &made.name(), "\"0\"").await.expect_err("stale");
        assert_eq!(stale.reason().name, "ETAG_MISMATCH");
        let run = bench.app.cancel_run(&call(&ann(), CANCEL), &made.name(), &made.etag()).await.expect("cancelled");
        assert_eq!(run.state, RunState::Cancelled);
        worker(&bench).run_due().await.expect("works");
        assert!(bench.world.state().repositories.is_empty());
        let error = bench.app.cancel_run(&call(&ann(), CANCEL), &made.name(), "").await.expect_err("ended");
        assert!(error.is(&RUN_ENDED));

        // Killed after the repository was made, then cancelled: what stands counts, nothing more is done.
        for (kill_at, repositories, publish) in [(2, 0, StepState::Cancelled), (3, 1, StepState::Succeeded)] {
            let bench = Bench::new(&scratch.db, world()).await;
            bench.world.state().kill_at = Some(kill_at);
            let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
            let first = worker(&bench);
            tokio::select! { _ = first.run_due() => panic!("not killed"), () = bench.world.killed() => {} }
            expire(&scratch.db).await;
            let run = bench.app.cancel_run(&call(&ann(), CANCEL), &made.name(), "").await.expect("asked");
            assert!(run.cancelling);
            let run = finish(&bench, &made.uid).await;
            assert_eq!(run.state, RunState::Cancelled);
            assert_eq!((run.steps[1].state, run.steps[2].state), (publish, StepState::Cancelled));
            assert_eq!(bench.world.state().repositories.len(), repositories);
            assert_eq!(finished_events(&scratch.db, &made.uid).await.len(), 1);
        }
    }
}

const FLOW: &str = r#"
apiVersion: scaffolder.backstage.io/v1beta3
kind: Template
metadata: { name: flow }
spec:
  type: service
  slipway: { version: 1.0.0 }
  parameters: { properties: { owner: { type: string }, items: { type: array, items: { type: string }, default: [] }, break: { type: boolean, default: false } } }
  steps:
    - { id: each, each: "${{ parameters.items }}", if: "${{ each.value != 'skip' }}", action: catalog:write, input: { entity: { kind: Group, name: "${{ each.value }}" }, filePath: "${{ each.key }}.yaml" } }
    - { id: never, if: "${{ parameters.items.length > 99 }}", action: debug:log, input: { message: never } }
    - { id: break, if: "${{ parameters.break }}", action: fetch:plain, input: { url: "./${{ parameters.owner }}" } }
    - { id: after, action: debug:log, input: { message: "${{ steps.each.output.iterations.length }}" } }
    - { id: sorry, if: "${{ failure() }}", action: debug:log, input: { message: sorry } }
    - { id: always, if: "${{ always() }}", action: debug:log, input: { message: "of ${{ user.ref }}", listWorkspace: true } }
  output: { count: "${{ parameters.items.length }}", text: [{ title: T, content: "${{ parameters.owner }}" }, { if: false, title: U }] }
"#;

async fn flow(bench: &Bench, parameters: serde_json::Value) -> Run {
    let files: Files = [("template.yaml", FLOW), ("s/x", "x")].map(|(p, c)| (p.to_owned(), File::plain(c))).into();
    let publication =
        Publication { files, commit: String::new(), channel: Channel::Stable, security: false, validate_only: false };
    bench.app.publish(&call(&admin(), PUBLISH), publication).await.expect("published");
    let new = slipway_scaffolding::app::NewRun {
        template: "templates/flow".to_owned(),
        parameters: object(parameters),
        validate_only: false,
    };
    let made = bench.app.create_run(&call(&ann(), CREATE), new).await.expect("created");
    finish(bench, &made.uid).await
}

#[tokio::test]
async fn conditions_repetitions_and_failures_follow_the_rules() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let bench = Bench::new(&scratch.db, world()).await;
        let run = flow(&bench, json!({"owner": "payments", "items": ["a", "skip", "b"]})).await;
        assert_eq!(run.state, RunState::Succeeded, "{:?}", run.error);
        let states = |run: &Run| run.steps.iter().map(|s| s.state).collect::<Vec<_>>();
        use StepState::{Cancelled, Failed, Skipped, Succeeded};
        assert_eq!(states(&run), [Succeeded, Skipped, Skipped, Succeeded, Skipped, Succeeded]);
        assert_eq!((run.steps[0].outputs.len(), run.steps[0].iterations), (3, 3));
        let paths: Vec<_> = bench.app.store.workspace(&run.uid).await.expect("readable").into_keys().collect();
        assert_eq!(paths, ["0.yaml", "2.yaml"]);
        let output = run.output.expect("an output");
        assert_eq!((output.values["count"].clone(), output.text.len()), (json!(3), 1));
        let run = flow(&bench, json!({"owner": "payments", "break": true})).await;
        assert_eq!(run.state, RunState::Failed);
        assert_eq!(states(&run), [Skipped, Skipped, Failed, Cancelled, Succeeded, Succeeded]);
        assert_eq!(run.error.expect("an error").reason, "SOURCE_INVALID");
        assert!(run.output.is_none());
    }
}

#[tokio::test]
async fn ended_workspaces_are_swept_and_golden_paths_are_published_once() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let bench = Bench::new(&scratch.db, world()).await;
        bench.app.publish_golden_paths().await.expect("again");
        let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
        finish(&bench, &made.uid).await;
        let hour = 3600 * 1_000_000;
        let now = made.create_us;
        bench.app.store.sweep(now + hour / 2, hour, hour).await.expect("sweeps");
        assert!(!bench.app.store.workspace(&made.uid).await.expect("readable").is_empty());
        let removed = bench.app.store.sweep(now + 3 * hour, hour, hour).await.expect("sweeps");
        assert!(removed > 0);
        assert!(bench.app.store.workspace(&made.uid).await.expect("readable").is_empty());
        // What the golden path is made of stays.
        assert!(!bench.app.store.revision_files("go-service", "1.0.0").await.expect("readable").is_empty());
        let events = journal::read(&scratch.db, 0, 1000).await.expect("readable");
        assert_eq!(events.iter().filter(|e| e.subject.ends_with("RevisionPublished")).count(), 1);
        let seen = bench.app.get_run(&call(&ann(), GET), &made.name()).await.expect("visible");
        assert_eq!(seen.state, RunState::Succeeded);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_caller_is_woken_when_the_run_ends() {
    let scratch = scratch::sqlite(&MIGRATIONS).await;
    let bench = Arc::new(Bench::new(&scratch.db, world()).await);
    let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
    let (app, name) = (bench.app.clone(), made.name());
    let waiting =
        tokio::spawn(async move { app.wait_run(&call(&ann(), GET), &name, Some(Duration::from_secs(20))).await });
    worker(&bench).run_due().await.expect("works");
    assert_eq!(waiting.await.expect("joined").expect("answered").state, RunState::Succeeded);
    let soon = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
    let run =
        bench.app.wait_run(&call(&ann(), GET), &soon.name(), Some(Duration::from_millis(50))).await.expect("answered");
    assert_eq!(run.state, RunState::Pending);
}

#[tokio::test]
async fn a_name_that_another_location_declared_first_fails_the_run() {
    for scratch in scratch::each(&MIGRATIONS).await {
        let bench = Bench::new(&scratch.db, world()).await;
        let (entity, first) = ("component:default/payments", "scm://local/services/first");
        bench.world.state().taken.insert(entity.to_owned(), first.to_owned());
        let made = bench.app.create_run(&call(&ann(), CREATE), golden()).await.expect("created");
        let run = finish(&bench, &made.uid).await;
        let error = run.error.expect("failed");
        assert_eq!((run.state, error.reason.as_str()), (RunState::Failed, "CATALOG_REFUSED"));
        assert!(error.message.contains(first), "{}", error.message);
    }
}
