use vmint_ids::{AccountId, AgreementId};

use crate::{Agreement, Marketplace, Result};

impl Marketplace {
    /// Ends an agreement of `buyer`: further launches are refused, what runs is
    /// billed to its end. To cancel again changes nothing.
    pub async fn cancel(&self, id: AgreementId, buyer: AccountId) -> Result<Agreement> {
        let agreement = self.shop.cancel(id, buyer).await?;
        tracing::info!(agreement = %id, "agreement cancelled");
        Ok(agreement)
    }
}
