//! Reading all that is stored at a pace, from where an earlier process left it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use vmint_store::{Asked, TxError};

use super::now_ms;
use crate::{
    Result, Storage, StorageError,
    scrub::{DEFAULT_PACE, Scrub, ScrubState},
    store::{LEDGER, scrubs},
    transfers::Job,
};

/// Its name among the work under way.
const NAME: &str = "scrub";

/// What the ledger keeps: that it was done.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

impl Storage {
    /// The scrub under way, or the last one.
    pub(crate) fn scrub(&self) -> Result<Option<Scrub>> {
        scrubs::last(self.records.store())
    }

    /// Begins one, or sets the pace of the one under way.
    pub(crate) async fn start_scrub(&self, bytes_per_second: i64, asked: Asked) -> Result<Scrub> {
        let pace = match u64::try_from(bytes_per_second) {
            Ok(0) => DEFAULT_PACE,
            Ok(pace) => pace,
            Err(_) => {
                return Err(StorageError::Invalid {
                    field: "bytes_per_second",
                    what: "pace",
                    value: bytes_per_second.to_string(),
                    rule: "use 1 or more, or 0 for 10 MiB a second".to_owned(),
                });
            }
        };
        let begun = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                let running = scrubs::running(tx).map_err(TxError::Refused)?;
                let mut scrub = running.unwrap_or_else(|| Scrub::new(pace, tx.now_ms()));
                scrub.bytes_per_second = pace;
                scrubs::put(tx, &scrub)?;
                Ok(Done {})
            })
        });
        begun.await?;
        self.go_on_scrubbing();
        self.scrub()?.ok_or(StorageError::Damaged)
    }

    /// Ends the one under way; none is no error.
    pub(crate) async fn cancel_scrub(&self, asked: Asked) -> Result<Option<Scrub>> {
        let cancelled = self.records.commit(move |tx| {
            LEDGER.once(tx, &asked, |tx| {
                if let Some(mut scrub) = scrubs::running(tx).map_err(TxError::Refused)? {
                    scrub.end(ScrubState::Cancelled, tx.now_ms());
                    scrubs::put(tx, &scrub)?;
                }
                Ok(Done {})
            })
        });
        cancelled.await?;
        if let Some(job) = self.transfers.get(NAME) {
            job.stop.cancel();
        }
        self.scrub()
    }

    /// Begins a scrub if its time has come, and goes on with one that something stopped, such as
    /// a full disk.
    pub async fn tend_scrub(&self) -> Result<()> {
        let every = self.config.scrub_every_seconds;
        let due = move |last: Option<&Scrub>, now_ms| {
            Scrub::next_ms(last, every).is_some_and(|next_ms| next_ms <= now_ms)
        };
        if due(self.scrub()?.as_ref(), now_ms()) {
            let stored = self.blocks.stats().stored_bytes;
            let begun = self.records.commit(move |tx| {
                let last = scrubs::last(tx).map_err(TxError::Refused)?;
                // Somebody may have begun one meanwhile.
                if due(last.as_ref(), tx.now_ms()) {
                    scrubs::put(tx, &Scrub::periodic(stored, every, tx.now_ms()))?;
                }
                Ok(())
            });
            begun.await?;
        }
        self.go_on_scrubbing();
        Ok(())
    }

    /// When the next one begins by itself, in milliseconds since 1970, unless one is under way.
    pub(crate) fn next_scrub_ms(&self, last: &Scrub) -> Option<u64> {
        Scrub::next_ms(Some(last), self.config.scrub_every_seconds)
    }

    /// Works on the scrub that is under way, unless that is being done.
    pub(super) fn go_on_scrubbing(&self) {
        match scrubs::running(self.records.store()) {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => return tracing::error!(error = %vmint_rpc::chain(&error), "no scrub"),
        }
        let Some(job) = self.transfers.begin(NAME) else { return };
        let storage = self.clone();
        self.tasks.spawn(async move {
            let done = storage.scrub_on(&job).await;
            storage.transfers.end(NAME);
            if storage.transfers.stop.is_cancelled() {
                return;
            }
            match done {
                // One that was begun while this one was ending.
                Ok(()) => storage.go_on_scrubbing(),
                Err(error) => {
                    let why = vmint_rpc::chain(&error);
                    tracing::error!(error = why, "a scrub is stopped for a minute");
                    let noted = storage.records.commit(move |tx| {
                        let Some(mut scrub) = scrubs::running(tx).map_err(TxError::Refused)? else {
                            return Ok(());
                        };
                        scrub.message = why;
                        scrubs::put(tx, &scrub)
                    });
                    if let Err(error) = noted.await {
                        tracing::error!(error = %vmint_rpc::chain(&error), "not noted");
                    }
                }
            }
        });
    }

    async fn scrub_on(&self, job: &Arc<Job>) -> Result<()> {
        while let Some(scrub) = scrubs::running(self.records.store())? {
            let (begun, blocks, limit) = (Instant::now(), self.blocks.clone(), scrub.step_bytes());
            let step = Self::blocking(move || {
                if scrub.fresh {
                    blocks.rewind_scrub()?;
                }
                Ok(blocks.scrub(limit)?)
            });
            let step = step.await?;
            let bytes = step.bytes;
            let ended = self.records.commit(move |tx| {
                // Cancelled meanwhile, or cancelled and begun anew.
                let found = scrubs::running(tx).map_err(TxError::Refused)?;
                let Some(mut now) = found.filter(|now| now.started_ms == scrub.started_ms) else {
                    return Ok(true);
                };
                now.take(&step, tx.now_ms());
                scrubs::put(tx, &now)?;
                Ok(now.state != ScrubState::Running)
            });
            if ended.await? {
                return Ok(());
            }
            let due = bytes.saturating_mul(1_000_000) / scrub.bytes_per_second.max(1);
            let left = Duration::from_micros(due).saturating_sub(begun.elapsed());
            tokio::select! {
                () = job.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(left) => {}
            }
        }
        Ok(())
    }
}
