//! Bodies watched to their end: deadline, drain, panics, sizes and the library's own errors.
//!
//! Owns how a stream stops early: with trailers that say why. Refuses to let a stream run past its call's time (REL-8), and a
//! second message where there is to be one (REL-13).
use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;

use super::{Shutdown, deadline, frames::Frames};
use crate::{
    error::{self, Error, MESSAGE_TOO_LARGE, METHOD_UNKNOWN, SHUTTING_DOWN},
    telemetry,
};

/// Largest message of an answer, in bytes (REL-14).
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

type Ended = Box<dyn FnOnce(Option<&http::HeaderMap>) -> crate::error::Result<()> + Send>;

/// What happens once at the end of a call, however it ends: with trailers, or given up on the way.
pub(super) struct Done(Option<Ended>);

impl Done {
    /// Does `ended` at the end; its error takes the answer's place.
    pub(super) fn new(
        ended: impl FnOnce(Option<&http::HeaderMap>) -> crate::error::Result<()> + Send + 'static,
    ) -> Self {
        Self(Some(Box::new(ended)))
    }

    /// The call ended with these trailers.
    pub(super) fn end(mut self, trailers: &http::HeaderMap) -> crate::error::Result<()> {
        self.0.take().map_or(Ok(()), |ended| ended(Some(trailers)))
    }
}

impl Drop for Done {
    /// A call that is given up, for example by a client that went away, ends too.
    fn drop(&mut self) {
        if let Some(ended) = self.0.take()
            && ended(None).is_err()
        {
            tracing::error!("a call that was given up could not be recorded");
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, tonic::Status>>>;

/// An answer on its way out, or in.
pub(super) struct Answer {
    inner: Option<Body>,
    time: Pin<Box<Sleep>>,
    stop: Option<BoxFuture<'static, ()>>,
    frames: Frames,
    done: Option<Done>,
}

impl Answer {
    /// Watches `body` until `deadline`, and until the process stops if `stop` is given.
    pub(super) fn wrap(body: Body, deadline: Instant, stop: Option<Shutdown>, done: Option<Done>) -> Body {
        let stop: Option<BoxFuture<'static, ()>> = stop.map(|stop| Box::pin(stop.wait_owned()) as _);
        let time = Box::pin(tokio::time::sleep_until(deadline));
        Body::new(Self { inner: Some(body), time, stop, frames: Frames::default(), done })
    }

    fn end(&mut self, error: Error) -> Polled {
        self.inner = None;
        let trailers = self.finish(error::trailers(error));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    /// The trailers to send: these, or those of the record that could not be made.
    fn finish(&mut self, trailers: http::HeaderMap) -> http::HeaderMap {
        match self.done.take().map_or(Ok(()), |done| done.end(&trailers)) {
            Ok(()) => trailers,
            Err(error) => error::trailers(error),
        }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Polled {
        let frame = match frame.into_trailers() {
            Ok(mut trailers) => {
                error::repair(&mut trailers);
                Frame::trailers(self.finish(trailers))
            }
            Err(frame) => frame,
        };
        if let Some(data) = frame.data_ref() {
            self.frames.feed(data);
            if self.frames.largest() > ANSWER_BYTES_MAX {
                return self.end(Error::new(&MESSAGE_TOO_LARGE, "the answer is larger than 4 MiB"));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let Some(body) = &mut this.inner else { return Poll::Ready(None) };
        match std::panic::catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Err(_) => this.end(telemetry::panicked()),
            Ok(Poll::Ready(Some(Ok(frame)))) => this.pass(frame),
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

/// The request of a method that takes one message; a second one is an error.
pub(super) struct Single {
    inner: Body,
    frames: Frames,
}

impl Single {
    /// Watches the request `body`.
    pub(super) fn wrap(body: Body) -> Body {
        Body::new(Self { inner: body, frames: Frames::default() })
    }
}

impl http_body::Body for Single {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.frames.feed(data);
            if this.frames.messages() > 1 {
                let error = Error::new(&METHOD_UNKNOWN, "the method takes one message, and the call carries more");
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
