//! Writing answers.

use vmint_api::{marketplace::v1 as pb, types::v1 as shared};

use crate::{Agreement, Audit, Entry, Meter, Money, PICOS, Product};

impl From<Money> for shared::Money {
    fn from(money: Money) -> Self {
        // Both parts have the sign of the whole. No sum of prices comes near the
        // end of an i64 of units.
        let part = |n: i128| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            currency_code: money.currency.to_string(),
            units: part(money.picos / PICOS),
            picos: part(money.picos % PICOS),
        }
    }
}

fn timestamp(ms: u64) -> prost_types::Timestamp {
    nanos(ms.saturating_mul(1_000_000))
}

fn nanos(ns: u64) -> prost_types::Timestamp {
    let seconds = i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX);
    let nanos = i32::try_from(ns % 1_000_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds, nanos }
}

impl From<Product> for pb::Product {
    fn from(product: Product) -> Self {
        Self {
            product_code: product.code.to_string(),
            seller_id: product.seller.to_string(),
            title: product.title,
            description: product.description,
            price_per_hour: Some(product.price.into()),
            create_time: Some(timestamp(product.created_ms)),
        }
    }
}

impl From<Agreement> for pb::Agreement {
    fn from(agreement: Agreement) -> Self {
        let state = if agreement.is_active() {
            pb::AgreementState::Active
        } else {
            pb::AgreementState::Cancelled
        };
        Self {
            agreement_id: agreement.id.to_string(),
            product_code: agreement.code.to_string(),
            buyer_id: agreement.buyer.to_string(),
            seller_id: agreement.seller.to_string(),
            price_per_hour: Some(agreement.price.into()),
            state: state.into(),
            start_time: Some(timestamp(agreement.started_ms)),
            end_time: agreement.ended_ms.map(timestamp),
        }
    }
}

impl From<Meter> for pb::Meter {
    fn from(meter: Meter) -> Self {
        let bill = meter.bill();
        let seconds = bill.map(|bill| i64::try_from(bill.seconds).unwrap_or(i64::MAX));
        Self {
            instance_id: meter.key.instance.to_string(),
            run: i64::try_from(meter.key.run).unwrap_or(i64::MAX),
            product_code: meter.key.code.to_string(),
            agreement_id: meter.terms.agreement.map(|id| id.to_string()).unwrap_or_default(),
            buyer_id: meter.buyer.to_string(),
            start_time: meter.start_ns.map(nanos),
            stop_time: meter.stop_ns.map(nanos),
            billed_seconds: seconds.unwrap_or_default(),
            amount: bill.map(|bill| bill.gross.into()),
        }
    }
}

impl From<Entry> for pb::LedgerEntry {
    fn from(entry: Entry) -> Self {
        Self {
            transaction_id: entry.transaction,
            ledger_account: entry.account,
            amount: Some(entry.amount.into()),
            cause: entry.cause,
            book_time: Some(timestamp(entry.booked_ms)),
        }
    }
}

impl From<Audit> for pb::AuditLedgerResponse {
    fn from(audit: Audit) -> Self {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Self {
            balanced: audit.balanced,
            transactions: count(audit.transactions),
            entries: count(audit.entries),
            open_meters: count(audit.open_meters),
            closed_meters: count(audit.closed_meters),
            faults: audit.faults,
        }
    }
}
