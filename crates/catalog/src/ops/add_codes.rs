use std::collections::BTreeSet;

use vmint_ids::{AccountId, ImageId, ProductCode};

use crate::{Catalog, Image, Result, store::Step};

impl Catalog {
    /// Adds product codes to an image of `owner`; they are never taken away.
    pub async fn ensure_codes(
        &self,
        step: Step,
        id: ImageId,
        owner: AccountId,
        codes: BTreeSet<ProductCode>,
    ) -> Result<Image> {
        let change = move |image: &mut Image| {
            if image.state.is_ended() {
                return Err(image.not_available());
            }
            image.add_codes(codes)
        };
        self.images.change(step, id, Some(owner), change).await
    }
}
