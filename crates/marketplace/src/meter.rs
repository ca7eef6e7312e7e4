//! Runs of instances: what is counted.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, AgreementId, InstanceId, ProductCode};

use crate::{Money, money::billed_seconds};

/// One run of one instance of a product. Its key is natural: however often an
/// event is told, there is one meter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MeterKey {
    pub instance: InstanceId,
    /// From 1; a stop ends a run.
    pub run: u64,
    pub code: ProductCode,
}

/// What a run is billed by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// None when the seller runs its own product, or nobody had the right to.
    pub agreement: Option<AgreementId>,
    pub seller: AccountId,
    pub price: Money,
    pub fee_ppm: u32,
}

/// One run and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    pub key: MeterKey,
    pub buyer: AccountId,
    pub terms: Terms,
    /// Nanoseconds since 1970, as is the next. Either may come first.
    pub start_ns: Option<u64>,
    pub stop_ns: Option<u64>,
}

/// What a whole run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    pub seconds: u64,
    /// What the buyer owes.
    pub gross: Money,
    /// The marketplace's part of it; the rest is the seller's.
    pub fee: Money,
}

impl Meter {
    /// What the run comes to, once both its ends are known.
    #[must_use]
    pub fn bill(&self) -> Option<Bill> {
        let seconds = billed_seconds(self.start_ns?, self.stop_ns?);
        let gross = self.terms.price.for_seconds(seconds);
        Some(Bill { seconds, gross, fee: gross.share(self.terms.fee_ppm) })
    }

    /// The id of the booking that bills it.
    #[must_use]
    pub fn transaction(&self) -> String {
        let MeterKey { instance, run, code } = &self.key;
        format!("meter/{instance}/{run}/{code}")
    }
}

/// Something that happened to a machine, as far as it is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEvent {
    pub instance: InstanceId,
    pub account: AccountId,
    pub codes: BTreeSet<ProductCode>,
    pub run: u64,
    pub what: What,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Started,
    Stopped,
}
