//! The RPCs through the transport, with a real source provider of local repositories (SCF-50, SCF-60, SCF-61, SCF-90, SCF-91).
mod support;

use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::json;
use slipway_kit::{
    db::scratch,
    scm::{Scm, ScmConfig},
};
use slipway_proto::scaffolding::v1::{
    self as pb, action_service_client::ActionServiceClient, run_service_client::RunServiceClient,
    template_service_client::TemplateServiceClient,
};
use slipway_scaffolding::{store::MIGRATIONS, wire, world::ScmForge};
use support::{Served, admin, developer, object, payments, world};
use tonic::Code;
use tonic_types::StatusExt as _;

const RUNS: &str = "/slipway.scaffolding.v1.RunService";
const TEMPLATES: &str = "/slipway.scaffolding.v1.TemplateService";

struct Stand {
    served: Served,
    scm: Scm,
    _root: tempfile::TempDir,
    _scratch: scratch::Scratch,
}

async fn stand() -> Stand {
    let scratch = scratch::sqlite(&MIGRATIONS).await;
    let root = tempfile::tempdir().expect("a directory");
    let scm = Scm::open("local", &ScmConfig::local(root.path())).await.expect("an SCM");
    let served = Served::new(scratch.db.clone(), Arc::new(ScmForge::new(scm.clone())), world()).await;
    Stand { served, scm, _root: root, _scratch: scratch }
}

fn create(parameters: serde_json::Map<String, serde_json::Value>, request_id: &str) -> pb::CreateRunRequest {
    pb::CreateRunRequest {
        template: "templates/go-service".to_owned(),
        parameters: Some(wire::to_struct(&parameters)),
        request_id: request_id.to_owned(),
        validate_only: false,
    }
}

fn fields(status: &tonic::Status) -> Vec<String> {
    let details = status.get_error_details();
    let mut all: Vec<_> =
        details.bad_request().into_iter().flat_map(|b| b.field_violations.iter().map(|v| v.field.clone())).collect();
    all.sort();
    all
}

fn reason(status: &tonic::Status) -> String {
    status.get_error_details().error_info().map(|i| i.reason.clone()).unwrap_or_default()
}

impl Stand {
    fn runs(&self, caller: &slipway_kit::caller::Caller, rpc: &str) -> RunServiceClient<slipway_kit::serve::Client> {
        RunServiceClient::new(self.served.client(caller, &format!("{RUNS}/{rpc}")))
    }

    fn templates(
        &self,
        caller: &slipway_kit::caller::Caller,
        rpc: &str,
    ) -> TemplateServiceClient<slipway_kit::serve::Client> {
        TemplateServiceClient::new(self.served.client(caller, &format!("{TEMPLATES}/{rpc}")))
    }
}

