use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use prost::{Message as _, bytes::Bytes};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;
use vmint_rpc::{Caller, to_status};
use vmint_store::{Asked, Store, StoreError};

use super::{
    BeginError, Failure, Interfere, Kind, SagaId, SagaRow, State,
    any::{AnyKind, Typed},
    log::Log,
};
use crate::GatewayError;

/// How an executor goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Steps that run at the same moment.
    pub(crate) steps_at_once: usize,
    /// Sagas that have not ended; further ones are refused.
    pub(crate) open_at_most: usize,
    /// The pause after the first failed attempt; it doubles after each.
    pub(crate) first_pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            steps_at_once: 64,
            open_at_most: 1000,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// Begins sagas and brings them to their end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) log: Log,
    pub(super) kinds: HashMap<&'static str, Box<dyn AnyKind>>,
    pub(super) active: Mutex<HashMap<SagaId, watch::Receiver<Progress>>>,
    pub(super) permits: Semaphore,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) tuning: Tuning,
    pub(super) interfere: Arc<dyn Interfere>,
    pub(super) epoch: u64,
    pub(super) writes: AtomicU64,
}

/// How far an unended saga is, more exactly than the log has it.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    pub(super) row: SagaRow,
    pub(super) memo: Bytes,
    /// Why the last attempt of the present step failed.
    pub(super) error: Option<String>,
}

/// Gathers the kinds of sagas an [`Executor`] knows.
#[derive(Default)]
pub(crate) struct Kinds(HashMap<&'static str, Box<dyn AnyKind>>);

impl Kinds {
    pub(crate) fn with<K: Kind>(mut self, kind: K) -> Self {
        self.0.insert(K::NAME, Box::new(Typed(kind)));
        self
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("epoch", &self.inner.epoch).finish_non_exhaustive()
    }
}

impl Executor {
    /// Opens the log of sagas in `store` and goes on with those that have not
    /// ended, in a new epoch.
    pub(crate) async fn open(
        store: Store,
        kinds: Kinds,
        tuning: Tuning,
        interfere: Arc<dyn Interfere>,
    ) -> Result<Self, StoreError> {
        let log = Log::new(store);
        let epoch = log.next_epoch().await?;
        let inner = Arc::new(Inner {
            log,
            kinds: kinds.0,
            active: Mutex::default(),
            permits: Semaphore::new(tuning.steps_at_once),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            tuning,
            interfere,
            epoch,
            writes: AtomicU64::new(0),
        });
        for (id, row) in inner.log.open(usize::MAX)? {
            tracing::info!(saga = %id, kind = row.kind, state = ?row.state(), "resuming");
            inner.spawn(id, row, true);
        }
        Ok(Self { inner })
    }

    /// Of this process among all that have run this log.
    pub(crate) fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// The saga that this request began before, if it did.
    pub(crate) async fn replayed(&self, asked: &Asked) -> Result<Option<SagaId>, GatewayError> {
        Ok(self.inner.log.replayed(asked.clone()).await?)
    }

    /// Begins a saga for `caller`, unless `asked` began it before.
    ///
    /// Returns once it is logged: from then on it comes to an end.
    pub(crate) async fn begin<K: Kind>(
        &self,
        caller: &Caller,
        asked: &Asked,
        subjects: Vec<String>,
        request: &K::Request,
    ) -> Result<SagaId, GatewayError> {
        let inner = &self.inner;
        if inner.active.lock().len() >= inner.tuning.open_at_most {
            return Err(GatewayError::Busy);
        }
        let row = SagaRow {
            kind: K::NAME.to_owned(),
            account: caller.account.clone(),
            request_id: caller.request_id.clone(),
            subjects,
            started_ms: now_ms(),
            epoch: inner.epoch,
            ..SagaRow::default()
        };
        let request = request.encode_to_vec();
        let (asked, first) = (asked.clone(), row.clone());
        let begun = inner.around_write(inner.log.begin(asked, SagaId::draw(), first, request));
        let (id, fresh) = begun.await.ok_or(GatewayError::Stopping)??;
        if fresh {
            inner.spawn(id, row, false);
        }
        Ok(id)
    }

    /// What the saga has learned once its step `step` is done; its failure if
    /// it failed at or before that step.
    pub(crate) async fn until<K: Kind>(&self, id: SagaId, step: usize) -> Result<K::Memo, Status> {
        let watched = self.inner.active.lock().get(&id).cloned();
        let (row, memo) = match watched {
            Some(mut progress) => {
                let seen = progress.wait_for(|p| settled(&p.row, step)).await;
                let seen = seen.map_err(|_| to_status(&GatewayError::Stopping))?;
                (seen.row.clone(), seen.memo.clone())
            }
            None => {
                let row = self.inner.log.get(id).map_err(|e| to_status(&GatewayError::from(e)))?;
                let row = row.ok_or_else(|| to_status(&GatewayError::SagaForgotten))?;
                let memo = row.memo.clone().into();
                (row, memo)
            }
        };
        match &row.failure {
            Some(failure) if failure.step as usize <= step => Err(failure.to_status()),
            _ if !settled(&row, step) => Err(to_status(&GatewayError::Stopping)),
            _ => K::Memo::decode(memo).map_err(|_| to_status(&GatewayError::SagaForgotten)),
        }
    }

    /// What the saga learned by its end; its failure if it failed at all.
    pub(crate) async fn to_end<K: Kind>(&self, id: SagaId) -> Result<K::Memo, Status> {
        self.until::<K>(id, K::STEPS.len() - 1).await
    }

    /// Whether a saga that has not ended makes or changes `subject`.
    pub(crate) fn concerns(&self, subject: &str) -> bool {
        let active = self.inner.active.lock();
        active.values().any(|p| p.borrow().row.subjects.iter().any(|s| s == subject))
    }

    /// Whether a saga of the account's has not ended, but for those of `kind`.
    pub(crate) fn concerns_account(&self, account: &str, kind: &str) -> bool {
        let active = self.inner.active.lock();
        active.values().any(|p| {
            let row = &p.borrow().row;
            row.account == account && row.kind != kind
        })
    }

    /// Whether it goes on with nothing any more.
    #[cfg(test)]
    pub(crate) fn has_stopped(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// How many have not ended.
    pub(crate) fn open_count(&self) -> usize {
        self.inner.active.lock().len()
    }

    /// Those that have not ended and the last that have: id, row, the step it
    /// is at, and what it waits for.
    pub(crate) fn list(&self, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let mut rows = self.inner.log.open(limit)?;
        for (id, row) in self.inner.log.newest(limit)? {
            if rows.iter().all(|(known, _)| *known != id) {
                rows.push((id, row));
            }
        }
        rows.truncate(limit);
        rows.sort_by_key(|(id, _)| *id);
        Ok(rows.into_iter().map(|(id, row)| self.inner.listed(id, row)).collect())
    }

    /// Stops: a step that runs may end within `grace`; the rest goes on at the
    /// next start.
    pub(crate) async fn drain(&self, grace: Duration) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(grace, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!("sagas are left to the next start");
        }
    }
}

/// A saga, for those who ask what goes on.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) id: SagaId,
    pub(crate) row: SagaRow,
    pub(crate) step: String,
    pub(crate) error: String,
}

