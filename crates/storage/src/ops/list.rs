//! Looking things up.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use vmint_ids::{AccountId, SnapshotId, VolumeId};

use crate::{
    Result, Snapshot, SnapshotState, Storage, Volume,
    filter::Filters,
    snapshot::Far,
    store::{snapshots, volumes},
};

/// So many records are looked at for one page at most.
const LOOKED_AT: usize = 5000;
/// How many are read at once.
const STEP: usize = 500;

/// One page, and whether more follow.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: bool,
}

impl<T> Page<T> {
    /// Of one item more than was asked for, if there is one.
    pub(super) fn cut(mut items: Vec<T>, size: usize) -> Self {
        let more = items.len() > size;
        items.truncate(size);
        Self { items, more }
    }
}

/// Whose snapshots a listing looks through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Own,
    /// Own ones, those shared with the account, and the public ones.
    Readable,
    /// Shared with the account, by its id.
    Shared,
    Public,
}

/// Which snapshots to list.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotQuery {
    pub(crate) account: AccountId,
    pub(crate) scope: Scope,
    pub(crate) filters: Filters,
    /// Only these, if there are any.
    pub(crate) ids: Vec<SnapshotId>,
}

/// Which volumes to list.
#[derive(Debug, Clone)]
pub(crate) struct VolumeQuery {
    pub(crate) account: AccountId,
    pub(crate) filters: Filters,
    /// Only these, if there are any.
    pub(crate) ids: Vec<VolumeId>,
    /// Only those that were ever modified.
    pub(crate) modified: bool,
}

/// A page of what a query found, and the key to go on after if more may
/// follow.
pub(crate) type Found<T, K> = (Vec<T>, Option<K>);

impl Storage {
    /// A snapshot that `account` may read, as it is shown to it.
    pub(crate) fn snapshot(&self, id: SnapshotId, account: AccountId) -> Result<Snapshot> {
        let found = snapshots::readable(self.records.store(), id, account)?;
        Ok(self.with_progress(found).shown_to(account))
    }

    /// Snapshots of whatever account, in the order asked; unknown ones are
    /// left out.
    pub(crate) fn snapshots_by_id(&self, ids: &[SnapshotId]) -> Result<Vec<Snapshot>> {
        let find = |id: &SnapshotId| snapshots::find(self.records.store(), *id).transpose();
        let progress = |found: Result<Snapshot>| found.map(|one| self.with_progress(one));
        ids.iter().filter_map(find).map(progress).collect()
    }

    fn with_progress(&self, mut snapshot: Snapshot) -> Snapshot {
        if snapshot.state == SnapshotState::Pending {
            snapshot.far = match self.sent.get(snapshot.id) {
                Some(sent) => {
                    Far { percent: sent.percent.load(Ordering::Relaxed), ..Far::default() }
                }
                None => self.progress.far(snapshot.id),
            };
        }
        snapshot
    }

    /// Up to `size` snapshots after `after`. A page may be short, or empty,
    /// without being the last.
    pub(crate) fn list_snapshots(
        &self,
        query: &SnapshotQuery,
        after: Option<SnapshotId>,
        size: usize,
    ) -> Result<Found<Snapshot, SnapshotId>> {
        let account = query.account;
        let passes = |one: Snapshot| {
            let one = self.with_progress(one).shown_to(account);
            query.filters.pass_snapshot(&one).then_some(one)
        };
        if !query.ids.is_empty() {
            let mut ids = query.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            // One that may not be read is an error also on a later page.
            let all = ids.into_iter().map(|id| self.snapshot(id, account));
            let mut all = all.collect::<Result<Vec<_>>>()?;
            all.retain(|one| after.is_none_or(|after| one.id > after));
            let page = Page::cut(all.into_iter().filter_map(passes).collect(), size);
            let last = page.items.last().map(|one| one.id).filter(|_| page.more);
            return Ok((page.items, last));
        }
        let next = |after| self.snapshots_in(account, query.scope, after);
        walk(after, size, next, |one| one.id, passes)
    }

