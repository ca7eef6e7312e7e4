//! Keeps out the steps of a gateway that another has taken over from.

use vmint_store::{Table, Tx, TxError};

use super::record::NumberRecord;
use crate::MarketError;

static NUMBERS: Table<String, NumberRecord> = Table::new("numbers.v1");

const EPOCH: &str = "saga-epoch";

/// The step of a saga that asks for a change.
#[derive(Debug, Clone)]
pub struct Step {
    pub saga: String,
    /// Of the gateway that runs the saga.
    pub epoch: u64,
}

impl Step {
    /// Refuses the step if a later epoch has been here; else remembers its own.
    pub(crate) fn admit(&self, tx: &mut Tx<'_>) -> Result<(), TxError<MarketError>> {
        let key = EPOCH.to_owned();
        let seen = NUMBERS.get(tx, &key)?.unwrap_or_default().value;
        if self.epoch < seen {
            return Err(TxError::refuse(MarketError::Fenced { epoch: self.epoch, seen }));
        }
        if self.epoch > seen {
            NUMBERS.put(tx, &key, &NumberRecord { value: self.epoch })?;
        }
        Ok(())
    }
}
