//! Bytes in and out of the machine's network: metadata requests out, ports in.

use std::{
    io,
    net::{Ipv4Addr, TcpListener as StdTcpListener},
    os::unix::net::UnixListener as StdUnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use crate::{command::inner_port, layout};

const METADATA_CONNECTIONS: usize = 64;
/// A metadata request is a few KiB; one that lasts this long is not one.
const METADATA_LIFE: Duration = Duration::from_secs(120);
/// How long the launcher may be away, say for its own restart.
const METADATA_PATIENCE: Duration = Duration::from_secs(10);
const FORWARDS: usize = 256;
const PATIENCE: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

const OPEN: u8 = 0;
const REFUSED: u8 = 1;

/// Carries each of the guest's connections to the launcher's socket.
pub(super) fn metadata(dir: &Path, listener: StdTcpListener) -> io::Result<JoinHandle<()>> {
    let listener = TcpListener::from_std(listener)?;
    let socket = layout::metadata(dir);
    Ok(tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(METADATA_CONNECTIONS));
        let mut all = JoinSet::new();
        loop {
            // At the limit new connections wait in the kernel's queue.
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((guest, _)) = listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            let socket = socket.clone();
            all.spawn(async move {
                let _ = timeout(METADATA_LIFE, request(guest, socket)).await;
                drop(place);
            });
            while all.try_join_next().is_some() {}
        }
    }))
}

async fn request(mut guest: TcpStream, socket: PathBuf) {
    let end = Instant::now() + METADATA_PATIENCE;
    let mut launcher = loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < end => sleep(AGAIN).await,
            Err(_) => return,
        }
    };
    // Either end may hang up at any moment; that is not ours to report.
    let _ = copy_bidirectional(&mut guest, &mut launcher).await;
}

/// Carries connections on `forward.sock` to the guest's `ports`. A client writes the
/// port's two bytes, big end first, and reads one: 0 if the stream is open.
pub(super) fn forward(ports: Vec<u16>, listener: StdUnixListener) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let ports = Arc::new(ports);
    Ok(tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(FORWARDS));
        let mut all = JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((client, _)) = listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            let ports = Arc::clone(&ports);
            all.spawn(async move {
                let _ = carry(client, &ports).await;
                drop(place);
            });
            while all.try_join_next().is_some() {}
        }
    }))
}

async fn carry(mut client: UnixStream, ports: &[u16]) -> io::Result<()> {
    let port = timeout(PATIENCE, client.read_u16()).await??;
    let Some(index) = ports.iter().position(|p| *p == port) else {
        return client.write_u8(REFUSED).await;
    };
    let inner = TcpStream::connect((Ipv4Addr::LOCALHOST, inner_port(index)));
    let Ok(Ok(mut guest)) = timeout(PATIENCE, inner).await else {
        return client.write_u8(REFUSED).await;
    };
    client.write_u8(OPEN).await?;
    copy_bidirectional(&mut client, &mut guest).await.map(drop)
}
