use vmint_ids::{AccountId, ImageId};

use crate::{Catalog, Filter, Result, ops::Listed};

/// What to look for, and for whom.
#[derive(Debug, Clone)]
pub struct Query {
    /// Whose view it is.
    pub account: AccountId,
    /// Whose images; empty means everybody's.
    pub owners: Vec<AccountId>,
    /// Only images that one of these may launch; empty means whoever may.
    pub executable_by: Vec<Executor>,
    pub filters: Vec<Filter>,
    /// One's own deregistered and failed images too.
    pub include_ended: bool,
    pub after: Option<ImageId>,
    pub size: usize,
}

/// Somebody whom images are shared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executor {
    /// The account that asks, by name: not as the owner nor as one of all.
    Asker,
    Everybody,
    /// An account that the asker shares its own images with, by name. What
    /// others share with it is nobody's business.
    Account(AccountId),
}

/// One page, and the last id if more follow.
#[derive(Debug, Default)]
pub struct Page {
    pub images: Vec<Listed>,
    pub next: Option<ImageId>,
}

impl Catalog {
    /// One page of the images that the account may see by the hints and that
    /// pass all filters, in the order of their ids.
    pub async fn query(&self, query: Query) -> Result<Page> {
        let index = self.index.clone();
        // It may have to look at every image there is.
        tokio::task::spawn_blocking(move || index.query(&query)).await?
    }
}
