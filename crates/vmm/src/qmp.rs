//! A client of QEMU's monitor protocol: commands with deadlines, events, one connection.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, broadcast, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{Result, VmmError};

/// The longest line QEMU may send; its own answers are far shorter.
const LINE_LIMIT: u64 = 4 << 20;
const EVENTS: usize = 256;

/// Something QEMU told unasked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// E.g. `SHUTDOWN`, `RESET`, `STOP`, `RESUME`.
    #[serde(rename = "event")]
    pub name: String,
    #[serde(default)]
    pub data: Value,
    #[serde(default)]
    timestamp: Stamp,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
struct Stamp {
    seconds: i64,
    microseconds: i64,
}

impl Event {
    /// When QEMU says it happened, in microseconds since 1970; 0 if it does not know.
    #[must_use]
    pub fn at_us(&self) -> u64 {
        let (s, us) = (self.timestamp.seconds, self.timestamp.microseconds);
        s.checked_mul(1_000_000).and_then(|s| u64::try_from(s + us).ok()).unwrap_or(0)
    }
}

type Answer = std::result::Result<Value, (String, String)>;
type Pending = Arc<parking::Waiting>;

mod parking {
    use super::{Answer, HashMap, oneshot};
    use std::sync::Mutex;

    /// Who waits for which answer; `None` once the connection is lost.
    #[derive(Debug)]
    pub(super) struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>);

    impl Waiting {
        pub(super) fn new() -> Self {
            Self(Mutex::new(Some(HashMap::new())))
        }

        fn with<T>(
            &self,
            f: impl FnOnce(&mut Option<HashMap<u64, oneshot::Sender<Answer>>>) -> T,
        ) -> T {
            f(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        }

        pub(super) fn add(&self, id: u64) -> Option<oneshot::Receiver<Answer>> {
            let (tx, rx) = oneshot::channel();
            self.with(|map| map.as_mut().map(|map| map.insert(id, tx)))?;
            Some(rx)
        }

        pub(super) fn take(&self, id: u64) -> Option<oneshot::Sender<Answer>> {
            self.with(|map| map.as_mut().and_then(|map| map.remove(&id)))
        }

        pub(super) fn close(&self) {
            self.with(Option::take);
        }
    }
}

/// A connection to one QEMU. Ends, and stays ended, when QEMU or the socket does.
#[derive(Debug)]
pub struct Qmp {
    writer: Mutex<OwnedWriteHalf>,
    pending: Pending,
    events: broadcast::Sender<Event>,
    next: AtomicU64,
    closed: watch::Receiver<()>,
    reader: JoinHandle<()>,
}

impl Qmp {
    /// Connects and takes command mode; all within `limit`. QEMU serves one client at a
    /// time: with another one connected this waits until the deadline.
    pub async fn connect(socket: &Path, limit: Duration) -> Result<Self> {
        timeout(limit, Self::greet(socket))
            .await
            .map_err(|_| VmmError::Deadline { what: "connecting to QEMU's monitor", limit })?
    }

    async fn greet(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.map_err(VmmError::file(socket))?;
        let (read, mut writer) = stream.into_split();
        // Before the greeting: it lies there for a QEMU that is still starting, which then
        // need not wait for us.
        let command_mode = b"{\"execute\": \"qmp_capabilities\", \"id\": 1}\n";
        writer.write_all(command_mode).await.map_err(|_| VmmError::Disconnected)?;
        let mut read = BufReader::new(read);
        let greeting = line(&mut read).await?.ok_or(VmmError::Disconnected)?;
        if greeting.get("QMP").is_none() {
            return Err(VmmError::Protocol("no greeting".into()));
        }
        let answer = line(&mut read).await?.ok_or(VmmError::Disconnected)?;
        if answer.get("return").is_none() {
            return Err(VmmError::Protocol("command mode was refused".into()));
        }
        let pending = Pending::new(parking::Waiting::new());
        let (events, _) = broadcast::channel(EVENTS);
        let (open, closed) = watch::channel(());
        let reader = tokio::spawn(receive(read, Arc::clone(&pending), events.clone(), open));
        let next = AtomicU64::new(2);
        Ok(Self { writer: Mutex::new(writer), pending, events, next, closed, reader })
    }

