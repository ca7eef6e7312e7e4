use vmint_ids::{AccountId, ImageId};
use vmint_store::Asked;

use crate::{Catalog, Result, store::Tags, tag::changed_tags};

/// What an account changes of its own tags on another's image.
#[derive(Debug)]
pub struct ViewerTags {
    pub id: ImageId,
    pub viewer: AccountId,
    pub put: Vec<(String, String)>,
    /// Taken away before the others are put.
    pub remove: Vec<String>,
    pub asked: Asked,
}

impl Catalog {
    /// Changes tags that nobody but `viewer` sees, and answers them all. Whether
    /// it may know of the image is not asked.
    pub async fn tag_as_viewer(&self, change: ViewerTags) -> Result<Tags> {
        let ViewerTags { id, viewer, put, remove, asked } = change;
        let change = move |before: &Tags| changed_tags(before, &put, &remove);
        self.images.tag_as_viewer(id, viewer, asked, change).await
    }
}
