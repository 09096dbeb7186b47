//! `slipway up --example`: a small organisation, a service from the golden path, and an open pull request with its preview.
//!
//! Owns what the example contains; everything goes through the gateway as a person's calls would. Refuses to run twice: request ids
//! follow from the step, so a repeat changes nothing.

use std::fs;

use anyhow::{Context as _, Result, bail};
use slipway_proto::catalog::v1 as catalog;
use slipway_proto::environment::v1 as environment;
use slipway_proto::metrics::v1 as metrics;
use slipway_proto::scaffolding::v1 as scaffolding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::cli::{Open, Target};
use crate::dev;
use crate::platform::Platform;

const ORGANIZATION: &str = include_str!("example/organization.yaml");
const SERVICE: &str = "greeter";
const REPOSITORY: &str = "services/greeter";
const SECONDS_PER_HOUR: i64 = 3_600;

/// A channel that sends a credential.
pub type Wire = InterceptedService<Channel, Bearer>;

/// Adds `authorization` to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// For a platform token.
    ///
    /// # Errors
    /// A token that cannot stand in a header.
    pub fn new(token: &str) -> Result<Self> {
        Ok(Self(format!("Bearer {token}").parse()?))
    }
}

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Loads the example, with a line for each step.
pub async fn load(platform: &Platform) -> Result<()> {
    let Some(token) = &platform.first_token else {
        println!("  example: not loaded again: it needs the first token, which is in use already");
        return Ok(());
    };
    let channel = Endpoint::from_shared(format!("http://{}", platform.address))?.connect().await?;
    let wire = InterceptedService::new(channel, Bearer::new(token)?);
    organization(platform, wire.clone()).await?;
    println!("  example: organisation with the teams payments and search");
    create(wire.clone()).await?;
    println!("  example: service {SERVICE} from the golden path, repository {REPOSITORY}");
    let (number, sha) = pull_request(platform).await?;
    let preview = preview(wire.clone(), number, &sha).await?;
    println!("  example: pull request {number}, preview {}", preview.name);
    facts(wire, &sha).await?;
    println!("  example: deployments and an incident of {SERVICE}");
    Ok(())
}

async fn organization(platform: &Platform, wire: Wire) -> Result<()> {
    fs::write(platform.layout.files().join("organization.yaml"), ORGANIZATION)?;
    let location = catalog::Location {
        r#type: catalog::LocationType::File.into(),
        target: "organization.yaml".to_owned(),
        owner: "group:default/platform".to_owned(),
        organization: true,
        ..Default::default()
    };
    let request = catalog::RegisterLocationRequest {
        location: Some(location),
        request_id: "00000000-0000-4000-8000-000000000001".to_owned(),
        ..Default::default()
    };
    catalog::location_service_client::LocationServiceClient::new(wire).register_location(request).await?;
    Ok(())
}

async fn create(wire: Wire) -> Result<()> {
    let text = |value: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(value.to_owned())) };
    let fields = [
        ("name", SERVICE),
        ("title", "Greeter"),
        ("owner", "payments"),
        ("system", "shop"),
        ("tier", "standard"),
        ("description", "Says hello."),
    ];
    let parameters = fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    let mut runs = scaffolding::run_service_client::RunServiceClient::new(wire);
    let request = scaffolding::CreateRunRequest {
        template: "templates/go-service".to_owned(),
        parameters: Some(prost_types::Struct { fields: parameters }),
        request_id: "00000000-0000-4000-8000-000000000002".to_owned(),
        validate_only: false,
    };
    let run = runs.create_run(request).await?.into_inner();
    let wait =
        scaffolding::WaitRunRequest { name: run.name, timeout: Some(prost_types::Duration { seconds: 50, nanos: 0 }) };
    let run = runs.wait_run(wait).await?.into_inner();
    if run.state() != scaffolding::RunState::Succeeded {
        bail!("the golden path ended {:?}: {}", run.state(), run.error.unwrap_or_default().message);
    }
    Ok(())
}

async fn pull_request(platform: &Platform) -> Result<(i64, String)> {
    let open = Open {
        target: Target {
            data: platform.layout.root().to_path_buf(),
            repository: REPOSITORY.to_owned(),
            author: "ann".to_owned(),
        },
        branch: "warmer".to_owned(),
        base: None,
        title: Some("Greet more warmly".to_owned()),
        changes: vec!["docs/greeting.md=Greet people by their first name.\n".to_owned()],
        labels: Vec::new(),
        draft: false,
    };
    let pull = dev::open(open).await?;
    Ok((pull.number, pull.head_sha))
}

async fn preview(wire: Wire, number: i64, sha: &str) -> Result<environment::Environment> {
    let request = environment::EnsurePreviewRequest {
        service: format!("component:default/{SERVICE}"),
        pull_request: number,
        head_sha: sha.to_owned(),
        images: [("app".to_owned(), format!("ghcr.io/{REPOSITORY}@sha256:{}", "0".repeat(64)))].into_iter().collect(),
        request_id: "00000000-0000-4000-8000-000000000003".to_owned(),
        ..Default::default()
    };
    let made =
        environment::preview_service_client::PreviewServiceClient::new(wire.clone()).ensure_preview(request).await?;
    let wait = environment::WaitEnvironmentRequest {
        name: made.into_inner().name,
        timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..Default::default()
    };
    let mut client = environment::environment_service_client::EnvironmentServiceClient::new(wire);
    Ok(client.wait_environment(wait).await?.into_inner())
}

async fn facts(wire: Wire, sha: &str) -> Result<()> {
    let now_s = slipway_kit::clock::Clock::system().now_us() / 1_000_000;
    let ago = |hours: i64| Some(prost_types::Timestamp { seconds: now_s - hours * SECONDS_PER_HOUR, nanos: 0 });
    let service = format!("component:default/{SERVICE}");
    let deployment = |id: &str, hours: i64| metrics::Deployment {
        service: service.clone(),
        environment: "production".to_owned(),
        external_id: id.to_owned(),
        status: metrics::DeploymentStatus::Succeeded.into(),
        parts: vec![metrics::DeploymentPart {
            repository: REPOSITORY.to_owned(),
            sha: sha.to_owned(),
            ..Default::default()
        }],
        finish_time: ago(hours),
        ..Default::default()
    };
    let incident = metrics::Incident {
        external_id: "example-1".to_owned(),
        services: vec![service.clone()],
        start_time: ago(20),
        resolve_time: ago(19),
        ..Default::default()
    };
    let facts = [
        metrics::fact_event::Fact::Deployment(deployment("example-1", 48)),
        metrics::fact_event::Fact::Deployment(deployment("example-2", 24)),
        metrics::fact_event::Fact::Incident(incident),
    ];
    let events = facts.into_iter().enumerate().map(|(at, fact)| metrics::FactEvent {
        idempotency_key: format!("example-{at}"),
        fact: Some(fact),
        ..Default::default()
    });
    let request = metrics::IngestEventsRequest { events: events.collect(), ..Default::default() };
    let answer = metrics::fact_service_client::FactServiceClient::new(wire).ingest_events(request).await?.into_inner();
    let refused = answer.results.into_iter().find_map(|result| result.error);
    refused.map_or(Ok(()), |error| Err(anyhow::anyhow!(error.message)).context("a fact of the example was refused"))
}
