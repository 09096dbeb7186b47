//! Field rules of the contracts: `buf.validate` options evaluated over any request, every violation at once.
//!
//! Owns which rules are understood. Refuses a rule it does not know: such a contract fails [`unsupported`] in the tests, and a
//! request of that message is refused rather than let through unchecked.

mod compile;
mod rule;
mod value;
mod walk;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::error::{Error, Result, Violations};
use compile::Plans;

/// Deepest nesting of messages that is followed (REL-14).
const DEPTH_MAX: usize = 100;
/// Most elements visited in one request (REL-14).
const ELEMENTS_MAX: usize = 100_000;

static PLANS: LazyLock<Plans> = LazyLock::new(|| Plans::compile(slipway_proto::pool()));

/// Checks a typed message of the contracts against its rules.
pub fn check<T: prost::Message + prost::Name>(message: &T) -> Result<()> {
    let name = T::full_name();
    if !PLANS.concerns(&name) {
        return Ok(());
    }
    let descriptor = descriptor(&name)?;
    let bytes = message.encode_to_vec();
    check_dynamic(&DynamicMessage::decode(descriptor, bytes.as_slice()).map_err(Error::internal)?)
}

/// Checks a message that is known by its descriptor only.
pub fn check_dynamic(message: &DynamicMessage) -> Result<()> {
    violations(&PLANS, message).and_then(Violations::finish)
}

/// Every rule in the pool that this module does not evaluate, as `message.field: rule`; empty for a sound contract.
pub fn unsupported(pool: &DescriptorPool) -> Vec<String> {
    Plans::compile(pool).unsupported()
}

fn violations(plans: &Plans, message: &DynamicMessage) -> Result<Violations> {
    let mut walk = walk::Walk::new(plans);
    walk.message(message, 0)?;
    Ok(walk.finish())
}

fn descriptor(name: &str) -> Result<MessageDescriptor> {
    slipway_proto::pool()
        .get_message_by_name(name)
        .ok_or_else(|| Error::internal(format!("message {name} is not in the contracts")))
}

#[cfg(test)]
mod tests;
