//! RPCs of TokenService.
//!
//! Refuses to answer a secret anywhere but in CreateToken.

use async_trait::async_trait;
use slipway_kit::{
    authz::Facts,
    serve::{accept, accept_change},
};
use slipway_proto::access::v1::{self as pb, token_service_server::TokenService};
use tonic::{Request, Response, Status};

use crate::{
    app::{
        doubts::Doubts,
        lists::Asked,
        tokens::{NewToken, Tokens},
    },
    wire,
};

/// TokenService over its verbs.
pub struct TokenApi(pub Tokens, pub Doubts);

#[async_trait]
impl TokenService for TokenApi {
    async fn create_token(
        &self,
        r: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let (call, r) = accept_change(r)?;
        let asked = r.token.unwrap_or_default();
        let ttl_us = r.ttl.as_ref().map(wire::span_us);
        let owner = (!r.owner.is_empty()).then_some(r.owner);
        let named = owner.clone().unwrap_or_default();
        let new = NewToken { display_name: asked.display_name, scopes: wire::scopes(asked.scopes), ttl_us, owner };
        let (token, plain) = self.0.create(&call, new).await?;
        let token = pb::Token { warnings: self.1.about(&[&named]).await, ..wire::token(&token) };
        Ok(Response::new(pb::CreateTokenResponse { token: Some(token), secret: plain.expose().to_owned() }))
    }

    async fn list_tokens(&self, r: Request<pb::ListTokensRequest>) -> Result<Response<pb::ListTokensResponse>, Status> {
        let (call, r) = accept(r)?;
        let total = wire::total(r.total());
        let asked = Asked { size: r.page_size, token: r.page_token, filter: r.filter, order_by: r.order_by, total };
        let answer = self.0.list(&call, &asked).await?;
        Ok(Response::new(pb::ListTokensResponse {
            tokens: answer.items.iter().map(wire::token).collect(),
            next_page_token: answer.next,
            total_size: answer.total,
            total_is_estimate: answer.more_than_total,
        }))
    }

    async fn revoke_token(&self, r: Request<pb::RevokeTokenRequest>) -> Result<Response<pb::Token>, Status> {
        let (call, r) = accept_change(r)?;
        let id = r.name.strip_prefix("tokens/").unwrap_or_default();
        let token = self.0.revoke(&call, id, &r.etag).await?;
        Ok(Response::new(wire::token(&token)))
    }

    async fn who_am_i(&self, r: Request<pb::WhoAmIRequest>) -> Result<Response<pb::WhoAmIResponse>, Status> {
        let (call, _) = accept(r)?;
        call.check(&Facts::default())?;
        Ok(Response::new(wire::who_am_i(&call.caller)))
    }
}
