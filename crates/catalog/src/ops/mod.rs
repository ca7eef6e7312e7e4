//! What can be done with images, one file to a verb.

mod add_codes;
mod deregister;
mod get;
mod make;
mod parameters;
mod pin;
mod query;
mod release;
mod set_state;
mod show;
mod tag_as_viewer;
mod update;

use std::sync::Arc;

use vmint_store::Store;

use crate::{
    Result,
    index::Index,
    store::{Images, Parameters, Tags},
};

pub use make::NewImage;
pub use parameters::{Asker, ParameterPage, ParameterQuery};
pub use query::{Executor, Page, Query};
pub use set_state::Progress;
pub use tag_as_viewer::ViewerTags;
pub use update::Update;

/// The catalog itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog {
    images: Images,
    index: Index,
    parameters: Parameters,
}

impl Catalog {
    /// Reads every image once, for the index. Blocks meanwhile.
    pub fn open(store: Store) -> Result<Self> {
        let (images, parameters) = (Images::new(store.clone()), Parameters::new(store));
        let index = Index::build(images.clone())?;
        Ok(Self { images, index, parameters })
    }
}

/// An image, and whether everybody may launch it as far as the hints say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub image: Arc<crate::Image>,
    pub public: bool,
    /// Of who looks and does not own it: its own tags, in place of the image's.
    pub viewer_tags: Option<Arc<Tags>>,
}

/// An image as somebody sees it, and whether the hints say that it may, or might
/// when the image ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hinted {
    pub listed: Listed,
    pub hinted: bool,
}
