//! Organizations and accounts.

use vmint_ids::AccountId;
use vmint_store::{Asked, Ledger, OrRefuse as _, Store, Table, Tx, TxError};

use super::{
    access_keys,
    record::{AccessKeyRecord, AccountRecord, FirstRecord, OrganizationRecord},
    sessions,
};
use crate::{
    Account, Made, Organization, PermissionsError as E, Result, Session, Token, ops::Page,
};

static ORGANIZATIONS: Table<String, OrganizationRecord> = Table::new("organizations.v1");
static FIRST: Table<u8, FirstRecord> = Table::new("first_organization.v1");
static ACCOUNTS: Table<String, AccountRecord> =
    Table::new("accounts.v1").with_unique("name", |_, it| vec![it.name.clone().into_bytes()]);
pub(super) static LEDGER: Ledger = Ledger::new("requests.v1");

/// Organizations, and accounts apart by id and name.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    store: Store,
}

/// An account that must be there.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// As it would be made.
    pub(crate) account: Account,
    /// Whether its id was chosen.
    pub(crate) chosen: bool,
    /// Chosen for it.
    pub(crate) token: Option<Token>,
    /// That it would get.
    pub(crate) session: Session,
    pub(crate) access_keys: Vec<AccessKeyRecord>,
}

impl Accounts {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn get(&self, id: AccountId) -> Result<Option<Account>> {
        ACCOUNTS.get(&self.store, &id.to_string())?.map(TryInto::try_into).transpose()
    }

    pub(crate) fn page(&self, after: Option<&[u8]>, size: usize) -> Result<Page<Account>> {
        let rows = ACCOUNTS.scan(&self.store, &[], after, size)?;
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.clone().into_bytes());
        let items = rows.into_iter().map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    pub(crate) async fn insert_organization(
        &self,
        new: Organization,
        asked: Asked,
    ) -> Result<Organization> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                put_organization(tx, &new)?;
                Ok::<_, TxError<E>>(OrganizationRecord::from(&new))
            })
        };
        self.store.commit(work).await?.try_into()
    }

    /// Adds an account under its organization, or under the first if it names
    /// none.
    pub(crate) async fn insert(&self, mut new: Account, asked: Asked) -> Result<Account> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                if new.organization.is_empty() {
                    new.organization = FIRST.get(tx, &0)?.unwrap_or_default().organization;
                }
                if ORGANIZATIONS.get(tx, &new.organization)?.is_none() {
                    let organization = new.organization.clone();
                    return Err(TxError::refuse(E::OrganizationNotFound { organization }));
                }
                put_account(tx, &new)?;
                Ok(AccountRecord::from(&new))
            })
        };
        self.store.commit(work).await?.try_into()
    }

    /// Adds what is missing of these, in one commit.
    pub(crate) async fn bootstrap(
        &self,
        organization: Organization,
        wanted: Vec<Wanted>,
    ) -> Result<Vec<Made>> {
        let work = move |tx: &mut Tx<'_>| {
            let home = if let Some(first) = FIRST.get(tx, &0)? {
                first.organization
            } else {
                put_organization(tx, &organization)?;
                organization.id
            };
            let one = |wanted| bootstrap_one(tx, &home, wanted);
            wanted.into_iter().map(one).collect::<Result<Vec<_>, TxError<E>>>()
        };
        Ok(self.store.commit(work).await?)
    }
}

fn bootstrap_one(tx: &mut Tx<'_>, home: &str, wanted: Wanted) -> Result<Made, TxError<E>> {
    let Wanted { mut account, chosen, token, mut session, access_keys } = wanted;
    let there = ACCOUNTS.find(tx, "name", account.name.as_str().as_bytes())?;
    let token = if let Some((id, record)) = there {
        if chosen && id != account.id.to_string() {
            let value = account.name.as_str().to_owned();
            return Err(TxError::refuse(E::AccountTaken { what: "name", value }));
        }
        account = record.try_into().or_refuse()?;
        token
    } else {
        home.clone_into(&mut account.organization);
        put_account(tx, &account)?;
        Some(token.unwrap_or_else(Token::random))
    };
    for record in access_keys {
        access_keys::put_if_new(tx, &record.of(account.id))?;
    }
    let Some(token) = token else { return Ok(Made { account, token: None }) };
    session.account = account.id;
    let new = sessions::put_if_new(tx, &session, &token)?;
    Ok(Made { account, token: new.then_some(token) })
}

fn put_organization(tx: &mut Tx<'_>, new: &Organization) -> Result<(), TxError<E>> {
    ORGANIZATIONS.put(tx, &new.id, &new.into())?;
    if FIRST.get(tx, &0)?.is_none() {
        FIRST.put(tx, &0, &FirstRecord { organization: new.id.clone() })?;
    }
    Ok(())
}

fn put_account(tx: &mut Tx<'_>, new: &Account) -> Result<(), TxError<E>> {
    let (id, name) = (new.id.to_string(), new.name.as_str());
    if ACCOUNTS.get(tx, &id)?.is_some() {
        return Err(TxError::refuse(E::AccountTaken { what: "id", value: id }));
    }
    if ACCOUNTS.find(tx, "name", name.as_bytes())?.is_some() {
        let value = name.to_owned();
        return Err(TxError::refuse(E::AccountTaken { what: "name", value }));
    }
    Ok(ACCOUNTS.put(tx, &id, &new.into())?)
}

/// That every one of these accounts exists.
pub(super) fn check_exist<'a>(
    tx: &Tx<'_>,
    ids: impl IntoIterator<Item = &'a AccountId>,
) -> Result<(), TxError<E>> {
    for id in ids {
        if ACCOUNTS.get(tx, &id.to_string())?.is_none() {
            return Err(TxError::refuse(E::AccountNotFound { account: id.to_string() }));
        }
    }
    Ok(())
}
