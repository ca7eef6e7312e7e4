use vmint_ids::{AccountId, ImageId};

use crate::{Catalog, Filter, Result, ops::Listed};

/// What to look for, and for whom.
#[derive(Debug, Clone)]
pub struct Query {
    /// Whose view it is.
    pub account: AccountId,
    /// Whose images; empty means everybody's.
    pub owners: Vec<AccountId>,
    pub filters: Vec<Filter>,
    /// One's own deregistered and failed images too.
    pub include_ended: bool,
    pub after: Option<ImageId>,
    pub size: usize,
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