#[tokio::test]
async fn the_golden_path_becomes_a_repository_and_an_entity() {
    let stand = stand().await;
    let ann = developer("ann", "group:default/payments");
    let id = "11111111-1111-4111-8111-111111111111";
    let made = stand.runs(&ann, "CreateRun").create_run(create(payments(), id)).await.expect("created").into_inner();
    assert_eq!(made.state(), pb::RunState::Pending);
    assert_eq!(made.owner, "group:default/payments");
    let again = stand.runs(&ann, "CreateRun").create_run(create(payments(), id)).await.expect("replayed").into_inner();
    assert_eq!(again.name, made.name);
    let wait = pb::WaitRunRequest { name: made.name.clone(), timeout: None };
    let run = stand.runs(&ann, "WaitRun").wait_run(wait).await.expect("waited").into_inner();
    assert_eq!(run.state(), pb::RunState::Succeeded, "{:?}", run.error);
    assert_eq!(
        (run.repository.as_str(), run.service.as_str()),
        ("local/services/payments", "component:default/payments")
    );
    let output = run.output.expect("an output");
    assert_eq!(output.links[0].url, "scm://local/services/payments");
    assert_eq!(output.links[1].entity_ref, "component:default/payments");

    let repo = stand.scm.git("services/payments").await.expect("the repository");
    let head = repo.branch_head("main").await.expect("readable").expect("a commit");
    let info = repo.commit_info(&head).await.expect("a commit");
    assert_eq!(info.trailer("Slipway-Run").as_deref(), Some(run.uid.as_str()));
    let paths: Vec<_> = repo.list_tree(&head, None).await.expect("a tree").iter().map(|e| e.path.to_string()).collect();
    for want in
        ["go.mod", "Dockerfile", "chart/Chart.yaml", "slo.yaml", "catalog-info.yaml", ".slipway/golden-path.lock.yaml"]
    {
        assert!(paths.iter().any(|p| p == want), "{want} is missing in {paths:?}");
    }

    // The rehearsal gives the same bytes, except what it calls simulated.
    let request = pb::DryRunRequest {
        template: "templates/go-service".to_owned(),
        parameters: Some(wire::to_struct(&payments())),
        include_content: true,
        ..pb::DryRunRequest::default()
    };
    let dry = stand.runs(&ann, "DryRun").dry_run(request).await.expect("rehearsed").into_inner();
    assert_eq!(dry.files.len(), paths.len());
    for file in dry.files.iter().filter(|f| !f.simulated) {
        let path = slipway_kit::files::FilePath::parse(&file.path).expect("a path");
        let real = repo.read_file(&head, &path, 1 << 20).await.expect("readable").expect("is there");
        assert_eq!(real, file.content, "{}", file.path);
    }
    let simulated: Vec<_> = dry.files.iter().filter(|f| f.simulated).map(|f| f.path.as_str()).collect();
    assert_eq!(simulated, [".slipway/golden-path.lock.yaml"]);
    let steps: Vec<_> =
        dry.steps.iter().map(|s| (s.id.as_str(), s.runs, s.simulated, s.missing_permission.as_str())).collect();
    assert_eq!(steps, [("fetch", true, false, ""), ("publish", true, false, ""), ("register", true, true, "")]);
    assert!(dry.findings.iter().all(|f| f.severity() != pb::Severity::Error), "{:?}", dry.findings);
    let taken: Vec<_> = dry.findings.iter().filter(|f| f.code == "REPOSITORY_TAKEN").map(|f| &f.message).collect();
    assert!(matches!(taken.as_slice(), [one] if one.contains("services/payments")), "{taken:?}");

    // Events are ordered, without gaps, resumable, and end with the run.
    let request = pb::StreamRunEventsRequest { name: run.name.clone(), after: 0 };
    let stream = stand.runs(&ann, "StreamRunEvents").stream_run_events(request).await.expect("streams").into_inner();
    let events: Vec<_> = stream.map(|e| e.expect("an event")).collect().await;
    let sequences: Vec<i64> = events.iter().map(|e| e.sequence).collect();
    assert_eq!(sequences, (1..=i64::try_from(events.len()).expect("few")).collect::<Vec<_>>());
    assert_eq!(events.last().expect("some").run_state(), pb::RunState::Succeeded);
    let request = pb::StreamRunEventsRequest { name: run.name.clone(), after: sequences[2] };
    let stream = stand.runs(&ann, "StreamRunEvents").stream_run_events(request).await.expect("streams").into_inner();
    assert_eq!(stream.count().await, events.len() - 3);
    stand.served.shutdown.begin();
}

