use vmint_ids::AccountId;

use crate::{Agreement, Entry, Marketplace, Meter, Product, Result, ops::Page};

impl Marketplace {
    /// Lists every product in the order of their codes.
    pub fn list_products(&self, after: Option<&[u8]>, size: usize) -> Result<Page<Product>> {
        self.shop.product_page(after, size)
    }

    /// Lists the agreements of `party`, as buyer and as seller.
    pub fn list_agreements(
        &self,
        party: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Agreement>> {
        self.shop.agreement_page(party, after, size)
    }

    /// Lists the runs that `party` pays for or is paid for.
    pub fn list_meters(
        &self,
        party: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Meter>> {
        self.books.meter_page(party, after, size)
    }

    /// Lists bookings in their order: those of `party`, or all.
    pub fn list_entries(
        &self,
        party: Option<AccountId>,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Entry>> {
        self.books.entry_page(party, after, size)
    }
}