    /// The next snapshots of a scope, each once, by id.
    fn snapshots_in(
        &self,
        account: AccountId,
        scope: Scope,
        after: Option<SnapshotId>,
    ) -> Result<Vec<Snapshot>> {
        let store = self.records.store();
        let own = || self.records.snapshots_of(account, after, STEP);
        let shared = || snapshots::granted(store, Some(account), after, STEP);
        let public = || snapshots::granted(store, None, after, STEP);
        match scope {
            Scope::Own => own(),
            Scope::Shared => shared(),
            Scope::Public => public(),
            Scope::Readable => {
                let all = [own()?, shared()?, public()?].into_iter().flatten();
                let merged: BTreeMap<_, _> = all.map(|one| (one.id, one)).collect();
                // Behind these, one of the three may have more in between.
                Ok(merged.into_values().take(STEP).collect())
            }
        }
    }

    /// Up to `size` of an account's volumes after `after`. A page may be
    /// short, or empty, without being the last.
    pub(crate) fn list_volumes(
        &self,
        query: &VolumeQuery,
        after: Option<VolumeId>,
        size: usize,
    ) -> Result<Found<Volume, VolumeId>> {
        let account = query.account;
        let passes = |one: Volume| {
            let asked_for = !query.modified || one.modification.is_some();
            (asked_for && query.filters.pass_volume(&one)).then_some(one)
        };
        if !query.ids.is_empty() {
            let mut ids = query.ids.clone();
            ids.sort_unstable();
            ids.dedup();
            let find = |id| volumes::owned(self.records.store(), id, account);
            let mut all = ids.into_iter().map(find).collect::<Result<Vec<_>>>()?;
            all.retain(|one| after.is_none_or(|after| one.id > after));
            let page = Page::cut(all.into_iter().filter_map(passes).collect(), size);
            let last = page.items.last().map(|one| one.id).filter(|_| page.more);
            return Ok((page.items, last));
        }
        let next = |after| self.records.volumes_of(account, after, STEP);
        walk(after, size, next, |one| one.id, passes)
    }

    /// Attached volumes of every account. A page may be short without being
    /// the last.
    pub(crate) fn list_attached(
        &self,
        after: Option<VolumeId>,
        size: usize,
    ) -> Result<(Page<Volume>, Option<VolumeId>)> {
        let mut page = Page::cut(self.records.all_volumes(after, size + 1)?, size);
        let last = page.items.last().map(|volume| volume.id);
        page.items.retain(|volume| volume.attachment.is_some());
        Ok((page, last))
    }

    /// How much an attached volume has been written since it was made.
    pub(crate) fn written_bytes(&self, volume: &Volume) -> u64 {
        self.live.get(volume.id).map_or(0, |open| open.written_bytes())
    }

    pub(crate) fn volume(&self, id: VolumeId) -> Result<Option<Volume>> {
        volumes::find(self.records.store(), id)
    }
}

/// Fills a page from `next`, which gives up to [`STEP`] records after a key.
fn walk<T, K: Copy>(
    mut after: Option<K>,
    size: usize,
    next: impl Fn(Option<K>) -> Result<Vec<T>>,
    key: impl Fn(&T) -> K,
    passes: impl Fn(T) -> Option<T>,
) -> Result<Found<T, K>> {
    let mut found = Vec::new();
    let mut looked_at = 0;
    loop {
        let records = next(after)?;
        let whole = records.len() == STEP;
        for record in records {
            if found.len() == size {
                return Ok((found, after));
            }
            after = Some(key(&record));
            looked_at += 1;
            found.extend(passes(record));
        }
        if !whole {
            return Ok((found, None));
        }
        if looked_at >= LOOKED_AT {
            return Ok((found, after));
        }
    }
}
