//! The demo image: a small Linux with an ssh server, built on the spot from the
//! distribution's own packages, without root and in seconds.

mod image;

use std::borrow::Cow;

pub(crate) use image::{Report, SeedOptions, build, missing_tools};

/// The first-boot agent, as this program's build script made it.
const AGENT: &[u8] = include_bytes!(env!("VMINT_GUEST_AGENT"));

impl Default for SeedOptions {
    fn default() -> Self {
        Self::with_agent(Cow::Borrowed(AGENT))
    }
}
