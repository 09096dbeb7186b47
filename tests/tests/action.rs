//! The GitHub Action as a workflow runs it: its script, a job's tokens from an issuer of GitHub's shape, good and bad, and the platform.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use slipway_proto::environment::v1 as environment;
use slipway_tests::github::{Github, REQUEST_TOKEN, now, pull_request_claims};
use slipway_tests::http::{Answer, Request, serve};
use slipway_tests::main_job::Job;
use slipway_tests::platform::{Engine, Platform};
use slipway_tests::program;

const AUDIENCE: &str = "https://slipway.corp.example";
const OWNER_ID: &str = "65";

fn action() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/actions/preview-environment").canonicalize().unwrap()
}

/// What a run of the script left behind.
struct Ran {
    ok: bool,
    said: String,
    outputs: BTreeMap<String, String>,
    summary: String,
}

impl Ran {
    fn output(&self, name: &str) -> &str {
        self.outputs.get(name).map_or("", String::as_str)
    }
}

/// Runs the script as a step with these inputs.
async fn step(github: &Github, inputs: &[(&str, String)]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| home.path().join(name);
    let mut bash = Command::new("bash");
    bash.arg(action().join("preview.sh")).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    bash.env("GITHUB_OUTPUT", file("output")).env("GITHUB_STEP_SUMMARY", file("summary")).env("TMPDIR", home.path());
    bash.env("ACTIONS_ID_TOKEN_REQUEST_URL", github.request_url()).env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN);
    bash.env("GITHUB_REPOSITORY_ID", "4711").env("GITHUB_EVENT_NAME", "pull_request");
    bash.env("INPUT_AUDIENCE", AUDIENCE).env("INPUT_WAIT_TIMEOUT", "60");
    for (name, value) in inputs {
        bash.env(format!("INPUT_{}", name.to_uppercase()), value);
    }
    let output = tokio::task::spawn_blocking(move || bash.output()).await.unwrap().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for token in github.given().iter().map(String::as_str).chain([REQUEST_TOKEN]) {
        assert!(!said.contains(token), "a token was printed:\n{said}");
    }
    let text = std::fs::read_to_string(file("output")).unwrap_or_default();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let outputs = text.lines().map(|line| pair(line).unwrap()).collect();
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().flatten().filter(|e| e.path().is_dir()).collect();
    assert!(left.is_empty(), "the script left {left:?}");
    let summary = std::fs::read_to_string(file("summary")).unwrap_or_default();
    Ran { ok: output.status.success(), said, outputs, summary }
}

