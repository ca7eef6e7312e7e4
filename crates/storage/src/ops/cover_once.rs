//! Contents on their way to another data key, for volumes of a launch: whoever
//! asks again, because it could not wait so long, meets the work that goes on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;
use vmint_ids::{AccountId, SnapshotId};

use super::cover::Covered;
use crate::{
    Result, Snapshot, Storage,
    key::{Cover, Wish},
};

/// What nobody has fetched by then is let go of.
const KEEP: Duration = Duration::from_mins(10);

/// Which content, for whom, and how it is to be encrypted.
type Asked = (SnapshotId, AccountId, Wish);
/// What came of it and when; none if it failed.
type Outcome = Option<(Instant, Option<Arc<Covered>>)>;

/// The work that goes on, and what was done lately.
#[derive(Debug, Default)]
pub(crate) struct Covers(Mutex<Vec<(Asked, watch::Receiver<Outcome>)>>);

impl Storage {
    /// As [`Self::cover`], begun once for all that ask for the same, and not
    /// given up when they go.
    pub(crate) async fn cover_once(
        &self,
        source: &Snapshot,
        account: AccountId,
        wish: Wish,
    ) -> Result<Arc<Covered>> {
        let (under, own) = (source.seal.map(|seal| seal.key), source.account == account);
        if let Ok(Cover::Under(_)) = wish.cover(under, own) {
            let mut work = self.begun(source, account, wish);
            if let Ok(outcome) = work.wait_for(Option::is_some).await
                && let Some((_, Some(covered))) = &*outcome
            {
                return Ok(covered.clone());
            }
        }
        // What failed is tried in person, to say why.
        Ok(Arc::new(self.cover(source, account, wish).await?))
    }

    fn begun(&self, source: &Snapshot, account: AccountId, wish: Wish) -> watch::Receiver<Outcome> {
        let asked = (source.id, account, wish);
        let mut all = self.covers.0.lock();
        all.retain(|(_, work)| match &*work.borrow() {
            Some((at, covered)) => covered.is_some() && at.elapsed() < KEEP,
            None => work.has_changed().is_ok(),
        });
        if let Some((_, work)) = all.iter().find(|(known, _)| *known == asked) {
            return work.clone();
        }
        let (done, work) = watch::channel(None);
        all.push((asked, work.clone()));
        let (storage, source) = (self.clone(), source.clone());
        self.tasks.spawn(async move {
            let covered = storage.cover(&source, account, wish).await;
            done.send_replace(Some((Instant::now(), covered.ok().map(Arc::new))));
        });
        work
    }

    /// The volumes that wanted it have it: what is asked for next begins anew.
    pub(crate) fn covered(&self, account: AccountId, snapshots: &[SnapshotId]) {
        let done = |(id, of, _): &Asked| *of == account && snapshots.contains(id);
        self.covers.0.lock().retain(|(asked, work)| !done(asked) || work.borrow().is_none());
    }
}
