use std::collections::BTreeSet;

use vmint_ids::{ImageId, ProductCode};

use crate::{Catalog, CatalogError, Image, Result, State, image::check_description, store::Step};

/// Where a pending image should stand.
#[derive(Debug)]
pub enum Progress {
    /// How much of it is there, 0 to 100; never goes back.
    Pending(u8),
    /// Can be launched.
    Available,
    /// Why it never will be.
    Failed(String),
}

impl Catalog {
    /// Moves a pending image on, and adds the codes that its data turned out to
    /// have. To ask again for the state it has changes nothing.
    pub async fn ensure_state(
        &self,
        step: Step,
        id: ImageId,
        progress: Progress,
        codes: BTreeSet<ProductCode>,
    ) -> Result<Image> {
        if let Progress::Failed(why) = &progress {
            check_description(why)
                .map_err(|_| CatalogError::field("state_reason", "may have 255 characters"))?;
        }
        let change = move |image: &mut Image| {
            let added = image.add_codes(codes)?;
            let moved = advance(image, progress)?;
            Ok(added || moved)
        };
        let image = self.images.change(step, id, None, change).await?;
        tracing::info!(image = %image.id, state = %image.state, "image state");
        Ok(image)
    }
}

fn advance(image: &mut Image, progress: Progress) -> Result<bool> {
    match (image.state, progress) {
        (State::Pending, Progress::Pending(percent)) => {
            let moved = percent > image.progress;
            image.progress = image.progress.max(percent.min(100));
            Ok(moved)
        }
        (State::Pending, Progress::Available) => {
            image.state = State::Available;
            image.progress = 100;
            Ok(true)
        }
        (State::Pending, Progress::Failed(why)) => {
            image.state = State::Failed;
            image.state_reason = why;
            Ok(true)
        }
        (State::Available, Progress::Available) | (State::Failed, Progress::Failed(_)) => Ok(false),
        _ => Err(image.not_available()),
    }
}
