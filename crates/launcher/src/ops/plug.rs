use std::time::Duration;

use vmint_ids::InstanceId;

use super::{Launcher, identify::check};
use crate::{Result, Volume};

/// How long a guest may take to let go of a volume.
const LET_GO: Duration = Duration::from_secs(20);
/// What is left to a caller's deadline for the answer to arrive.
const MARGIN: Duration = Duration::from_secs(1);

impl Launcher {
    /// Gives an instance of the account's a volume: at once if it runs, else for its next
    /// start. Asked again, it only takes over what happens to the volume at the end.
    pub async fn plug(
        &self,
        epoch: u64,
        account: &str,
        id: InstanceId,
        volume: Volume,
    ) -> Result<Volume> {
        check(&volume)?;
        self.fleet.plug(epoch, account.to_owned(), id, volume).await
    }

    /// Takes a volume from an instance of the account's; answers once its machine, if it
    /// has one, has let go. With `force` whatever the guest says. What is not there is no
    /// error.
    pub async fn unplug(
        &self,
        epoch: u64,
        account: &str,
        id: InstanceId,
        volume: &str,
        force: bool,
    ) -> Result<()> {
        let left = vmint_rpc::time_left().unwrap_or(LET_GO);
        let limit = LET_GO.min(left.saturating_sub(MARGIN));
        self.fleet.unplug(epoch, account.to_owned(), id, volume.to_owned(), limit, force).await
    }
}
