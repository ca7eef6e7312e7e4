//! Other deployments that images may be copied from.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use vmint_api::gateway::v1::region_service_client::RegionServiceClient;
use vmint_rpc::{Channel, Fault, connect_plain};

use crate::{Lack, Region, Result, StorageError};

/// The largest answer of another region's gateway.
const LARGEST_ANSWER: usize = 16 << 20;

/// Connections to the gateways of other regions, made when first used.
#[derive(Debug)]
pub(crate) struct Regions(BTreeMap<String, Option<Channel>>);

impl Regions {
    pub(crate) fn new(config: &BTreeMap<String, Region>) -> Self {
        let open =
            |region: &Region| connect_plain(&region.address, "gateway").bearer(&region.token);
        Self(config.iter().map(|(name, region)| (name.clone(), open(region))).collect())
    }

    /// A client of the region's gateway.
    pub(crate) fn client(&self, name: &str) -> Result<RegionServiceClient<Channel>> {
        let known = self.0.get(name);
        let channel = known.and_then(Clone::clone).ok_or_else(|| StorageError::NoSuchRegion {
            name: name.chars().take(64).collect(),
            known: self.0.keys().cloned().collect::<Vec<_>>().join(", "),
        })?;
        Ok(RegionServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
    }

    /// What the region's refusal means here.
    #[allow(clippy::unused_self, reason = "it is theirs to tell")]
    pub(crate) fn refused(&self, name: &str, status: &Status) -> StorageError {
        let seen = Fault::from_status(status);
        let lack = match seen.reason.as_str() {
            "IMAGE_NOT_FOUND" => Some(Lack::Image),
            "IMAGE_NOT_AVAILABLE" => Some(Lack::AvailableImage),
            "SNAPSHOT_NOT_FOUND" => Some(Lack::Snapshot),
            "SNAPSHOT_NOT_COMPLETED" => Some(Lack::CompletedSnapshot),
            _ => None,
        };
        let named = ["imageId", "snapshotId", "snapshot_id"];
        let id = named.iter().find_map(|key| seen.metadata.get(*key)).cloned().unwrap_or_default();
        let (name, why) = (name.to_owned(), seen.message);
        match (lack, status.code()) {
            (Some(lack), _) => StorageError::Lacking { region: name, id, why, lack },
            (
                None,
                Code::NotFound
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::InvalidArgument
                | Code::Unimplemented,
            ) => StorageError::RegionRefused { name, why },
            (None, _) => StorageError::RegionAway { name, why },
        }
    }
}
