//! The serial port: a bounded log, and any number of viewers up to sixteen.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write},
    os::unix::net,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::layout;

/// A half of the log; the last one to two halves are kept.
const HALF: u64 = 256 << 10;
const BACKLOG: usize = 64 << 10;
const PART: usize = 4 << 10;
/// How far a viewer may lag behind. In bytes: QEMU often writes one at a time.
const LAG: usize = 1 << 20;
/// For viewers to get the last words after QEMU's end.
const FAREWELL: Duration = Duration::from_millis(200);
const VIEWERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

type Part = Arc<[u8]>;

/// Reads `serial` until QEMU closes it. The task also ends all viewers.
pub(super) fn serve(
    dir: &Path,
    serial: net::UnixStream,
    viewers: net::UnixListener,
) -> io::Result<JoinHandle<()>> {
    serial.set_nonblocking(true)?;
    viewers.set_nonblocking(true)?;
    let serial = UnixStream::from_std(serial)?;
    let viewers = UnixListener::from_std(viewers)?;
    let log = Log::open(dir)?;
    Ok(tokio::spawn(async move {
        let (mut read, mut write) = serial.into_split();
        let (input, mut typed) = mpsc::channel::<Part>(16);
        let hub = Arc::new(Mutex::new(Hub::default()));
        let typing = async {
            while let Some(part) = typed.recv().await {
                if write.write_all(&part).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut log = log;
            let mut part = [0; PART];
            while let Ok(size @ 1..) = read.read(&mut part).await {
                log.add(&part[..size]);
                lock(&hub).add(&part[..size]);
            }
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            () = reading => {}
            () = typing => {}
            () = welcome(viewers, Arc::clone(&hub), input) => {}
        }
    }))
}

/// The last of what the guest wrote.
#[derive(Default)]
struct Hub {
    recent: VecDeque<u8>,
    /// How much it wrote in all.
    end: watch::Sender<u64>,
}

impl Hub {
    fn add(&mut self, part: &[u8]) {
        self.recent.extend(part);
        let extra = self.recent.len().saturating_sub(LAG);
        self.recent.drain(..extra);
        self.end.send_modify(|end| *end += part.len() as u64);
    }

    /// Where a viewer begins who wants so many bytes of what was.
    fn before(&self, bytes: usize) -> u64 {
        *self.end.borrow() - bytes.min(self.recent.len()) as u64
    }

    /// What follows `position`; `None` if it is gone already.
    fn after(&self, position: u64) -> Option<Vec<u8>> {
        let lag = usize::try_from(*self.end.borrow() - position).ok()?;
        let from = self.recent.len().checked_sub(lag)?;
        Some(self.recent.range(from..).take(PART).copied().collect())
    }
}

fn lock(hub: &Mutex<Hub>) -> std::sync::MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn welcome(viewers: UnixListener, hub: Arc<Mutex<Hub>>, input: mpsc::Sender<Part>) {
    let room = Arc::new(Semaphore::new(VIEWERS));
    let mut all = JoinSet::new();
    loop {
        tokio::select! {
            accepted = viewers.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of files, say; more will be free later.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
                let (hub, input) = (Arc::clone(&hub), input.clone());
                all.spawn(async move {
                    view(stream, &hub, input).await;
                    drop(place);
                });
            }
            Some(_) = all.join_next() => {}
        }
    }
}

/// One viewer, until it leaves or lags.
async fn view(mut stream: UnixStream, hub: &Mutex<Hub>, input: mpsc::Sender<Part>) {
    let Ok(Ok(mode)) = timeout(PATIENCE, stream.read_u8()).await else { return };
    let (mut position, mut end) = {
        let hub = lock(hub);
        (hub.before(if mode == 1 { BACKLOG } else { 0 }), hub.end.subscribe())
    };
    let (mut read, mut write) = stream.into_split();
    let showing = async {
        loop {
            end.mark_unchanged();
            let Some(part) = lock(hub).after(position) else { return };
            if part.is_empty() {
                if end.changed().await.is_err() {
                    return;
                }
            } else if write.write_all(&part).await.is_err() {
                return;
            }
            position += part.len() as u64;
        }
    };
    let typing = async {
        let mut part = [0; 256];
        while let Ok(size @ 1..) = read.read(&mut part).await {
            if input.send(part[..size].into()).await.is_err() {
                return;
            }
        }
        // A viewer that has no more to type may still want to look.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = showing => {}
        () = typing => {}
    }
}

