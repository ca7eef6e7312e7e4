//! What the catalog keeps, and how it is found again.

mod fence;
mod images;
mod pins;
mod record;

pub use fence::Step;
pub(crate) use images::{Hint, Images, Row};
