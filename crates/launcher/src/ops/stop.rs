use vmint_store::{Asked, TxError};

use super::Launcher;
use crate::{Instance, Result, State, store::By};

impl Launcher {
    /// Stops a running instance: asks its guest to power off and pulls the plug after a
    /// while, or at once if `force`. One that is off already stays off.
    pub async fn stop(
        &self,
        account: &str,
        text: &str,
        force: bool,
        asked: Asked,
    ) -> Result<Instance> {
        let id = self.records.owned(account, text)?.id;
        let answer = self
            .records
            .change(id, By::User(asked), move |tx, instance| {
                match instance.state {
                    State::Stopping | State::Stopped => {}
                    State::Running => {
                        let at = i64::try_from(tx.now_ms()).unwrap_or(i64::MAX);
                        let stopping = instance.enter(State::Stopping, "stopped on request", at);
                        stopping.map_err(TxError::Refused)?;
                    }
                    _ => return Err(TxError::Refused(instance.not_now("stop"))),
                }
                Ok(vec![])
            })
            .await?;
        // The answer may be an old one: what counts is how it stands now.
        if let Some(now) = self.records.get(id)?
            && now.state == State::Stopping
        {
            self.fleet.stop(id, now.run, force);
        }
        Ok(answer)
    }
}
