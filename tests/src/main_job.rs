//! The main job, step by step: organisation, service from the golden path, preview of a pull request, facts, close.
//!
//! Owns the calls a developer makes and what each must answer. Every change carries a request id that follows from the job, so that
//! a step may be repeated after any interruption. Refuses to know how the platform does it.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use slipway_proto::access::v1 as access;
use slipway_proto::catalog::v1 as catalog;
use slipway_proto::environment::v1 as environment;
use slipway_proto::scaffolding::v1 as scaffolding;
use tonic::{Code, Response, Status};

use crate::calls::{Calls, reason};
use crate::platform::Handle;

/// Longest that a step keeps trying while the platform is down or at work.
const PATIENCE: Duration = Duration::from_secs(90);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(60);

/// Groups, people and systems of the stories.
pub const ORGANIZATION: &str = "\
apiVersion: backstage.io/v1alpha1
kind: Group
metadata: { name: payments, title: Payments }
spec: { type: team, children: [] }
---
apiVersion: backstage.io/v1alpha1
kind: Group
metadata: { name: search }
spec: { type: team, children: [] }
---
apiVersion: backstage.io/v1alpha1
kind: User
metadata: { name: ann }
spec: { profile: { displayName: Ann }, memberOf: [payments] }
---
apiVersion: backstage.io/v1alpha1
kind: User
metadata: { name: bob }
spec: { memberOf: [search] }
---
apiVersion: backstage.io/v1alpha1
kind: System
metadata: { name: shop }
spec: { owner: payments }
";

/// One walk through the main job.
#[derive(Clone)]
pub struct Job {
    /// The platform.
    pub handle: Handle,
    /// Name of the service that is made.
    pub name: String,
    /// Calls of the administrator.
    pub admin: Calls,
    /// Calls of Ann, a developer of the team `payments`.
    pub ann: Calls,
    /// Calls of Bob, a developer of another team.
    pub bob: Calls,
}

/// Repeats a call until the platform answers it; its own refusals are answers.
pub async fn answered<T, F, Fut>(mut call: F) -> Result<T, Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if Instant::now() < until && passes(&status) => tokio::time::sleep(PAUSE).await,
            Err(status) => return Err(status),
        }
    }
}

/// Whether an error only says that the platform was away or busy.
fn passes(status: &Status) -> bool {
    // An error that the platform itself worded always carries a reason.
    reason(status).is_empty()
        || matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
        || reason(status) == "OPERATION_IN_PROGRESS"
}

/// Asks again and again until the answer is as wanted.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F, wanted: impl Fn(&T) -> bool) -> Result<T>
where
    T: std::fmt::Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await.with_context(|| what.to_owned())?;
        if wanted(&answer) {
            return Ok(answer);
        }
        ensure!(Instant::now() < until, "{what} did not come; last: {answer:#?}");
        tokio::time::sleep(PAUSE).await;
    }
}

impl Job {
    /// Loads the organisation and makes tokens for Ann and Bob.
    pub async fn begin(handle: &Handle, name: &str) -> Result<Self> {
        let admin = handle.calls(&handle.token)?;
        std::fs::write(handle.data().join("files/organization.yaml"), ORGANIZATION)?;
        let location = catalog::Location {
            r#type: catalog::LocationType::File.into(),
            target: "organization.yaml".to_owned(),
            owner: "group:default/platform".to_owned(),
            organization: true,
            ..Default::default()
        };
        let request = catalog::RegisterLocationRequest {
            location: Some(location),
            request_id: id(name, "organization"),
            ..Default::default()
        };
        answered(|| async { admin.locations().register_location(request.clone()).await }).await?;
        let ann = token(handle, &admin, "user:default/ann", "group:default/payments").await?;
        let bob = token(handle, &admin, "user:default/bob", "group:default/search").await?;
        Ok(Self { handle: handle.clone(), name: name.to_owned(), admin, ann, bob })
    }

    /// A request id that is the same each time this step is repeated.
    pub fn id(&self, step: &str) -> String {
        id(&self.name, step)
    }

    /// Reference of the service.
    pub fn service(&self) -> String {
        format!("component:default/{}", self.name)
    }

    /// Repository of the service.
    pub fn repository(&self) -> String {
        format!("services/{}", self.name)
    }

