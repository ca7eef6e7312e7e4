use std::time::Duration;

use vmint_ids::ImageId;

use crate::{Catalog, CatalogError, Image, Result, store::Step};

/// How long a pin stays unless told.
const USUAL_LEASE: Duration = Duration::from_mins(10);
/// How long a pin may stay.
const LONGEST_LEASE: Duration = Duration::from_hours(24);

impl Catalog {
    /// Holds an available image for the saga and answers its record. Asked
    /// again, the saga's pin is prolonged, even if the image was deregistered
    /// meanwhile.
    pub async fn pin(&self, step: Step, id: ImageId, lease: Option<Duration>) -> Result<Image> {
        let lease = lease.unwrap_or(USUAL_LEASE);
        if lease.is_zero() || lease > LONGEST_LEASE {
            return Err(CatalogError::field("lease", "must be more than 0 and at most 24 hours"));
        }
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX / 2);
        self.images.pin(step, id, lease_ms).await
    }

    /// Lets go of the saga's pin. An unknown one is no error.
    pub async fn unpin(&self, step: Step, id: ImageId) -> Result<()> {
        self.images.unpin(step, id).await
    }
}
