use vmint_ids::{AccountId, ImageId};

use crate::{Change, Permissions, PermissionsError, Result, Sharing, sharing::Action, store::Step};

/// An image's permissions, and as of which revision.
#[derive(Debug)]
pub struct Shared {
    pub sharing: Sharing,
    pub revision: u64,
}

impl Permissions {
    /// Changes whom `image`, which must belong to `owner`, is shared with. To do
    /// it again changes nothing further.
    pub async fn ensure_launch_permission(
        &self,
        step: Step,
        image: ImageId,
        owner: AccountId,
        change: Change,
    ) -> Result<Shared> {
        let (sharing, revision) = self.shares.change(step, image, owner, change).await?;
        tracing::info!(%image, public = sharing.public, accounts = sharing.accounts.len(), "shared");
        Ok(Shared { sharing, revision })
    }

    /// Says whom `image` is shared with; only its owner is told.
    pub fn launch_permission(&self, image: ImageId, asker: AccountId) -> Result<Shared> {
        let revision = self.shares.revision()?;
        let missing = || PermissionsError::ImageNotFound { image: image.to_string() };
        let sharing = self.shares.get(image)?.ok_or_else(missing)?;
        may_manage(&sharing, image, asker)?;
        Ok(Shared { sharing, revision })
    }
}

/// That `account` owns the image; who may not know of it learns nothing.
pub(crate) fn may_manage(sharing: &Sharing, image: ImageId, account: AccountId) -> Result<()> {
    let decision = sharing.decide(account, Action::Manage);
    match (decision.allowed, decision.visible) {
        (true, _) => Ok(()),
        (false, true) => Err(PermissionsError::NotOwner { image: image.to_string() }),
        (false, false) => Err(PermissionsError::ImageNotFound { image: image.to_string() }),
    }
}
