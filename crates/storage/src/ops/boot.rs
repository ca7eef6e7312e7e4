//! What an image's first machine reads while it boots is read ahead for the
//! next one, and for the images made of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use vmint_blocks::{Ahead, BlocksError, Tree};

use crate::{
    Content, Result, Storage, Volume,
    boot_set::{BootSet, Recorder},
    store::boot_sets,
};

/// How many chunks are read at once: an object store takes its time for each.
const READERS: usize = 4;
/// A stretch is taken in pieces of this size, bytes, so that all readers have
/// a part in a long one.
const PIECE: u64 = 1 << 20;
/// How many stretches of a content are looked at to tell how much is on this
/// host, and of all contents of a page together.
const LOOKED_AT: u64 = 256;
const LOOKED_AT_IN_ALL: u64 = 2048;
/// Records removed in one transaction.
const STEP: usize = 50;

/// First boots that are being watched, and what was read ahead.
#[derive(Debug, Default)]
pub(crate) struct Boots {
    watched: Mutex<HashMap<Content, Arc<Recorder>>>,
    /// What is being read ahead.
    fetched: Mutex<HashSet<Content>>,
    /// Bytes of stretches read ahead since the start, holes among them.
    pub(crate) ahead: AtomicU64,
}

impl Storage {
    /// Whoever opens `volume` for a launch: what watches its reads, if this is
    /// the first boot from its content. If it is not, or if the content was
    /// made of one that has been booted from, what that one read is read ahead,
    /// beside the launch.
    pub(super) fn boots(&self, volume: &Volume) -> Result<Option<Arc<Recorder>>> {
        let boots = volume.attachment.as_ref().is_some_and(|at| at.boot);
        let (Some(content), true) = (volume.base, boots) else { return Ok(None) };
        // Opened before, it is not a boot of a fresh volume.
        if self.config.boot_trace_seconds == 0 || self.live.get(volume.id).is_some() {
            return Ok(None);
        }
        match boot_sets::find(self.records.store(), &content)? {
            Some(known) => {
                self.read_ahead(content, known.set);
                Ok(if known.inherited { self.watch_boot(content) } else { None })
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

    /// What a content made of `base` begins with: what machines read first of
    /// that, as far as the same chunks still lie there. None if nothing is
    /// known; what can't be read is told to who needs it.
    pub(super) fn inherited(&self, base: &Content, content: &Content) -> Option<BootSet> {
        let known = boot_sets::find(self.records.store(), base).ok().flatten();
        let watched = || self.boots.watched.lock().get(base).map(|now| now.so_far());
        let set = known.map(|known| known.set).or_else(watched)?;
        let (old, new) = (self.listed(base), self.listed(content));
        let changed = |part| self.blocks.changed_in(&old, &new, part).collect();
        let left = set.without::<BlocksError>(changed).ok()?;
        (left.bytes() > 0).then_some(left)
    }

    /// A content as far as what it lists: no data key is needed for that.
    fn listed(&self, content: &Content) -> Tree {
        let (domain, root) = self.root_of(content);
        self.blocks.tree(domain, root, content.size_bytes)
    }

    /// What a content begins with that holds the same bytes as `source`.
    pub(super) fn boot_set(&self, source: &Content) -> Option<BootSet> {
        Some(boot_sets::find(self.records.store(), source).ok()??.set)
    }

    /// Brings what a boot reads into memory, in the order in which it is read,
    /// for one machine or many.
    fn read_ahead(&self, content: Content, set: BootSet) {
        if !self.boots.fetched.lock().insert(content) {
            return;
        }
        let storage = self.clone();
        let until = Instant::now() + Duration::from_secs(self.config.boot_trace_seconds);
        self.tasks.spawn(async move {
            let fetching = storage.clone();
            let fetch = move || fetching.fetch_ahead(&content, &set, until);
            let ahead = Self::blocking(fetch).await;
            storage.boots.fetched.lock().remove(&content);
            match ahead {
                // It waits for the machine no longer than a boot takes.
                Ok(_held) => tokio::select! {
                    () = storage.transfers.stop.cancelled() => {}
                    () = tokio::time::sleep_until(until) => {}
                },
                // What can't be read is told to the machine that needs it.
                Err(error) => {
                    let error = vmint_rpc::chain(&error);
                    tracing::debug!(%content, error, "a boot is not read ahead");
                }
            }
        });
    }

    fn fetch_ahead(&self, content: &Content, set: &BootSet, until: Instant) -> Result<Ahead> {
        let ahead = self.tree(content)?.ahead();
        let pieces: Vec<_> = set.pieces(PIECE, content.size_bytes).collect();
        let go_on = || !self.transfers.stop.is_cancelled() && Instant::now() < until;
        let next = AtomicUsize::new(0);
        let read = || {
            while let Some(part) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !go_on() || !ahead.fetch(part.clone(), &go_on)? {
                    return Ok(());
                }
                self.boots.ahead.fetch_add(part.end - part.start, Ordering::Relaxed);
            }
            Ok::<_, BlocksError>(())
        };
        std::thread::scope(|threads| {
            let others: Vec<_> = (1..READERS).map(|_| threads.spawn(read)).collect();
            let joined = |other: std::thread::ScopedJoinHandle<'_, _>| other.join().ok();
            let done = read();
            others.into_iter().filter_map(joined).fold(done, Result::and)
        })?;
        Ok(ahead)
    }

    /// How much of what lies under each of these volumes is on this host, in
    /// percent; none where that can't be read. Fetches nothing.
    pub(crate) async fn hydrated_percents(&self, volumes: &[Volume]) -> Result<Vec<Option<u64>>> {
        let bases: Vec<_> = volumes.iter().map(|volume| volume.base).collect();
        if !self.blocks.is_remote() {
            return Ok(vec![Some(100); bases.len()]);
        }
        let storage = self.clone();
        Self::blocking(move || {
            let contents: HashSet<Content> = bases.iter().flatten().copied().collect();
            let each = LOOKED_AT_IN_ALL / (contents.len() as u64).max(1);
            let look = |content: Content| {
                let here = storage.listed(&content).here(each.clamp(1, LOOKED_AT)).ok();
                (content, here.map(|(here, all)| (here * 100).checked_div(all).unwrap_or(100)))
            };
            let known: HashMap<_, _> = contents.into_iter().map(look).collect();
            let percent = |base: Option<Content>| match base {
                None => Some(100),
                Some(content) => known.get(&content).copied().flatten(),
            };
            Ok(bases.into_iter().map(percent).collect())
        })
        .await
    }

    /// Bytes that were read ahead of boots since the service started.
    #[must_use]
    pub fn read_ahead_bytes(&self) -> u64 {
        self.boots.ahead.load(Ordering::Relaxed)
    }

    /// Forgets the boots, known before a moment in milliseconds since 1970, of
    /// contents that nothing needs any more.
    pub(super) async fn forget_boots(
        &self,
        needed: &HashSet<String>,
        before_ms: u64,
    ) -> Result<()> {
        let storage = self.clone();
        let all = Self::blocking(move || storage.records.boot_sets_before(before_ms)).await?;
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
