//! Which RPCs the outside may call, and which service serves each; read from the descriptors once.
//!
//! Refuses INTERNAL methods by not knowing them.

use std::collections::HashMap;

use prost_reflect::MethodDescriptor;
use slipway_kit::authz::{self, Audit, Rule};

/// Package whose nouns the gateway owns.
const ACCESS_PACKAGE: &str = "slipway.access.v1";

/// One RPC of the outside.
pub struct Method {
    /// Its rule; the path is `rule.method`.
    pub rule: &'static Rule,
    /// The service that serves it.
    pub service: &'static str,
    /// Services that may take the assertion of this call.
    pub audience: Vec<&'static str>,
    /// Its descriptor.
    pub descriptor: MethodDescriptor,
}

impl Method {
    /// Whether it counts as a write in the rates.
    pub fn is_write(&self) -> bool {
        self.rule.audit != Audit::Read
    }

    /// Whether it is one request and one answer.
    pub fn is_unary(&self) -> bool {
        self.rule.unary_request && self.rule.unary_answer
    }
}

/// The RPCs of the outside by path.
pub struct Methods(HashMap<&'static str, Method>);

impl Methods {
    /// Every RPC of the contracts that the gateway may call and that is not INTERNAL.
    pub fn from_descriptors() -> Self {
        let services = slipway_proto::pool().services().collect::<Vec<_>>();
        let methods = services.iter().flat_map(prost_reflect::ServiceDescriptor::methods);
        let method = |descriptor: MethodDescriptor| {
            let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
            let rule = authz::rule(&path).filter(|rule| !rule.is_internal() && rule.admits("gateway"))?;
            let service = service_of(&rule.method)?;
            let others = rule.audience.iter().filter(|name| *name != service).map(String::as_str);
            let audience = std::iter::once(service).chain(others).collect();
            Some((rule.method.as_str(), Method { rule, service, audience, descriptor }))
        };
        Self(methods.filter_map(method).collect())
    }

    /// The RPC of a path `/package.Service/Method`.
    pub fn get(&self, path: &str) -> Option<&Method> {
        self.0.get(path)
    }

    /// Every RPC, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.values()
    }
}

/// The service that owns a method's package: `slipway.<service>.v1`, and access is the gateway's.
pub fn service_of(path: &'static str) -> Option<&'static str> {
    let name = path.strip_prefix('/')?;
    if name.starts_with(ACCESS_PACKAGE) {
        return Some("gateway");
    }
    name.strip_prefix("slipway.")?.split('.').next()
}
