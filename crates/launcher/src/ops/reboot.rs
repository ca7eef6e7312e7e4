use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use vmint_store::{Asked, TxError};

use super::Launcher;
use crate::{Instance, LauncherError, Result, State, store::By};

impl Launcher {
    /// Resets a running instance; its run goes on. Asked again under the same request
    /// id it resets nothing.
    pub async fn reboot(&self, account: &str, text: &str, asked: Asked) -> Result<Instance> {
        let id = self.records.owned(account, text)?.id;
        let first = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&first);
        let answer = self
            .records
            .change(id, By::User(asked), move |_, instance| {
                if instance.state != State::Running {
                    return Err(TxError::Refused(instance.not_now("reboot")));
                }
                noted.store(true, Ordering::Relaxed);
                Ok(vec![])
            })
            .await?;
        if first.load(Ordering::Relaxed) {
            let live = self.fleet.live(id).ok_or_else(|| answer.not_now("reboot"))?;
            let mute = |e| LauncherError::MachineMute { id, why: format!("{e}") };
            live.machine.reset().await.map_err(mute)?;
            tracing::info!(instance = %id, "reset");
        }
        Ok(answer)
    }
}
