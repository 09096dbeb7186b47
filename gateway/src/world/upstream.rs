//! Connections to what answers behind the proxy: HTTP/1.1 and HTTP/2 without TLS, kept per address.
//!
//! Refuses to repeat: it tells whether anything was sent, and who asked decides.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use slipway_kit::serve::Body;
use tokio::{net::TcpStream, time::Instant};

/// Idle connections kept per address.
const IDLE_MAX: usize = 64;
/// How long one is kept.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Addresses remembered; those nobody uses are forgotten first.
const ADDRESSES_MAX: usize = 10_000;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was sent; here is the request again.
    Unsent(Box<Request<Body>>),
    /// It was sent, or in part.
    Lost,
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// HTTP/1.1 on a connection that may have served before.
    Kept,
    /// HTTP/1.1 on a new connection: what may not be repeated must not meet one that is about to close.
    Fresh,
    /// HTTP/2 without TLS.
    H2c,
}

/// Every connection; cheap to clone.
#[derive(Clone)]
pub struct Upstreams {
    known: Arc<Mutex<HashMap<SocketAddr, Arc<Address>>>>,
    turn: Arc<AtomicUsize>,
    connect_time: Duration,
}

#[derive(Default)]
struct Address {
    idle: Mutex<Vec<(http1::SendRequest<Body>, Instant)>>,
    h2: tokio::sync::Mutex<Option<http2::SendRequest<Body>>>,
    open: AtomicUsize,
}

/// One request going on at an address, counted until dropped.
pub struct Going(Arc<Address>);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Upstreams {
    /// No connections yet; each has this long to be made.
    #[must_use]
    pub fn new(connect_time: Duration) -> Self {
        Self { known: Arc::default(), turn: Arc::default(), connect_time }
    }

    fn address(&self, at: SocketAddr) -> Arc<Address> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADDRESSES_MAX {
            known.retain(|_, address| Arc::strong_count(address) > 1);
        }
        known.entry(at).or_default().clone()
    }

    /// The address with the fewest requests going on, of those not yet tried; equal ones in turn.
    #[must_use]
    pub fn choose(&self, among: &[SocketAddr], tried: &[SocketAddr]) -> Option<SocketAddr> {
        let left: Vec<SocketAddr> = among.iter().filter(|a| !tried.contains(a)).copied().collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % left.len().max(1);
        let in_turn = left[turn..].iter().chain(&left[..turn]);
        in_turn.min_by_key(|at| self.address(**at).open.load(Ordering::Relaxed)).copied()
    }

    /// Sends a request and answers with its response's head; `Going` is to be held until its body has ended.
    ///
    /// # Errors
    /// [`Failure`] says whether anything was sent.
    pub async fn send(
        &self,
        at: SocketAddr,
        how: How,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, Going), Failure> {
        let address = self.address(at);
        address.open.fetch_add(1, Ordering::Relaxed);
        let going = Going(address.clone());
        let answer = match how {
            How::H2c => self.send_h2(at, &address, request).await?,
            How::Kept | How::Fresh => self.send_h1(at, &address, how, request).await?,
        };
        Ok((answer, going))
    }

    async fn send_h1(
        &self,
        at: SocketAddr,
        address: &Arc<Address>,
        how: How,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let kept = if how == How::Kept { address.take() } else { None };
        let mut sender = match kept {
            Some(sender) => sender,
            None => match self.connect_h1(at).await {
                Some(sender) => sender,
                None => return Err(Failure::Unsent(Box::new(request))),
            },
        };
        let answer = sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request)),
            None => Failure::Lost,
        })?;
        let address = address.clone();
        tokio::spawn(async move {
            // Ready again once the answer's body was read.
            if sender.ready().await.is_ok() {
                address.put(sender);
            }
        });
        Ok(answer)
    }

    async fn send_h2(
        &self,
        at: SocketAddr,
        address: &Address,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let sender = {
            let mut kept = address.h2.lock().await;
            if kept.as_ref().is_none_or(http2::SendRequest::is_closed) {
                *kept = self.connect_h2(at).await;
            }
            kept.clone()
        };
        let Some(mut sender) = sender else { return Err(Failure::Unsent(Box::new(request))) };
        if sender.ready().await.is_err() {
            *address.h2.lock().await = None;
            return Err(Failure::Unsent(Box::new(request)));
        }
        sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(request) => Failure::Unsent(Box::new(request)),
            None => Failure::Lost,
        })
    }

    async fn socket(&self, at: SocketAddr) -> Option<TokioIo<TcpStream>> {
        let socket = tokio::time::timeout(self.connect_time, TcpStream::connect(at)).await.ok()?.ok()?;
        socket.set_nodelay(true).ok()?;
        Some(TokioIo::new(socket))
    }

    async fn connect_h1(&self, at: SocketAddr) -> Option<http1::SendRequest<Body>> {
        let (sender, connection) = http1::handshake(self.socket(at).await?).await.ok()?;
        tokio::spawn(connection.with_upgrades());
        Some(sender)
    }

    async fn connect_h2(&self, at: SocketAddr) -> Option<http2::SendRequest<Body>> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
        let (sender, connection) = builder.handshake(self.socket(at).await?).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }
}

impl Address {
    fn take(&self) -> Option<http1::SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, at)| !sender.is_closed() && at.elapsed() < IDLE_TIME);
        idle.pop().map(|(sender, _)| sender)
    }

    fn put(&self, sender: http1::SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, at)| !sender.is_closed() && at.elapsed() < IDLE_TIME);
        if idle.len() < IDLE_MAX {
            idle.push((sender, Instant::now()));
        }
    }
}
