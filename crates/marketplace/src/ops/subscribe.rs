use vmint_ids::{AccountId, AgreementId, ProductCode};
use vmint_store::Asked;

use crate::{Agreement, MarketError, Marketplace, Result};

impl Marketplace {
    /// Subscribes `buyer` to a product at its present price; answers the
    /// agreement there already is, if it is active.
    ///
    /// A seller needs no agreement for its own product and can't make one.
    pub async fn subscribe(
        &self,
        buyer: AccountId,
        code: ProductCode,
        accept_terms: bool,
        asked: Asked,
    ) -> Result<Agreement> {
        let product = self.product(&code)?;
        if product.seller == buyer {
            return Err(MarketError::field(
                "product_code",
                "is the account's own product, which it may run without an agreement",
            ));
        }
        if !accept_terms {
            return Err(MarketError::TermsNotAccepted { code: code.to_string() });
        }
        let agreement = Agreement {
            id: AgreementId::random(),
            code,
            buyer,
            seller: product.seller,
            price: product.price,
            fee_ppm: self.fee_ppm,
            started_ms: 0,
            ended_ms: None,
        };
        let agreement = self.shop.ensure_agreement(agreement, asked).await?;
        tracing::info!(agreement = %agreement.id, %buyer, product = %agreement.code, "subscribed");
        Ok(agreement)
    }
}
