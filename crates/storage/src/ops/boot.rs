//! What an image's first machine reads while it boots is read ahead for the
//! next one.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;

use crate::{
    Content, Result, Storage, Volume,
    boot_set::{BootSet, Recorder},
    store::boot_sets,
};

/// How many stretches are read at once.
const READERS: usize = 2;
/// Of the memory for chunks, the share that reading ahead may fill.
const SHARE: u64 = 2;
/// How many stretches are looked at to tell how much is on this host.
const LOOKED_AT: u64 = 256;
/// Records removed in one transaction.
const STEP: usize = 50;

/// First boots that are being watched, and what was read ahead.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    watched: Mutex<HashMap<Content, Arc<Recorder>>>,
    /// Bytes of stretches read ahead since the start, holes among them.
    pub(crate) ahead: AtomicU64,
}

impl Storage {
    /// Whoever opens `volume` for a launch: what watches its reads, if this is
    /// the first boot from its content. If it is not, what the first one read
    /// is read ahead, beside the launch.
    pub(super) fn boots(&self, volume: &Volume) -> Result<Option<Arc<Recorder>>> {
        let boots = volume.attachment.as_ref().is_some_and(|at| at.boot);
        let (Some(content), true) = (volume.base, boots) else { return Ok(None) };
        // Opened before, it is not a boot of a fresh volume.
        if self.config.boot_trace_seconds == 0 || self.live.get(volume.id).is_some() {
            return Ok(None);
        }
        match boot_sets::find(self.records.store(), &content)? {
            Some(set) => {
                self.read_ahead(content, set);
                Ok(None)
            }
            None => Ok(self.watch_boot(content)),
        }
    }

    /// Watches a content's reads for a while, unless that is being done.
    fn watch_boot(&self, content: Content) -> Option<Arc<Recorder>> {
        let recorder = Arc::new(Recorder::default());
        {
            let mut watched = self.boots.watched.lock();
            if watched.contains_key(&content) {
                return None;
            }
            watched.insert(content, recorder.clone());
        }
        let (storage, kept) = (self.clone(), recorder.clone());
        let stop = self.transfers.stop.clone();
        self.tasks.spawn(async move {
            let time = std::time::Duration::from_secs(storage.config.boot_trace_seconds);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(time) => {}
            }
            let set = kept.finish();
            let bytes = set.bytes();
            // A machine that read nothing has not booted.
            if bytes > 0 {
                let put = move |tx: &mut vmint_store::Tx<'_>| boot_sets::put(tx, &content, &set);
                match storage.records.commit(put).await {
                    Ok(()) => tracing::info!(%content, bytes, "a boot was recorded"),
                    Err(error) => {
                        tracing::warn!(%content, error = %vmint_rpc::chain(&error), "no boot set");
                    }
                }
            }
            storage.boots.watched.lock().remove(&content);
        });
        Some(recorder)
    }

    /// Brings what a boot reads into memory, in the order in which it is read.
    fn read_ahead(&self, content: Content, set: BootSet) {
        let storage = self.clone();
        let room = self.config.cache_bytes as u64 / SHARE;
        self.tasks.spawn_blocking(move || {
            let Ok(tree) = storage.tree(&content) else { return };
            let (mut left, mut stretches) = (room, Vec::new());
            for part in set.stretches() {
                let part = part.start..part.end.min(content.size_bytes);
                if part.start >= part.end || part.end - part.start > left {
                    continue;
                }
                left -= part.end - part.start;
                stretches.push(part);
            }
            let next = AtomicUsize::new(0);
            let read = || {
                while let Some(part) = stretches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // What can't be read is told to the machine that needs it.
                    if storage.transfers.stop.is_cancelled() || tree.prefetch(part.clone()).is_err()
                    {
                        return;
                    }
                    storage.boots.ahead.fetch_add(part.end - part.start, Ordering::Relaxed);
                }
            };
            std::thread::scope(|threads| {
                for _ in 1..READERS {
                    threads.spawn(read);
                }
                read();
            });
        });
    }

    /// How much of what lies under a volume is on this host, in percent; none
    /// if that can't be read.
    pub(crate) async fn hydrated_percent(&self, volume: &Volume) -> Result<Option<u64>> {
        let Some(content) = volume.base else { return Ok(Some(100)) };
        let storage = self.clone();
        Self::blocking(move || {
            let here = storage.tree(&content)?.here(LOOKED_AT);
            Ok(here.ok().map(|(here, all)| (here * 100).checked_div(all).unwrap_or(100)))
        })
        .await
    }

    /// Bytes that were read ahead of boots since the service started.
    #[must_use]
    pub fn read_ahead_bytes(&self) -> u64 {
        self.boots.ahead.load(Ordering::Relaxed)
    }

    /// Forgets the boots of contents that nothing needs any more.
    pub(super) async fn forget_boots(&self, needed: &HashSet<String>) -> Result<()> {
        let storage = self.clone();
        let all = Self::blocking(move || storage.records.all_boot_sets()).await?;
        let gone: Vec<String> = all.into_iter().filter(|known| !needed.contains(known)).collect();
        for gone in gone.chunks(STEP).map(<[String]>::to_vec) {
            let forget = move |tx: &mut vmint_store::Tx<'_>| {
                gone.iter().try_for_each(|content| boot_sets::remove(tx, content))
            };
            self.records.commit(forget).await?;
        }
        Ok(())
    }
}
