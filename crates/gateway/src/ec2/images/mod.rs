//! Images: find, make, change and end them.

mod attribute;
mod describe;
mod end;
mod make;
mod shown;

pub(super) use describe::all_tagged;
pub(super) use shown::{architecture, asked, boot_mode, state};

use super::{Entry, entries, service::Service};

pub(super) const ENTRIES: &[Entry] = entries! {
    Service::Ec2;
    reads describe::DESCRIBE => describe::describe_images,
    writes make::REGISTER => make::register_image,
    writes make::CREATE => make::create_image,
    writes make::COPY => make::copy_image,
    writes end::DEREGISTER => end::deregister_image,
    reads attribute::DESCRIBE => attribute::describe,
    writes attribute::MODIFY => attribute::modify,
    writes attribute::RESET => attribute::reset,
};
