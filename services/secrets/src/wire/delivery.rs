//! Deliveries on the wire.
//!
//! Owns both directions. Refuses labels of another environment, and has no place for a value.
use slipway_kit::error::{Error, Result, Violations};
use slipway_proto::secrets::v1 as pb;

use super::tier;
use crate::{
    app::{Deliver, Delivered, Delivery, Resolve, Withdraw},
    model::delivery::{Access, LABEL_ENVIRONMENT, Place},
};

/// A delivery as asked for.
pub fn deliver(request: pb::DeliverEnvironmentSecretsRequest) -> Result<Deliver> {
    let (tier, uid) = (tier(request.tier), request.environment_uid.to_ascii_lowercase());
    let mut violations = Violations::new();
    violations.check(tier.is_some(), "tier", "is required");
    let is_own = request.labels.get(LABEL_ENVIRONMENT).is_some_and(|label| *label == uid);
    violations.check(is_own, "labels", format!("{LABEL_ENVIRONMENT} must be the environment's uid"));
    violations.finish()?;
    Ok(Deliver {
        place: place(request.place)?,
        labels: request.labels.into_iter().collect(),
        pull_secret_files: request.pull_secret_files,
        resolve: Resolve {
            service_uid: request.service_uid,
            tier: tier.ok_or_else(|| Error::internal("a violation was told"))?,
            environment_uid: uid,
            fork: request.fork,
        },
    })
}

/// A withdrawal as asked for.
pub fn withdraw(request: pb::WithdrawEnvironmentSecretsRequest) -> Result<Withdraw> {
    Ok(Withdraw { environment_uid: request.environment_uid.to_ascii_lowercase(), place: place(request.place)? })
}

fn place(place: Option<pb::DeliveryPlace>) -> Result<Place> {
    use pb::delivery_place::Access as Pb;
    let place = place.unwrap_or_default();
    let access = match place.access {
        Some(Pb::KubeconfigFile(name)) => Access::KubeconfigFile(name),
        Some(Pb::InCluster(_)) => Access::InCluster,
        None => return Err(Error::internal("the contract requires an access")),
    };
    Ok(Place { cluster: place.cluster, access, namespace: place.namespace, namespace_uid: place.namespace_uid })
}

/// What stands now.
pub fn delivered(all: Delivered) -> pb::DeliverEnvironmentSecretsResponse {
    let version =
        |(path, version): (crate::model::name::Path, i64)| pb::DeliveredVersion { secret: path.name(), version };
    let secret = |d: Delivery| pb::DeliveredSecret {
        name: d.name,
        uid: d.uid,
        generation: d.generation,
        versions: d.versions.into_iter().map(version).collect(),
    };
    pb::DeliverEnvironmentSecretsResponse {
        secrets: all.bound.into_iter().map(secret).collect(),
        pull_secrets: all.pull.into_iter().map(secret).collect(),
    }
}
