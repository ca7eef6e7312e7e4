use vmint_ids::ImageId;

use crate::{Catalog, Result, store::Step};

impl Catalog {
    /// Takes away an image that is not available yet, or never will be, as if it
    /// had never been. An unknown one is no error.
    ///
    /// The saga that made it may take it back even when it is available; if
    /// somebody has pinned it by then, it is deregistered instead.
    pub async fn release(&self, step: Step, id: ImageId) -> Result<()> {
        self.images.release(step, id).await?;
        tracing::info!(image = %id, "image released");
        Ok(())
    }
}
