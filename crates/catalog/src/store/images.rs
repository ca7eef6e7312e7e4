//! Images, the names that keep them apart, and the hints of who may see them.

use std::collections::BTreeSet;

use vmint_ids::{AccountId, ImageId};
use vmint_store::{Asked, Ledger, OrRefuse as _, Store, StoreError, Table, Tx, TxError, prefix};

use super::{
    Step, pins,
    record::{HintRecord, ImageRecord, TouchedRecord, parse},
};
use crate::{CatalogError as E, Image, Result, State};

static IMAGES: Table<ImageId, ImageRecord> =
    Table::new("images.v1").with_unique("name", |_, it| {
        // An image that has ended gives its name back.
        if it.is_ended() { vec![] } else { vec![owned_name(&it.owner, &it.name)] }
    });
static HINTS: Table<ImageId, HintRecord> = Table::new("hints.v1");
pub(super) static LEDGER: Ledger = Ledger::new("requests.v1");

/// Every image that a commit touched is named here.
const TOPIC: &str = "images";

/// Who besides its owner may see an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Hint {
    pub(crate) public: bool,
    pub(crate) accounts: BTreeSet<AccountId>,
    /// Of the permissions service.
    pub(crate) revision: u64,
}

/// An image with its hint.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) image: Image,
    pub(crate) hint: Hint,
}

/// What a commit touched: an image, or only an account's own tags on it.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) image: ImageId,
    pub(crate) viewer: Option<AccountId>,
}

/// The images of the deployment. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    store: Store,
}

impl Images {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.store.sequence()
    }

    pub(crate) fn row(&self, id: ImageId) -> Result<Option<Row>> {
        let Some(record) = IMAGES.get(&self.store, &id)? else { return Ok(None) };
        let hint = HINTS.get(&self.store, &id)?.unwrap_or_default().try_into()?;
        Ok(Some(Row { image: record.try_into()?, hint }))
    }

    /// Shows every image. Takes its time; not for the async runtime.
    pub(crate) fn walk(&self, mut visit: impl FnMut(ImageId, Row)) -> Result<()> {
        IMAGES.walk(&self.store, |id, record| {
            let hint = HINTS.get(&self.store, &id)?.unwrap_or_default().try_into()?;
            visit(id, Row { image: record.try_into()?, hint });
            Ok(())
        })
    }

    /// What was touched by events after `after`, some at a time.
    pub(crate) fn touched(&self, after: u64) -> Result<Vec<(u64, Touched)>> {
        let events = self.store.events(TOPIC, after, 1000)?;
        let read = |event: vmint_store::Event| {
            let body: TouchedRecord = prost::Message::decode(event.body.as_slice())
                .map_err(|_| E::Damaged { what: "event" })?;
            let viewer = match body.viewer.as_str() {
                "" => None,
                account => Some(parse(account, "event")?),
            };
            Ok((event.seq, Touched { image: parse(&body.image, "event")?, viewer }))
        };
        events.into_iter().map(read).collect()
    }

    pub(crate) async fn ensure(&self, step: Step, mut new: Image) -> Result<Image> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            if let Some(record) = IMAGES.get(tx, &new.id)? {
                let made_by = record.made_by.clone();
                let mut there: Image = record.try_into().or_refuse()?;
                if (there.owner, &there.name) != (new.owner, &new.name) {
                    return Err(TxError::refuse(E::field("image.image_id", "is taken")));
                }
                if there.state != State::Pending || new.state == State::Pending {
                    return Ok(there);
                }
                (there.state, there.progress) = (new.state, new.progress);
                (there.disks, there.product_codes) = (new.disks, new.product_codes);
                return put_changed(tx, there, made_by)?.try_into().or_refuse();
            }
            let name = owned_name(&new.owner.to_string(), new.name.as_str());
            if let Some((other, _)) = IMAGES.find(tx, "name", &name)? {
                let (name, image) = (new.name.as_str().to_owned(), other.to_string());
                return Err(TxError::refuse(E::NameTaken { name, image }));
            }
            new.created_ms = tx.now_ms();
            put(tx, &ImageRecord::new(&new, step.saga), new.id)?;
            Ok(new)
        };
        Ok(self.store.commit(work).await?)
    }

    /// Changes an image, of `owner` if one is named. `change` says whether it
    /// changed anything.
    pub(crate) async fn change(
        &self,
        step: Step,
        id: ImageId,
        owner: Option<AccountId>,
        change: impl FnOnce(&mut Image) -> Result<bool> + Send + 'static,
    ) -> Result<Image> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            apply(tx, id, owner, change)?.try_into().or_refuse()
        };
        Ok(self.store.commit(work).await?)
    }

    /// Changes an image of `owner` once for each request id.
    pub(crate) async fn update(
        &self,
        id: ImageId,
        owner: AccountId,
        asked: Asked,
        change: impl FnOnce(&mut Image) -> Result<bool> + Send + 'static,
    ) -> Result<Image> {
        let work =
            move |tx: &mut Tx<'_>| LEDGER.once(tx, &asked, |tx| apply(tx, id, Some(owner), change));
        self.store.commit(work).await?.try_into()
    }

    pub(crate) async fn release(&self, step: Step, id: ImageId) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let Some(record) = IMAGES.get(tx, &id)? else { return Ok(()) };
            let made_by = record.made_by.clone();
            let mut image: Image = record.try_into().or_refuse()?;
            match image.state {
                State::Deregistered => Ok(()),
                State::Available if made_by != step.saga => {
                    Err(TxError::refuse(image.not_available()))
                }
                State::Available if pins::any(tx, id)? => {
                    image.state = State::Deregistered;
                    put_changed(tx, image, made_by).map(|_| ())
                }
                State::Pending | State::Failed | State::Available => remove(tx, id),
            }
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn pin(&self, step: Step, id: ImageId, lease_ms: u64) -> Result<Image> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            let record = IMAGES.get(tx, &id)?.ok_or_else(|| missing(id))?;
            let image: Image = record.try_into().or_refuse()?;
            if image.state != State::Available && !pins::holds(tx, id, &step.saga)? {
                return Err(TxError::refuse(image.not_available()));
            }
            pins::put(tx, id, &step.saga, lease_ms)?;
            Ok(image)
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn unpin(&self, step: Step, id: ImageId) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            step.admit(tx)?;
            Ok::<_, TxError<E>>(pins::remove(tx, id, &step.saga)?)
        };
        Ok(self.store.commit(work).await?)
    }

    pub(crate) async fn put_hint(&self, id: ImageId, hint: Hint) -> Result<()> {
        let work = move |tx: &mut Tx<'_>| {
            if IMAGES.get(tx, &id)?.is_none() {
                return Err(missing(id));
            }
            let last = HINTS.get(tx, &id)?.unwrap_or_default();
            let new = HintRecord::from(&hint);
            if new.revision < last.revision || new == last {
                return Ok(());
            }
            HINTS.put(tx, &id, &new)?;
            Ok(touch(tx, id, "")?)
        };
        Ok(self.store.commit(work).await?)
    }
}

