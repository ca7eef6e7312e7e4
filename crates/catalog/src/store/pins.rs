//! Who holds which image, and until when.

use vmint_ids::ImageId;
use vmint_store::{StoreError, Table, Tx, prefix};

use super::record::PinRecord;

static PINS: Table<(ImageId, String), PinRecord> = Table::new("pins.v1")
    .with_index("expiry", |_, it: &PinRecord| vec![it.expires_ms.to_be_bytes().to_vec()]);

/// Whether the saga's pin still holds.
pub(super) fn holds(tx: &Tx<'_>, image: ImageId, saga: &str) -> Result<bool, StoreError> {
    let pin = PINS.get(tx, &(image, saga.to_owned()))?;
    Ok(pin.is_some_and(|pin| pin.expires_ms > tx.now_ms()))
}

/// Whether anybody's pin still holds.
pub(super) fn any(tx: &Tx<'_>, image: ImageId) -> Result<bool, StoreError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let pins = PINS.scan(tx, &prefix(&[&image]), after.as_deref(), 100)?;
        if pins.iter().any(|(_, pin)| pin.expires_ms > tx.now_ms()) {
            return Ok(true);
        }
        let Some((last, _)) = pins.last() else { return Ok(false) };
        after = Some(vmint_store::Key::encode(last));
    }
}

pub(super) fn put(
    tx: &mut Tx<'_>,
    image: ImageId,
    saga: &str,
    lease_ms: u64,
) -> Result<(), StoreError> {
    forget_expired(tx)?;
    let expires_ms = tx.now_ms().saturating_add(lease_ms);
    PINS.put(tx, &(image, saga.to_owned()), &PinRecord { expires_ms })
}

pub(super) fn remove(tx: &mut Tx<'_>, image: ImageId, saga: &str) -> Result<(), StoreError> {
    PINS.remove(tx, &(image, saga.to_owned()))
}

/// Removes a few pins that nobody let go of, more than one commit adds.
fn forget_expired(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let now = tx.now_ms();
    for (key, pin) in PINS.by_index(tx, "expiry", &[], None, 4)? {
        if pin.expires_ms > now {
            break;
        }
        PINS.remove(tx, &key)?;
    }
    Ok(())
}
