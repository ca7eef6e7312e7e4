use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vmint_ids::{AccountId, InstanceId, ProductCode};

use crate::{Agreement, Hold, MarketError, Marketplace, Result, store::Step};

/// How long a hold stays unless told.
const USUAL_LIFE: Duration = Duration::from_mins(10);
/// How long a hold may stay.
const LONGEST_LIFE: Duration = Duration::from_hours(24);

/// Who wants to run what.
#[derive(Debug)]
pub struct NewHold {
    pub step: Step,
    pub buyer: AccountId,
    /// At most 20.
    pub codes: BTreeSet<ProductCode>,
    /// At most 20.
    pub instances: BTreeSet<InstanceId>,
    /// None: 10 minutes. At most a day.
    pub life: Option<Duration>,
}

impl Marketplace {
    /// Reserves the right to run instances of products. Asked again, the hold is
    /// prolonged. What the buyer sells itself needs no agreement.
    pub async fn hold(&self, new: NewHold) -> Result<Vec<Agreement>> {
        if new.codes.len() > 20 || new.instances.len() > 20 {
            let field = if new.codes.len() > 20 { "product_codes" } else { "instance_ids" };
            return Err(MarketError::field(field, "may have 20 entries at most"));
        }
        let life = new.life.unwrap_or(USUAL_LIFE);
        if life.is_zero() || life > LONGEST_LIFE {
            return Err(MarketError::field(
                "time_to_live",
                "must be more than 0, at most 24 hours",
            ));
        }
        let hold = Hold {
            saga: new.step.saga.clone(),
            buyer: new.buyer,
            agreements: BTreeMap::new(),
            instances: new.instances,
            expires_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX / 2),
            confirmed: false,
        };
        self.shop.hold(new.step, hold, new.codes).await
    }

    /// Makes the saga's hold lasting. One that ran out is still good while its
    /// agreements are: by now the machines run.
    pub async fn confirm_hold(&self, step: Step) -> Result<()> {
        self.shop.confirm(step).await
    }

    /// Gives the saga's hold back. An unknown one is no error.
    pub async fn release_hold(&self, step: Step) -> Result<()> {
        self.shop.release(step).await
    }
}
