use vmint_ids::{AccountId, ImageId};
use vmint_store::Asked;

use crate::{
    Catalog, CatalogError, Image, Result, State, image::check_description, tag::changed_tags,
};

/// What to change of an image.
#[derive(Debug)]
pub struct Update {
    pub id: ImageId,
    /// Whose it must be.
    pub owner: AccountId,
    pub description: Option<String>,
    /// There is no way back.
    pub require_imds_v2: bool,
    pub put_tags: Vec<(String, String)>,
    /// Taken away before the others are put.
    pub remove_tags: Vec<String>,
    /// Change it only while it still has this one.
    pub etag: Option<String>,
    pub asked: Asked,
}

impl Catalog {
    /// Changes what can be changed of an image that is not deregistered.
    pub async fn update(&self, update: Update) -> Result<Image> {
        let Update { id, owner, description, require_imds_v2, put_tags, remove_tags, etag, asked } =
            update;
        if let Some(description) = &description {
            check_description(description)?;
        }
        let change = move |image: &mut Image| {
            if let Some(etag) = etag.filter(|etag| *etag != image.etag()) {
                return Err(CatalogError::EtagMismatch { image: image.id.to_string(), etag });
            }
            if image.state == State::Deregistered {
                return Err(image.not_available());
            }
            let before = image.clone();
            image.imds_v2_required |= require_imds_v2;
            image.tags = changed_tags(&image.tags, &put_tags, &remove_tags)?;
            image.description = description.unwrap_or_else(|| before.description.clone());
            Ok(*image != before)
        };
        self.images.update(id, owner, asked, change).await
    }
}
