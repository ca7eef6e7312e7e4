//! Has the disk write what was appended while more is being appended, so that the sync at a
//! session's end finds little left to do.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::packs::Appended;

/// Bytes appended to a pack after which the disk is set to work on them.
pub(crate) const STRETCH: u64 = 16 << 20;

type Flush = fn(&File) -> io::Result<()>;

#[derive(Default)]
struct Queue {
    packs: VecDeque<Appended>,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held while anything is synced: the kernel tells of a lost write once, to whoever syncs next.
    disk: Mutex<Disk>,
    flush: Flush,
}

/// What became of the syncs that nobody waited for.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Why one failed, until somebody is told.
    pub(crate) lost: Option<io::Error>,
}

/// One thread, started with the first work, ended with the store.
pub(crate) struct Behind {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Behind {
    pub(crate) fn new(flush: Flush) -> Self {
        let (queue, wake, disk) = (Mutex::default(), Condvar::new(), Mutex::default());
        Self { shared: Arc::new(Shared { queue, wake, disk, flush }), thread: Mutex::default() }
    }

    /// Has a pack written soon. If no thread can be started only time is lost.
    pub(crate) fn ask(&self, pack: Appended) {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = self.shared.clone();
            let run = move || work(&shared);
            let Ok(started) = thread::Builder::new().name("blocks-behind".into()).spawn(run) else {
                return;
            };
            *thread = Some(started);
        }
        drop(thread);
        let mut queue = self.shared.queue.lock();
        if !queue.closed && queue.packs.iter().all(|(number, _)| *number != pack.0) {
            queue.packs.push_back(pack);
            self.shared.wake.notify_one();
        }
    }

    /// The right to sync. Whoever has it hears of everything that was lost before.
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.disk.lock()
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.queue.lock();
    while !queue.closed {
        let Some((_, file)) = queue.packs.pop_front() else {
            shared.wake.wait(&mut queue);
            continue;
        };
        drop(queue);
        let mut disk = shared.disk.lock();
        let done = (shared.flush)(&file);
        queue = shared.queue.lock();
        if let Err(error) = done {
            // A second sync may lie about what the first one lost.
            disk.lost = Some(error);
            queue.packs.clear();
            queue.closed = true;
        }
        drop(disk);
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.get_mut().take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behind")
    }
}
