//! What the catalog keeps, and how it is found again.

mod fence;
mod images;
mod parameters;
mod pins;
mod record;
mod viewer_tags;

pub use fence::Step;
pub(crate) use images::{Hint, Images, Row, Touched};
pub(crate) use parameters::Parameters;
pub(crate) use viewer_tags::Tags;
