//! Meters and the ledger that bills them.

use vmint_ids::{AccountId, InstanceId};
use vmint_store::{Key as _, OrRefuse as _, Store, Table, Tx, TxError, prefix};

use super::{
    record::{EntryRecord, MeterRecord, MoneyRecord, NumberRecord, money},
    shop,
};
use crate::{
    Audit, Bill, Entry, MachineEvent, MarketError as E, Meter, MeterKey, Money, Result, What,
    booking::{lines, party},
    ops::Page,
};

pub(super) static METERS: Table<(InstanceId, u64, String), MeterRecord> = Table::new("meters.v1")
    .with_index("party", |_, it: &MeterRecord| {
        vec![it.buyer.clone().into_bytes(), it.seller.clone().into_bytes()]
    });
pub(super) static ENTRIES: Table<u64, EntryRecord> = Table::new("entries.v1")
    // A transaction books once to an account, so a replay can't book again.
    .with_unique("line", |_, it: &EntryRecord| vec![line(&it.transaction, &it.account)])
    .with_index("party", |_, it: &EntryRecord| {
        party(&it.account).map(|party| party.as_bytes().to_vec()).into_iter().collect()
    });
pub(super) static BALANCES: Table<(String, String), MoneyRecord> = Table::new("balances.v1");
static NUMBERS: Table<String, NumberRecord> = Table::new("numbers.v1");

const CURSOR: &str = "launcher-cursor";
const LAST_ENTRY: &str = "last-entry";

/// What ran and what is owed for it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    store: Store,
}

impl Books {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.store.sequence()
    }

    pub(crate) fn cursor(&self) -> Result<u64> {
        Ok(NUMBERS.get(&self.store, &CURSOR.to_owned())?.unwrap_or_default().value)
    }

    pub(crate) fn meter_page(
        &self,
        party: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Meter>> {
        let party = party.to_string();
        let rows = METERS.equal(&self.store, "party", party.as_bytes(), after, size)?;
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.encode());
        let items = rows.into_iter().map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    pub(crate) fn entry_page(
        &self,
        party: Option<AccountId>,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Entry>> {
        let rows = match party.map(|party| party.to_string()) {
            Some(party) => ENTRIES.equal(&self.store, "party", party.as_bytes(), after, size)?,
            None => ENTRIES.scan(&self.store, &[], after, size)?,
        };
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.encode());
        let items = rows.into_iter().map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    /// Takes in events, and how far the feed has been read, in one commit.
    pub(crate) async fn settle(
        &self,
        events: Vec<MachineEvent>,
        cursor: Option<u64>,
    ) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            for event in &events {
                for code in &event.codes {
                    let (instance, run) = (event.instance, event.run);
                    take_in(tx, event, MeterKey { instance, run, code: code.clone() })?;
                }
            }
            let seen = number(tx, CURSOR)?;
            if let Some(value) = cursor.filter(|cursor| *cursor > seen) {
                NUMBERS.put(tx, &CURSOR.to_owned(), &NumberRecord { value })?;
            }
            Ok::<_, TxError<E>>(())
        };
        Ok(self.store.commit(work).await?)
    }

    /// Audits what is durable; what is booked meanwhile may be half seen.
    pub(crate) fn audit(&self) -> Result<Audit> {
        super::audit::audit(&self.store)
    }

    /// Audits while nothing else is committed.
    pub(crate) async fn audit_standing_still(&self) -> Result<Audit> {
        let work = |tx: &mut Tx<'_>| super::audit::audit(&*tx).or_refuse();
        Ok(self.store.commit(work).await?)
    }
}

fn line(transaction: &str, account: &str) -> Vec<u8> {
    prefix(&[&transaction, &account])
}

fn number(tx: &Tx<'_>, name: &str) -> Result<u64, TxError<E>> {
    Ok(NUMBERS.get(tx, &name.to_owned())?.unwrap_or_default().value)
}

/// Writes down an end of a run, and books the run once both are known.
fn take_in(tx: &mut Tx<'_>, event: &MachineEvent, key: MeterKey) -> Result<(), TxError<E>> {
    let at = (key.instance, key.run, key.code.to_string());
    let mut meter: Meter = if let Some(record) = METERS.get(tx, &at)? {
        record.try_into().or_refuse()?
    } else {
        let buyer = event.account;
        let Some(terms) = shop::terms(tx, key.instance, buyer, &key.code)? else {
            tracing::error!(instance = %key.instance, product = %key.code, "no such product");
            return Ok(());
        };
        Meter { key, buyer, terms, start_ns: None, stop_ns: None }
    };
    let end = match event.what {
        What::Started => &mut meter.start_ns,
        What::Stopped => &mut meter.stop_ns,
    };
    if end.is_some() {
        return Ok(());
    }
    *end = Some(event.at_ns);
    METERS.put(tx, &at, &(&meter).into())?;
    match meter.bill() {
        Some(bill) => book(tx, &meter, &bill),
        None => Ok(()),
    }
}

fn book(tx: &mut Tx<'_>, meter: &Meter, bill: &Bill) -> Result<(), TxError<E>> {
    let transaction = meter.transaction();
    let cause = format!("meter/{}/{}", meter.key.instance, meter.key.run);
    let mut last = number(tx, LAST_ENTRY)?;
    for (account, amount) in lines(meter, bill) {
        last += 1;
        let entry = Entry {
            number: last,
            transaction: transaction.clone(),
            account: account.clone(),
            amount,
            cause: cause.clone(),
            booked_ms: tx.now_ms(),
        };
        ENTRIES.put(tx, &last, &(&entry).into())?;
        let balance = (account, amount.currency.to_string());
        let before = match BALANCES.get(tx, &balance)? {
            Some(record) => money(Some(record)).or_refuse()?.picos,
            None => 0,
        };
        let after = Money { picos: before + amount.picos, ..amount };
        BALANCES.put(tx, &balance, &after.into())?;
    }
    Ok(NUMBERS.put(tx, &LAST_ENTRY.to_owned(), &NumberRecord { value: last })?)
}
