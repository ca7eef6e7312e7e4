//! The way to disks that come while the machine runs: their servers' sockets are not in
//! QEMU's view, so each is reached through one of ours that is.

use std::{
    collections::HashMap,
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional_with_sizes},
    net::{UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::remove_socket;
use crate::{layout, spec::MAX_PORTS};

/// What the launcher asks, as one line of JSON on `plug.sock`; answered by one byte.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) port: usize,
    /// The disk server to carry to; none to cut what there is.
    pub(crate) server: Option<PathBuf>,
}

pub(crate) const DONE: u8 = 0;
pub(crate) const FAILED: u8 = 1;

const LINE: u64 = 4 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a disk server may be away, say for its own restart; QEMU asks again after.
const AWAY: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(100);
/// Connections to one disk: QEMU makes one, and another when the first is lost.
const CONNECTIONS: usize = 4;
/// The most of a request or answer that is ways at once.
const PIECE: usize = 256 << 10;

/// Makes the folder of sockets, open to QEMU's own user, and empties it.
pub(super) fn prepare(dir: &Path) -> io::Result<PathBuf> {
    let plugs = layout::plugs(dir);
    if let Err(error) = fs::create_dir(&plugs)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    fs::set_permissions(&plugs, Permissions::from_mode(0o755))?;
    clear(dir);
    Ok(plugs)
}

/// Removes all sockets of disks.
pub(super) fn clear(dir: &Path) {
    for entry in fs::read_dir(layout::plugs(dir)).into_iter().flatten().flatten() {
        remove_socket(&entry.path());
    }
}

/// Takes the launcher's wishes, one connection each.
pub(super) fn serve(dir: &Path, listener: StdUnixListener) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let plugs = layout::plugs(dir);
    Ok(tokio::spawn(async move {
        let mut ways = HashMap::new();
        loop {
            let Ok((client, _)) = listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            // One after the other: they come from one launcher, and take no time.
            let _ = timeout(PATIENCE, answer(client, &plugs, &mut ways)).await;
        }
    }))
}

async fn answer(
    mut client: UnixStream,
    plugs: &Path,
    ways: &mut HashMap<usize, Carrier>,
) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new((&mut client).take(LINE)).read_line(&mut line).await?;
    let verdict = match serde_json::from_str::<Ask>(&line) {
        Ok(Ask { port, .. }) if port >= MAX_PORTS => FAILED,
        Ok(Ask { port, server: None }) => {
            ways.remove(&port);
            DONE
        }
        Ok(Ask { port, server: Some(server) }) => {
            if ways.get(&port).is_some_and(|c| c.server == server && !c.task.is_finished()) {
                DONE
            } else {
                // The old socket must be gone before the new one takes its name.
                drop(ways.remove(&port));
                match Carrier::start(plugs.join(port.to_string()), server) {
                    Ok(carrier) => {
                        ways.insert(port, carrier);
                        DONE
                    }
                    Err(_) => FAILED,
                }
            }
        }
        Err(_) => FAILED,
    };
    client.write_u8(verdict).await
}

/// Carries connections on one socket to one disk server, until dropped.
struct Carrier {
    socket: PathBuf,
    server: PathBuf,
    task: JoinHandle<()>,
}

impl Carrier {
    fn start(socket: PathBuf, server: PathBuf) -> io::Result<Self> {
        // Nothing is promised of a server that is not there.
        drop(StdUnixStream::connect(&server)?);
        remove_socket(&socket);
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
        let to = server.clone();
        let task = tokio::spawn(async move {
            let mut all = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept(), if all.len() < CONNECTIONS => accepted,
                    Some(_) = all.join_next() => continue,
                };
                match accepted {
                    Ok((qemu, _)) => drop(all.spawn(carry(qemu, to.clone()))),
                    Err(_) => sleep(AGAIN).await,
                }
            }
        });
        Ok(Self { socket, server, task })
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Its connections end with it.
        self.task.abort();
        remove_socket(&self.socket);
    }
}

async fn carry(mut qemu: UnixStream, server: PathBuf) {
    let end = Instant::now() + AWAY;
    let mut disk = loop {
        match UnixStream::connect(&server).await {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < end => sleep(AGAIN).await,
            Err(_) => return,
        }
    };
    // Either end may hang up at any moment; QEMU connects again if it still wants the disk.
    let _ = copy_bidirectional_with_sizes(&mut qemu, &mut disk, PIECE, PIECE).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(socket: &Path, port: usize, server: Option<&Path>) -> u8 {
        let mut stream = UnixStream::connect(socket).await.expect("a shim");
        let ask = Ask { port, server: server.map(Path::to_owned) };
        let line = serde_json::to_string(&ask).expect("JSON") + "\n";
        stream.write_all(line.as_bytes()).await.expect("asked");
        stream.read_u8().await.expect("an answer")
    }

    #[tokio::test]
    async fn a_disk_is_reached_until_it_is_cut() {
        let dir = tempfile::tempdir().expect("a directory");
        let plugs = prepare(dir.path()).expect("a folder");
        let control = layout::plug(dir.path());
        let listener = StdUnixListener::bind(&control).expect("bind");
        let task = serve(dir.path(), listener).expect("served");

        let server = dir.path().join("nbd.sock");
        assert_eq!(ask(&control, 3, Some(&server)).await, FAILED, "no server is there yet");
        let disk = UnixListener::bind(&server).expect("bind");
        let echo = tokio::spawn(async move {
            while let Ok((mut stream, _)) = disk.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        assert_eq!(ask(&control, MAX_PORTS, Some(&server)).await, FAILED);
        assert_eq!(ask(&control, 3, Some(&server)).await, DONE);
        assert_eq!(ask(&control, 3, Some(&server)).await, DONE, "asked again");
        let mut qemu = UnixStream::connect(plugs.join("3")).await.expect("a way");
        qemu.write_all(b"block").await.expect("written");
        let mut back = [0; 5];
        qemu.read_exact(&mut back).await.expect("read");
        assert_eq!(&back, b"block");

        assert_eq!(ask(&control, 3, None).await, DONE);
        assert_eq!(qemu.read(&mut back).await.expect("an end"), 0, "what was open is cut");
        assert!(!plugs.join("3").exists());
        task.abort();
        echo.abort();
    }
}
