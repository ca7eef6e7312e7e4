//! Reading ahead of who will ask.

use std::{ops::Range, sync::Arc};

use crate::{Result, Tree, cache::Lease};

/// Chunks of a content that are read ahead of who will ask for them. They stay in the cache, all
/// together no more than half of it, until they are asked for, are passed by — others, long behind
/// them, were asked for — or this is dropped.
#[derive(Debug)]
pub struct Ahead {
    tree: Tree,
    lease: Arc<Lease>,
}

impl Tree {
    /// Begins to read ahead.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        Ahead { tree: self.clone(), lease: Arc::default() }
    }
}

impl Ahead {
    /// Brings what `range` needs into the cache, in order, several threads at once if they like.
    /// While too much waits there to be asked for, so does this, as long as `go_on` says; false
    /// if it gave up before the end.
    pub fn fetch(&self, range: Range<u64>, go_on: &dyn Fn() -> bool) -> Result<bool> {
        let (mut whole, length) = (true, range.end.saturating_sub(range.start));
        self.tree.check(range.start, length)?;
        self.tree.each(range.start, length, |_, found| {
            if let Some((_, entry)) = found {
                whole = whole && self.tree.read_ahead(&entry, &self.lease, go_on)?;
            }
            Ok(())
        })?;
        Ok(whole)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.tree.store().cache.let_go(&self.lease);
    }
}
