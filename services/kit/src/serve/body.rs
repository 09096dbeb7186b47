//! The body of an answer, watched to its end: deadline, drain, panics and the library's own errors.
//!
//! Owns how a stream stops early: with trailers that say why. Refuses to let a stream run past its call's time (REL-8).
use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;

use super::{Shutdown, deadline};
use crate::{
    error::{self, Error, SHUTTING_DOWN},
    telemetry,
};

/// A watched answer.
pub(super) struct Answer {
    inner: Option<Body>,
    time: Pin<Box<Sleep>>,
    stop: Option<BoxFuture<'static, ()>>,
}

impl Answer {
    /// Watches `body` until `deadline`, and until the process stops if `stop` is given.
    pub(super) fn wrap(body: Body, deadline: Instant, stop: Option<Shutdown>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let stop: Option<BoxFuture<'static, ()>> = stop.map(|stop| Box::pin(stop.wait_owned()) as _);
        Body::new(Self { inner: Some(body), time: Box::pin(tokio::time::sleep_until(deadline)), stop })
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.inner = None;
        Poll::Ready(Some(Ok(Frame::trailers(error::trailers(error)))))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.inner else { return Poll::Ready(None) };
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx)));
        match polled {
            Err(_) => this.end(telemetry::panicked()),
            Ok(Poll::Ready(Some(Ok(frame)))) => Poll::Ready(Some(Ok(match frame.into_trailers() {
                Ok(mut trailers) => {
                    error::repair(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(frame) => frame,
            }))),
            Ok(Poll::Ready(other)) => Poll::Ready(other),
            Ok(Poll::Pending) if this.time.as_mut().poll(cx).is_ready() => this.end(deadline::expired()),
            Ok(Poll::Pending) if this.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready()) => {
                this.end(Error::new(&SHUTTING_DOWN, "this process is stopping"))
            }
            Ok(Poll::Pending) => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
