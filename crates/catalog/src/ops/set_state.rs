use std::collections::BTreeSet;

use vmint_ids::{ImageId, ProductCode, SnapshotId};

use crate::{Catalog, CatalogError, Image, Result, State, image::check_description, store::Step};

/// Where a pending image should stand.
#[derive(Debug)]
pub enum Progress {
    /// How much of it is there, 0 to 100; never goes back.
    Pending(u8),
    /// Can be launched. Of its snapshots, these are encrypted.
    Available(BTreeSet<SnapshotId>),
    /// Why it never will be: EC2's word, and a sentence.
    Failed { code: String, reason: String },
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
        if let Progress::Failed { code, reason } = &progress {
            check_description(reason)
                .map_err(|_| CatalogError::field("state_reason", "may have 255 characters"))?;
            check_code(code)?;
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

fn check_code(code: &str) -> Result<()> {
    if code.len() > 64 || !code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.') {
        let why = "must be at most 64 letters, digits and dots";
        return Err(CatalogError::field("state_reason_code", why));
    }
    Ok(())
}

fn advance(image: &mut Image, progress: Progress) -> Result<bool> {
    match (image.state, progress) {
        (State::Pending, Progress::Pending(percent)) => {
            let moved = percent > image.progress;
            image.progress = image.progress.max(percent.min(100));
            Ok(moved)
        }
        (State::Pending, Progress::Available(encrypted)) => {
            image.state = State::Available;
            for disk in &mut image.disks {
                disk.encrypted |= disk.snapshot.is_some_and(|id| encrypted.contains(&id));
            }
            image.progress = 100;
            Ok(true)
        }
        (State::Pending, Progress::Failed { code, reason }) => {
            image.state = State::Failed;
            image.state_reason = reason;
            image.state_reason_code = code;
            Ok(true)
        }
        (State::Available, Progress::Available(_)) | (State::Failed, Progress::Failed { .. }) => {
            Ok(false)
        }
        _ => Err(image.not_available()),
    }
}
