//! The RPCs of one process by the name of their gRPC service.
//!
//! Owns the way from a path to a generated server. Refuses patterns: a path is `/package.Service/Method` or unknown.
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tower::{ServiceExt as _, util::BoxCloneSyncService};

use crate::error::{self, Error, METHOD_UNKNOWN};

type Server = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Generated servers by gRPC service name; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<BTreeMap<&'static str, Server>>);

impl Routes {
    /// Adds a generated server; a name added again replaces the first.
    pub(super) fn add<S>(&mut self, name: &'static str, server: S)
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let mut servers = (*self.0).clone();
        servers.insert(name, BoxCloneSyncService::new(server));
        self.0 = Arc::new(servers);
    }
}

impl tower::Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.get(name) {
            Some(server) => Box::pin(server.clone().oneshot(request)),
            None => Box::pin(async { Ok(error::response(Error::new(&METHOD_UNKNOWN, "there is no such method"))) }),
        }
    }
}
