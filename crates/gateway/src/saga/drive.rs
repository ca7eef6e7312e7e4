//! One saga's way to its end.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use prost::bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use tonic::Status;

use super::{
    At, SagaId, SagaRow, State, StepError,
    any::AnyKind,
    executor::{Inner, Progress},
    interfere::Moment,
};

/// The executor stops, or another gateway has taken over: nothing more is done.
struct Halt;

/// How an attempt at a step ended for good.
enum Tried {
    Done(Bytes),
    Failed(Status),
}

impl Inner {
    /// Drives a saga in a task of its own. `resumed`: steps after the last
    /// logged one may have been done already.
    pub(super) fn spawn(self: &Arc<Self>, id: SagaId, row: SagaRow, resumed: bool) {
        if !self.kinds.contains_key(row.kind.as_str()) {
            tracing::error!(saga = %id, kind = row.kind, "no such kind of saga here; left alone");
            return;
        }
        let (sender, receiver) = watch::channel(Progress::new(row));
        self.active.lock().insert(id, receiver);
        let inner = self.clone();
        self.tasks.spawn(async move {
            let state = sender.borrow().clone();
            let mut drive = Drive { inner: &inner, id, state, shown: sender };
            if drive.finish(resumed).await.is_ok() {
                inner.active.lock().remove(&id);
            }
        });
    }

    /// Makes a log write, unless all ends just before or after it.
    pub(super) async fn around_write<T>(&self, write: impl Future<Output = T>) -> Option<T> {
        let n = self.writes.fetch_add(1, Ordering::Relaxed);
        let dies = |moment| {
            if self.interfere.dies(n, moment) {
                self.stop.cancel();
            }
            self.stop.is_cancelled()
        };
        if dies(Moment::Before) {
            return None;
        }
        let written = write.await;
        // What was written is known to be, unless this is the test of not knowing.
        if self.interfere.dies(n, Moment::After) {
            self.stop.cancel();
            return None;
        }
        Some(written)
    }
}

struct Drive<'a> {
    inner: &'a Arc<Inner>,
    id: SagaId,
    state: Progress,
    /// What waiters see: the state as of the last log write that was due.
    shown: watch::Sender<Progress>,
}

