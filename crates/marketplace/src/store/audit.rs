//! Everything the ledger promises, recomputed.

use std::collections::BTreeMap;

use vmint_store::Read;

use super::{
    books::{BALANCES, ENTRIES, METERS},
    record::money,
};
use crate::{Audit, Entry, MarketError as E, Meter, Result, booking::lines};

/// More faults than this are not told.
const MOST_FAULTS: usize = 100;

/// Reads the whole ledger once and every meter once. What it keeps in memory
/// grows with the number of ledger accounts, not of bookings.
pub(super) fn audit(read: &impl Read) -> Result<Audit> {
    let mut findings = Findings::default();
    let mut sums: BTreeMap<(String, String), i128> = BTreeMap::new();
    let mut open: Option<Transaction> = None;
    let mut expected = 1;
    ENTRIES.walk(read, |number, record| {
        let entry: Entry = record.try_into()?;
        findings.audit.entries += 1;
        if number != expected || entry.number != number {
            findings.fault(format!("entry {number} stands where {expected} should"));
        }
        expected = number + 1;
        let currency = entry.amount.currency.to_string();
        *sums.entry((entry.account.clone(), currency)).or_default() += entry.amount.picos;
        if open.as_ref().is_none_or(|t| t.id != entry.transaction) {
            if let Some(whole) = open.take() {
                findings.close(&whole);
            }
            open = Some(Transaction { id: entry.transaction.clone(), entries: Vec::new() });
        }
        if let Some(transaction) = &mut open {
            transaction.entries.push(entry);
        }
        Ok::<_, E>(())
    })?;
    if let Some(whole) = open.take() {
        findings.close(&whole);
    }

    let mut total: BTreeMap<&str, i128> = BTreeMap::new();
    for ((_, currency), sum) in &sums {
        *total.entry(currency).or_default() += sum;
    }
    for (currency, sum) in total.iter().filter(|(_, sum)| **sum != 0) {
        findings.fault(format!("all of {currency} sums to {sum} picos"));
    }
    BALANCES.walk(read, |(account, currency), record| {
        let kept = money(Some(record))?.picos;
        let summed = sums.remove(&(account.clone(), currency.clone())).unwrap_or(0);
        if kept != summed {
            findings.fault(format!("{account} is {kept} picos of {currency}, not {summed}"));
        }
        Ok::<_, E>(())
    })?;
    for ((account, currency), sum) in sums {
        findings.fault(format!("{account} has no balance for its {sum} picos of {currency}"));
    }
    let mut billed = 0;
    METERS.walk(read, |_, record| {
        let meter: Meter = record.try_into()?;
        billed += u64::from(check_meter(read, &meter, &mut findings)?);
        Ok::<_, E>(())
    })?;
    if billed != findings.audit.transactions {
        let booked = findings.audit.transactions;
        findings.fault(format!("{booked} transactions bill {billed} runs"));
    }
    Ok(Audit { balanced: !findings.unbalanced, ..findings.audit })
}

/// That a run is booked as it comes to; says whether it is to be booked at all.
fn check_meter(read: &impl Read, meter: &Meter, findings: &mut Findings) -> Result<bool> {
    let own = meter.terms.seller == meter.buyer;
    if meter.terms.agreement.is_none() && !own {
        findings.note(format!("{} ran without an agreement", meter.transaction()));
    }
    let Some(bill) = meter.bill() else {
        findings.audit.open_meters += 1;
        return Ok(false);
    };
    findings.audit.closed_meters += 1;
    let expected = lines(meter, &bill);
    let id = meter.transaction();
    for (account, amount) in &expected {
        let key = vmint_store::prefix(&[&id, account]);
        let booked = ENTRIES.find(read, "line", &key)?;
        let booked = booked.map(|(_, record)| Entry::try_from(record)).transpose()?;
        if booked.as_ref().map(|entry| entry.amount) != Some(*amount) {
            findings.fault(format!("{id} should book {} picos to {account}", amount.picos));
        }
    }
    Ok(!expected.is_empty())
}

