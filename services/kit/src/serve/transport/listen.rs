//! Accepting connections: how many in all, how many from one address, and how long a handshake may take.
use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;

use super::{BoxError, Limits, connection};
use crate::{
    error::Result,
    serve::{Mesh, Peer, Shutdown},
};

/// Pause after the system refused a connection, for example for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How connections of a listener are secured.
#[derive(Clone)]
pub enum Security {
    /// Not at all: loopback only.
    Plain,
    /// The server shows a certificate.
    Tls(Arc<ServerConfig>),
    /// Both sides show one, and the peer's says which service it is.
    Mutual(Mesh),
}

/// Serves `service` on a listener until `shutdown`, then lets calls end.
pub async fn serve<S, B>(listener: TcpListener, security: Security, limits: Limits, service: S, shutdown: Shutdown)
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let door = Door::new(&limits);
    let acceptor = match acceptor(&security) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            tracing::error!(error = %error, "the listener cannot use TLS");
            return;
        }
    };
    let mut running = JoinSet::new();
    loop {
        let (socket, address) = tokio::select! {
            () = shutdown.wait() => break,
            Some(_) = running.join_next(), if !running.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let Some(place) = door.enter(address.ip()) else { continue };
        let (service, limits, shutdown, acceptor, door) =
            (service.clone(), limits.clone(), shutdown.clone(), acceptor.clone(), door.clone());
        running.spawn(async move {
            one(socket, address, acceptor, door, service, limits, shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    while running.join_next().await.is_some() {}
}

/// What shakes hands, with the mesh that knows the peers, if any.
type Acceptor = Option<(TlsAcceptor, Option<Mesh>)>;

fn acceptor(security: &Security) -> Result<Acceptor> {
    Ok(match security {
        Security::Plain => None,
        Security::Tls(config) => Some((TlsAcceptor::from(config.clone()), None)),
        Security::Mutual(mesh) => Some((TlsAcceptor::from(mesh.server_config()?), Some(mesh.clone()))),
    })
}

async fn one<S, B>(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: Acceptor,
    door: Door,
    service: S,
    limits: Limits,
    shutdown: Shutdown,
) where
    S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // Without this each call waits for the peer's delayed acknowledgement (REL-13).
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let mut peer = Peer { service: None, address: Some(address), tls: acceptor.is_some() };
    let Some((acceptor, mesh)) = acceptor else { return connection(socket, peer, service, limits, shutdown).await };
    let Ok(permit) = door.handshakes.clone().try_acquire_owned() else { return };
    let shaken = tokio::time::timeout(limits.handshake, acceptor.accept(socket)).await;
    drop(permit);
    if let Ok(Ok(stream)) = shaken {
        peer.service = mesh.and_then(|mesh| mesh.named(stream.get_ref().1.peer_certificates()));
        connection(stream, peer, service, limits, shutdown).await;
    }
}

/// Counts who is inside.
#[derive(Clone)]
struct Door {
    all: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    sources: Arc<Mutex<HashMap<IpAddr, usize>>>,
    per_source: usize,
}

/// The place of one connection, given back when dropped.
struct Place {
    address: IpAddr,
    sources: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Door {
    fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes)),
            sources: Arc::default(),
            per_source: limits.connections_per_source,
        }
    }

    /// A place for a connection from this address, if there is one.
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let permit = self.all.clone().try_acquire_owned().ok()?;
        let address = address.to_canonical();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = sources.entry(address).or_default();
        if *inside >= self.per_source {
            return None;
        }
        *inside += 1;
        Some(Place { address, sources: self.sources.clone(), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inside) = sources.get_mut(&self.address) {
            *inside = inside.saturating_sub(1);
            if *inside == 0 {
                sources.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_per_source() {
        let door = Door::new(&Limits { connections: 3, connections_per_source: 2, ..Limits::default() });
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = door.enter(a).expect("free");
        let _second = door.enter(a).expect("free");
        assert!(door.enter(a).is_none(), "third of one source");
        assert!(door.enter("::ffff:192.0.2.1".parse().expect("mapped")).is_none(), "the same source");
        let other = door.enter(b).expect("free");
        assert!(door.enter(b).is_none(), "fourth in all");
        drop((first, other));
        assert!(door.enter(a).is_some());
        assert!(!door.sources.lock().expect("free").contains_key(&b), "nothing is kept of who left");
    }
}
