//! A gateway with a proxy over a stub of the route service, and a small server for behind it, on real sockets.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::Stream;
use slipway_kit::{caller::Signer, serve::Service};
use slipway_proto::environment::v1::{self as pb, route_service_server as routes};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::{Request, Response, Status};

use crate::support::{Platform, Wish};

pub const HOST: &str = "pr-7-x.preview.localhost";

/// A route service whose table is set by hand, and which wakes what it is asked to.
#[derive(Clone)]
pub struct Stub {
    pub table: Arc<watch::Sender<Vec<pb::Route>>>,
    pub touched: Arc<AtomicUsize>,
    pub woken: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl routes::RouteService for Stub {
    type WatchRoutesStream = Pin<Box<dyn Stream<Item = Result<pb::WatchRoutesResponse, Status>> + Send>>;

    async fn watch_routes(
        &self,
        _: Request<pb::WatchRoutesRequest>,
    ) -> Result<Response<Self::WatchRoutesStream>, Status> {
        let mut table = self.table.subscribe();
        let message = |kind: pb::WatchKind, route| pb::WatchRoutesResponse { kind: kind.into(), route };
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                let now = table.borrow_and_update().clone();
                for route in now { yield Ok(message(pb::WatchKind::Put, Some(route))); }
                yield Ok(message(pb::WatchKind::Synced, None));
                if table.changed().await.is_err() { break }
            }
        })))
    }

    async fn touch_routes(
        &self,
        request: Request<pb::TouchRoutesRequest>,
    ) -> Result<Response<pb::TouchRoutesResponse>, Status> {
        for touch in request.into_inner().touches {
            self.touched.fetch_add(1, Ordering::SeqCst);
            if touch.wake {
                self.woken.store(true, Ordering::SeqCst);
            }
        }
        Ok(Response::new(pb::TouchRoutesResponse {}))
    }
}

/// A route of the one host.
pub fn route(access: pb::RouteAccess, state: pb::RouteState, endpoints: &[SocketAddr]) -> pb::Route {
    let endpoints = endpoints.iter().map(ToString::to_string).collect();
    pb::Route {
        host: HOST.to_owned(),
        resource: "environments/pr-7-x".to_owned(),
        uid: "uid-7".to_owned(),
        state: state.into(),
        access: access.into(),
        allowed: vec!["group:default/nobody".to_owned()],
        upstreams: vec![pb::RouteUpstream { path: "/".to_owned(), endpoints, ..Default::default() }],
    }
}

pub struct Running {
    pub platform: Platform,
    pub stub: Stub,
    pub client: reqwest::Client,
}

impl Running {
    pub async fn start() -> Self {
        Self::with(Wish::default(), |proxy| proxy.hold_seconds = 5).await
    }

    /// A gateway whose proxy is changed before it starts.
    pub async fn with(wish: Wish, of_proxy: impl FnOnce(&mut slipway_gateway::config::Proxy) + 'static) -> Self {
        let change = |config: &mut slipway_gateway::Config| {
            let mut proxy = slipway_gateway::config::Proxy::new("preview.localhost");
            of_proxy(&mut proxy);
            config.proxy = Some(proxy);
        };
        let platform = Platform::with(Wish { change: Some(Box::new(change)), ..wish }).await;
        let table = Arc::new(watch::Sender::new(Vec::new()));
        let stub = Stub { table, touched: Arc::default(), woken: Arc::default() };
        let service =
            Service::new("environment", platform.catalog.db.clone()).add(routes::RouteServiceServer::new(stub.clone()));
        platform.hub.serve(service, Signer::generate().verifier(), platform.shutdown.clone());
        let client = reqwest::Client::builder()
            .resolve(HOST, platform.address)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        let running = Self { platform, stub, client };
        running.set(route(pb::RouteAccess::Public, pb::RouteState::None, &[])).await;
        running
    }

    /// Sets the one route, and waits until the gateway has it.
    pub async fn set(&self, route: pb::Route) {
        self.stub.table.send_replace(vec![route]);
        for _ in 0..200 {
            if self.get("/probe").send().await.map_or(true, |answer| answer.status() != 404) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("http://{HOST}:{}{path}", self.platform.address.port()))
    }

    /// Bytes on a bare connection; the whole answer's head.
    pub async fn raw(&self, bytes: &str) -> String {
        let mut socket = TcpStream::connect(self.platform.address).await.unwrap();
        socket.write_all(bytes.as_bytes()).await.unwrap();
        let mut found = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read(&mut found)).await.unwrap().unwrap();
        String::from_utf8_lossy(&found[..read]).into_owned()
    }
}

/// A server that answers each request with its own head, and with an echo after an upgrade.
pub async fn upstream(name: &'static str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    while !text.windows(4).any(|w| w == b"\r\n\r\n") {
                        match socket.read(&mut buffer).await {
                            Ok(n) if n > 0 => text.extend_from_slice(&buffer[..n]),
                            _ => return,
                        }
                    }
                    let head = String::from_utf8_lossy(&text).to_lowercase();
                    text.clear();
                    if head.contains("upgrade: websocket") {
                        let switch =
                            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                        socket.write_all(switch.as_bytes()).await.unwrap();
                        while let Ok(n) = socket.read(&mut buffer).await {
                            if n == 0 || socket.write_all(&buffer[..n]).await.is_err() {
                                return;
                            }
                        }
                        return;
                    }
                    let body = format!("{name}\n{head}");
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-slipway-fake: 1\r\nset-cookie: a=b; Domain=preview.localhost; Path=/\r\n\r\n",
                        body.len()
                    );
                    if socket.write_all((head + &body).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, task)
}
