use vmint_ids::{AccountId, ImageId};

use crate::{Catalog, Image, Result, State, store::Step};

impl Catalog {
    /// Deregisters an image of `owner`. Once this has answered no further pin
    /// succeeds; who had pinned it before goes on. Its name is free again.
    pub async fn deregister(&self, step: Step, id: ImageId, owner: AccountId) -> Result<Image> {
        let change = |image: &mut Image| {
            let moved = image.state != State::Deregistered;
            image.state = State::Deregistered;
            Ok(moved)
        };
        let image = self.images.change(step, id, Some(owner), change).await?;
        tracing::info!(image = %image.id, "image deregistered");
        Ok(image)
    }
}
