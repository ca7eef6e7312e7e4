//! Generated messages, clients and server traits of every service.
#![allow(missing_debug_implementations, unreachable_pub, clippy::all, clippy::pedantic)]

/// Every file under `proto/` and what they import, as an encoded
/// `google.protobuf.FileDescriptorSet` with comments and method policies.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! packages {
    ($($name:ident $path:literal)*) => {
        /// The packages as they are named on the wire.
        pub mod vmint {
            $(pub mod $name {
                pub mod v1 {
                    tonic::include_proto!($path);
                }
            })*
            pub mod r#type {
                pub mod v1 {
                    tonic::include_proto!("vmint.r#type.v1");
                }
            }
        }
        pub use vmint::{$($name),*};
    };
}

packages! {
    options "vmint.options.v1"
    catalog "vmint.catalog.v1"
    permissions "vmint.permissions.v1"
    marketplace "vmint.marketplace.v1"
    launcher "vmint.launcher.v1"
    storage "vmint.storage.v1"
    gateway "vmint.gateway.v1"
}

/// Messages that two services share.
pub use vmint::r#type as types;
