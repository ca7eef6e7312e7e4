use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Event, Options, StoreError, Tx, TxError,
    disk::{Closed, Disk},
    journal::{Journal, MemoryJournal},
    keeper::Chore,
    layer::{Row, Writes, sealed::Raw},
    open,
    recent::Recent,
    space,
    table::SCAN_LIMIT,
    view::{MemoryView, View},
    writer::{Call, Message, Writer},
};

/// Commits that may wait for the writer; further callers wait before it.
const QUEUE: usize = 1024;

/// What goes on beside the writer: its name, and its work, which asks before it
/// takes so many bytes of the disk.
type ViewThread = (&'static str, fn(&Recent, &dyn Fn(u64) -> bool));

const VIEW_THREADS: [ViewThread; 2] = [("store-view", Recent::apply), ("store-tidy", Recent::tidy)];

/// A service's own database. Cheap to clone; closes with its last clone.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

struct Handle {
    inner: Arc<Inner>,
    queue: mpsc::Sender<Message>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the threads of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    journal: Arc<dyn Journal>,
    pub(crate) recent: Recent,
    pub(crate) disk: Option<Disk>,
    pub(crate) events_kept: u64,
    sequence: watch::Sender<u64>,
    poison: watch::Sender<Option<String>>,
    /// Whether commits are being refused for want of room.
    full: AtomicBool,
    chores: Option<Sender<Chore>>,
    /// To be waited for when the store closes.
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in `dir`, or makes it there. Blocks: reads the journal's
    /// tail, and the whole view if it was not closed in peace.
    ///
    /// Fails if another process has it, or what was once answered cannot be
    /// read any more; never guesses.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let opened = open::open(dir, options)?;
        let (chores, todo) = opened.chores;
        let batch_bytes = opened.disk.options.batch_bytes.max(1);
        let (applied, seq) = (opened.view.seq().unwrap_or(0), opened.tail.1);
        let inner = Arc::new(Inner {
            journal: Arc::clone(&opened.journal) as Arc<dyn Journal>,
            recent: Recent::new(Box::new(opened.view), batch_bytes, applied, opened.tail),
            events_kept: opened.disk.options.events_kept.max(1),
            disk: Some(opened.disk.clone()),
            sequence: watch::Sender::new(seq),
            poison: watch::Sender::new(None),
            full: AtomicBool::new(false),
            chores: Some(chores),
            threads: Mutex::default(),
        });
        let keeper = crate::keeper::start(&inner, opened.disk, opened.journal, todo)?;
        inner.threads.lock().push(keeper);
        Self::start(inner, seq, opened.at_ms)
    }

    /// A store that lives as long as the process: for tests.
    ///
    /// # Panics
    ///
    /// If the system gives no further thread.
    #[must_use]
    pub fn in_memory() -> Self {
        let Options { events_kept, batch_bytes, .. } = Options::default();
        let tail = <(Writes, u64)>::default();
        let inner = Inner {
            journal: Arc::new(MemoryJournal::default()),
            recent: Recent::new(Box::<MemoryView>::default(), batch_bytes, 0, tail),
            disk: None,
            events_kept,
            sequence: watch::Sender::new(0),
            poison: watch::Sender::new(None),
            full: AtomicBool::new(false),
            chores: None,
            threads: Mutex::default(),
        };
        Self::start(Arc::new(inner), 0, 0).expect("a test may have a thread")
    }

    fn start(inner: Arc<Inner>, seq: u64, at_ms: u64) -> Result<Self, StoreError> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = Writer::new(Arc::clone(&inner), seq, at_ms);
        for (name, work) in VIEW_THREADS {
            let shared = Arc::clone(&inner);
            let thread = spawn(name, move || work(&shared.recent, &|bytes| shared.room(bytes)))?;
            inner.threads.lock().push(thread);
        }
        let writer = Mutex::new(Some(spawn("store-writer", move || writer.work(jobs))?));
        Ok(Self { handle: Arc::new(Handle { inner, queue, writer }) })
    }

    /// Runs `body` and returns once what it wrote is durable. Writes nothing if
    /// `body` fails.
    ///
    /// `body` runs once, alone, on the store's writer thread: it must not wait
    /// for anything. If the caller is dropped meanwhile, the commit may still
    /// happen.
    pub async fn commit<T, E, F>(&self, body: F) -> Result<T, TxError<E>>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, TxError<E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let (to, answer) = oneshot::channel();
        let outcome = Err(TxError::Store(StoreError::Closed));
        let job = Box::new(Call { body: Some(body), outcome, to });
        let sent = self.handle.queue.send(Message::Commit(job)).await;
        sent.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The last durable transaction.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        *self.inner().sequence.borrow()
    }

    /// Moves with each commit.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.inner().sequence.subscribe()
    }

    /// Events of `topic` numbered above `after`, in order; at most `limit`,
    /// never more than 1,000.
    pub fn events(&self, topic: &str, after: u64, limit: usize) -> Result<Vec<Event>, StoreError> {
        let prefix = space::event(topic, None);
        let after = space::event(topic, Some(after));
        let rows = self.raw_range(&prefix, Some(&after), limit.min(SCAN_LIMIT))?;
        rows.iter().map(|row| Event::open(topic, row)).collect()
    }

    /// Returns once a write has failed in a way that only a restart can mend,
    /// with the reason; the process should then exit. Else never.
    pub async fn poisoned(&self) -> String {
        let mut poison = self.inner().poison.subscribe();
        let reason = poison.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match reason {
            Ok(Some(reason)) => reason,
            _ => std::future::pending().await,
        }
    }

    /// Commits what waits, then ends. Further commits fail with
    /// [`StoreError::Closed`]; reads still work.
    pub async fn close(&self) {
        let (done, ended) = oneshot::channel();
        if self.handle.queue.send(Message::Close(done)).await.is_ok() {
            let _ = ended.await;
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.handle.inner
    }
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|e| StoreError::io("starting the thread", Path::new(name), &e))
}