    /// Parameters of the golden path for this service.
    pub fn parameters(&self) -> prost_types::Struct {
        let text =
            |value: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(value.to_owned())) };
        let fields = [
            ("name", self.name.as_str()),
            ("title", "Payments"),
            ("owner", "payments"),
            ("system", "shop"),
            ("tier", "critical"),
            ("description", "Takes money: cards, and more."),
        ];
        prost_types::Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect() }
    }

    /// Ann makes the service from the golden path; the run that did it.
    pub async fn create_service(&self) -> Result<scaffolding::Run> {
        let request = scaffolding::CreateRunRequest {
            template: "templates/go-service".to_owned(),
            parameters: Some(self.parameters()),
            request_id: self.id("run"),
            validate_only: false,
        };
        let run = answered(|| async { self.ann.runs().create_run(request.clone()).await }).await?;
        let ask = || async {
            let request = scaffolding::GetRunRequest { name: run.name.clone() };
            Ok(answered(|| async { self.ann.runs().get_run(request.clone()).await }).await?)
        };
        let ended = eventually("the end of the run", ask, |run: &scaffolding::Run| {
            run.state() as i32 >= scaffolding::RunState::Succeeded as i32
        })
        .await?;
        ensure!(
            ended.state() == scaffolding::RunState::Succeeded,
            "the run ended {:?}: {:?}",
            ended.state(),
            ended.error
        );
        Ok(ended)
    }

    /// The service as the catalog shows it.
    pub async fn entity(&self) -> Result<catalog::Entity> {
        let request = catalog::GetEntityRequest { name: self.service(), ..Default::default() };
        Ok(answered(|| async { self.ann.entities().get_entity(request.clone()).await }).await?)
    }

    /// A digest of an image that CI would have built from the commit.
    pub fn image(&self, sha: &str) -> String {
        format!("ghcr.io/acme/{}@sha256:{}", self.name, sha.chars().cycle().take(64).collect::<String>())
    }

    /// CI asks for the preview of the commit; the environment as first answered.
    pub async fn ensure_preview(&self, number: i64, sha: &str) -> Result<environment::Environment, Status> {
        let request = environment::EnsurePreviewRequest {
            service: self.service(),
            pull_request: number,
            head_sha: sha.to_owned(),
            images: [("app".to_owned(), self.image(sha))].into_iter().collect(),
            request_id: self.id(&format!("preview {number} {sha}")),
            ..Default::default()
        };
        answered(|| async { self.ann.previews().ensure_preview(request.clone()).await }).await
    }

    /// The environment as it is.
    pub async fn environment(&self, name: &str) -> Result<environment::Environment> {
        let request = environment::GetEnvironmentRequest { name: name.to_owned() };
        Ok(answered(|| async { self.ann.environments().get_environment(request.clone()).await }).await?)
    }

    /// Waits until the environment shows the commit in state PUBLISHED.
    pub async fn published(&self, name: &str, sha: &str) -> Result<environment::Environment> {
        let wanted = |e: &environment::Environment| {
            e.state() == environment::EnvironmentState::Published
                && e.source.as_ref().is_some_and(|s| s.head_sha == sha)
                && e.observed_generation == e.generation
        };
        eventually("the published preview", || self.environment(name), wanted).await
    }

    /// Waits until the environment is gone.
    pub async fn deleted(&self, name: &str) -> Result<environment::Environment> {
        eventually(
            "the end of the preview",
            || self.environment(name),
            |e| e.state() == environment::EnvironmentState::Deleted,
        )
        .await
    }

    /// The receipt of a life.
    pub async fn receipt(&self, uid: &str) -> Result<environment::TeardownReceipt> {
        let request = environment::GetTeardownReceiptRequest { name: format!("teardownReceipts/{uid}") };
        Ok(answered(|| async { self.ann.environments().get_teardown_receipt(request.clone()).await }).await?)
    }
}

/// A UUID that follows from the job and the step.
pub fn id(job: &str, step: &str) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("{job}/{step}"));
    let text = hex::encode(&hash[..16]);
    format!("{}-{}-4{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..32])
}

/// A token that speaks for a user, as soon as the user's team is known.
async fn token(handle: &Handle, admin: &Calls, user: &str, team: &str) -> Result<Calls> {
    let mut request = access::CreateTokenRequest {
        token: Some(access::Token {
            display_name: format!("story of {user}"),
            scopes: vec![access::TokenScope { permission: "*".to_owned(), resource: String::new() }],
            ..Default::default()
        }),
        owner: user.to_owned(),
        request_id: id(user, "token"),
        ..Default::default()
    };
    let secret = loop {
        match answered(|| async { admin.tokens().create_token(request.clone()).await }).await {
            Ok(made) => break made.secret,
            // Made, but the answer with the secret was lost: it is never shown again.
            Err(status) if reason(&status) == "RESPONSE_NOT_REPLAYABLE" => {
                request.request_id = slipway_kit::id::uuid4()
            }
            Err(status) => return Err(status.into()),
        }
    };
    let calls = handle.calls(&secret)?;
    let ask = || async { Ok(answered(|| async { calls.tokens().who_am_i(access::WhoAmIRequest {}).await }).await?) };
    eventually("the membership", ask, |me: &access::WhoAmIResponse| me.teams.iter().any(|t| t.team == team)).await?;
    Ok(calls)
}
