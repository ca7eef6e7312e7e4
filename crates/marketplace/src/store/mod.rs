//! What the marketplace keeps, and how it is found again.

mod audit;
mod books;
mod fence;
mod record;
mod shop;

pub(crate) use books::Books;
pub use fence::Step;
pub(crate) use shop::Shop;
