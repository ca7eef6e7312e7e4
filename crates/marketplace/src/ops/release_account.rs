use vmint_ids::AccountId;

use crate::{Marketplace, Result, store::Step};

impl Marketplace {
    /// Withdraws some of what `account` offers and ends some of its agreements,
    /// as buyer and as seller; says whether there may be more. What runs is
    /// billed to its end, and what was booked stays.
    pub async fn release_account(&self, step: Step, account: AccountId) -> Result<bool> {
        let shop = self.shop.clone();
        let found = tokio::task::spawn_blocking(move || shop.of_account(account)).await??;
        let more = !found.products.is_empty() || !found.agreements.is_empty();
        self.shop.withdraw(step, found).await?;
        Ok(more)
    }
}