struct Transaction {
    id: String,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Findings {
    audit: Audit,
    unbalanced: bool,
}

impl Findings {
    fn close(&mut self, transaction: &Transaction) {
        self.audit.transactions += 1;
        let mut sums: BTreeMap<_, i128> = BTreeMap::new();
        for entry in &transaction.entries {
            *sums.entry(entry.amount.currency).or_default() += entry.amount.picos;
        }
        for (currency, sum) in sums.iter().filter(|(_, sum)| **sum != 0) {
            self.fault(format!("{} sums to {sum} picos of {currency}", transaction.id));
        }
    }

    /// The ledger does not hold.
    fn fault(&mut self, text: String) {
        self.unbalanced = true;
        self.note(text);
    }

    fn note(&mut self, text: String) {
        if self.audit.faults.len() < MOST_FAULTS {
            self.audit.faults.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vmint_ids::AccountId;
    use vmint_store::{Asked, Store, Tx, TxError};

    use super::*;
    use crate::{Currency, MachineEvent, Marketplace, Money, NewProduct, PICOS, What};

    /// A ledger that bills one run.
    async fn billed() -> (Store, Marketplace) {
        let store = Store::in_memory();
        let market = Marketplace::open(store.clone(), 100_000);
        let asked = || Asked {
            account: String::new(),
            method: String::new(),
            request_id: String::new(),
            digest: [0; 32],
        };
        let price = Money { currency: Currency::parse("EUR").unwrap(), picos: PICOS };
        let (seller, buyer) = (AccountId::random(), AccountId::random());
        let (title, description) = ("x".to_owned(), String::new());
        let new = NewProduct { seller, title, description, price, asked: asked() };
        let code = market.create_product(new).await.unwrap().code;
        market.subscribe(buyer, code.clone(), true, asked()).await.unwrap();
        let event = |what, at_ns| MachineEvent {
            instance: vmint_ids::InstanceId::random(),
            account: buyer,
            codes: BTreeSet::from([code.clone()]),
            run: 1,
            what,
            at_ns,
        };
        let start = event(What::Started, 0);
        let stop = MachineEvent { what: What::Stopped, at_ns: 1 << 40, ..start.clone() };
        market.absorb(vec![start, stop], 2).await.unwrap();
        assert!(market.audit().await.unwrap().balanced);
        (store, market)
    }

    /// Spoils a sound ledger and says what the audit finds.
    async fn spoilt(
        spoil: impl FnOnce(&mut Tx<'_>) -> Result<(), TxError<E>> + Send + 'static,
    ) -> Audit {
        let (store, market) = billed().await;
        store.commit(spoil).await.unwrap();
        market.audit().await.unwrap()
    }

    #[tokio::test]
    async fn a_spoilt_ledger_is_found_out() {
        let changed = spoilt(|tx| {
            let mut record = ENTRIES.get(tx, &1)?.unwrap();
            let mut amount = money(record.amount).unwrap();
            amount.picos += 1;
            record.amount = Some(amount.into());
            Ok(ENTRIES.put(tx, &1, &record)?)
        });
        let removed = spoilt(|tx| Ok(ENTRIES.remove(tx, &2)?));
        let balance = spoilt(|tx| {
            let (key, _) = BALANCES.scan(tx, &[], None, 1)?.remove(0);
            Ok(BALANCES.remove(tx, &key)?)
        });
        let meter = spoilt(|tx| {
            let (key, mut record) = METERS.scan(tx, &[], None, 1)?.remove(0);
            record.stop_ns = Some(2 << 40);
            Ok(METERS.put(tx, &key, &record)?)
        });
        let unbilled = spoilt(|tx| {
            let (key, _) = METERS.scan(tx, &[], None, 1)?.remove(0);
            Ok(METERS.remove(tx, &key)?)
        });
        for audit in [changed.await, removed.await, balance.await, meter.await, unbilled.await] {
            assert!(!audit.balanced && !audit.faults.is_empty(), "{audit:?}");
        }
    }
}