impl Drive<'_> {
    async fn finish(&mut self, resumed: bool) -> Result<(), Halt> {
        let inner = self.inner.clone();
        let kind = inner.kinds.get(self.state.row.kind.as_str()).ok_or(Halt)?.as_ref();
        let request = self.load_request().await?;
        if resumed && kind.answers_early() && self.state.row.state() == State::Running {
            self.look_whether_done(kind, &request).await?;
        }
        let since = Instant::now();
        // How far steps may have been done that the log does not know of.
        let at = self.state.row.at as usize;
        let unsure = if resumed { next_logged(kind, at).min(kind.pivot()) } else { 0 };
        while self.state.row.state() == State::Running {
            let n = self.state.row.at as usize;
            match self.step(kind, n, &request, since).await? {
                Tried::Done(memo) => {
                    self.state.memo = memo;
                    self.move_to(n + 1);
                    if n + 1 >= kind.steps() {
                        self.state.row.set_state(State::Done);
                    }
                    if kind.answers_early() && self.state.row.state() == State::Done {
                        self.write_and_show().await?;
                    } else if kind.logged(n) {
                        self.write().await?;
                    }
                }
                Tried::Failed(status) => {
                    tracing::info!(
                        saga = %self.id, kind = kind.name(), step = kind.step(n),
                        error = status.message(), "undoing",
                    );
                    self.state.fail(n, &status);
                    self.state.row.set_state(State::Unwinding);
                    self.move_to(n.max(unsure) + 1);
                    self.write().await?;
                }
            }
            self.shown.send_replace(self.state.clone());
        }
        while self.state.row.state() == State::Unwinding {
            let n = (self.state.row.at as usize).saturating_sub(1);
            self.unstep(kind, n, &request).await?;
            self.move_to(n);
            if n == 0 {
                self.state.row.set_state(State::Undone);
            }
            self.write().await?;
            self.shown.send_replace(self.state.clone());
        }
        let state = self.state.row.state();
        tracing::info!(saga = %self.id, kind = kind.name(), ?state, "ended");
        Ok(())
    }

    /// Goes to the end if the last step was done, which the log may not know of.
    async fn look_whether_done(&mut self, kind: &dyn AnyKind, request: &[u8]) -> Result<(), Halt> {
        let at = self.at("passed".to_owned());
        for attempt in 0.. {
            match kind.passed(&at, request).await {
                Ok(None) => return Ok(()),
                Ok(Some(memo)) => {
                    self.state.memo = memo;
                    self.move_to(kind.steps());
                    self.state.row.set_state(State::Done);
                    self.write().await?;
                    self.shown.send_replace(self.state.clone());
                    return Ok(());
                }
                Err(StepError::Fenced(_)) => return Err(Halt),
                // However long it takes: it may have been answered.
                Err(error) => self.complain(&at.step, &error),
            }
            self.pause(self.pause_after(attempt)).await?;
        }
        Err(Halt)
    }

    /// Logs the end, and shows it as soon as that is under way: what a later saga
    /// logs is behind it.
    async fn write_and_show(&self) -> Result<(), Halt> {
        let mut write = std::pin::pin!(self.write());
        match futures::poll!(&mut write) {
            Poll::Ready(written) => written,
            Poll::Pending => {
                self.shown.send_replace(self.state.clone());
                write.await
            }
        }
    }

    fn move_to(&mut self, at: usize) {
        self.state.row.at = u32::try_from(at).unwrap_or(u32::MAX);
        self.state.row.attempts = 0;
        self.state.error = None;
    }

    async fn load_request(&self) -> Result<Vec<u8>, Halt> {
        loop {
            match self.inner.log.request(self.id) {
                Ok(request) => return Ok(request),
                Err(error) => {
                    tracing::error!(saga = %self.id, %error, "the log cannot be read");
                    self.pause(self.inner.tuning.longest_pause).await?;
                }
            }
        }
    }

    /// Does step `n`, as often as it takes.
    async fn step(
        &mut self,
        kind: &dyn AnyKind,
        n: usize,
        request: &[u8],
        since: Instant,
    ) -> Result<Tried, Halt> {
        let at = self.at(kind.step(n).to_owned());
        for attempt in 0.. {
            let memo = self.state.memo.clone();
            let outcome = self.attempt(kind, n, &at, request, memo).await?;
            let error = match outcome {
                Ok(memo) => return Ok(Tried::Done(memo)),
                Err(StepError::Fenced(status)) => {
                    tracing::error!(
                        saga = %self.id, error = status.message(),
                        "another gateway has taken over; restart this one if it has not",
                    );
                    return Err(Halt);
                }
                Err(error) => error,
            };
            let forward_only = n > kind.pivot();
            let patient = since.elapsed() < kind.patience();
            let retry = forward_only || (patient && matches!(error, StepError::Retryable(_)));
            if !retry {
                return Ok(Tried::Failed(error.status().clone()));
            }
            self.complain(&at.step, &error);
            self.pause(self.pause_after(attempt)).await?;
        }
        Err(Halt)
    }

    /// One attempt, done once more than needed if a test wants that.
    async fn attempt(
        &self,
        kind: &dyn AnyKind,
        n: usize,
        at: &At,
        request: &[u8],
        memo: Bytes,
    ) -> Result<Result<Bytes, StepError>, Halt> {
        let _permit = self.permit().await?;
        let step = kind.step(n);
        let interfere = &self.inner.interfere;
        if let Some(status) = interfere.refuse(step, Moment::Before) {
            return Ok(Err(status.into()));
        }
        let mut outcome = Ok(memo.clone());
        for _ in 0..interfere.times(step, false).max(1) {
            outcome = kind.run(n, at, request, &memo).await;
            if outcome.is_err() {
                break;
            }
        }
        if let Some(status) = interfere.refuse(step, Moment::After) {
            return Ok(Err(status.into()));
        }
        Ok(outcome)
    }

    /// Undoes step `n`, as often as it takes.
    async fn unstep(&mut self, kind: &dyn AnyKind, n: usize, request: &[u8]) -> Result<(), Halt> {
        let step = kind.step(n);
        let at = self.at(format!("undo-{step}"));
        for attempt in 0.. {
            let memo = self.state.memo.clone();
            let permit = self.permit().await?;
            let mut outcome = Ok(());
            for _ in 0..self.inner.interfere.times(step, true).max(1) {
                outcome = kind.undo(n, &at, request, &memo).await;
            }
            drop(permit);
            match outcome {
                Ok(()) => return Ok(()),
                Err(StepError::Fenced(_)) => return Err(Halt),
                Err(error) => self.complain(&at.step, &error),
            }
            self.pause(self.pause_after(attempt)).await?;
        }
        Err(Halt)
    }

    /// Logs where the saga stands, as often as it takes: a full disk passes.
    async fn write(&self) -> Result<(), Halt> {
        loop {
            let memo = self.state.memo.to_vec();
            let row = SagaRow { memo, epoch: self.inner.epoch, ..self.state.row.clone() };
            let write = self.inner.log.write(self.id, row);
            match self.inner.around_write(write).await.ok_or(Halt)? {
                Ok(()) => return Ok(()),
                Err(error) => tracing::error!(saga = %self.id, %error, "the log cannot be written"),
            }
            self.pause(self.inner.tuning.longest_pause).await?;
        }
    }

    fn at(&self, step: String) -> At {
        let row = self.state.row.clone();
        At {
            saga: self.id,
            step,
            epoch: self.inner.epoch,
            account: row.account,
            request_id: row.request_id,
            failure: row.failure.map(|f| f.message),
        }
    }

    async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Halt> {
        tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => Err(Halt),
            permit = self.inner.permits.acquire() => permit.map_err(|_| Halt),
        }
    }

    async fn pause(&self, time: Duration) -> Result<(), Halt> {
        tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => Err(Halt),
            () = tokio::time::sleep(time) => Ok(()),
        }
    }

    /// Doubling, at most half of it shaved off by chance.
    fn pause_after(&self, attempt: u32) -> Duration {
        let tuning = &self.inner.tuning;
        let doubled = tuning.first_pause.saturating_mul(1 << attempt.min(16));
        doubled.min(tuning.longest_pause).mul_f64(rand::random_range(0.5..=1.0))
    }

    fn complain(&mut self, step: &str, error: &StepError) {
        let text = error.status().message().to_owned();
        let attempts = self.state.row.attempts.saturating_add(1);
        // One line at 1, 2, 4, 8, … attempts is enough.
        if attempts.is_power_of_two() {
            tracing::warn!(saga = %self.id, step, attempts, error = text, "trying again");
        }
        self.state.row.attempts = attempts;
        self.state.error = Some(text.clone());
        self.shown.send_modify(|p| {
            p.row.attempts = attempts;
            p.error = Some(text);
        });
    }
}

/// The first step from `n` on whose end is logged.
fn next_logged(kind: &dyn AnyKind, n: usize) -> usize {
    (n..kind.steps()).find(|n| kind.logged(*n)).unwrap_or(n)
}
