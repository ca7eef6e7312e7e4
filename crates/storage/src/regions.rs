//! Other deployments that images may be copied from.

use std::collections::BTreeMap;

use vmint_api::gateway::v1::region_service_client::RegionServiceClient;
use vmint_rpc::{Channel, connect_plain};

use crate::{Region, Result, StorageError};

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
}