/// Lets other threads go first, from now on: for those nobody waits for.
pub(crate) fn yielding() {
    // Refused at worst, and then it is as before.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 5);
}

/// How much of the disk one byte for the view may take at worst: sled writes
/// some pages several times before it gives the first place back.
const AMPLIFIED: u64 = 6;

impl Inner {
    pub(crate) fn view(&self) -> &dyn View {
        self.recent.view()
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        self.journal.as_ref()
    }

    /// Why nothing can be committed now, if so.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        if let Some(reason) = self.poison.borrow().clone() {
            return Some(StoreError::Poisoned { reason });
        }
        if let Some(error) = self.recent.failed() {
            return Some(self.poison(&error));
        }
        let disk = self.disk.as_ref()?;
        let mut free = disk.free().unwrap_or(u64::MAX);
        let keep = disk.options.keep_free_bytes;
        // What the view has yet to write must fit too, several times over, as
        // it rewrites whole pages.
        if free < keep.saturating_add(self.recent.pending().saturating_mul(AMPLIFIED)) {
            self.recent.settle();
            free = disk.free().unwrap_or(u64::MAX);
        }
        let full = free < keep;
        if full && !self.full.load(Ordering::Relaxed) {
            // While there is still room for it: what the view has to write. It
            // could not even be read after a write of its failed.
            self.recent.settle();
            if let Err(error) = self.view().flush() {
                return Some(self.poison(&error));
            }
        }
        self.full.store(full, Ordering::Relaxed);
        full.then_some(StoreError::Full { free })
    }

    /// Whether the view may take so many further bytes of the disk to tidy up.
    fn room(&self, bytes: u64) -> bool {
        let Some(disk) = &self.disk else { return true };
        let wanted = self.recent.pending().saturating_add(bytes).saturating_mul(AMPLIFIED);
        let keep = disk.options.keep_free_bytes.saturating_add(disk.options.segment_bytes);
        disk.free().is_ok_and(|free| free > keep.saturating_add(wanted))
    }

    /// Passes a read on; one that failed ends the store, as the view can be
    /// trusted no more.
    fn read<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &read {
            self.poison(error);
        }
        read
    }

    /// After this nothing is committed until the store is opened again.
    pub(crate) fn poison(&self, error: &StoreError) -> StoreError {
        let mut reason = error.to_string();
        self.poison.send_if_modified(|poison| {
            let first = poison.is_none();
            if first {
                tracing::error!(%reason, "the store cannot go on");
            }
            // The first reason is what led to all others.
            reason.clone_from(poison.get_or_insert_with(|| reason.clone()));
            first
        });
        StoreError::Poisoned { reason }
    }

    pub(crate) fn committed(&self, last: u64) {
        self.sequence.send_replace(last);
    }

    /// The writer's last act.
    pub(crate) fn finish(&self) {
        if let Some(chores) = &self.chores {
            let _ = chores.send(Chore::Stop);
        }
        self.recent.close();
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
        if let Err(error) = self.view().flush() {
            tracing::warn!(%error, "the view could not be flushed; it is caught up at the next start");
            return;
        }
        if let (Some(disk), None) = (&self.disk, &*self.poison.borrow()) {
            let (last, viewed) = (*self.sequence.borrow(), self.view().seq().unwrap_or(0));
            disk.note_closed(Closed { last, viewed });
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The writer ends when the queue does, which is now.
        let (closed, _) = mpsc::channel(1);
        self.queue = closed;
        if let Some(writer) = self.writer.lock().take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

impl Raw for Store {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let inner = self.inner();
        inner.read(inner.recent.raw_get(key))
    }

    fn raw_range(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let inner = self.inner();
        inner.read(inner.recent.raw_range(prefix, after, limit))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.inner().disk.as_ref().map(|disk| &disk.dir);
        f.debug_struct("Store").field("dir", &dir).finish_non_exhaustive()
    }
}
