//! What is known only while the process runs of work that brings disks in or
//! out.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vmint_ids::{ExportTaskId, UploadId};

use crate::{StorageError, import_task::TaskId};

/// Work under way, by the task's name, and where its files lie.
#[derive(Debug)]
pub(crate) struct Transfers {
    uploads_dir: PathBuf,
    fetches_dir: PathBuf,
    exports_dir: PathBuf,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    /// Why work ended that nobody has been told of.
    failures: Mutex<HashMap<String, StorageError>>,
    /// Cancelled at shutdown: what is under way goes on at the next start.
    pub(crate) stop: CancellationToken,
    changed: watch::Sender<u64>,
}

/// One piece of work.
#[derive(Debug)]
pub(crate) struct Job {
    /// Cancelled when its task is, and at shutdown.
    pub(crate) stop: CancellationToken,
    percent: AtomicU32,
    started: Instant,
    changed: watch::Sender<u64>,
}

impl Job {
    /// How long it may still take, at the pace so far; 0 while that can't be told.
    pub(crate) fn seconds_left(&self) -> u64 {
        match u64::from(self.percent()) {
            0 => 0,
            percent => self.started.elapsed().as_secs() * (100 - percent.min(100)) / percent,
        }
    }

    pub(crate) fn percent(&self) -> u32 {
        self.percent.load(Ordering::Relaxed)
    }

    /// Says how far it is.
    pub(crate) fn at(&self, percent: u64) {
        let percent = u32::try_from(percent.min(99)).unwrap_or(99);
        if self.percent.swap(percent, Ordering::Relaxed) != percent {
            self.changed.send_modify(|n| *n += 1);
        }
    }
}

impl Transfers {
    pub(crate) fn new(data: &Path) -> Self {
        Self {
            uploads_dir: data.join("uploads"),
            fetches_dir: data.join("fetches"),
            exports_dir: data.join("exports"),
            jobs: Mutex::default(),
            failures: Mutex::default(),
            stop: CancellationToken::new(),
            changed: watch::Sender::new(0),
        }
    }

    /// A piece of work to begin, unless it is under way.
    pub(crate) fn begin(&self, task: &str) -> Option<Arc<Job>> {
        let mut jobs = self.jobs.lock();
        if jobs.contains_key(task) {
            return None;
        }
        let job = Arc::new(Job {
            stop: self.stop.child_token(),
            percent: AtomicU32::new(0),
            started: Instant::now(),
            changed: self.changed.clone(),
        });
        jobs.insert(task.to_owned(), job.clone());
        Some(job)
    }

    /// Keeps why a piece of work failed, for whoever asks next.
    pub(crate) fn failed(&self, task: &str, error: StorageError) {
        self.failures.lock().insert(task.to_owned(), error);
    }

    /// Why a piece of work failed, once.
    pub(crate) fn failure(&self, task: &str) -> Option<StorageError> {
        self.failures.lock().remove(task)
    }

    pub(crate) fn end(&self, task: &str) {
        self.jobs.lock().remove(task);
        self.tell();
    }

    pub(crate) fn get(&self, task: &str) -> Option<Arc<Job>> {
        self.jobs.lock().get(task).cloned()
    }

    /// Wakes who follows a task.
    pub(crate) fn tell(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Where an upload's bytes lie.
    pub(crate) fn upload(&self, id: UploadId) -> PathBuf {
        self.uploads_dir.join(id.to_string())
    }

    /// Where the file of an import's `n`th disk lies while it is fetched.
    pub(crate) fn fetch(&self, task: TaskId, n: usize) -> PathBuf {
        self.fetches_dir.join(format!("{task}.{n}"))
    }

    /// Where an export's file lies.
    pub(crate) fn export(&self, task: ExportTaskId) -> PathBuf {
        self.exports_dir.join(task.to_string())
    }

    /// The directories in which each file must have a record.
    pub(crate) fn dirs(&self) -> [&Path; 3] {
        [&self.uploads_dir, &self.fetches_dir, &self.exports_dir]
    }
}
