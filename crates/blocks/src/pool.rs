//! The threads that hash and compress; started with the first work, ended with the store.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// A fixed number of threads. The queue is bounded by those who submit: each session has a limit
/// on the batches it may have under way.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) size: usize,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Self {
        Self { shared: Arc::default(), threads: Mutex::default(), size: size.max(1) }
    }

    /// Runs `job` soon. If no thread can be started it is run here.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut threads = self.threads.lock();
        while threads.len() < self.size {
            let shared = self.shared.clone();
            let started =
                thread::Builder::new().name("blocks-worker".into()).spawn(move || work(&shared));
            match started {
                Ok(thread) => threads.push(thread),
                Err(_) if threads.is_empty() => {
                    drop(threads);
                    return job();
                }
                Err(_) => break,
            }
        }
        drop(threads);
        self.shared.queue.lock().jobs.push_back(Box::new(job));
        self.shared.wake.notify_one();
    }
}

fn work(shared: &Shared) {
    let mut queue = shared.queue.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job();
            queue = shared.queue.lock();
        } else if queue.closed {
            return;
        } else {
            shared.wake.wait(&mut queue);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_all();
        for thread in self.threads.get_mut().drain(..) {
            // The last owner of a store may be a job of its own.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).finish_non_exhaustive()
    }
}
