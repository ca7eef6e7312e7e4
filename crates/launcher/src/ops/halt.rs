use std::time::Duration;

use tokio::time::timeout;
use vmint_ids::InstanceId;
use vmint_store::TxError;

use super::Launcher;
use crate::{Instance, LauncherError, Result, State, instance::HALTED, store::By};

/// How long an answer waits for the machine's end: longer than its grace.
const WAIT: Duration = Duration::from_secs(50);
/// What is left to a caller's deadline for the answer to arrive.
const MARGIN: Duration = Duration::from_secs(1);

impl Launcher {
    /// Powers a running machine of the account's off for as long as its image is made,
    /// and waits for its end. One that is stopped is let be.
    pub async fn halt(&self, epoch: u64, account: &str, id: InstanceId) -> Result<Instance> {
        let account = account.to_owned();
        let halting = self
            .records
            .change(id, By::Saga(epoch), move |tx, instance| {
                must_own(instance, &account)?;
                match instance.state {
                    State::Stopping | State::Stopped => {}
                    State::Running => {
                        let at = i64::try_from(tx.now_ms()).unwrap_or(i64::MAX);
                        let stopping = instance.enter(State::Stopping, HALTED, at);
                        stopping.map_err(TxError::Refused)?;
                    }
                    _ => return Err(TxError::Refused(instance.not_now("make an image of"))),
                }
                Ok(vec![])
            })
            .await?;
        if halting.state == State::Stopping {
            self.fleet.stop(id, halting.run, false);
            if let Some(live) = self.fleet.live(id) {
                let left = vmint_rpc::time_left().unwrap_or(WAIT).saturating_sub(MARGIN);
                drop(timeout(WAIT.min(left), live.ended()).await);
            }
        }
        let now = self.records.get(id)?.unwrap_or(halting);
        match now.state {
            State::Stopped => Ok(now),
            // Asked again, it is waited for again.
            State::Stopping => {
                let why = "it does not end; it is being powered off".to_owned();
                Err(LauncherError::MachineMute { id, why })
            }
            _ => Err(now.not_now("make an image of")),
        }
    }

    /// Starts a machine again that [`Self::halt`] has powered off, unless somebody else
    /// has changed how it stands since.
    pub async fn resume(&self, epoch: u64, account: &str, id: InstanceId) -> Result<()> {
        let (account, limits) = (account.to_owned(), self.limits);
        let instance = self.records.resume(id, epoch, account, limits).await?;
        if instance.state == State::Pending && !instance.unlaunched() {
            self.fleet.start(id).await?;
        }
        Ok(())
    }
}

fn must_own(instance: &Instance, account: &str) -> Result<(), TxError<LauncherError>> {
    if instance.account == account {
        return Ok(());
    }
    Err(TxError::Refused(LauncherError::NoSuchInstance { id: instance.id.to_string() }))
}
