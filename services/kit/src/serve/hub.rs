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

use super::{
    Guard, Peer, Peers, Service, Shutdown,
    routes::Routes,
    running::{Running, report},
    transport,
};
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
        Peers::over_hub(self.clone(), me)
    }

    /// Serves until `shutdown`, then drains; the handle ends when the service's last call and loop have.
    pub fn serve(&self, service: Service, verifier: Verifier, shutdown: Shutdown) -> JoinHandle<()> {
        let name = service.name;
        // The door is there before the service stands behind it, so that siblings that start at the same time can knock.
        let (door, knocks) = self.knocks(name);
        let hub = self.clone();
        tokio::spawn(async move {
            let running = Running::start(service, verifier, shutdown.clone()).await;
            answer(name, running.door(), knocks, shutdown).await;
            running.finish().await;
            hub.shut(name, &door);
        })
    }

    /// Lets this process call a service that it serves to others by itself.
    pub(super) fn open(&self, name: &'static str, behind: Guard<Routes>, shutdown: Shutdown) -> JoinHandle<()> {
        let (door, knocks) = self.knocks(name);
        let hub = self.clone();
        tokio::spawn(async move {
            answer(name, behind, knocks, shutdown).await;
            hub.shut(name, &door);
        })
    }

    fn knocks(&self, name: &'static str) -> (mpsc::Sender<Knock>, mpsc::Receiver<Knock>) {
        let (door, knocks) = mpsc::channel(WAITING_MAX);
        self.doors().insert(name, door.clone());
        (door, knocks)
    }

    /// Takes the door away, unless another one stands there by now.
    fn shut(&self, name: &'static str, door: &mpsc::Sender<Knock>) {
        let mut doors = self.doors();
        if doors.get(name).is_some_and(|now| now.same_channel(door)) {
            doors.remove(name);
        }
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

/// Takes what knocks until `shutdown`; then waits for the calls that came in.
async fn answer(name: &'static str, door: Guard<Routes>, mut knocks: mpsc::Receiver<Knock>, shutdown: Shutdown) {
    let mut open = JoinSet::new();
    loop {
        let knock = tokio::select! {
            knock = knocks.recv() => knock,
            () = shutdown.wait() => None,
            Some(ended) = open.join_next(), if !open.is_empty() => {
                report(name, ended);
                continue;
            }
        };
        let Some((pipe, caller)) = knock else { break };
        let peer = Peer { service: Some(caller), ..Peer::default() };
        open.spawn(transport::connection(pipe, peer, door.clone(), transport::Limits::in_process(), shutdown.clone()));
    }
    // Whoever still knocks is told at once that nobody is in.
    drop(knocks);
    while let Some(ended) = open.join_next().await {
        report(name, ended);
    }
}
