//! Services of one process reaching each other over in-memory pipes; a peer is known by construction, not by what it says.
//!
//! Owns the doors of the services that run here. Refuses the network: that is [`super::transport`]'s.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::DuplexStream,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{Guard, Peer, Peers, Service, Shutdown, health, transport};
use crate::caller::Verifier;

/// Bytes in flight in one direction of a pipe.
const PIPE_BYTES: usize = 256 * 1024;
/// Connections waiting to be accepted at one door.
const WAITING_MAX: usize = 64;

type Knock = (DuplexStream, &'static str);

/// The switchboard of a process; cheap to clone.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<BTreeMap<&'static str, mpsc::Sender<Knock>>>>);

impl Hub {
    /// A switchboard without services.
    pub fn new() -> Self {
        Self::default()
    }

    /// How `me` reaches the others.
    pub fn peers(&self, me: &'static str) -> Peers {
        Peers::new(self.clone(), me)
    }

    /// Serves until `shutdown`, then drains; the handle ends when the service's last call and loop have.
    pub fn serve(&self, service: Service, verifier: Verifier, shutdown: Shutdown) -> JoinHandle<()> {
        let (door, knocks) = mpsc::channel(WAITING_MAX);
        let name = service.name;
        self.doors().insert(name, door);
        let hub = self.clone();
        tokio::spawn(async move {
            run(service, verifier, knocks, shutdown).await;
            hub.doors().remove(name);
        })
    }

    /// A new pipe to the service, which sees `me` at the other end.
    pub(super) async fn connect(&self, me: &'static str, service: &'static str) -> std::io::Result<DuplexStream> {
        let away =
            || std::io::Error::new(std::io::ErrorKind::ConnectionRefused, format!("{service} does not run here"));
        let door = self.doors().get(service).cloned().ok_or_else(away)?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        door.send((far, me)).await.map_err(|_| away())?;
        Ok(near)
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<&'static str, mpsc::Sender<Knock>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(service: Service, verifier: Verifier, mut knocks: mpsc::Receiver<Knock>, shutdown: Shutdown) {
    let Service { name, db, routes, served, tasks, recorder, ailing } = service;
    let mut running = JoinSet::new();
    for task in tasks {
        let end = shutdown.clone();
        running.spawn(async move {
            (task.start)(end).await;
            tracing::debug!(task = task.name, "background loop ended");
        });
    }
    // Calls that end while the service drains are recorded too, so the recorder stops last.
    let last = Shutdown::new();
    let recording = tokio::spawn(recorder.clone().run(last.clone()));
    let (routes, health) = health::add(routes, &served).await;
    running.spawn(health.readiness(db, shutdown.clone()));
    for (grpc_service, serving) in ailing {
        running.spawn(health.follow(grpc_service, serving, shutdown.clone()));
    }
    let guarded = Guard::new(routes, name, verifier, recorder, shutdown.clone());
    loop {
        let knock = tokio::select! {
            knock = knocks.recv() => knock,
            () = shutdown.wait() => None,
            Some(ended) = running.join_next(), if !running.is_empty() => {
                report(name, ended);
                continue;
            }
        };
        let Some((pipe, caller)) = knock else { break };
        let peer = Peer { service: Some(caller), ..Peer::default() };
        running.spawn(transport::connection(
            pipe,
            peer,
            guarded.clone(),
            transport::Limits::in_process(),
            shutdown.clone(),
        ));
    }
    // Whoever still knocks is told at once that nobody is in.
    drop(knocks);
    health.stopping().await;
    while let Some(ended) = running.join_next().await {
        report(name, ended);
    }
    last.begin();
    report(name, recording.await);
}

fn report(service: &'static str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(service, panicked = error.is_panic(), "a background part of the service ended early");
    }
}