/// Two files of at most one half each. Written without waiting for the disk: a log is
/// worth less than the machine's going on.
struct Log {
    now: PathBuf,
    old: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Log {
    fn open(dir: &Path) -> io::Result<Self> {
        let now = layout::console_log(dir);
        let file = File::options().create(true).append(true).open(&now)?;
        let size = file.metadata()?.len();
        Ok(Self { now, old: layout::console_old(dir), file: Some(file), size })
    }

    fn add(&mut self, part: &[u8]) {
        if self.size >= HALF {
            self.size = 0;
            self.file =
                fs::rename(&self.now, &self.old).and_then(|()| File::create(&self.now)).ok();
        }
        self.size += part.len() as u64;
        if let Some(file) = &mut self.file {
            // A full disk loses log lines, never the machine.
            let _ = file.write_all(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_its_end_and_stays_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = Log::open(dir.path()).expect("log");
        let line = [b'x'; 1000];
        for _ in 0..2000 {
            log.add(&line);
        }
        log.add(b"the end");
        let size = |p: PathBuf| fs::metadata(p).map_or(0, |m| m.len());
        let (now, old) = (layout::console_log(dir.path()), layout::console_old(dir.path()));
        assert!(size(old) >= HALF);
        assert!(size(now.clone()) <= HALF + 1000);
        assert!(fs::read(now).expect("log").ends_with(b"the end"));
    }

    #[test]
    fn a_viewer_reads_on_from_where_it_was_until_that_is_gone() {
        let mut hub = Hub::default();
        // A byte at a time, as a serial line brings them.
        for byte in b"abcdef" {
            hub.add(&[*byte]);
        }
        assert_eq!(hub.before(2), 4);
        assert_eq!(hub.after(4).as_deref(), Some(&b"ef"[..]));
        assert_eq!(hub.after(6).as_deref(), Some(&b""[..]));
        hub.add(&vec![b'x'; LAG - 1]);
        assert_eq!(hub.after(5).map(|p| p[..2].to_vec()).as_deref(), Some(&b"fx"[..]));
        assert_eq!(hub.after(4), None);
        assert_eq!(hub.before(usize::MAX), 5);
    }

    #[tokio::test]
    async fn a_late_viewer_sees_the_backlog_and_types_to_the_guest() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, mut guest) = net::UnixStream::pair().expect("pair");
        let path = dir.path().join("c");
        let listener = net::UnixListener::bind(&path).expect("bind");
        let task = serve(dir.path(), ours, listener).expect("serving");
        guest.write_all(b"hello ").expect("write");
        while fs::read(layout::console_log(dir.path())).expect("log") != b"hello " {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut viewer = UnixStream::connect(&path).await.expect("connect");
        viewer.write_all(&[1]).await.expect("mode");
        let mut seen = [0; 6];
        viewer.read_exact(&mut seen).await.expect("backlog");
        assert_eq!(&seen, b"hello ");
        guest.write_all(b"world").expect("write");
        viewer.read_exact(&mut seen[..5]).await.expect("live");
        assert_eq!(&seen[..5], b"world");
        viewer.write_all(b"ls\n").await.expect("typing");
        guest.set_nonblocking(true).expect("mode");
        let mut guest = UnixStream::from_std(guest).expect("stream");
        let mut typed = [0; 3];
        guest.read_exact(&mut typed).await.expect("typed");
        assert_eq!(&typed, b"ls\n");
        drop(guest);
        task.await.expect("ends with QEMU");
    }
}
