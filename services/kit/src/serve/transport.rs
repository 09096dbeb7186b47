//! The hardened listener: HTTP/1.1 and HTTP/2 over TCP, TLS or a pipe, with a limit on everything (REL-14).
//!
//! Owns sockets and connections. Refuses knowledge of what is served: any tower HTTP service will do.

mod limits;
mod listen;
mod tls;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;

use super::{Peer, Shutdown};
use crate::clock::jittered;

pub use limits::Limits;
pub use listen::{Security, serve};
pub use tls::server_config;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves one connection to its end: closed by the peer, too old, or drained.
pub async fn connection<I, S, B>(io: I, peer: Peer, service: S, limits: Limits, shutdown: Shutdown)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let began = Arc::new(AtomicBool::new(false));
    let mark = began.clone();
    let handler = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        mark.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer.clone());
        tower::ServiceExt::oneshot(service.clone(), request.map(Body::new))
    });
    let builder = builder(&limits);
    let mut served = std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), handler));
    let first_request = tokio::time::sleep(limits.first_request);
    let mut first_request = std::pin::pin!(first_request);
    let mut age = std::pin::pin!(tokio::time::sleep(jittered(limits.connection_age)));
    let (mut waiting, mut grace) = (true, None);
    loop {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = %error, "connection ended early");
                }
                return;
            }
            () = first_request.as_mut(), if waiting => {
                waiting = false;
                if !began.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = age.as_mut(), if grace.is_none() => {
                served.as_mut().graceful_shutdown();
                grace = Some(Box::pin(tokio::time::sleep(limits.age_grace)));
            }
            () = shutdown.wait(), if grace.is_none() => {
                served.as_mut().graceful_shutdown();
                grace = Some(Box::pin(tokio::time::sleep(limits.drain)));
            }
            () = over(&mut grace), if grace.is_some() => return,
        }
    }
}

async fn over(grace: &mut Option<std::pin::Pin<Box<tokio::time::Sleep>>>) {
    if let Some(grace) = grace {
        grace.as_mut().await;
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.http1_idle)
        .max_buf_size(limits.header_list_bytes as usize)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_list_bytes)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout);
    builder
}
