//! The one thread that commits.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    StoreError, Tx, TxError,
    journal::{AppendError, Record},
    layer::Writes,
    store::Inner,
    tx::{Below, Changes, Fronts, clock},
};

/// Transactions made durable together, at most.
const GROUP: usize = 256;
/// A group takes no further transaction once it has written this much.
const GROUP_BYTES: usize = 1 << 20;

/// A commit that waits: its body, and who asked.
pub(crate) trait Job: Send {
    /// Runs the body; whether what it did is to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    fn fail(&mut self, error: StoreError);
    fn answer(self: Box<Self>);
}

pub(crate) enum Message {
    Commit(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Call<T, E, F> {
    pub(crate) body: Option<F>,
    pub(crate) outcome: Result<T, TxError<E>>,
    pub(crate) to: oneshot::Sender<Result<T, TxError<E>>>,
}

impl<T, E, F> Job for Call<T, E, F>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, TxError<E>> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(body) = self.body.take() else { return false };
        self.outcome = catch_unwind(AssertUnwindSafe(|| body(tx)))
            .unwrap_or(Err(TxError::Store(StoreError::Panicked)));
        self.outcome.is_ok()
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Err(TxError::Store(error));
    }

    fn answer(self: Box<Self>) {
        // Whoever asked may have gone; the commit stands.
        let _ = self.to.send(self.outcome);
    }
}

/// What the writer alone knows.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) inner: Arc<Inner>,
    /// The last transaction that is durable.
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    tables: HashMap<&'static str, &'static str>,
    heads: HashMap<&'static str, u64>,
    fronts: Fronts,
}

/// What a group wants to write.
#[derive(Default)]
struct Group {
    writes: Writes,
    heads: HashMap<&'static str, u64>,
    count: u64,
    bytes: usize,
}

impl Writer {
    pub(crate) fn new(inner: Arc<Inner>, seq: u64, at_ms: u64) -> Self {
        Self {
            inner,
            seq,
            at_ms,
            tables: HashMap::new(),
            heads: HashMap::new(),
            fronts: Fronts::new(),
        }
    }

    pub(crate) fn work(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut closers = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            let mut jobs = Vec::new();
            let mut group = Group::default();
            let refusal = self.inner.refusal();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Commit(mut job) => {
                        match &refusal {
                            Some(error) => job.fail(error.clone()),
                            None => self.run(job.as_mut(), &mut group),
                        }
                        jobs.push(job);
                    }
                    Message::Close(done) => {
                        queue.close();
                        closers.push(done);
                    }
                }
                let more = jobs.len() < GROUP && group.bytes < GROUP_BYTES;
                next = if more { queue.try_recv().ok() } else { None };
            }
            if group.count > 0
                && let Err(error) = self.commit(group)
            {
                for job in &mut jobs {
                    job.fail(error.clone());
                }
            }
            if let Some(error) = self.inner.recent.failed() {
                self.inner.poison(&error);
            }
            jobs.into_iter().for_each(Job::answer);
        }
        self.inner.finish();
        for done in closers {
            let _ = done.send(());
        }
    }

    fn run(&mut self, job: &mut dyn Job, group: &mut Group) {
        self.at_ms = self.at_ms.max(clock());
        let below = Below { pending: &group.writes, recent: &self.inner.recent };
        let heads = if group.heads.is_empty() { &self.heads } else { &group.heads };
        let known = (heads, &self.fronts);
        let mut tx = Tx::new(below, &mut self.tables, known, self.at_ms, self.inner.events_kept);
        if job.run(&mut tx) {
            let Changes { writes, bytes, heads, fronts } = tx.changes;
            self.fronts.extend(fronts);
            if writes.is_empty() {
                return;
            }
            group.count += 1;
            group.bytes += bytes;
            group.writes.extend(writes);
            if group.heads.is_empty() && !heads.is_empty() {
                group.heads.clone_from(&self.heads);
            }
            group.heads.extend(heads);
        }
    }

    fn commit(&mut self, group: Group) -> Result<(), StoreError> {
        let inner = &self.inner;
        let last = self.seq + group.count;
        let record = Record { first: self.seq + 1, last, at_ms: self.at_ms, writes: group.writes };
        match inner.journal().append(&record) {
            Ok(()) => {}
            Err(AppendError::Refused(error)) => return Err(error),
            Err(AppendError::Unknown(error)) => return Err(inner.poison(&error)),
        }
        self.seq = last;
        if !group.heads.is_empty() {
            self.heads = group.heads;
        }
        inner.recent.publish(record.writes, last).map_err(|error| inner.poison(&error))?;
        inner.committed(last);
        Ok(())
    }
}
