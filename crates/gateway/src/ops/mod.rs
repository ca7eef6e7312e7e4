//! What the gateway does itself, one verb a file.

mod add_product_code;
mod attach_volume;
mod attachment;
mod copy_from_region;
mod copy_image;
mod create_image;
mod create_image_plan;
mod deregister_image;
mod detach_volume;
mod export_image;
mod find_image;
mod import_image;
mod keep_volume;
mod launch;
mod launch_plan;
mod list_images;
mod list_sagas;
mod load_image;
mod modify_launch_permission;
mod parameters;
mod pending_image;
pub(crate) mod performance;
mod purge_account;
mod register_image;
mod restore_image;
mod run_instances;
mod save_image;
mod share_snapshot;
mod shared_with;
mod source_region;
mod tag_image;
mod terminate_instances;
mod watch_image;

pub(crate) use find_image::nearest;
pub(crate) use purge_account::Kept;
pub(crate) use source_region::Chunks;
pub(crate) use watch_image::Watch;

use prost::Message;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vmint_api::{catalog::v1 as catalog, types::v1::SagaStep};
use vmint_rpc::Caller;
use vmint_store::Asked;

use crate::{
    GatewayError,
    peers::Peers,
    saga::{Executor, Kinds},
};

/// A record of the saga log has bounds, and so has what it is about.
const LARGEST_REQUEST: usize = 48 << 10;
/// Request ids are UUIDs; EC2's tokens have up to 64 characters.
const LONGEST_REQUEST_ID: usize = 128;

/// Instances or volumes in one call of a participant: its transaction has bounds.
pub(crate) const AT_ONCE: usize = 20;

/// The gateway itself, free of any transport. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) peers: Peers,
    pub(crate) sagas: Executor,
    /// Streams end when it is cancelled.
    pub(crate) draining: CancellationToken,
    pub(crate) streams: TaskTracker,
    /// Accounts may be purged.
    pub(crate) test_mode: bool,
}

/// The kind of saga that empties an account, here too.
pub(crate) fn purge(peers: &Peers, kept: std::sync::Arc<dyn Kept>) -> impl crate::saga::Kind {
    purge_account::Purge { peers: peers.clone(), kept }
}

/// The kinds of sagas there are.
pub(crate) fn kinds(peers: &Peers) -> Kinds {
    Kinds::default()
        .with(register_image::Register { peers: peers.clone() })
        .with(import_image::Import { peers: peers.clone() })
        .with(create_image::Create { peers: peers.clone() })
        .with(copy_image::Duplicate { peers: peers.clone() })
        .with(copy_from_region::Fetch { peers: peers.clone() })
        .with(deregister_image::Deregister { peers: peers.clone() })
        .with(modify_launch_permission::Share { peers: peers.clone() })
        .with(add_product_code::AddProduct { peers: peers.clone() })
        .with(launch::Launch { peers: peers.clone() })
        .with(terminate_instances::Terminate { peers: peers.clone() })
        .with(attach_volume::Attach { peers: peers.clone() })
        .with(detach_volume::Detach { peers: peers.clone() })
        .with(keep_volume::Keep { peers: peers.clone() })
        .with(share_snapshot::ShareSnapshot { peers: peers.clone() })
}

/// What a repeated request is known by.
fn asked(
    caller: &Caller,
    method: &str,
    request_id: &str,
    request: &impl Message,
) -> Result<Asked, GatewayError> {
    let body = request.encode_to_vec();
    if body.len() > LARGEST_REQUEST {
        let why = format!("it has {} bytes; at most {LARGEST_REQUEST} fit", body.len());
        return Err(GatewayError::invalid("request", why));
    }
    if request_id.len() > LONGEST_REQUEST_ID {
        let why = format!("use a UUID; at most {LONGEST_REQUEST_ID} characters fit");
        return Err(GatewayError::invalid("request_id", why));
    }
    Ok(Asked {
        account: caller.account.clone(),
        method: method.to_owned(),
        request_id: request_id.to_owned(),
        digest: *blake3::hash(&body).as_bytes(),
    })
}

fn has_ended(image: &catalog::Image) -> bool {
    matches!(image.state(), catalog::ImageState::Failed | catalog::ImageState::Deregistered)
}

/// The same step, for a second call that it makes.
fn part(step: Option<SagaStep>, part: &str) -> Option<SagaStep> {
    step.map(|step| SagaStep { step: format!("{}/{part}", step.step), ..step })
}

/// Adds what is not there yet; keeps the order of names.
fn add_codes(codes: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    codes.extend(more);
    codes.sort_unstable();
    codes.dedup();
}
