//! Sessions, found by the digest of their tokens.

use vmint_ids::{AccountId, SessionId};
use vmint_store::{Asked, Key as _, OrRefuse as _, Store, Table, Tx, TxError};

use super::{
    accounts::{LEDGER, check_exist},
    record::SessionRecord,
};
use crate::{Digest, PermissionsError as E, Result, Session, Token, ops::Page};

static SESSIONS: Table<SessionId, SessionRecord> = Table::new("sessions.v1")
    .with_unique("digest", |_, it: &SessionRecord| vec![it.digest.clone()])
    .with_index("account", |_, it: &SessionRecord| vec![it.account.clone().into_bytes()])
    .with_index("expiry", |_, it: &SessionRecord| vec![it.expires_ms.to_be_bytes().to_vec()]);

/// Sessions, and the way from a token to its session.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    store: Store,
}

impl Sessions {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn get(&self, id: SessionId) -> Result<Option<Session>> {
        SESSIONS.get(&self.store, &id)?.map(TryInto::try_into).transpose()
    }

    pub(crate) fn by_digest(&self, digest: &Digest) -> Result<Option<Session>> {
        let found = SESSIONS.find(&self.store, "digest", digest)?;
        found.map(|(_, record)| record.try_into()).transpose()
    }

    pub(crate) fn page(
        &self,
        account: AccountId,
        after: Option<&[u8]>,
        size: usize,
    ) -> Result<Page<Session>> {
        let account = account.to_string();
        let rows = SESSIONS.equal(&self.store, "account", account.as_bytes(), after, size)?;
        let next = rows.last().filter(|_| rows.len() == size).map(|row| row.0.encode());
        let items = rows.into_iter().map(|row| row.1.try_into()).collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    pub(crate) async fn insert(
        &self,
        new: Session,
        digest: Digest,
        asked: Asked,
    ) -> Result<Session> {
        let work = move |tx: &mut Tx<'_>| {
            LEDGER.once(tx, &asked, |tx| {
                check_exist(tx, [&new.account])?;
                forget_expired(tx)?;
                let record = SessionRecord::new(&new, digest);
                SESSIONS.put(tx, &new.id, &record)?;
                // The answer kept for later has no use for the digest.
                Ok::<_, TxError<E>>(SessionRecord { digest: Vec::new(), ..record })
            })
        };
        self.store.commit(work).await?.try_into()
    }

    /// Revokes a session of `of`, or of whomever.
    pub(crate) async fn revoke(
        &self,
        id: SessionId,
        of: Option<AccountId>,
        now_ms: u64,
    ) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            let missing = || TxError::refuse(E::SessionNotFound { session: id.to_string() });
            let mut record = SESSIONS.get(tx, &id)?.ok_or_else(missing)?;
            if of.is_some_and(|of| of.to_string() != record.account) {
                return Err(missing());
            }
            if record.revoked_ms.is_none() {
                record.revoked_ms = Some(now_ms);
                SESSIONS.put(tx, &id, &record)?;
            }
            Ok(())
        };
        Ok(self.store.commit(work).await?)
    }
}

/// Removes a few sessions that have expired, more than one commit adds.
fn forget_expired(tx: &mut Tx<'_>) -> Result<(), TxError<E>> {
    let now = tx.now_ms();
    for (id, record) in SESSIONS.by_index(tx, "expiry", &[], None, 4)? {
        if record.expires_ms > now {
            break;
        }
        SESSIONS.remove(tx, &id)?;
    }
    Ok(())
}

/// Adds a session with this token, unless the token is known: one that was
/// revoked is not brought back. Says whether it did.
pub(super) fn put_if_new(
    tx: &mut Tx<'_>,
    session: &Session,
    token: &Token,
) -> Result<bool, TxError<E>> {
    let digest = token.digest();
    if let Some((_, record)) = SESSIONS.find(tx, "digest", &digest)? {
        let there: Session = record.try_into().or_refuse()?;
        if there.account != session.account {
            return Err(TxError::refuse(E::field("accounts.token", "is another account's")));
        }
        return Ok(false);
    }
    SESSIONS.put(tx, &session.id, &SessionRecord::new(session, digest))?;
    Ok(true)
}
