//! Instances after their launch: found, changed, ended, forgotten.

use std::str::FromStr as _;

use prost::Message as _;
use vmint_ids::InstanceId;
use vmint_store::{Tx, TxError};

use super::{
    ACCOUNT, Body, By, ENDED, INSTANCES, LEDGER, MEMBER, NAME, RELEASED, Records, SLOTS, TOPIC,
    USER_DATA, fence, get, must_get, name_key, now, put,
    record::{EventRecord, InstanceRecord},
};
use crate::{Instance, LauncherError, Result, State, instance::Happening};

/// One event as others are told of it.
#[derive(Debug, Clone)]
pub(crate) struct MachineEvent {
    pub(crate) sequence: u64,
    pub(crate) instance: String,
    pub(crate) account: String,
    pub(crate) image: String,
    pub(crate) product_codes: Vec<String>,
    pub(crate) kind: Happening,
    pub(crate) run: u64,
    pub(crate) at: i64,
}

/// What was seen of a machine's end.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) reason: String,
    /// Its guest wanted it so.
    pub(crate) powered_off: bool,
}

impl Records {
    pub(crate) fn get(&self, id: InstanceId) -> Result<Option<Instance>> {
        INSTANCES.get(&self.store, &id)?.map(TryInto::try_into).transpose()
    }

    /// The account's instance of this id, or of this name if it is not terminated.
    pub(crate) fn owned(&self, account: &str, text: &str) -> Result<Instance> {
        let found = match InstanceId::from_str(text) {
            Ok(id) => self.get(id)?,
            Err(_) if text.is_empty() || text.len() > 255 => None,
            Err(_) => {
                let found = INSTANCES.find(&self.store, NAME, &name_key(account, text))?;
                found.map(|(_, record)| record.try_into()).transpose()?
            }
        };
        found
            .filter(|i| i.account == account)
            .ok_or_else(|| LauncherError::NoSuchInstance { id: text.chars().take(64).collect() })
    }

