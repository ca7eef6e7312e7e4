//! Machines as they are now: begun, watched, found again, ended.

mod adoption;
mod begin;
mod end;
mod fleet;
mod gate;
pub mod hypervisor;
mod plug;
pub(crate) mod qemu;
pub(crate) mod simulated;
mod ssh;

pub(crate) use end::console_tail;
pub(crate) use fleet::{Fleet, Places};
