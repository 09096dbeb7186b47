//! The real world: git repositories and helm, and one walk from a pull request to its receipt through them.
#![allow(clippy::unwrap_used)]
mod support;

use std::{collections::BTreeMap, sync::Arc};

use slipway_environment::{
    app::App,
    error::SUPERSEDED,
    model::{
        config,
        environment::{Environment, Source},
        layout,
        state::State,
        tier::Tier,
    },
    store::Store,
    worker,
    world::{
        Job, Output, Outputs, Renderer, Sources, World, fake::Fake, helm::Helm, outputs::GitOutputs,
        sources::ScmSources,
    },
};
use slipway_kit::{
    clock::Clock,
    files::{FilePath, WorkDir},
    git::{Author, FileChange},
    scm::{Action, ClosePullRequest, NewRepository, OpenPullRequest, PushTo, Scm, ScmConfig, pull_request_hook},
    subprocess::Tool,
};
use support::{ann, app_over, call, images};

const CONFIG: &str = "apiVersion: slipway.dev/v1\nkind: Environments\nchart: {path: chart, values: {development: [chart/values-preview.yaml]}}\n\
    platform: {host: route.host, secretNames: secretNames}\n";
const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Chart.Name }}
  annotations: { note: {{ .Values.note | quote }} }
spec:
  template:
    spec:
      containers:
        - name: app
          image: "{{ .Values.image.repository }}@{{ .Values.image.digest }}"
          envFrom:
            {{- range .Values.secretNames }}
            - secretRef: { name: {{ . }} }
            {{- end }}
---
apiVersion: v1
kind: Service
metadata: { name: {{ .Chart.Name }} }
spec: { ports: [{ name: http, port: 80 }] }
"#;

fn helm() -> Option<Tool> {
    let set =
        std::env::var("SLIPWAY_TEST_HELM").ok().and_then(|path| Tool::at("helm", std::path::Path::new(&path)).ok());
    let found = set.or_else(|| Tool::find("helm").ok());
    if found.is_none() {
        eprintln!("skipped: helm (not on PATH and SLIPWAY_TEST_HELM is not set)");
    }
    found
}

fn author() -> Author {
    Author::new("ann", "ann@example.com", 1_700_000_000)
}

fn write(path: &str, text: &str) -> FileChange {
    FileChange::write(FilePath::parse(path).unwrap(), text)
}

fn chart(deployment: &str) -> Vec<FileChange> {
    vec![
        write(config::PATH, CONFIG),
        write("catalog-info.yaml", "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata: {name: payments}\n"),
        write("chart/Chart.yaml", "apiVersion: v2\nname: payments\nversion: 0.1.0\n"),
        write(
            "chart/values.yaml",
            "note: plain\nimage: {repository: \"\", digest: \"\"}\nroute: {host: \"\"}\nsecretNames: []\n",
        ),
        write("chart/values-preview.yaml", "note: preview\n"),
        write("chart/templates/all.yaml", deployment),
    ]
}

async fn scm(dir: &WorkDir, files: Vec<FileChange>) -> Scm {
    let scm = Scm::open("local", &ScmConfig::local(dir.path().join("scm"))).await.unwrap();
    let new = NewRepository {
        name: "acme/payments".to_owned(),
        description: String::new(),
        default_branch: "main".to_owned(),
        marker: "test".to_owned(),
        files,
        message: "Begin\n".to_owned(),
        author: author(),
    };
    scm.create_repository(&new).await.unwrap();
    scm
}

fn pull(files: Vec<FileChange>) -> OpenPullRequest {
    OpenPullRequest {
        title: "Change".to_owned(),
        branch: "feature".to_owned(),
        head_repository: None,
        base: None,
        files,
        draft: false,
        labels: Vec::new(),
        author: author(),
    }
}

