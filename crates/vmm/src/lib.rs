//! One QEMU process: its command line, its sandbox, QMP, serial log and life.
//!
//! A machine lives in a directory of its own and under a **shim**, a small process
//! of our own binary ([`shim::main`]) that outlives the program which launched it:
//! it makes the machine's namespaces, starts QEMU in them, is the sole reader of the
//! serial port, and carries the guest's metadata requests and the forwarded ports in
//! and out. A restarted launcher finds the machine again by [`Machine::adopt`].

// Deadlines are all in seconds, so that they compare at a glance.
#![allow(clippy::duration_suboptimal_units)]

pub mod accelerator;
mod command;
mod error;
pub mod layout;
mod machine;
mod process;
pub mod qemu;
pub mod qmp;
pub mod shim;
mod spec;
mod supervise;

pub use accelerator::{Accelerator, Probe};
pub use error::{Result, VmmError};
pub use layout::{Confinement, Exit};
pub use machine::{Machine, Timings};
pub use qemu::Qemu;
pub use qmp::{Event, Qmp};
pub use spec::{
    DiskBus, DiskSpec, Firmware, MachineSpec, MachineUuid, NetworkSpec, NicModel, SpecError,
};
pub use supervise::Status;
