use vmint_ids::{AccountId, ProductCode};
use vmint_store::Asked;

use crate::{MarketError, Marketplace, Money, Product, Result, product::check_texts};

/// The product to offer.
#[derive(Debug)]
pub struct NewProduct {
    pub seller: AccountId,
    /// 1 to 128 characters.
    pub title: String,
    /// At most 4096 characters.
    pub description: String,
    /// For one instance and hour. Zero is free.
    pub price: Money,
    pub asked: Asked,
}

impl Marketplace {
    /// Offers a product under a code of its own.
    pub async fn create_product(&self, new: NewProduct) -> Result<Product> {
        check_texts(&new.title, &new.description)?;
        let product = Product {
            code: ProductCode::random(),
            seller: new.seller,
            title: new.title,
            description: new.description,
            price: new.price,
            created_ms: 0,
        };
        let product = self.shop.insert_product(product, new.asked).await?;
        tracing::info!(product = %product.code, seller = %product.seller, "product offered");
        Ok(product)
    }

    /// Looks up one product.
    pub fn product(&self, code: &ProductCode) -> Result<Product> {
        let missing = || MarketError::ProductNotFound { code: code.to_string() };
        self.shop.product(code)?.ok_or_else(missing)
    }

    /// Looks up products; unknown ones are left out.
    pub fn products(&self, codes: &[ProductCode]) -> Result<Vec<Product>> {
        codes.iter().filter_map(|code| self.shop.product(code).transpose()).collect()
    }
}
