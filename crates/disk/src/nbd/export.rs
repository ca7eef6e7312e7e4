//! One volume on one socket: listening, its connections, and the end of both.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::negotiate::negotiate;
use super::serve;
use crate::{DiskError, Volume};

/// QEMU uses one connection, copying tools up to a handful.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take to agree on anything.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests in flight may take to end when the export stops.
const GRACE: Duration = Duration::from_secs(10);
/// `sun_path` without its final zero, less the suffix of the name we bind.
const MAX_PATH: usize = 107 - SUFFIX.len();
const SUFFIX: &str = ".new";

/// A volume served as NBD on a unix socket. The export's name is empty. Ends when dropped.
pub struct Export {
    path: PathBuf,
    /// Of our socket: another one may take the path over.
    inode: u64,
    listener: Arc<UnixListener>,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    volume: Arc<Volume>,
    stopping: AtomicBool,
    connections: Mutex<HashMap<u64, UnixStream>>,
    ended: Condvar,
}

impl Export {
    /// Serves `volume` on a socket at `path` with the permission bits `mode`. A socket that is
    /// there already is replaced, without a moment when there is none: after a restart clients
    /// find the new server where the old one was.
    ///
    /// Errors: [`DiskError::SocketPath`]; [`DiskError::Io`], also when something else is there.
    pub fn start(path: &Path, mode: u32, volume: Arc<Volume>) -> Result<Self, DiskError> {
        if path.as_os_str().as_bytes().len() > MAX_PATH {
            return Err(DiskError::SocketPath(path.to_owned()));
        }
        let (listener, inode) = listen(path, mode).map_err(DiskError::io("make the socket"))?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            volume,
            stopping: AtomicBool::new(false),
            connections: Mutex::default(),
            ended: Condvar::new(),
        });
        let accepting = {
            let (listener, shared) = (listener.clone(), shared.clone());
            let run = move || accept(&listener, &shared);
            thread::Builder::new().name("nbd-accept".into()).spawn(run)
        };
        let accepting = accepting.map_err(DiskError::io("start the block server"))?;
        let accepting = Mutex::new(Some(accepting));
        Ok(Self { path: path.to_owned(), inode, listener, shared, accepting })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many clients are connected.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().len()
    }

    /// Stops accepting, lets requests in flight end (for at most ten seconds), removes the
    /// socket and joins the threads. Flushes nothing: that is the client's or the owner's word.
    pub fn stop(&self) {
        let Some(accepting) = self.accepting.lock().take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        if fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            drop(fs::remove_file(&self.path));
        }
        // Wakes the thread that accepts.
        if let Err(error) = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both) {
            tracing::error!(%error, "a listening socket could not be shut down");
        }
        let end = Instant::now() + GRACE;
        let mut connections = self.shared.connections.lock();
        connections.values().for_each(|stream| drop(stream.shutdown(Shutdown::Read)));
        while !connections.is_empty() {
            if self.shared.ended.wait_until(&mut connections, end).timed_out() {
                connections.values().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
                break;
            }
        }
        drop(connections);
        if accepting.join().is_err() {
            tracing::error!(path = %self.path.display(), "a block server thread panicked");
        }
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Binds beside `path` and renames into place, so that the mode is right from the start.
fn listen(path: &Path, mode: u32) -> io::Result<(UnixListener, u64)> {
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is not a socket"));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(SUFFIX);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(mode))?;
    let inode = fs::symlink_metadata(&beside)?.ino();
    fs::rename(&beside, path)?;
    Ok((listener, inode))
}

fn accept(listener: &UnixListener, shared: &Shared) {
    thread::scope(|scope| {
        for id in 0.. {
            let stream = listener.accept();
            if shared.stopping.load(Ordering::SeqCst) {
                break;
            }
            let stream = match stream {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: leave others time to give some back.
                    tracing::warn!(%error, "a block client could not be accepted");
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let Some(registered) = Registered::new(shared, id, &stream) else { continue };
            let run = move || {
                let _registered = registered;
                if let Err(error) = connection(stream, shared) {
                    tracing::debug!(%error, "a block client's connection failed");
                }
            };
            let spawned = thread::Builder::new().name("nbd".into()).spawn_scoped(scope, run);
            if let Err(error) = spawned {
                tracing::warn!(%error, "no thread for a block client");
            }
        }
    });
}

fn connection(mut stream: UnixStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(HANDSHAKE))?;
    stream.set_write_timeout(Some(HANDSHAKE))?;
    let Some(session) = negotiate(&mut stream, shared.volume.size())? else { return Ok(()) };
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    serve::serve(stream, session, &shared.volume)
}

/// A place in the table of connections, given back at the end.
struct Registered<'a> {
    shared: &'a Shared,
    id: u64,
}

impl<'a> Registered<'a> {
    fn new(shared: &'a Shared, id: u64, stream: &UnixStream) -> Option<Self> {
        let mut connections = shared.connections.lock();
        // Under the lock: `stop` either sees this connection or is seen here.
        if shared.stopping.load(Ordering::SeqCst) || connections.len() >= MAX_CONNECTIONS {
            return None;
        }
        connections.insert(id, stream.try_clone().ok()?);
        Some(Self { shared, id })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.shared.connections.lock().remove(&self.id);
        self.shared.ended.notify_all();
    }
}
