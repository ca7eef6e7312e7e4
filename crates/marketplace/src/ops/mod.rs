//! What can be done, one file to a verb.

mod absorb;
mod audit;
mod cancel;
mod create_product;
mod hold;
mod list;
mod release_account;
mod subscribe;

use vmint_store::Store;

use crate::store::{Books, Shop};

pub use audit::Audit;
pub use create_product::NewProduct;
pub use hold::NewHold;

/// The marketplace itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Marketplace {
    shop: Shop,
    books: Books,
    fee_ppm: u32,
}

impl Marketplace {
    /// `fee_ppm`: what the marketplace takes of agreements made from now on, in
    /// millionths; more than the whole counts as the whole.
    #[must_use]
    pub fn open(store: Store, fee_ppm: u32) -> Self {
        let fee_ppm = fee_ppm.min(1_000_000);
        Self { shop: Shop::new(store.clone()), books: Books::new(store), fee_ppm }
    }
}

/// One page of a listing, and the key to go on after if more follow.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Vec<u8>>,
}
