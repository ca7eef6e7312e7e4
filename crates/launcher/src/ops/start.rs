use std::time::Duration;

use tokio::time::timeout;
use vmint_store::Asked;

use super::Launcher;
use crate::{Instance, Result, State};

/// How long an answer waits for the machine to run.
const WAIT: Duration = Duration::from_secs(5);

impl Launcher {
    /// Starts a stopped instance, as a new run. Answers with it running, or pending if
    /// that takes its time.
    pub async fn start(&self, account: &str, text: &str, asked: Asked) -> Result<Instance> {
        let id = self.records.owned(account, text)?.id;
        let answer = self.records.start(id, asked, self.limits).await?;
        let pending = |i: &Instance| i.state == State::Pending && !i.unlaunched();
        if !self.records.get(id)?.as_ref().is_some_and(pending) {
            return Ok(answer);
        }
        match timeout(WAIT, self.fleet.start(id)).await {
            Ok(started) => started,
            Err(_) => Ok(answer),
        }
    }
}