impl Inner {
    fn listed(&self, id: SagaId, row: SagaRow) -> Listed {
        let live = self.active.lock().get(&id).map(|p| p.borrow().clone());
        let (row, error) = match live {
            Some(progress) => (progress.row, progress.error),
            None => (row, None),
        };
        let at = row.at as usize;
        let step = match row.state() {
            State::Running | State::Done => at,
            State::Unwinding => at.saturating_sub(1),
            State::Undone => row.failure.as_ref().map_or(0, |f| f.step as usize),
        };
        let name = self.kinds.get(row.kind.as_str()).map_or("", |kind| kind.step(step));
        let error = error.or_else(|| row.failure.as_ref().map(|f| f.message.clone()));
        Listed { id, step: name.to_owned(), error: error.unwrap_or_default(), row }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether what becomes of `step` is known.
fn settled(row: &SagaRow, step: usize) -> bool {
    match row.state() {
        State::Running => row.at as usize > step,
        State::Unwinding | State::Done | State::Undone => true,
    }
}

impl From<BeginError> for GatewayError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Reused(error) => error.into(),
            BeginError::Store(error) => error.into(),
            BeginError::Fresh => Self::SagaForgotten,
        }
    }
}

impl Progress {
    pub(super) fn new(row: SagaRow) -> Self {
        Self { memo: row.memo.clone().into(), row, error: None }
    }

    pub(super) fn fail(&mut self, step: usize, status: &Status) {
        self.row.failure = Some(Failure::at(step, status));
    }
}
