//! The access rule of every RPC, read once from the descriptors.
//!
//! Owns the typed form of `slipway.access.v1.rule`. Refuses a method without a complete rule: it has none, so nobody may call it.
use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use prost_reflect::{ExtensionDescriptor, MethodDescriptor};
use slipway_proto::access::v1 as pb;

/// Relation between caller and resource that a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Anyone, without a credential.
    Public,
    /// Any authenticated caller.
    SignedIn,
    /// A role in the owning team, or on the platform.
    OwnerTeam,
    /// The caller's own things; else as for the owning team.
    Myself,
    /// A role on the platform.
    Platform,
    /// Another Slipway service.
    Internal,
}

/// How a call is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// Recorded in batches.
    Read,
    /// Recorded in the changing transaction.
    Mutation,
    /// Recorded durably before the answer.
    Sensitive,
}

/// Shedding class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never shed.
    Critical,
    /// Somebody waits.
    Interactive,
    /// Nobody waits.
    Batch,
}

/// Times of a deadline class (REL-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Used when the caller sends none.
    pub default: Duration,
    /// The most a caller gets.
    pub cap: Duration,
}

/// The access rule of one RPC.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `/package.Service/Method`.
    pub method: String,
    /// `noun.verb`.
    pub permission: String,
    /// Request field that holds the resource name; may be empty.
    pub resource: String,
    /// Relation that is needed.
    pub relation: Relation,
    /// How the call is audited.
    pub audit: Audit,
    /// Shedding class.
    pub class: Class,
    /// Services that may call directly.
    pub callers: Vec<String>,
    /// Services beyond the called one that take the caller's assertion.
    pub audience: Vec<String>,
    /// Default and longest time.
    pub deadline: Deadline,
    /// Whether the request is one message.
    pub unary_request: bool,
    /// Whether the answer is one message.
    pub unary_answer: bool,
}

impl Rule {
    /// Whether this is an RPC between services, which the gateway does not route.
    pub fn is_internal(&self) -> bool {
        self.relation == Relation::Internal
    }

    /// Whether this service may call directly.
    pub fn admits(&self, peer: &str) -> bool {
        self.callers.iter().any(|caller| caller == peer)
    }
}

/// The service of that name, if some rule lets it call anything.
pub fn peer(name: &str) -> Option<&'static str> {
    RULES.values().flat_map(|rule| &rule.callers).find(|caller| *caller == name).map(String::as_str)
}

static RULES: LazyLock<BTreeMap<String, Rule>> = LazyLock::new(|| {
    let pool = slipway_proto::pool();
    let Some(extension) = pool.get_extension_by_name("slipway.access.v1.rule") else { return BTreeMap::new() };
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.filter_map(|method| read(&method, &extension)).map(|rule| (rule.method.clone(), rule)).collect()
});

/// The rule of a method `/package.Service/Method`.
pub fn rule(method: &str) -> Option<&'static Rule> {
    RULES.get(method)
}

/// Every rule, ordered by method.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.values()
}

fn read(method: &MethodDescriptor, extension: &ExtensionDescriptor) -> Option<Rule> {
    let options = method.options();
    let option = options.has_extension(extension).then(|| options.get_extension(extension))?;
    let rule: pb::Rule = option.as_message()?.transcode_to().ok()?;
    let (relation, audit, class, deadline) =
        (relation(rule.scope())?, audit(rule.audit())?, class(rule.class())?, deadline(rule.deadline())?);
    Some(Rule {
        method: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        permission: rule.permission,
        resource: rule.resource,
        relation,
        audit,
        class,
        callers: rule.callers,
        audience: rule.audience,
        deadline,
        unary_request: !method.is_client_streaming(),
        unary_answer: !method.is_server_streaming(),
    })
}

fn relation(scope: pb::Scope) -> Option<Relation> {
    Some(match scope {
        pb::Scope::Unspecified => return None,
        pb::Scope::Public => Relation::Public,
        pb::Scope::SignedIn => Relation::SignedIn,
        pb::Scope::OwnerTeam => Relation::OwnerTeam,
        pb::Scope::Self_ => Relation::Myself,
        pb::Scope::Platform => Relation::Platform,
        pb::Scope::Internal => Relation::Internal,
    })
}

fn audit(audit: pb::Audit) -> Option<Audit> {
    Some(match audit {
        pb::Audit::Unspecified => return None,
        pb::Audit::Read => Audit::Read,
        pb::Audit::Mutation => Audit::Mutation,
        pb::Audit::Sensitive => Audit::Sensitive,
    })
}

fn class(class: pb::Class) -> Option<Class> {
    Some(match class {
        pb::Class::Unspecified => return None,
        pb::Class::Critical => Class::Critical,
        pb::Class::Interactive => Class::Interactive,
        pb::Class::Batch => Class::Batch,
    })
}

fn deadline(class: pb::Deadline) -> Option<Deadline> {
    let times = |default, cap| Some(Deadline { default: Duration::from_secs(default), cap: Duration::from_secs(cap) });
    match class {
        pb::Deadline::Unspecified => None,
        pb::Deadline::Read => times(10, 60),
        pb::Deadline::Write => times(30, 60),
        pb::Deadline::Wait => times(60, 600),
        pb::Deadline::Stream => times(900, 900),
    }
}
