//! Streams that end when their caller loses the right to them (SAFE-34, SAFE-40).
//!
//! Refuses to trust the moment of the first message: each change of access, and every thirty seconds, the call is decided anew.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http_body::{Body as _, Frame, SizeHint};
use slipway_kit::{
    authz::{self, Rule},
    error::Error,
    serve::Body,
};

use super::{Edge, admit::Admitted, methods::Method, respond};
use crate::app::{authentication::Admission, rates::Stream};

/// Longest time between two decisions.
const PERIOD: Duration = Duration::from_secs(30);

struct Guarded {
    inner: Option<Body>,
    lost: BoxFuture<'static, Error>,
    _place: Stream,
}

/// The body of a stream, cut off with trailers once the call would be refused.
pub(super) fn guarded(edge: Edge, method: &Method, admitted: &Admitted, place: Stream, body: Body) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let lost = lost(edge, method.rule, admitted.admission.clone()).boxed();
    Body::new(Guarded { inner: Some(body), lost, _place: place })
}

/// Waits until the call would be refused.
async fn lost(edge: Edge, rule: &'static Rule, admission: Arc<Admission>) -> Error {
    let parts = &edge.0.parts;
    let mut changes = parts.access.subscribe();
    // A change between the admission and this moment is not told by the channel.
    let mut changed = changes.borrow_and_update().generation != admission.generation();
    loop {
        if !changed {
            // The sender lives as long as the edge, which is held here.
            let _ = tokio::time::timeout(PERIOD, changes.changed()).await;
        }
        changed = false;
        match parts.authentication.again(&admission).await {
            Ok(caller) => {
                if let Err(denied) = authz::possible(&caller, rule) {
                    return denied.into();
                }
            }
            // Ended, or not to be known: a client resumes a stream that ended as UNAVAILABLE.
            Err(refusal) => return refusal.error,
        }
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.inner else { return Poll::Ready(None) };
        if let Poll::Ready(error) = this.lost.poll_unpin(cx) {
            this.inner = None;
            return Poll::Ready(Some(Ok(Frame::trailers(respond::trailers(error)))));
        }
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