#[tokio::test]
async fn mistakes_are_told_all_at_once_and_rights_come_first() {
    let stand = stand().await;
    let ann = developer("ann", "group:default/payments");
    let mut wrong = payments();
    wrong.extend(object(json!({"name": "Bad Name", "tier": "gold", "owner": "nobody", "extra": 1})));
    wrong.remove("system");
    let status = stand.runs(&ann, "CreateRun").create_run(create(wrong, "")).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    let want = ["parameters.extra", "parameters.name", "parameters.owner", "parameters.system", "parameters.tier"];
    assert_eq!(fields(&status), want);

    let mut other = payments();
    other.insert("owner".to_owned(), json!("group:default/other"));
    let status = stand.runs(&ann, "CreateRun").create_run(create(other, "")).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));

    let request = pb::CreateRunRequest { template: "templates/nope".to_owned(), ..create(payments(), "") };
    let status = stand.runs(&ann, "CreateRun").create_run(request).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "TEMPLATE_UNKNOWN"));

    let id = "22222222-2222-4222-8222-222222222222";
    let made = stand.runs(&ann, "CreateRun").create_run(create(payments(), id)).await.expect("created").into_inner();
    let mut changed = payments();
    changed.insert("title".to_owned(), json!("Other"));
    let status = stand.runs(&ann, "CreateRun").create_run(create(changed, id)).await.expect_err("refused");
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");

    let bob = developer("bob", "group:default/other");
    let hidden =
        stand.runs(&bob, "GetRun").get_run(pb::GetRunRequest { name: made.name.clone() }).await.expect_err("hidden");
    let missing = pb::GetRunRequest { name: "runs/00000000-0000-7000-8000-000000000000".to_owned() };
    let missing = stand.runs(&bob, "GetRun").get_run(missing).await.expect_err("missing");
    assert_eq!((hidden.code(), hidden.message()), (missing.code(), missing.message()));
    let list = pb::ListRunsRequest { total: 1, ..pb::ListRunsRequest::default() };
    let seen = stand.runs(&bob, "ListRuns").list_runs(list.clone()).await.expect("lists").into_inner();
    assert_eq!((seen.runs.len(), seen.total_size), (0, Some(0)));
    let seen = stand.runs(&ann, "ListRuns").list_runs(list).await.expect("lists").into_inner();
    assert_eq!((seen.runs.len(), seen.total_size), (1, Some(1)));
    let wait = pb::WaitRunRequest { name: made.name.clone(), timeout: None };
    stand.runs(&ann, "WaitRun").wait_run(wait).await.expect("waited");
    let cancel = pb::CancelRunRequest { name: made.name, ..pb::CancelRunRequest::default() };
    let status = stand.runs(&ann, "CancelRun").cancel_run(cancel).await.expect_err("ended");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "RUN_ENDED"));

    // The name is taken now: the run fails with the reason, and nothing of the first repository changes.
    let made = stand.runs(&ann, "CreateRun").create_run(create(payments(), "")).await.expect("created").into_inner();
    let wait = pb::WaitRunRequest { name: made.name, timeout: None };
    let run = stand.runs(&ann, "WaitRun").wait_run(wait).await.expect("waited").into_inner();
    let error = run.error.clone().expect("an error");
    assert_eq!(
        (run.state(), error.reason.as_str(), error.step.as_str()),
        (pb::RunState::Failed, "REPOSITORY_TAKEN", "publish")
    );
    let states: Vec<_> = run.steps.iter().map(pb::RunStep::state).collect();
    assert_eq!(states, [pb::StepState::Succeeded, pb::StepState::Failed, pb::StepState::Cancelled]);
    stand.served.shutdown.begin();
}

fn tree(version: &str, message: &str) -> Vec<pb::TemplateFile> {
    let yaml = format!(
        "apiVersion: scaffolder.backstage.io/v1beta3\nkind: Template\nmetadata: {{ name: hello, title: Hello }}\nspec:\n  type: service\n  \
         slipway: {{ version: {version} }}\n  parameters: {{ properties: {{ owner: {{ type: string }} }} }}\n  steps:\n    - {{ id: a, action: debug:log, input: {{ message: \"{message} ${{{{ parameters.owner }}}}\" }} }}\n"
    );
    vec![pb::TemplateFile { path: "template.yaml".to_owned(), content: yaml.into_bytes(), executable: false }]
}

