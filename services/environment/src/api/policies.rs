//! ManifestPolicyService.
//!
//! Owns its methods. Refuses more.
use slipway_kit::serve::{accept, accept_change};
use slipway_proto::environment::v1 as pb;
use tonic::{Request, Response, Status};

use super::Api;
use crate::wire::policy as wire;

#[tonic::async_trait]
impl pb::manifest_policy_service_server::ManifestPolicyService for Api {
    async fn get_manifest_policy(
        &self,
        request: Request<pb::GetManifestPolicyRequest>,
    ) -> Result<Response<pb::ManifestPolicy>, Status> {
        let (call, message) = accept(request)?;
        let tier = wire::tier(&message.name)?;
        let kept = self.app.get_policy(&call, tier).await?;
        Ok(Response::new(wire::render(tier, &kept)))
    }

    async fn list_manifest_policies(
        &self,
        request: Request<pb::ListManifestPoliciesRequest>,
    ) -> Result<Response<pb::ListManifestPoliciesResponse>, Status> {
        let (call, _) = accept(request)?;
        let mut manifest_policies = Vec::new();
        for tier in wire::TIERS {
            manifest_policies.push(wire::render(tier, &self.app.get_policy(&call, tier).await?));
        }
        Ok(Response::new(pb::ListManifestPoliciesResponse { manifest_policies, next_page_token: String::new() }))
    }

    async fn update_manifest_policy(
        &self,
        request: Request<pb::UpdateManifestPolicyRequest>,
    ) -> Result<Response<pb::UpdateManifestPolicyResponse>, Status> {
        let (call, message) = accept_change(request)?;
        let change = wire::change(message)?;
        let tier = change.tier;
        let (kept, found) = self.app.update_policy(&call, change).await?;
        let violations = wire::violations(found, &kept.policy);
        let manifest_policy = Some(wire::render(tier, &kept));
        Ok(Response::new(pb::UpdateManifestPolicyResponse { manifest_policy, violations }))
    }

    async fn check_manifests(
        &self,
        request: Request<pb::CheckManifestsRequest>,
    ) -> Result<Response<pb::CheckManifestsResponse>, Status> {
        let (call, message) = accept(request)?;
        let (tier, purpose) = (wire::tier(&message.name)?, wire::purpose(&message));
        let docs = wire::documents("documents", &message.documents)?;
        let found = self.app.check_manifests(&call, tier, docs, &purpose).await?;
        let kept = self.app.get_policy(&call, tier).await?;
        Ok(Response::new(pb::CheckManifestsResponse { violations: wire::violations(found, &kept.policy) }))
    }
}