/// A platform that trusts an issuer, a service with a pull request, and a trust entry.
struct House {
    platform: Platform,
    github: Github,
    job: Job,
    repository_id: String,
    number: i64,
    head_sha: String,
    entry: String,
    _home: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let (github, home) = (Github::start().unwrap(), tempfile::tempdir().unwrap());
        let config = home.path().join("slipway.toml");
        let issuer = github.issuer();
        let text = format!(
            "issuer_hosts = [{issuer:?}]\n[issuers.github]\nkind = \"github-actions\"\nissuer = {issuer:?}\naudience = {AUDIENCE:?}\n"
        );
        std::fs::write(&config, text).unwrap();
        let options = ["--config".to_owned(), config.to_str().unwrap().to_owned()];
        let start = move || Platform::start_with(Engine::Sqlite, &options.each_ref().map(String::as_str));
        let platform = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let job = Job::begin(&platform.handle(), "payments").await.unwrap();
        job.create_service().await.unwrap();
        let args = ["--branch", "feature", "--change", "docs/faster.md=faster"];
        let opened = platform.dev_pr("open", &job.repository(), &args).unwrap();
        let text = |name: &str| opened[name].as_str().unwrap().to_owned();
        let (repository_id, head_sha) = (text("repositoryId"), text("headSha"));
        let number = opened["number"].as_i64().unwrap();
        let mut house =
            Self { platform, github, job, repository_id, number, head_sha, entry: String::new(), _home: home };
        house.trust().await;
        // The delivery of the pull request makes its preview too, which then waits for an image.
        let ask = || async { Ok(house.environments().await) };
        slipway_tests::main_job::eventually("the pull request's own preview", ask, |e| !e.is_empty()).await.unwrap();
        house
    }

    async fn rest(&self, verb: &str, path: &str, body: Value) -> Value {
        let url = format!("http://{}{path}", self.platform.address);
        let header = format!("authorization: Bearer {}", self.platform.token);
        let body = body.to_string();
        let mut args = vec!["--silent", "--show-error", "--fail-with-body", "--request", verb, "--header", &header];
        args.extend(["--header", "content-type: application/json", url.as_str()]);
        if body != "null" {
            args.extend(["--data", body.as_str()]);
        }
        serde_json::from_str(&program::run("curl", &args, Path::new("/")).unwrap()).unwrap_or_default()
    }

    async fn trust(&mut self) {
        let entry = json!({
            "issuer": "github", "repositoryId": self.repository_id, "repositoryOwnerId": OWNER_ID,
            "service": "component:default/payments", "refs": ["refs/pull/*/merge"],
            "permissions": ["environments.ensure_preview", "environments.get", "environments.delete"],
        });
        let made = self.rest("POST", "/v1/trustEntries", entry).await;
        self.entry = made["name"].as_str().unwrap().to_owned();
    }

    fn claims(&self) -> Value {
        pull_request_claims("local/payments", &self.repository_id, OWNER_ID, self.number)
    }

    fn inputs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("address", format!("http://{}", self.platform.address)),
            ("service", "component:default/payments".to_owned()),
            ("pull_request", self.number.to_string()),
            ("head_sha", self.head_sha.clone()),
            ("images", format!("\n  app={}\n", self.job.image(&self.head_sha))),
        ]
    }

    async fn run(&self, changed: &[(&'static str, &str)]) -> Ran {
        let mut inputs = self.inputs();
        inputs.extend(changed.iter().map(|(name, value)| (*name, (*value).to_owned())));
        step(&self.github, &inputs).await
    }

    async fn run_saying(&self, claims: Value, header: Value) -> Ran {
        let mut all = self.claims();
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.github.say(all, header);
        self.run(&[]).await
    }

    /// Every environment with what a change of it would change.
    async fn environments(&self) -> Vec<(String, i64, String)> {
        let request = environment::ListEnvironmentsRequest { show_deleted: true, ..Default::default() };
        let listed = self.job.admin.environments().list_environments(request).await.unwrap().into_inner();
        listed.environments.into_iter().map(|e| (e.name, e.generation, e.uid)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_its_preview_and_every_other_token_gets_nothing() {
    if !program::have("the action", &["git", "helm", "curl", "bash", "awk"]) {
        return;
    }
    let house = House::open().await;
    bad_tokens_change_nothing(&house).await;
    let environment = a_good_one_gets_an_address(&house).await;
    mistakes_are_told_in_words(&house).await;
    a_newer_push_ends_the_older_run_quietly(&house).await;
    let entry = format!("/v1/{}", house.entry);
    house.rest("DELETE", &entry, Value::Null).await;
    let refused = house.run(&[]).await;
    assert!(!refused.ok && refused.said.contains("INVALID_CREDENTIALS"), "{}", refused.said);
    let mut house = house;
    house.trust().await;
    let deleted = house.run(&[("command", "delete")]).await;
    assert!(deleted.ok, "{}\n{}", deleted.said, house.platform.log());
    assert_eq!((deleted.output("environment"), deleted.output("state")), (environment.as_str(), "DELETED"));
    let again = house.run(&[("command", "delete")]).await;
    assert!(again.ok && again.said.contains("has no preview"), "{}", again.said);
    let late = house.run(&[]).await;
    assert!(late.ok && late.output("state") != "PUBLISHED", "{}", late.said);
}

async fn bad_tokens_change_nothing(house: &House) {
    let before = house.environments().await;
    let fork = json!({"head_repository_id": "99", "head_repository": "eve/payments"});
    let hyphens = format!("repo:local-{OWNER_ID}/payments-{}:pull_request", house.repository_id);
    let base = json!({"event_name": "pull_request_target", "ref": "refs/heads/main", "sub": "repo:local/payments:ref:refs/heads/main"});
    for (what, claims, header) in [
        ("another audience", json!({"aud": "https://other.example"}), json!({})),
        ("GitHub's default audience", json!({"aud": "https://github.com/local"}), json!({})),
        ("another repository", json!({"repository_id": "12"}), json!({})),
        (
            "the same name with a new number",
            json!({"repository_id": format!("{}1", &house.repository_id[..5])}),
            json!({}),
        ),
        ("a transferred repository", json!({"repository_owner_id": "66"}), json!({})),
        ("the withdrawn subject", json!({"sub": hyphens}), json!({})),
        ("a fork", fork, json!({})),
        ("pull_request_target", base, json!({})),
        ("an unknown key", json!({}), json!({"kid": "other"})),
        ("no signature", json!({}), json!({"alg": "none"})),
        ("a symmetric signature", json!({}), json!({"alg": "HS256"})),
    ] {
        let ran = house.run_saying(claims, header).await;
        assert!(
            !ran.ok && ran.said.contains("401 INVALID_CREDENTIALS: the credentials are not valid"),
            "{what}: {}",
            ran.said
        );
        assert!(ran.said.contains("repository_id=4711") && ran.said.contains(AUDIENCE), "{what}: {}", ran.said);
        assert_eq!((ran.output("state"), ran.output("reason")), ("REFUSED", "INVALID_CREDENTIALS"), "{what}");
    }
    for over in [json!({"iat": now() - 601}), json!({"iat": now() - 900, "nbf": now() - 900, "exp": now() - 61})] {
        let ran = house.run_saying(over.clone(), json!({})).await;
        assert!(!ran.ok && ran.said.contains("TOKEN_EXPIRED"), "{over}: {}", ran.said);
    }
    // Another pull request's job, and another service's.
    let other = pull_request_claims("local/payments", &house.repository_id, OWNER_ID, house.number + 1);
    house.github.say(other, json!({}));
    let ran = house.run(&[]).await;
    assert!(!ran.ok && ran.said.contains("403 PERMISSION_DENIED"), "{}", ran.said);
    house.github.say(house.claims(), json!({}));
    let ran = house.run(&[("service", "component:default/other")]).await;
    assert!(!ran.ok && ran.said.contains("403 PERMISSION_DENIED"), "{}", ran.said);
    // A workflow that is not the pinned one.
    let pinned = format!("local/flows/.github/workflows/preview.yaml@{}", "a".repeat(40));
    let entry = format!("/v1/{}?updateMask=jobWorkflowRef", house.entry);
    house.rest("PATCH", &entry, json!({"jobWorkflowRef": pinned})).await;
    let ran = house.run(&[]).await;
    assert!(!ran.ok && ran.said.contains("INVALID_CREDENTIALS"), "{}", ran.said);
    house.rest("PATCH", &entry, json!({"jobWorkflowRef": ""})).await;
    assert_eq!(house.environments().await, before, "a bad token changed something");
}

async fn a_good_one_gets_an_address(house: &House) -> String {
    let ran = house.run_saying(json!({}), json!({})).await;
    assert!(ran.ok, "{}\n{}", ran.said, house.platform.log());
    assert_eq!((ran.output("state"), ran.output("reason")), ("PUBLISHED", ""), "{}", ran.said);
    assert_eq!(ran.output("environment"), format!("environments/pr-{}-payments", house.number));
    assert!(
        ran.output("url").contains(&format!("pr-{}-payments.preview.localhost", house.number)),
        "{:?}",
        ran.outputs
    );
    assert!(ran.output("namespace").starts_with("payments-pr-"), "{:?}", ran.outputs);
    assert!(ran.summary.contains(ran.output("url")) && ran.summary.contains("PUBLISHED"), "{}", ran.summary);
    // The new form of the subject, and the same call again: the same environment, no new generation.
    let before = house.environments().await;
    let subject = format!("repo:local@{OWNER_ID}/payments@{}:pull_request", house.repository_id);
    let again = house.run_saying(json!({"sub": subject}), json!({})).await;
    assert!(again.ok && again.output("state") == "PUBLISHED", "{}", again.said);
    assert_eq!(house.environments().await, before);
    house.github.say(house.claims(), json!({}));
    ran.output("environment").to_owned()
}

async fn mistakes_are_told_in_words(house: &House) {
    let tagged = house.run(&[("images", "app=ghcr.io/acme/payments:latest")]).await;
    assert!(!tagged.ok && tagged.said.contains("INVALID_FIELD"), "{}", tagged.said);
    assert!(tagged.said.contains("images[\"app\"]: must be <repository>@sha256"), "{}", tagged.said);
    for (input, value, told) in [
        ("address", "http://slipway.corp.example", "must begin with https://"),
        ("pull_request", "", "must be a number"),
        ("head_sha", "main", "must be a full commit id"),
        ("service", "", "must name a component"),
        ("service", "a\nb", "has a control character"),
        ("images", "ghcr.io/acme/payments", "is not name=repository"),
        ("fail_on", "NEVER", "must be FAILED or DEGRADED"),
        ("command", "rm -rf", "must be ensure or delete"),
        ("wait_timeout", "1m", "must be a number of seconds"),
    ] {
        let ran = house.run(&[(input, value)]).await;
        assert!(!ran.ok && ran.said.contains(told), "{input} {value:?}: {}", ran.said);
    }
}

async fn a_newer_push_ends_the_older_run_quietly(house: &House) {
    let args = ["--number", &house.number.to_string(), "--change", "docs/faster.md=fastest"];
    let pushed = house.platform.dev_pr("push", &house.job.repository(), &args).unwrap();
    let newer = pushed["headSha"].as_str().unwrap();
    let ran = house.run(&[]).await;
    assert!(ran.ok, "{}", ran.said);
    assert_eq!((ran.output("state"), ran.output("reason")), ("SUPERSEDED", "STALE_COMMIT"), "{}", ran.said);
    assert!(ran.said.contains("::notice") && ran.said.contains(newer), "{}", ran.said);
}

/// A Slipway that answers as a script says, and what it was asked.
fn scripted(answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<Request>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (asked, answers) = (seen.clone(), Mutex::new(answers.into_iter()));
    let address = serve(move |request| {
        asked.lock().unwrap().push(request.clone());
        answers.lock().unwrap().next().unwrap_or_else(|| Answer::json(500, &json!({})))
    });
    (format!("http://{}", address.unwrap()), seen)
}

fn answer(state: &str, more: Value) -> Answer {
    let mut body = json!({
        "name": "environments/pr-7-pay", "state": format!("ENVIRONMENT_STATE_{state}"), "generation": "2",
        "observedGeneration": "2", "url": "https://pr-7-pay.preview.example", "namespace": "pay-pr-7-abcde",
        "source": {"headSha": "a".repeat(40)},
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    Answer::json(200, &body)
}

async fn against(github: &Github, answers: Vec<Answer>, more: &[(&'static str, &str)]) -> (Ran, Vec<Request>) {
    let (address, seen) = scripted(answers);
    let mut inputs = vec![
        ("address", address),
        ("service", "pay".to_owned()),
        ("pull_request", "7".to_owned()),
        ("head_sha", "a".repeat(40)),
    ];
    inputs.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let ran = step(github, &inputs).await;
    let seen = seen.lock().unwrap().clone();
    (ran, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_script_repeats_safely_and_ends_as_asked() {
    if !program::have("the action", &["curl", "bash", "awk"]) {
        return;
    }
    let github = Github::start().unwrap();
    let busy = |status, reason: &str| {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]);
        let mut answer =
            Answer::json(status, &json!({"code": 14, "message": "later \u{1}::error::x", "details": details}));
        answer.headers.push(("retry-after", "1".to_owned()));
        answer
    };
    let waiting = json!([
        {"type": "Rendered", "status": "CONDITION_STATUS_TRUE", "reason": "OK"},
        {"type": "Healthy", "status": "CONDITION_STATUS_FALSE", "reason": "IMAGE_PULL", "message": "no \"image\" {x}, [y]"},
    ]);
    let rolling = || answer("DEPLOYING", json!({"observedGeneration": "1", "conditions": waiting}));
    let script =
        vec![busy(503, "SHUTTING_DOWN"), busy(429, "RATE_LIMITED"), rolling(), rolling(), answer("READY", json!({}))];
    let (ran, seen) = against(&github, script, &[]).await;
    assert!(ran.ok && ran.output("state") == "READY", "{}", ran.said);
    assert!(ran.said.contains("DEPLOYING IMAGE_PULL: no \"image\" {x}, [y]"), "{}", ran.said);
    assert!(!ran.said.contains("::error::x"), "an answer must not speak to the runner: {}", ran.said);
    assert_eq!(seen.len(), 5);
    assert!(seen[0].body == seen[1].body && seen[1].body == seen[2].body && seen[0].body.contains("requestId"));
    assert!(seen[3].target.ends_with("/v1/environments/pr-7-pay:wait"), "{}", seen[3].target);
    let degraded = || answer("DEGRADED", json!({"conditions": waiting}));
    let lasting = || (0..9).map(|_| degraded()).collect::<Vec<_>>();
    for (fail_on, answers, ok, state) in [
        ("FAILED", lasting(), true, "DEGRADED"),
        ("DEGRADED", lasting(), false, "DEGRADED"),
        ("DEGRADED", vec![degraded(), degraded(), answer("READY", json!({}))], true, "READY"),
        ("FAILED", vec![answer("FAILED", json!({}))], false, "FAILED"),
    ] {
        let (ran, _) = against(&github, answers, &[("fail_on", fail_on)]).await;
        assert_eq!((ran.ok, ran.output("state")), (ok, state), "{fail_on}: {}", ran.said);
        assert_eq!(ran.output("url"), "https://pr-7-pay.preview.example", "told whatever the outcome");
    }
    let moved = answer("DEPLOYING", json!({"source": {"headSha": "b".repeat(40)}, "observedGeneration": "1"}));
    let (ran, _) = against(&github, vec![rolling(), moved], &[]).await;
    assert!(ran.ok && ran.output("state") == "SUPERSEDED" && ran.said.contains(&"b".repeat(40)), "{}", ran.said);
    let (ran, seen) = against(&github, vec![rolling(), rolling(), rolling()], &[("wait_timeout", "0")]).await;
    assert!(ran.ok && ran.output("state") == "DEPLOYING" && seen.len() == 1, "{}", ran.said);
    for garbage in ["<html>busy</html>", "{\"name\": ", ""] {
        let page = Answer { status: 200, headers: vec![], body: garbage.to_owned() };
        let (ran, _) = against(&github, vec![page], &[("wait_timeout", "1")]).await;
        assert!(!ran.ok, "{garbage:?}: {}", ran.said);
    }
}

#[test]
fn the_action_names_every_input_and_the_example_is_clean() {
    let (action_yml, script) = (action().join("action.yml"), action().join("preview.sh"));
    let (text, script) = (std::fs::read_to_string(action_yml).unwrap(), std::fs::read_to_string(script).unwrap());
    let named = |text: &str| -> std::collections::BTreeSet<String> {
        let rest = text.split("INPUT_").skip(1);
        rest.map(|t| t.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect())
            .filter(|n: &String| !n.is_empty())
            .collect()
    };
    assert_eq!(named(&text).len(), 9);
    assert!(named(&script).is_subset(&named(&text)), "the script reads an input the action does not hand on");
    assert!(!text.contains("run: bash \"${{"), "inputs reach the script as environment, never as text of a command");
    if !program::have("the example", &["actionlint", "git"]) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".github/workflows")).unwrap();
    program::run("git", &["init", "--quiet"], home.path()).unwrap();
    for (at, example) in [action().join("README.md"), action().join("../../../docs/ci.md")].iter().enumerate() {
        let text = std::fs::read_to_string(example).unwrap();
        for (n, block) in text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).enumerate() {
            std::fs::write(home.path().join(format!(".github/workflows/{at}-{n}.yaml")), block).unwrap();
        }
    }
    assert!(std::fs::read_dir(home.path().join(".github/workflows")).unwrap().count() >= 2);
    program::run("actionlint", &[], home.path()).unwrap();
}