/// The contract of every kind of GitOps repository.
async fn outputs_keep_their_contract(outputs: &dyn Outputs, env: &Environment) {
    let folder = layout::folder(env);
    let message = |generation| layout::publish_message(&Environment { generation, ..env.clone() });
    let files = |text: &str| vec![("a.yaml".to_owned(), text.to_owned()), ("b.yaml".to_owned(), "b".to_owned())];
    let (first, second) = (message(1), message(2));
    let output = |generation, message| Output {
        cluster: "local",
        folder: &folder,
        uid: &env.uid,
        generation,
        message,
        now_us: 1_000_000,
    };
    let one = outputs.publish(&output(1, &first), &files("1")).await.unwrap();
    assert_eq!(outputs.publish(&output(1, &first), &files("1")).await.unwrap().commit, one.commit);
    let two = outputs.publish(&output(2, &second), &files("2")[..1]).await.unwrap();
    assert_ne!(one.commit, two.commit);
    assert!(outputs.publish(&output(1, &first), &files("1")).await.unwrap_err().is(&SUPERSEDED));
    // A life that does not own the folder removes nothing.
    let foreign = Output { uid: "other", ..output(9, &second) };
    assert_eq!(outputs.remove(&foreign).await.unwrap().files, Vec::<String>::new());
    let gone = layout::remove_message(env);
    let removed = outputs.remove(&output(2, &gone)).await.unwrap();
    assert_eq!(removed.files.len(), 1);
    assert_eq!(outputs.remove(&output(2, &gone)).await.unwrap().commit, removed.commit);
    // Late: nothing of a removed life comes back.
    assert!(outputs.publish(&output(2, &second), &files("2")).await.unwrap_err().is(&SUPERSEDED));
    let other = Output {
        uid: "next",
        ..output(1, "Next\n\nSlipway-Environment-Uid: next\nSlipway-Generation: 1\nSlipway-Action: publish\n")
    };
    outputs.publish(&other, &files("3")).await.unwrap();
    assert_eq!(outputs.remove(&output(2, &gone)).await.unwrap().files, Vec::<String>::new());
}

#[tokio::test]
async fn both_kinds_of_repositories_keep_one_contract() {
    let dir = WorkDir::temporary().unwrap();
    let env = slipway_environment::model::environment::fixture::preview();
    let git = GitOutputs::open(Tool::find("git").unwrap(), dir.path()).await.unwrap();
    outputs_keep_their_contract(&git, &env).await;
    outputs_keep_their_contract(&Fake::default(), &env).await;
}

