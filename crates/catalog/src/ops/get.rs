use std::sync::Arc;

use vmint_ids::ImageId;

use crate::{Catalog, Image, Result, ops::Listed};

impl Catalog {
    /// Records by id, in the order asked; unknown ids are left out.
    pub fn batch_get(&self, ids: &[ImageId]) -> Result<Vec<Listed>> {
        self.index.get(ids)
    }

    /// An image as a verb answered it, with what the hints say.
    pub fn listed(&self, image: Image) -> Result<Listed> {
        let public = self.index.get(&[image.id])?.first().is_some_and(|listed| listed.public);
        Ok(Listed { image: Arc::new(image), public })
    }
}
