//! Keeps out the steps of a gateway that another has taken over from.

use vmint_store::{Fence, Tx, TxError};

use crate::MarketError;

static FENCE: Fence = Fence::new("numbers.v1", b"saga-epoch");

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
        FENCE.admit(tx, self.epoch)
    }
}
