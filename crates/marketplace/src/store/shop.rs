//! Products, agreements and holds.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, AgreementId, InstanceId, ProductCode};
use vmint_store::{
    Asked, Key as _, Ledger, OrRefuse as _, Store, StoreError, Table, Tx, TxError, prefix,
};

use super::{
    Step,
    record::{AgreementRecord, HoldRecord, ProductRecord},
};
use crate::{Agreement, Hold, MarketError as E, Money, Product, Result, Terms, ops::Page};

static PRODUCTS: Table<String, ProductRecord> = Table::new("products.v1");
static AGREEMENTS: Table<AgreementId, AgreementRecord> = Table::new("agreements.v1")
    .with_unique("active", |_, it: &AgreementRecord| {
        if it.ended_ms.is_none() { vec![pair(&it.buyer, &it.code)] } else { vec![] }
    })
    .with_index("pair", |_, it: &AgreementRecord| vec![pair(&it.buyer, &it.code)])
    .with_index("party", |_, it: &AgreementRecord| {
        vec![it.buyer.clone().into_bytes(), it.seller.clone().into_bytes()]
    });
static HOLDS: Table<String, HoldRecord> = Table::new("holds.v1")
    .with_index("instance", |_, it: &HoldRecord| {
        it.instances.iter().map(|id| id.clone().into_bytes()).collect()
    })
    .with_index("expiry", |_, it: &HoldRecord| {
        if it.confirmed { vec![] } else { vec![it.expires_ms.to_be_bytes().to_vec()] }
    });
static LEDGER: Ledger = Ledger::new("requests.v1");

/// A hold that nobody confirmed is forgotten this long after it ran out: its
/// saga may have been asleep, and its machines run.
const GRACE_MS: u64 = 24 * 3600 * 1000;

/// Of each kind, changed in one transaction.
const AT_ONCE: usize = 20;

/// Products and agreements of an account.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    pub(crate) products: Vec<String>,
    pub(crate) agreements: Vec<AgreementId>,
}

/// What is offered and who agreed to it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    store: Store,
}

impl Shop {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn product(&self, code: &ProductCode) -> Result<Option<Product>> {
        let found = PRODUCTS.get(&self.store, &code.to_string())?;
        found.filter(|it| !it.withdrawn).map(TryInto::try_into).transpose()
    }

    pub(crate) fn product_page(&self, after: Option<&[u8]>, size: usize) -> Result<Page<Product>> {
        let rows = PRODUCTS.scan(&self.store, &[], after, size)?;
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.encode());
        let offered = rows.into_iter().filter(|row| !row.1.withdrawn);
        let items = offered.map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    pub(crate) fn agreement_page(
        &self,
        party: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Agreement>> {
        let party = party.to_string();
        let rows = AGREEMENTS.equal(&self.store, "party", party.as_bytes(), after, size)?;
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.encode());
        let items = rows.into_iter().map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    pub(crate) async fn insert_product(&self, mut new: Product, asked: Asked) -> Result<Product> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                new.created_ms = tx.now_ms();
                let record = ProductRecord::from(&new);
                PRODUCTS.put(tx, &new.code.to_string(), &record)?;
                Ok::<_, TxError<E>>(record)
            })
        };
        self.store.commit(work).await?.try_into()
    }

    /// Adds an agreement, or finds the active one of this buyer and product.
    pub(crate) async fn ensure_agreement(
        &self,
        mut new: Agreement,
        asked: Asked,
    ) -> Result<Agreement> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                if let Some(there) = active(tx, new.buyer, &new.code)? {
                    return Ok(there);
                }
                new.started_ms = tx.now_ms();
                let record = AgreementRecord::from(&new);
                AGREEMENTS.put(tx, &new.id, &record)?;
                Ok::<_, TxError<E>>(record)
            })
        };
        self.store.commit(work).await?.try_into()
    }

    pub(crate) async fn cancel(&self, id: AgreementId, buyer: AccountId) -> Result<Agreement> {
        let work = move |tx: &mut Tx<'_>| {
            let missing = || TxError::refuse(E::AgreementNotFound { agreement: id.to_string() });
            let mut record = AGREEMENTS.get(tx, &id)?.ok_or_else(missing)?;
            if record.buyer != buyer.to_string() {
                return Err(missing());
            }
            if record.ended_ms.is_none() {
                record.ended_ms = Some(tx.now_ms());
                AGREEMENTS.put(tx, &id, &record)?;
            }
            Ok(record)
        };
        self.store.commit(work).await?.try_into()
    }

    /// Adds the saga's hold, or prolongs it; `new.expires_ms` is counted from
    /// now.
    pub(crate) async fn hold(
        &self,
        step: Step,
        mut new: Hold,
        codes: BTreeSet<ProductCode>,
    ) -> Result<Vec<Agreement>> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            forget_expired(tx)?;
            new.expires_ms = new.expires_ms.saturating_add(tx.now_ms());
            if let Some(there) = HOLDS.get(tx, &new.saga)? {
                let mut there: Hold = there.try_into().or_refuse()?;
                there.expires_ms = there.expires_ms.max(new.expires_ms);
                HOLDS.put(tx, &there.saga, &(&there).into())?;
                return held(tx, &there);
            }
            for code in codes {
                let missing = || TxError::refuse(E::ProductNotFound { code: code.to_string() });
                let product = PRODUCTS.get(tx, &code.to_string())?.filter(|it| !it.withdrawn);
                let product = product.ok_or_else(missing)?;
                if product.seller == new.buyer.to_string() {
                    continue;
                }
                let lacking =
                    || TxError::refuse(E::SubscriptionRequired { code: code.to_string() });
                let agreement = active(tx, new.buyer, &code)?.ok_or_else(lacking)?;
                let agreement: Agreement = agreement.try_into().or_refuse()?;
                new.agreements.insert(code, agreement.id);
            }
            HOLDS.put(tx, &new.saga, &(&new).into())?;
            held(tx, &new)
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn confirm(&self, step: Step) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let expired = || TxError::refuse(E::HoldExpired { saga: step.saga.clone() });
            let mut hold: Hold =
                HOLDS.get(tx, &step.saga)?.ok_or_else(expired)?.try_into().or_refuse()?;
            if hold.confirmed {
                return Ok(());
            }
            let ran_out = hold.expires_ms <= tx.now_ms();
            if ran_out && !held(tx, &hold)?.iter().all(Agreement::is_active) {
                return Err(expired());
            }
            hold.confirmed = true;
            Ok(HOLDS.put(tx, &hold.saga, &(&hold).into())?)
        };
        Ok(self.store.commit(work).await?)
    }

    /// Some of what `account` offers, and of the agreements that it is a party
    /// to and that have not ended. Blocks.
    pub(crate) fn of_account(&self, account: AccountId) -> Result<Belongings> {
        let (account, mut found) = (account.to_string(), Belongings::default());
        PRODUCTS.walk(&self.store, |code, it| {
            if it.seller == account && !it.withdrawn && found.products.len() < AT_ONCE {
                found.products.push(code);
            }
            Ok::<_, E>(())
        })?;
        let mut after: Option<Vec<u8>> = None;
        while found.agreements.len() < AT_ONCE {
            let after_it = after.as_deref();
            let rows = AGREEMENTS.equal(&self.store, "party", account.as_bytes(), after_it, 100)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.0.encode());
            let active = rows.into_iter().filter(|row| row.1.ended_ms.is_none());
            found.agreements.extend(active.map(|row| row.0));
        }
        found.agreements.truncate(AT_ONCE);
        Ok(found)
    }

    /// Withdraws products and ends agreements.
    pub(crate) async fn withdraw(&self, step: Step, these: Belongings) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            for code in these.products {
                let Some(record) = PRODUCTS.get(tx, &code)? else { continue };
                PRODUCTS.put(tx, &code, &ProductRecord { withdrawn: true, ..record })?;
            }
            for id in these.agreements {
                let Some(mut record) = AGREEMENTS.get(tx, &id)? else { continue };
                record.ended_ms = record.ended_ms.or(Some(tx.now_ms()));
                AGREEMENTS.put(tx, &id, &record)?;
            }
            Ok::<_, TxError<E>>(())
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn release(&self, step: Step) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            Ok::<_, TxError<E>>(HOLDS.remove(tx, &step.saga)?)
        };
        Ok(self.store.commit(work).await?)
    }
}