#[tokio::test]
async fn files_of_others_in_a_folder_stay_and_are_told() {
    use slipway_kit::git::{Commit, FileChange, Git, RefName};
    let dir = WorkDir::temporary().unwrap();
    let env = slipway_environment::model::environment::fixture::preview();
    let outputs = GitOutputs::open(Tool::find("git").unwrap(), dir.path()).await.unwrap();
    let (folder, uid) = (layout::folder(&env), env.uid.clone());
    let message = |generation| layout::publish_message(&Environment { generation, ..env.clone() });
    let (first, second, gone) = (message(1), message(2), layout::remove_message(&env));
    let output =
        |generation, message| Output { cluster: "local", folder: &folder, uid: &uid, generation, message, now_us: 1 };
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    outputs.publish(&output(1, &first), &[file("a.yaml", "1"), file("b.yaml", "1")]).await.unwrap();
    let git = Git::open(Tool::find("git").unwrap(), dir.path()).await.unwrap();
    let repo = git.repository(&FilePath::parse("local.git").unwrap()).unwrap();
    let path = |name: &str| FilePath::parse(&format!("{folder}/{name}")).unwrap();
    let foreign = Commit {
        branch: RefName::branch("main").unwrap(),
        expected: repo.branch_head("main").await.unwrap(),
        files: vec![FileChange::write(path("notes.md"), b"ours"), FileChange::write(path("a.yaml"), b"edited")],
        message: "Somebody's notes".to_owned(),
        author: author(),
    };
    repo.commit(&foreign).await.unwrap();
    outputs.publish(&output(2, &second), &[file("a.yaml", "2")]).await.unwrap();
    let head = repo.branch_head("main").await.unwrap().unwrap();
    let names: Vec<String> = repo.list_tree(&head, None).await.unwrap().iter().map(|e| e.path.to_string()).collect();
    assert_eq!(names, [format!("{folder}/a.yaml"), format!("{folder}/notes.md")], "ours follow the generation");
    for _ in 0..2 {
        let removed = outputs.remove(&output(2, &gone)).await.unwrap();
        assert_eq!(removed.files, [format!("{folder}/a.yaml")]);
        assert_eq!(removed.kept, [format!("{folder}/notes.md")]);
    }
    let head = repo.branch_head("main").await.unwrap().unwrap();
    assert_eq!(repo.list_tree(&head, None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn writers_of_one_repository_lose_nothing() {
    let dir = WorkDir::temporary().unwrap();
    let root = dir.path().to_owned();
    // Two openings of the same root are two processes to each other.
    let git = Tool::find("git").unwrap();
    let outputs =
        [GitOutputs::open(git.clone(), &root).await.unwrap(), GitOutputs::open(git.clone(), &root).await.unwrap()];
    let outputs = Arc::new(outputs);
    let tasks = (0..8).map(|n| {
        let outputs = outputs.clone();
        tokio::spawn(async move {
            let (folder, uid) = (format!("environments/development/s/e{n}"), format!("uid-{n}"));
            let message =
                format!("x\n\nSlipway-Environment-Uid: {uid}\nSlipway-Generation: 1\nSlipway-Action: publish\n");
            let output =
                Output { cluster: "local", folder: &folder, uid: &uid, generation: 1, message: &message, now_us: 0 };
            outputs[n % 2].publish(&output, &[("a.yaml".to_owned(), n.to_string())]).await.unwrap()
        })
    });
    futures::future::join_all(tasks).await.into_iter().for_each(|done| drop(done.unwrap()));
    let repo = slipway_kit::git::Git::open(git, &root)
        .await
        .unwrap()
        .repository(&FilePath::parse("local.git").unwrap())
        .unwrap();
    let head = repo.branch_head("main").await.unwrap().unwrap();
    assert_eq!(repo.list_tree(&head, None).await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_source_is_read_as_it_is_now() {
    use slipway_environment::model::preview::Reading;
    let dir = WorkDir::temporary().unwrap();
    let scm = scm(&dir, chart(DEPLOYMENT)).await;
    let sources = ScmSources::new(BTreeMap::from([("local".to_owned(), scm.clone())]));
    let repository = sources.repository("local", "acme/payments").await.unwrap().unwrap();
    assert_eq!(sources.components("local", &repository).await.unwrap(), ["component:default/payments"]);
    let source = |number| Source {
        scm: "local".to_owned(),
        // An old name: the id finds it.
        repository: "acme/renamed".to_owned(),
        repository_id: repository.id.clone(),
        pull_request: number,
        ..Source::default()
    };
    assert!(matches!(sources.read(&source(Some(1))).await, Reading::Unknown { reason: "PULL_REQUEST_UNKNOWN", .. }));
    let opened = scm.open_pull_request("acme/payments", &pull(vec![write("a", "1")])).await.unwrap();
    let Reading::Open(head) = sources.read(&source(Some(1))).await else { panic!("it is open") };
    assert_eq!((head.head_sha, head.repository.as_str()), (opened.head_sha, "acme/payments"));
    assert_eq!(head.config.unwrap().platform.host.as_deref(), Some("route.host"));
    assert!(matches!(sources.read(&source(None)).await, Reading::Open(head) if head.branch == "main"));
    assert_eq!(sources.open_pull_requests("local", "acme/payments").await.unwrap(), [1]);
    let close = ClosePullRequest { number: 1, merge: false, author: author() };
    let closed = scm.close_pull_request("acme/payments", &close).await.unwrap();
    assert!(
        matches!(sources.read(&source(Some(1))).await, Reading::Ended { at_us, .. } if Some(at_us) == closed.closed_us)
    );
    let unknown = Source { scm: "none".to_owned(), ..source(Some(1)) };
    assert!(matches!(sources.read(&unknown).await, Reading::Unknown { reason: "SCM_UNREACHABLE", .. }));
}

async fn rendered(files: Vec<FileChange>) -> Option<Result<usize, (String, String)>> {
    let tool = helm()?;
    let dir = WorkDir::temporary().unwrap();
    let scm = scm(&dir, files).await;
    let head = scm.git("acme/payments").await.unwrap().branch_head("main").await.unwrap().unwrap();
    let helm = Helm::open(tool, BTreeMap::from([("local".to_owned(), scm)])).await.unwrap();
    let source = Source {
        scm: "local".to_owned(),
        repository: "acme/payments".to_owned(),
        head_sha: head.to_string(),
        ..Source::default()
    };
    let config = config::parse(CONFIG).unwrap();
    let overlay = serde_json::json!({"image": {"repository": "x", "digest": format!("sha256:{}", "a".repeat(64))}, "secretNames": ["db"]});
    let job = Job {
        source: &source,
        config: &config,
        tier: Tier::Development,
        is_preview: true,
        release: "payments",
        namespace: "ns",
        overlay: &overlay,
        is_upgrade: false,
        cluster: None,
    };
    Some(helm.render(&job).await.unwrap().map(|docs| docs.len()).map_err(|f| (f.reason.to_owned(), f.message)))
}

#[tokio::test]
async fn helm_renders_in_isolation_and_says_what_is_wrong() {
    let Some(good) = rendered(chart(DEPLOYMENT)).await else { return };
    assert_eq!(good, Ok(2));
    let fault = |files: Vec<FileChange>| async move { rendered(files).await.unwrap().unwrap_err() };
    let (reason, message) = fault(chart("a: {{ .Values.none.deep }}\n")).await;
    assert_eq!(reason, "CHART_BROKEN");
    assert!(message.contains("all.yaml") && !message.contains("/tmp/"), "{message}");
    let (reason, message) = fault(chart(&DEPLOYMENT.replace(".Values.note", "randAlphaNum 9"))).await;
    assert_eq!(reason, "NOT_DETERMINISTIC");
    assert!(message.contains("Deployment/payments at /metadata/annotations/note"), "{message}");
    let mut schema = chart(DEPLOYMENT);
    schema.push(write("chart/values.schema.json", r#"{"properties": {"a": {"$ref": "http://x/y"}}}"#));
    assert_eq!(fault(schema).await.0, "CHART_REFUSED");
    let mut missing = chart(DEPLOYMENT);
    missing.remove(4);
    assert_eq!(fault(missing).await.0, "VALUES_MISSING");
    assert_eq!(fault(vec![write(config::PATH, CONFIG)]).await.0, "CHART_MISSING");
    let bomb = "{{ $x := \"a\" }}{{ range until 40 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}{{ len $x }}\n";
    assert_eq!(fault(chart(bomb)).await.0, "RENDER_LIMIT");
    let (_, message) = fault(chart("{{ getHostByName \"localhost\" | required \"no network\" }}\n")).await;
    assert!(message.contains("no network") || !slipway_kit::subprocess::network_is_isolated(), "{message}");
}

async fn real(dir: &WorkDir, helm: Tool, scm: &Scm, scratch: &slipway_kit::db::scratch::Scratch) -> App {
    let fake = Fake::default();
    fake.add_service("payments", "0", support::OWNER);
    fake.state().secret_names = vec!["payments-db".to_owned()];
    let scms = BTreeMap::from([("local".to_owned(), scm.clone())]);
    let world = World {
        sources: Arc::new(ScmSources::new(scms.clone())),
        renderer: Arc::new(Helm::open(helm, scms).await.unwrap()),
        outputs: Arc::new(GitOutputs::open(Tool::find("git").unwrap(), &dir.path().join("gitops")).await.unwrap()),
        ..fake.world()
    };
    app_over(scratch, world, Clock::system()).await
}

async fn work(app: &App) {
    for _ in 0..3 {
        worker(app, 4).run_due().await.unwrap();
    }
}

async fn tree(dir: &WorkDir) -> BTreeMap<String, String> {
    let git = slipway_kit::git::Git::open(Tool::find("git").unwrap(), &dir.path().join("gitops")).await.unwrap();
    let repo = git.repository(&FilePath::parse("local.git").unwrap()).unwrap();
    let head = repo.branch_head("main").await.unwrap().unwrap();
    let mut files = BTreeMap::new();
    for entry in repo.list_tree(&head, None).await.unwrap() {
        let bytes = repo.read_file(&head, &entry.path, 1 << 20).await.unwrap().unwrap();
        files.insert(entry.path.to_string(), String::from_utf8(bytes).unwrap());
    }
    files
}

#[tokio::test]
async fn a_pull_request_becomes_manifests_and_then_a_receipt() {
    let Some(helm) = helm() else { return };
    let dir = WorkDir::temporary().unwrap();
    let scratch = slipway_kit::db::scratch::sqlite(slipway_environment::store::migrations()).await;
    let scm = scm(&dir, chart(DEPLOYMENT)).await;
    let app = real(&dir, helm, &scm, &scratch).await;
    let repository = scm.repository("acme/payments").await.unwrap().unwrap();
    let opened = scm.open_pull_request("acme/payments", &pull(vec![write("a", "1")])).await.unwrap();
    let hook = pull_request_hook(&repository, &opened, Action::Opened);
    app.hint("local", hook.event, &hook.body).await.unwrap();
    work(&app).await;
    let mut wanted = support::wanted(1, 0);
    (wanted.head_sha, wanted.images) = (opened.head_sha.clone(), images());
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted).await.unwrap();
    work(&app).await;
    let env = app.get(&call(ann(), "GetEnvironment"), "environments/pr-1-payments").await.unwrap();
    assert_eq!(env.state(), State::Published, "{:?}", env.status.conditions);
    let files = tree(&dir).await;
    let folder = "environments/development/payments/pr-1-payments";
    let deployment = &files[&format!("{folder}/60-deployment-payments.yaml")];
    for part in ["note: preview", "name: payments-db", &images()["app"], "slipway.dev/env-uid", &env.namespace] {
        assert!(deployment.contains(part), "{part} is not in {deployment}");
    }
    assert!(files[&format!("{folder}/70-httproute-slipway-route.yaml")].contains("pr-1-payments.preview.localhost"));
    for guard in
        ["25-resourcequota-slipway-quota", "20-limitrange-slipway-defaults", "30-networkpolicy-slipway-deny-all"]
    {
        assert!(files.contains_key(&format!("{folder}/{guard}.yaml")), "{guard}");
    }
    assert!(files.values().all(|text| !text.contains("kind: Secret\n")));
    a_push_and_a_close(&app, &scm, &dir, env).await;
    let store = Store::new(scratch.db.clone());
    assert_eq!(store.all_living().await.unwrap(), Vec::<String>::new());
}

async fn a_push_and_a_close(app: &App, scm: &Scm, dir: &WorkDir, env: Environment) {
    let repository = scm.repository("acme/payments").await.unwrap().unwrap();
    let push = PushTo {
        branch: "feature".to_owned(),
        files: vec![write("chart/values-preview.yaml", "note: newer\n")],
        message: "More\n".to_owned(),
        force: true,
        author: author(),
    };
    let pushed = scm.push_to("acme/payments", &push).await.unwrap().to_string();
    let stale = app.ensure_preview(&call(ann(), "EnsurePreview"), &support::wanted(1, 5)).await.unwrap_err();
    assert!(stale.is(&slipway_environment::error::STALE_COMMIT));
    let wanted = slipway_environment::app::WantedPreview { head_sha: pushed, ..support::wanted(1, 0) };
    app.ensure_preview(&call(ann(), "EnsurePreview"), &wanted).await.unwrap();
    work(app).await;
    assert!(tree(dir).await.values().any(|text| text.contains("note: newer")));
    let close = ClosePullRequest { number: 1, merge: true, author: author() };
    let closed = scm.close_pull_request("acme/payments", &close).await.unwrap();
    let hook = pull_request_hook(&repository, &closed, Action::Closed);
    app.hint("local", hook.event, &hook.body).await.unwrap();
    work(app).await;
    assert_eq!(tree(dir).await, BTreeMap::new());
    let name = format!("teardownReceipts/{}", env.uid);
    let receipt = app.receipt(&call(ann(), "GetTeardownReceipt"), &name).await.unwrap();
    assert_eq!(receipt.reason, "MERGED");
    assert!(receipt.objects.iter().filter(|o| o.kind == "GitFile").count() > 8);
}
