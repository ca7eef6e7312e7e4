//! What is sold, to whom, and at what price.

use std::collections::{BTreeMap, BTreeSet};

use vmint_ids::{AccountId, AgreementId, InstanceId, ProductCode};

use crate::{MarketError, Money, Result};

/// Something a seller offers on images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub code: ProductCode,
    pub seller: AccountId,
    pub title: String,
    pub description: String,
    pub price: Money,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

/// That a product's texts keep the rules.
pub(crate) fn check_texts(title: &str, description: &str) -> Result<()> {
    if !(1..=128).contains(&title.chars().count()) || title.chars().any(char::is_control) {
        let why = "must be 1 to 128 characters without control characters";
        return Err(MarketError::field("title", why));
    }
    if description.chars().count() > 4096 {
        return Err(MarketError::field("description", "may have 4096 characters at most"));
    }
    Ok(())
}

/// A buyer's subscription to a product, on the terms of the day it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    pub id: AgreementId,
    pub code: ProductCode,
    pub buyer: AccountId,
    pub seller: AccountId,
    pub price: Money,
    /// The marketplace's share, in millionths.
    pub fee_ppm: u32,
    /// Milliseconds since 1970, as is the next.
    pub started_ms: u64,
    /// Set once it has been cancelled.
    pub ended_ms: Option<u64>,
}

impl Agreement {
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.ended_ms.is_none()
    }
}

/// The right of a saga's instances to run products.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub saga: String,
    pub buyer: AccountId,
    /// The agreement for each product that needs one.
    pub agreements: BTreeMap<ProductCode, AgreementId>,
    pub instances: BTreeSet<InstanceId>,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
    pub confirmed: bool,
}
