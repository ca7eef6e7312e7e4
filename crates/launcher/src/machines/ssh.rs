//! The way to a machine's ssh server from its host.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::hypervisor::Machine;
use crate::Endpoint;

const PORT: u16 = 22;
/// Connections to one machine at a time.
const MOST: usize = 64;
const OPEN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Binds where the machine was reached before; else port 22 of its `own` loopback
/// address; else, where that is not allowed or taken, some high port.
pub(super) async fn bind(
    before: Option<Endpoint>,
    own: Ipv4Addr,
) -> io::Result<(TcpListener, Endpoint)> {
    let high = Endpoint { address: Ipv4Addr::LOCALHOST, port: 0 };
    let candidates = before.into_iter().chain([Endpoint { address: own, port: PORT }, high]);
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for Endpoint { address, port } in candidates {
        match TcpListener::bind((address, port)).await {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                return Ok((listener, Endpoint { address, port }));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Carries connections to the guest until `over`.
pub(super) async fn serve(
    listener: TcpListener,
    machine: Arc<dyn Machine>,
    over: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(MOST));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file handles, most likely: give others time to close some.
                tracing::warn!(%error, "a connection for ssh was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let (machine, over) = (Arc::clone(&machine), over.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = carry(stream, machine.as_ref()) => {}
                () = over.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn carry(mut stream: TcpStream, machine: &dyn Machine) {
    let _ = stream.set_nodelay(true);
    match timeout(OPEN, machine.forward(PORT)).await {
        Ok(Ok(mut guest)) => {
            // However it ends, both sides are closed by being dropped.
            drop(copy_bidirectional(&mut stream, &mut guest).await);
        }
        Ok(Err(error)) => tracing::debug!(%error, "the guest is not reached by ssh"),
        Err(_) => tracing::debug!("the guest is not reached by ssh in time"),
    }
}
