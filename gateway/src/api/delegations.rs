//! The RPCs of DelegationService, for the other services only.
//!
//! Refuses a delegation for anyone but the service that asks: the actor is the peer of the connection.

use std::sync::Arc;

use async_trait::async_trait;
use slipway_kit::{caller::Signer, clock::Clock, error::Error, serve::accept};
use slipway_proto::access::v1::{self as pb, delegation_service_server::DelegationService};
use tonic::{Request, Response, Status};

use crate::{
    app::{assertion_keys::AssertionKeys, authentication::Authentication},
    error::AUTHORIZATION_LOST,
    wire,
};

/// Life of an assertion, in microseconds; less than the signer gives.
const LIFE_US: i64 = 55_000_000;

/// DelegationService over the facts and the signer.
pub struct DelegationApi {
    /// Who has which rights now.
    pub authentication: Authentication,
    /// What signs.
    pub signer: Arc<Signer>,
    /// What assertions are checked with.
    pub keys: AssertionKeys,
    /// Current time.
    pub clock: Clock,
}

#[async_trait]
impl DelegationService for DelegationApi {
    async fn issue_assertion(
        &self,
        r: Request<pb::IssueAssertionRequest>,
    ) -> Result<Response<pb::IssueAssertionResponse>, Status> {
        let (call, r) = accept(r)?;
        let lost = || Error::new(&AUTHORIZATION_LOST, "the principal or its credential has no rights any more");
        let caller = self.authentication.present(&r.principal, &r.credential).await?.ok_or_else(lost)?;
        let audience: Vec<&str> = r.audience.iter().map(String::as_str).collect();
        let assertion = self.signer.assert(&caller, &audience, "*", Some(&call.peer))?;
        let expire_time = wire::moment(self.clock.now_us() + LIFE_US);
        Ok(Response::new(pb::IssueAssertionResponse { assertion, expire_time }))
    }

    async fn fetch_assertion_keys(
        &self,
        r: Request<pb::FetchAssertionKeysRequest>,
    ) -> Result<Response<pb::FetchAssertionKeysResponse>, Status> {
        accept(r)?;
        let keys = self.keys.all().await?.into_iter();
        let keys = keys.map(|key| pb::AssertionKey { key_id: key.id, public_key: key.bytes }).collect();
        Ok(Response::new(pb::FetchAssertionKeysResponse { keys }))
    }
}