#[tokio::test]
async fn templates_are_published_once_per_version_by_administrators() {
    let stand = stand().await;
    let (root, ann) = (admin(), developer("ann", "group:default/payments"));
    let publish = |version: &str, message: &str| pb::PublishRevisionRequest {
        files: tree(version, message),
        channel: pb::Channel::Stable.into(),
        ..pb::PublishRevisionRequest::default()
    };
    let status =
        stand.templates(&ann, "PublishRevision").publish_revision(publish("1.0.0", "hi")).await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    let rehearsed = pb::PublishRevisionRequest { validate_only: true, ..publish("1.0.0", "hi") };
    stand.templates(&root, "PublishRevision").publish_revision(rehearsed).await.expect("valid");
    let get = pb::GetTemplateRequest { name: "templates/hello".to_owned() };
    let status = stand.templates(&ann, "GetTemplate").get_template(get.clone()).await.expect_err("nothing was kept");
    assert_eq!(reason(&status), "TEMPLATE_UNKNOWN");
    let first = stand
        .templates(&root, "PublishRevision")
        .publish_revision(publish("1.0.0", "hi"))
        .await
        .expect("published")
        .into_inner();
    let same = stand
        .templates(&root, "PublishRevision")
        .publish_revision(publish("1.0.0", "hi"))
        .await
        .expect("the same")
        .into_inner();
    assert_eq!((first.uid, &first.digest), (same.uid, &same.digest));
    let status = stand
        .templates(&root, "PublishRevision")
        .publish_revision(publish("1.0.0", "ho"))
        .await
        .expect_err("other content");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::AlreadyExists, "REVISION_EXISTS"));
    stand.templates(&root, "PublishRevision").publish_revision(publish("1.1.0", "hi")).await.expect("published");
    let status =
        stand.templates(&root, "PublishRevision").publish_revision(publish("1.0.5-rc.1", "hi")).await.map(|_| ()).err();
    assert!(status.is_none(), "a patch of an older line is allowed: {status:?}");
    let status =
        stand.templates(&root, "PublishRevision").publish_revision(publish("0.9.0", "hi")).await.expect_err("too low");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "VERSION_TOO_LOW"));
    let template = stand.templates(&ann, "GetTemplate").get_template(get).await.expect("is there").into_inner();
    assert_eq!(template.stable_revision, "templates/hello/revisions/1.1.0");
    let list = pb::ListRevisionsRequest {
        parent: "templates/hello".to_owned(),
        page_size: 2,
        ..pb::ListRevisionsRequest::default()
    };
    let page = stand.templates(&ann, "ListRevisions").list_revisions(list.clone()).await.expect("lists").into_inner();
    let versions: Vec<_> = page.revisions.iter().map(|r| r.version.as_str()).collect();
    assert_eq!(versions, ["1.1.0", "1.0.5-rc.1"]);
    let list = pb::ListRevisionsRequest { page_token: page.next_page_token, ..list };
    let page = stand.templates(&ann, "ListRevisions").list_revisions(list).await.expect("lists").into_inner();
    assert_eq!((page.revisions.len(), page.next_page_token.as_str()), (1, ""));
    let broken = pb::PublishRevisionRequest {
        files: tree("2.0.0", "${{ parameters.nope | nah }}"),
        ..pb::PublishRevisionRequest::default()
    };
    let status = stand.templates(&root, "PublishRevision").publish_revision(broken).await.expect_err("refused");
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "TEMPLATE_INVALID"));
    let list =
        pb::ListTemplatesRequest { filter: "type = \"service\"".to_owned(), ..pb::ListTemplatesRequest::default() };
    let page = stand.templates(&ann, "ListTemplates").list_templates(list).await.expect("lists").into_inner();
    let names: Vec<_> = page.templates.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["templates/go-service", "templates/hello"]);
    stand.served.shutdown.begin();
}

#[tokio::test]
async fn actions_are_listed_with_their_schemas() {
    let stand = stand().await;
    let client = stand.served.client(&developer("ann", "x"), "/slipway.scaffolding.v1.ActionService/ListActions");
    let all = ActionServiceClient::new(client)
        .list_actions(pb::ListActionsRequest {})
        .await
        .expect("lists")
        .into_inner()
        .actions;
    let ids: Vec<_> = all.iter().map(|a| a.id.as_str()).collect();
    assert!(ids.is_sorted() && ids.contains(&"publish:git") && ids.contains(&"fetch:template"), "{ids:?}");
    assert!(all.iter().all(|a| a.dry_run && serde_json::from_str::<serde_json::Value>(&a.input_schema_json).is_ok()));
    stand.served.shutdown.begin();
}
