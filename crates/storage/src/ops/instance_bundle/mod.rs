//! Root disks of instance-store images go into signed bundles, and come out of them.

mod make;
mod pack;
mod read;
mod task;

pub(crate) use task::NewBundle;

/// What the ledger keeps.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    task: String,
}
