//! Handing an admitted call to its service as it is: bodies, trailers and details are never decoded.
//!
//! Refuses to let an answer outlive its call's time or its caller's right.

use http::{Request, Response, header::CONTENT_LENGTH};
use slipway_kit::serve::{Body, error_from};
use tower::Service as _;

use super::{
    Edge,
    admit::{Admitted, Turned, source, strip},
    methods::Method,
    respond, stream,
};

impl Edge {
    /// One gRPC call from outside.
    pub(super) async fn call(&self, method: &Method, mut request: Request<Body>) -> Response<Body> {
        let admitted = match self.admit(method, request.headers(), source(&request)).await {
            Ok(admitted) => admitted,
            Err(Turned { error, request_id }) => return respond::grpc(error, Some(&request_id)),
        };
        strip(request.headers_mut());
        self.forward(method, &admitted, request).await
    }

    /// Sends an admitted request on and watches its answer.
    pub(super) async fn forward(
        &self,
        method: &Method,
        admitted: &Admitted,
        mut request: Request<Body>,
    ) -> Response<Body> {
        request.extensions_mut().clear();
        request.headers_mut().remove(CONTENT_LENGTH);
        let mut client = admitted.client(self, method);
        let answer = match std::future::poll_fn(|cx| client.poll_ready(cx)).await {
            Ok(()) => client.call(request).await,
            Err(status) => Err(status),
        };
        match answer {
            Ok(answer) if method.rule.unary_answer => answer,
            Ok(answer) => answer.map(|body| stream::guarded(self.clone(), method, admitted, body)),
            Err(status) => respond::grpc(error_from(status), Some(admitted.request_id())),
        }
    }
}
