use std::collections::{BTreeMap, BTreeSet};

use vmint_ids::{AccountId, ImageId, InstanceId, ProductCode};

use crate::{Architecture, BootMode, Catalog, Disk, Image, Name, Result, State, store::Step};

/// The image to record, as its saga drew it up.
#[allow(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug)]
pub struct NewImage {
    pub id: ImageId,
    pub name: Name,
    pub description: String,
    pub owner: AccountId,
    pub architecture: Architecture,
    pub boot_mode: BootMode,
    pub root_device: String,
    pub disks: Vec<Disk>,
    pub windows: bool,
    pub product_codes: BTreeSet<ProductCode>,
    pub source_image: Option<ImageId>,
    pub source_instance: Option<InstanceId>,
    pub tags: BTreeMap<String, String>,
    pub ena_support: bool,
    pub imds_v2_required: bool,
    /// Its data are there: it can be launched at once.
    pub whole: bool,
}

impl Catalog {
    /// Makes the record of an image, pending unless it is whole, and claims its
    /// name. If the record is there it is answered as it is, but for a pending
    /// one that is whole by now, which moves on.
    pub async fn ensure_image(&self, step: Step, new: NewImage) -> Result<Image> {
        let image = Image {
            id: new.id,
            name: new.name,
            description: new.description,
            owner: new.owner,
            state: if new.whole { State::Available } else { State::Pending },
            state_reason: String::new(),
            state_reason_code: String::new(),
            progress: if new.whole { 100 } else { 0 },
            architecture: new.architecture,
            boot_mode: new.boot_mode,
            root_device: new.root_device,
            disks: new.disks,
            windows: new.windows,
            product_codes: new.product_codes,
            source_image: new.source_image,
            source_instance: new.source_instance,
            tags: new.tags,
            ena_support: new.ena_support,
            imds_v2_required: new.imds_v2_required,
            created_ms: 0,
            deregistered_ms: None,
            version: 1,
        };
        image.check()?;
        let image = self.images.ensure(step, image).await?;
        tracing::info!(image = %image.id, owner = %image.owner, "image recorded");
        Ok(image)
    }
}
