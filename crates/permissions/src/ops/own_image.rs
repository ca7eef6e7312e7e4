use vmint_ids::{AccountId, ImageId};

use crate::{Permissions, Result, store::Step};

impl Permissions {
    /// Records that `image` belongs to `account`; answers the revision.
    pub async fn ensure_image_owner(
        &self,
        step: Step,
        image: ImageId,
        account: AccountId,
    ) -> Result<u64> {
        self.shares.ensure_owner(step, image, account).await
    }

    /// Forgets `image` and everything shared about it, if it is known; answers
    /// the revision.
    pub async fn release_image_owner(&self, step: Step, image: ImageId) -> Result<u64> {
        self.shares.release(step, image).await
    }
}