fn owned_name(owner: &str, name: &str) -> Vec<u8> {
    prefix(&[&owner, &name])
}

pub(super) fn find(tx: &Tx<'_>, id: ImageId) -> Result<Option<Image>, TxError<E>> {
    IMAGES.get(tx, &id)?.map(TryInto::try_into).transpose().or_refuse()
}

pub(super) fn missing(id: ImageId) -> TxError<E> {
    TxError::refuse(E::ImageNotFound { image: id.to_string() })
}

pub(super) fn touch(tx: &mut Tx<'_>, id: ImageId, viewer: &str) -> Result<(), StoreError> {
    tx.emit(TOPIC, &TouchedRecord { image: id.to_string(), viewer: viewer.to_owned() })
}

fn put(tx: &mut Tx<'_>, record: &ImageRecord, id: ImageId) -> Result<(), TxError<E>> {
    IMAGES.put(tx, &id, record)?;
    Ok(touch(tx, id, "")?)
}

fn remove(tx: &mut Tx<'_>, id: ImageId) -> Result<(), TxError<E>> {
    IMAGES.remove(tx, &id)?;
    HINTS.remove(tx, &id)?;
    Ok(touch(tx, id, "")?)
}

/// Changes an image; one that is not `owner`'s is not there.
fn apply(
    tx: &mut Tx<'_>,
    id: ImageId,
    owner: Option<AccountId>,
    change: impl FnOnce(&mut Image) -> Result<bool>,
) -> Result<ImageRecord, TxError<E>> {
    let record = IMAGES.get(tx, &id)?.ok_or_else(|| missing(id))?;
    let mut image: Image = record.clone().try_into().or_refuse()?;
    if owner.is_some_and(|owner| owner != image.owner) {
        return Err(missing(id));
    }
    if !change(&mut image).or_refuse()? {
        return Ok(record);
    }
    put_changed(tx, image, record.made_by)
}

fn put_changed(
    tx: &mut Tx<'_>,
    mut image: Image,
    made_by: String,
) -> Result<ImageRecord, TxError<E>> {
    image.version += 1;
    if image.state == State::Deregistered && image.deregistered_ms.is_none() {
        image.deregistered_ms = Some(tx.now_ms());
    }
    let record = ImageRecord::new(&image, made_by);
    put(tx, &record, image.id)?;
    Ok(record)
}