    /// Up to `limit` instances of the account behind the key `after`.
    pub(crate) fn page(
        &self,
        account: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Instance>> {
        let rows = INSTANCES.equal(&self.store, ACCOUNT, account.as_bytes(), after, limit)?;
        rows.into_iter().map(|(_, record)| record.try_into()).collect()
    }

    /// Every instance there is. Takes its time: for the start only.
    pub(crate) fn all(&self) -> Result<Vec<Instance>> {
        let mut all = Vec::new();
        INSTANCES.walk(&self.store, |_, record| {
            all.push(record.try_into()?);
            Ok::<_, LauncherError>(())
        })?;
        Ok(all)
    }

    pub(crate) fn user_data(&self, id: InstanceId) -> Result<Option<Vec<u8>>> {
        Ok(USER_DATA.get(&self.store, &id)?.map(|data| data.bytes))
    }

    /// Changes an instance and tells what happened, in one commit. A `body` that
    /// leaves the instance as it was writes nothing.
    pub(crate) async fn change(
        &self,
        id: InstanceId,
        by: By,
        body: impl FnOnce(&mut Tx<'_>, &mut Instance) -> Body<Vec<Happening>> + Send + 'static,
    ) -> Result<Instance> {
        let work = move |tx: &mut Tx<'_>| {
            let before = must_get(tx, id)?;
            let mut instance = before.clone();
            let happened = body(tx, &mut instance)?;
            if instance != before {
                put(tx, &instance, &happened)?;
            }
            Ok(instance)
        };
        self.commit(move |tx| match by {
            By::Itself => work(tx),
            By::Saga(epoch) => {
                fence(tx, epoch)?;
                work(tx)
            }
            By::User(asked) => {
                let record = LEDGER.once(tx, &asked, |tx| {
                    Ok::<_, TxError<LauncherError>>(InstanceRecord::from(&work(tx)?))
                })?;
                record.try_into().map_err(TxError::Refused)
            }
        })
        .await
    }

    /// Its machine of run `run` is gone since `at`: because of `cause`, if that was us,
    /// else as `seen`. Does nothing if that is known, or if the instance is being ended
    /// anyway.
    pub(crate) async fn machine_ended(
        &self,
        id: InstanceId,
        run: u64,
        cause: Option<String>,
        seen: Seen,
        at: i64,
    ) -> Result<Instance> {
        self.change(id, By::Itself, move |_, instance| {
            if instance.run != run || !instance.state.has_machine() {
                return Ok(vec![]);
            }
            let asked = (instance.state == State::Stopping).then(|| instance.reason.clone());
            let happened = match cause.or(asked) {
                Some(reason) => instance.ended(&reason, at),
                None if seen.powered_off => instance.powered_off(&seen.reason, at),
                None => instance.ended(&seen.reason, at),
            };
            let happened = happened.map_err(TxError::Refused)?;
            Ok(happened.into_iter().collect())
        })
        .await
    }

    /// A start that had been promised failed.
    pub(crate) async fn start_failed(&self, id: InstanceId, reason: String) -> Result<Instance> {
        self.change(id, By::Itself, move |tx, instance| {
            if instance.state != State::Pending || instance.unlaunched() {
                return Ok(vec![]);
            }
            let happened = instance.ended(&reason, now(tx)).map_err(TxError::Refused)?;
            Ok(happened.into_iter().collect())
        })
        .await
    }

    /// Begins to end instances. Those already ending or ended stay as they are; ids not
    /// known are kept from being launched later. If `account` is given it must own all.
    pub(crate) async fn begin_end(
        &self,
        epoch: u64,
        ids: Vec<InstanceId>,
        account: Option<String>,
        reason: String,
    ) -> Result<Vec<Instance>> {
        self.commit(move |tx| {
            fence(tx, epoch)?;
            let mut ending = Vec::new();
            for id in ids {
                let found = get(tx, id)?;
                if let Some(account) = &account
                    && found.as_ref().is_none_or(|i| i.account != *account)
                {
                    let id = id.to_string();
                    return Err(TxError::Refused(LauncherError::NoSuchInstance { id }));
                }
                if account.is_some() && found.as_ref().is_some_and(|i| i.protected) {
                    return Err(TxError::Refused(LauncherError::Protected { id }));
                }
                let Some(mut instance) = found else {
                    let at = now(tx);
                    RELEASED.put(tx, &id, &super::ReleasedRecord { at })?;
                    continue;
                };
                if instance.state.may_become(State::ShuttingDown) {
                    // What has ended already keeps its time: only the record goes.
                    let at = now(tx);
                    instance.enter(State::ShuttingDown, &reason, at).map_err(TxError::Refused)?;
                    put(tx, &instance, &[])?;
                }
                ending.push(instance);
            }
            Ok(ending)
        })
        .await
    }

    /// The machine is gone since `at`, for good.
    pub(crate) async fn finish_end(&self, id: InstanceId, at: i64) -> Result<Instance> {
        self.change(id, By::Itself, move |tx, instance| {
            if instance.state == State::Terminated {
                return Ok(vec![]);
            }
            if let Some(identity) = &instance.identity {
                SLOTS.remove(tx, &identity.slot)?;
            }
            USER_DATA.remove(tx, &id)?;
            instance.terminated(at).map_err(TxError::Refused)
        })
        .await
    }

    /// Forgets instances that ended before `before`, a few at a time; says how many.
    pub(crate) async fn forget(&self, before: i64) -> Result<usize> {
        const STEP: usize = 40;
        self.commit(move |tx| {
            let mut forgotten = 0;
            for (id, record) in INSTANCES.equal(tx, ENDED, MEMBER, None, 1000)? {
                let instance = Instance::try_from(record).map_err(TxError::Refused)?;
                if instance.changed_at < before && forgotten < STEP {
                    INSTANCES.remove(tx, &id)?;
                    forgotten += 1;
                }
            }
            for (id, released) in RELEASED.scan(tx, &[], None, 1000)? {
                if released.at < before && forgotten < STEP {
                    RELEASED.remove(tx, &id)?;
                    forgotten += 1;
                }
            }
            Ok(forgotten)
        })
        .await
    }

    /// Forgets instances of an account that have ended, a few at a time; says
    /// whether there may be more.
    pub(crate) async fn forget_of(&self, epoch: u64, account: String) -> Result<bool> {
        const STEP: usize = 20;
        self.commit(move |tx| {
            fence(tx, epoch)?;
            let mut forgotten = 0;
            let rows = INSTANCES.equal(tx, ACCOUNT, account.as_bytes(), None, 1000)?;
            for (id, record) in rows {
                let instance = Instance::try_from(record).map_err(TxError::Refused)?;
                if instance.state == State::Terminated && forgotten < STEP {
                    INSTANCES.remove(tx, &id)?;
                    forgotten += 1;
                }
            }
            Ok(forgotten == STEP)
        })
        .await
    }

    /// Whether anything is old enough to be forgotten; cheap, for each round.
    pub(crate) fn any_ended(&self) -> Result<bool> {
        let ended = !INSTANCES.equal(&self.store, ENDED, MEMBER, None, 1)?.is_empty();
        Ok(ended || !RELEASED.scan(&self.store, &[], None, 1)?.is_empty())
    }

    /// What happened after number `after`, oldest first.
    pub(crate) fn events(&self, after: u64, limit: usize) -> Result<Vec<MachineEvent>> {
        let damaged = || LauncherError::Damaged { what: "event" };
        let events = self.store.events(TOPIC, after, limit)?;
        let read = |event: vmint_store::Event| {
            let record = EventRecord::decode(event.body.as_slice()).map_err(|_| damaged())?;
            Ok(MachineEvent {
                sequence: event.seq,
                instance: record.instance,
                account: record.account,
                image: record.image,
                product_codes: record.product_codes,
                kind: match record.kind {
                    1 => Happening::Started,
                    2 => Happening::Stopped,
                    3 => Happening::Terminated,
                    _ => return Err(damaged()),
                },
                run: record.run,
                at: record.at,
            })
        };
        events.into_iter().map(read).collect()
    }
}
