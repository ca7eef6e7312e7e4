use std::sync::Arc;

use vmint_ids::{AccountId, ImageId};

use crate::{
    Catalog, Image, Result,
    ops::{Hinted, Listed},
};

impl Catalog {
    /// Records by id, in the order asked; unknown ids are left out.
    pub fn batch_get(&self, ids: &[ImageId]) -> Result<Vec<Listed>> {
        self.index.get(ids)
    }

    /// As [`Self::batch_get`], as `viewer` sees them.
    pub fn batch_get_for(&self, ids: &[ImageId], viewer: AccountId) -> Result<Vec<Hinted>> {
        self.index.get_for(ids, viewer)
    }

    /// An image as a verb answered it, with what the hints say.
    pub fn listed(&self, image: Image) -> Result<Listed> {
        let public = self.index.get(&[image.id])?.first().is_some_and(|listed| listed.public);
        Ok(Listed { image: Arc::new(image), public, viewer_tags: None })
    }
}