    /// Events from now on; a reader more than 256 behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Returns once the connection is lost.
    pub async fn closed(&self) {
        let mut open = self.closed.clone();
        while open.changed().await.is_ok() {}
    }

    /// Runs one command; `arguments` may be `Null`.
    pub async fn command(&self, name: &str, arguments: Value, limit: Duration) -> Result<Value> {
        timeout(limit, self.ask(name, arguments, None))
            .await
            .map_err(|_| VmmError::Deadline { what: "a monitor command", limit })?
    }

    /// As [`Self::command`], handing QEMU a file along with it.
    pub async fn command_with_file(
        &self,
        name: &str,
        arguments: Value,
        file: impl AsFd,
        limit: Duration,
    ) -> Result<Value> {
        timeout(limit, self.ask(name, arguments, Some(file.as_fd())))
            .await
            .map_err(|_| VmmError::Deadline { what: "a monitor command", limit })?
    }

    async fn ask(
        &self,
        name: &str,
        arguments: Value,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut request = json!({"execute": name, "id": id});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let mut bytes = request.to_string().into_bytes();
        bytes.push(b'\n');
        let answer = self.pending.add(id).ok_or(VmmError::Disconnected)?;
        let answer = Forget { pending: &self.pending, id, answer };
        {
            let mut writer = self.writer.lock().await;
            let mut half = HalfWritten { qmp: self, armed: true };
            let sent = match file {
                Some(file) => send_with_file(writer.as_ref(), &bytes, file).await,
                None => Ok(0),
            };
            let sent = sent.map_err(VmmError::io("writing to QEMU's monitor"))?;
            writer.write_all(&bytes[sent..]).await.map_err(|_| VmmError::Disconnected)?;
            half.armed = false;
        }
        match answer.wait().await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err((class, text))) => {
                Err(VmmError::Refused { command: name.to_owned(), class, text })
            }
            Err(_) => Err(VmmError::Disconnected),
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Ends a connection whose user gave up in the middle of a line: the next one would be
/// read as its rest.
struct HalfWritten<'a> {
    qmp: &'a Qmp,
    armed: bool,
}

impl Drop for HalfWritten<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.qmp.pending.close();
            self.qmp.reader.abort();
        }
    }
}

/// An awaited answer, forgotten when its asker gives up.
struct Forget<'a> {
    pending: &'a parking::Waiting,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Forget<'_> {
    async fn wait(mut self) -> std::result::Result<Answer, oneshot::error::RecvError> {
        (&mut self.answer).await
    }
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.pending.take(self.id);
    }
}

async fn send_with_file(
    stream: &UnixStream,
    bytes: &[u8],
    file: BorrowedFd<'_>,
) -> std::io::Result<usize> {
    stream
        .async_io(Interest::WRITABLE, || {
            let files = [file];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&files));
            let part = [std::io::IoSlice::new(bytes)];
            Ok(sendmsg(stream, &part, &mut control, SendFlags::NOSIGNAL)?)
        })
        .await
}

async fn line(read: &mut BufReader<OwnedReadHalf>) -> Result<Option<Value>> {
    let mut text = Vec::new();
    let size = (&mut *read)
        .take(LINE_LIMIT)
        .read_until(b'\n', &mut text)
        .await
        .map_err(VmmError::io("reading from QEMU's monitor"))?;
    if size == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| VmmError::Protocol(e.to_string()))
}

async fn receive(
    mut read: BufReader<OwnedReadHalf>,
    pending: Pending,
    events: broadcast::Sender<Event>,
    _open: watch::Sender<()>,
) {
    while let Ok(Some(mut message)) = line(&mut read).await {
        if message.get("event").is_some() {
            if let Ok(event) = serde_json::from_value(message) {
                // No listener is not an error: states are asked for again on attach.
                let _ = events.send(event);
            }
            continue;
        }
        let Some(waiter) = message["id"].as_u64().and_then(|id| pending.take(id)) else { continue };
        let answer = match message.get("error") {
            None => Ok(message["return"].take()),
            Some(error) => {
                let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
                Err((text("class"), text("desc")))
            }
        };
        let _ = waiter.send(answer);
    }
    pending.close();
}

#[cfg(test)]
mod tests;
