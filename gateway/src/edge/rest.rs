//! REST: one transcoder for every unary RPC with a `google.api.http` binding.
//!
//! Owns the table of routes. Refuses what is not exactly the JSON form of the request: unknown fields, doubled keys, strays in the
//! query, a body where none belongs (SAFE-45).

mod answer;
mod read;

use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use prost_reflect::DynamicMessage;
use slipway_kit::{
    error::{Error, Result},
    serve::Body,
};
use tracing::Instrument as _;

use super::{
    Edge,
    admit::{Admitted, Turned, source, strip},
    methods::{Method, Methods},
    respond,
};
use crate::{
    error::ROUTE_UNKNOWN,
    model::route::{Path, Template},
};

/// What of a request is in its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyRule {
    /// Nothing: everything else is in the query.
    None,
    /// Everything but what the path binds.
    Whole,
    /// One field; the rest is in the query.
    Field(String),
}

/// One binding of an RPC to a path.
pub(super) struct Route {
    /// HTTP method.
    pub verb: http::Method,
    /// Path template.
    pub template: Template,
    /// What the body holds.
    pub body: BodyRule,
    /// Path of the RPC.
    pub method: &'static str,
}

/// The routes of the platform.
pub(super) struct Rest(Vec<Route>);

impl Rest {
    /// The bindings of these methods.
    pub fn new(methods: &Methods) -> Result<Self> {
        let mut routes = Vec::new();
        for method in methods.iter().filter(|m| m.is_unary()) {
            routes.append(&mut bindings(method)?);
        }
        // A verb is more special than none, so it is tried first; else the order of names keeps the table the same.
        routes.sort_by_key(|r| (r.template.verb().is_empty(), r.method));
        Ok(Self(routes))
    }

    /// The route of a request, and what its path binds.
    fn find(&self, verb: &http::Method, path: &str) -> Option<(&Route, Vec<(&str, String)>)> {
        let path = Path::parse(path)?;
        self.0.iter().filter(|r| r.verb == *verb).find_map(|route| Some((route, route.template.bind(&path)?)))
    }
}

/// Every binding of an RPC.
pub(super) fn bindings(method: &Method) -> Result<Vec<Route>> {
    let pool = slipway_proto::pool();
    let Some(option) = pool.get_extension_by_name("google.api.http") else { return Ok(Vec::new()) };
    let options = method.descriptor.options();
    if !options.has_extension(&option) {
        return Ok(Vec::new());
    }
    let rule = options.get_extension(&option);
    let Some(first) = rule.as_message() else { return Ok(Vec::new()) };
    let more = first.get_field_by_name("additional_bindings");
    let more = more.iter().filter_map(|v| v.as_list()).flatten().filter_map(|v| v.as_message());
    std::iter::once(first).chain(more).map(|rule| binding(method, rule)).collect()
}

fn binding(method: &Method, rule: &DynamicMessage) -> Result<Route> {
    let text = |name: &str| {
        rule.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    };
    let verbs = [
        ("get", http::Method::GET),
        ("post", http::Method::POST),
        ("patch", http::Method::PATCH),
        ("put", http::Method::PUT),
        ("delete", http::Method::DELETE),
    ];
    let found = verbs.into_iter().find_map(|(name, verb)| Some((verb, text(name)?)));
    let (verb, path) = found.ok_or_else(|| Error::internal(format!("{}: no path", method.rule.method)))?;
    let body = match text("body").as_deref() {
        None => BodyRule::None,
        Some("*") => BodyRule::Whole,
        Some(field) => BodyRule::Field(field.to_owned()),
    };
    let template = Template::parse(&path).map_err(Error::internal)?;
    Ok(Route { verb, template, body, method: &method.rule.method })
}

impl Edge {
    /// One REST call.
    pub(super) async fn rest(&self, request: Request<Body>) -> Response<Body> {
        let (verb, path) = (request.method().clone(), request.uri().path().to_owned());
        let found = self.0.rest.find(&verb, &path);
        let Some((route, bound)) = found else {
            return respond::json(Error::new(&ROUTE_UNKNOWN, "there is no such path for this HTTP method"), None);
        };
        let Some(method) = self.0.methods.get(route.method) else {
            return respond::json(Error::internal("a route without a method"), None);
        };
        let admitted = match self.admit(method, request.headers(), source(&request)).await {
            Ok(admitted) => admitted,
            Err(Turned { error, request_id }) => return respond::json(error, Some(&request_id)),
        };
        let mut answer =
            match self.transcode(route, method, &admitted, bound, request).instrument(admitted.span.clone()).await {
                Ok(answer) => answer,
                Err(error) => respond::json(error, None),
            };
        respond::named(&mut answer, Some(admitted.request_id()));
        answer
    }

    async fn transcode(
        &self,
        route: &Route,
        method: &Method,
        admitted: &Admitted,
        bound: Vec<(&str, String)>,
        request: Request<Body>,
    ) -> Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let body = read::body(&head.headers, body, admitted.deadline).await?;
        let query = head.uri.query().unwrap_or_default();
        let message = read::message(&method.descriptor.input(), &route.body, bound, query, &body)?;
        strip(&mut head.headers);
        let request = grpc_request(method, &head.headers, &message);
        let answer = self.forward(method, admitted, request).await;
        answer::read(&method.descriptor.output(), answer, admitted.deadline).await
    }
}

/// The gRPC form of a request.
fn grpc_request(method: &Method, headers: &HeaderMap, message: &DynamicMessage) -> Request<Body> {
    let bytes = prost::Message::encode_to_vec(message);
    let mut frame = Vec::with_capacity(bytes.len() + 5);
    frame.push(0);
    frame.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&bytes);
    let mut request = Request::new(Body::new(http_body_util::Full::from(frame)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static(&method.rule.method);
    if let Some(agent) = headers.get(http::header::USER_AGENT) {
        request.headers_mut().insert(http::header::USER_AGENT, agent.clone());
    }
    request.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(http::header::TE, http::HeaderValue::from_static("trailers"));
    request
}
