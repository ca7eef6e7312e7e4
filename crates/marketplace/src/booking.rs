//! Double entries: what is owed to whom, in transactions that sum to zero.

use vmint_ids::AccountId;

use crate::{Bill, Meter, Money};

/// The ledger account that takes the marketplace's share.
pub const FEES: &str = "revenue/fees";

/// One side of a booking. Never changed and never removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1, in the order of booking.
    pub number: u64,
    /// Entries of the same one sum to zero.
    pub transaction: String,
    pub account: String,
    pub amount: Money,
    /// What it is for.
    pub cause: String,
    /// Milliseconds since 1970.
    pub booked_ms: u64,
}

/// The ledger account of what a buyer owes.
#[must_use]
pub fn receivable(account: AccountId) -> String {
    format!("receivable/{account}")
}

/// The ledger account of what a seller is owed.
#[must_use]
pub fn payable(account: AccountId) -> String {
    format!("payable/{account}")
}

/// Whose a ledger account is; nobody's for our own.
pub(crate) fn party(account: &str) -> Option<&str> {
    account.strip_prefix("receivable/").or_else(|| account.strip_prefix("payable/"))
}

/// The entries that bill a run; none if it costs nothing.
pub(crate) fn lines(meter: &Meter, bill: &Bill) -> Vec<(String, Money)> {
    let Bill { gross, fee, .. } = *bill;
    let owed = Money { picos: fee.picos - gross.picos, ..gross };
    let taken = Money { picos: -fee.picos, ..gross };
    let all = [
        (receivable(meter.buyer), gross),
        (payable(meter.terms.seller), owed),
        (FEES.to_owned(), taken),
    ];
    all.into_iter().filter(|(_, amount)| amount.picos != 0).collect()
}
