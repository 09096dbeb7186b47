//! Handing an admitted call to its service as it is: bodies, trailers and details are never decoded.
//!
//! Refuses to let an answer outlive its call's time or its caller's right.

use http::{Request, Response, header::CONTENT_LENGTH};
use slipway_kit::{
    error::{DEADLINE_EXCEEDED, Error},
    serve::{Body, error_from},
};
use tower::Service as _;
use tracing::Instrument as _;

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
        self.forward(method, &admitted, request).instrument(admitted.span.clone()).await
    }

    /// Sends an admitted request on and watches its answer.
    pub(super) async fn forward(
        &self,
        method: &Method,
        admitted: &Admitted,
        mut request: Request<Body>,
    ) -> Response<Body> {
        let place = match (!method.rule.unary_answer).then(|| admitted.admission.buckets.stream()).transpose() {
            Ok(place) => place,
            Err(error) => return respond::grpc(error, Some(admitted.request_id())),
        };
        request.extensions_mut().clear();
        request.headers_mut().remove(CONTENT_LENGTH);
        let mut client = admitted.client(self, method);
        let sent = async {
            std::future::poll_fn(|cx| client.poll_ready(cx)).await?;
            client.call(request).await
        };
        let answer = match tokio::time::timeout_at(admitted.deadline, sent).await {
            Ok(answer) => answer.map_err(error_from),
            Err(_) => Err(Error::new(&DEADLINE_EXCEEDED, "the time of the call ran out")),
        };
        match answer {
            Ok(answer) => match place {
                None => answer,
                Some(place) => answer.map(|body| stream::guarded(self.clone(), method, admitted, place, body)),
            },
            Err(error) => respond::grpc(error, Some(admitted.request_id())),
        }
    }
}
