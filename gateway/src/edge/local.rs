//! What the edge serves itself: health and reflection of the whole platform.
//!
//! Refuses to show INTERNAL methods: the descriptors served here do not have them.

use std::convert::Infallible;

use http::{Request, Response};
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use slipway_kit::{
    error::{Error, METHOD_UNKNOWN, Result},
    serve::Body,
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use super::methods::Methods;

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] = ["/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];
/// Field `file` of google.protobuf.FileDescriptorSet.
const FILE_FIELD: u32 = 1;

type Server = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Health and reflection.
pub(super) struct Local {
    servers: Vec<(&'static str, Server)>,
    health: HealthReporter,
    services: Vec<String>,
}

/// Whether the edge answers this path itself.
pub(super) fn is_local(path: &str) -> bool {
    path.starts_with(HEALTH) || REFLECTION.iter().any(|prefix| path.starts_with(prefix))
}

impl Local {
    /// Servers for the services of these methods.
    pub fn new(methods: &Methods) -> Result<Self> {
        let mut services: Vec<String> =
            methods.iter().map(|m| m.descriptor.parent_service().full_name().to_owned()).collect();
        services.sort();
        services.dedup();
        let set = public_descriptors(slipway_proto::pool(), methods)?;
        let (health, health_server) = tonic_health::server::health_reporter();
        let builder = || {
            let names = services.iter().map(String::as_str).chain(["grpc.health.v1.Health"]);
            let base = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(&set)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            names.fold(base, |builder, name| builder.with_service_name(name))
        };
        let v1 = builder().build_v1().map_err(Error::internal)?;
        let v1alpha = builder().build_v1alpha().map_err(Error::internal)?;
        let servers = vec![
            (HEALTH, BoxCloneSyncService::new(health_server)),
            (REFLECTION[0], BoxCloneSyncService::new(v1)),
            (REFLECTION[1], BoxCloneSyncService::new(v1alpha)),
        ];
        Ok(Self { servers, health, services })
    }

    /// Answers a call of ours.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let server = self.servers.iter().find(|(prefix, _)| path.starts_with(prefix));
        match server.map(|(_, server)| server.clone()) {
            Some(server) => server.oneshot(request).await.unwrap_or_else(|never| match never {}),
            None => super::respond::grpc(Error::new(&METHOD_UNKNOWN, "there is no such method"), None),
        }
    }
}

impl super::Edge {
    /// Says to whoever asks for health that every service takes calls.
    pub async fn set_serving(&self) {
        self.set_health(ServingStatus::Serving).await;
    }

    /// Says to whoever asks for health that no call should come any more.
    pub async fn set_not_serving(&self) {
        self.set_health(ServingStatus::NotServing).await;
    }

    async fn set_health(&self, status: ServingStatus) {
        let local = &self.0.local;
        for service in local.services.iter().map(String::as_str).chain([""]) {
            local.health.set_service_status(service, status).await;
        }
    }
}

/// The descriptors of the contracts without INTERNAL methods, encoded with every option.
fn public_descriptors(pool: &DescriptorPool, methods: &Methods) -> Result<Vec<u8>> {
    let file_type = pool
        .get_message_by_name("google.protobuf.FileDescriptorProto")
        .ok_or_else(|| Error::internal("the contracts hold no descriptor of descriptors"))?;
    let mut set = Vec::new();
    for file in pool.files() {
        let mut bytes = file.encode_to_vec();
        if file.services().len() > 0 && file.package_name().starts_with("slipway.") {
            let mut message = DynamicMessage::decode(file_type.clone(), bytes.as_slice()).map_err(Error::internal)?;
            keep_public(&mut message, file.package_name(), methods);
            bytes = prost::Message::encode_to_vec(&message);
        }
        prost::encoding::encode_key(FILE_FIELD, prost::encoding::WireType::LengthDelimited, &mut set);
        prost::encoding::encode_varint(bytes.len() as u64, &mut set);
        set.extend_from_slice(&bytes);
    }
    Ok(set)
}

/// Drops the methods nobody outside may call, and services left without any; comments are dropped with them, for they are kept by
/// position.
fn keep_public(file: &mut DynamicMessage, package: &str, methods: &Methods) {
    let name = |m: &DynamicMessage| {
        m.get_field_by_name("name").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    };
    let Some(Value::List(services)) = file.take_field_by_name("service") else { return };
    let (mut kept, mut dropped) = (Vec::new(), false);
    for mut service in services {
        let Value::Message(message) = &mut service else { continue };
        let service_name = name(message);
        let Some(Value::List(mut list)) = message.take_field_by_name("method") else { continue };
        let before = list.len();
        list.retain(|m| {
            let method = m.as_message().map(&name).unwrap_or_default();
            methods.get(&format!("/{package}.{service_name}/{method}")).is_some()
        });
        dropped |= list.len() != before;
        if !list.is_empty() {
            message.set_field_by_name("method", Value::List(list));
            kept.push(service);
        }
    }
    if !kept.is_empty() {
        file.set_field_by_name("service", Value::List(kept));
    }
    if dropped {
        file.clear_field_by_name("source_code_info");
    }
}