fn pair(buyer: &str, code: &str) -> Vec<u8> {
    prefix(&[&buyer, &code])
}

fn active(
    tx: &Tx<'_>,
    buyer: AccountId,
    code: &ProductCode,
) -> Result<Option<AgreementRecord>, StoreError> {
    let found = AGREEMENTS.find(tx, "active", &pair(&buyer.to_string(), code.as_str()))?;
    Ok(found.map(|(_, record)| record))
}

/// The agreements of a hold.
fn held(tx: &Tx<'_>, hold: &Hold) -> Result<Vec<Agreement>, TxError<E>> {
    let get = |id| {
        let record = AGREEMENTS.get(tx, id)?;
        let damaged = || TxError::refuse(E::Damaged { what: "hold" });
        record.ok_or_else(damaged)?.try_into().or_refuse()
    };
    hold.agreements.values().map(get).collect()
}

/// Removes a few holds that ran out long ago, more than one commit adds.
fn forget_expired(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let now = tx.now_ms();
    for (saga, hold) in HOLDS.by_index(tx, "expiry", &[], None, 4)? {
        if hold.expires_ms.saturating_add(GRACE_MS) > now {
            break;
        }
        HOLDS.remove(tx, &saga)?;
    }
    Ok(())
}

/// What a run is billed by: the agreement it was launched under, else the
/// buyer's active one, else its latest. None if the product is not known.
pub(super) fn terms(
    tx: &Tx<'_>,
    instance: InstanceId,
    buyer: AccountId,
    code: &ProductCode,
) -> Result<Option<Terms>, TxError<E>> {
    let Some(product) = PRODUCTS.get(tx, &code.to_string())? else { return Ok(None) };
    let product: Product = product.try_into().or_refuse()?;
    let free = Money { picos: 0, ..product.price };
    let own = Terms { agreement: None, seller: product.seller, price: free, fee_ppm: 0 };
    if product.seller == buyer {
        return Ok(Some(own));
    }
    let mut found = None;
    let id = instance.to_string();
    for (_, hold) in HOLDS.equal(tx, "instance", id.as_bytes(), None, 10)? {
        let hold: Hold = hold.try_into().or_refuse()?;
        if let Some(id) = hold.agreements.get(code).filter(|_| hold.buyer == buyer) {
            found = AGREEMENTS.get(tx, id)?;
        }
    }
    if found.is_none() {
        found = active(tx, buyer, code)?;
    }
    if found.is_none() {
        let key = pair(&buyer.to_string(), code.as_str());
        let ended = AGREEMENTS.equal(tx, "pair", &key, None, 1000)?;
        found = ended.into_iter().map(|(_, record)| record).max_by_key(|it| it.started_ms);
    }
    let Some(agreement) = found else { return Ok(Some(own)) };
    let agreement: Agreement = agreement.try_into().or_refuse()?;
    Ok(Some(Terms {
        agreement: Some(agreement.id),
        seller: agreement.seller,
        price: agreement.price,
        fee_ppm: agreement.fee_ppm,
    }))
}
