use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vmint_ids::InstanceId;

use super::Launcher;
use crate::{Instance, Result, State, store::Records};

/// An instance as it changes.
#[derive(Debug)]
pub struct Following {
    records: Records,
    id: InstanceId,
    commits: watch::Receiver<u64>,
    last: Option<Instance>,
    draining: CancellationToken,
}

impl Launcher {
    /// Follows an instance of the account's.
    pub fn follow(&self, account: &str, text: &str) -> Result<Following> {
        let id = self.records.owned(account, text)?.id;
        Ok(Following {
            records: self.records.clone(),
            id,
            commits: self.records.watch(),
            last: None,
            draining: self.draining.clone(),
        })
    }
}

impl Following {
    /// The instance now, then whenever it has changed; `None` after its end.
    pub async fn next(&mut self) -> Result<Option<Instance>> {
        if self.last.as_ref().is_some_and(|i| i.state == State::Terminated) {
            return Ok(None);
        }
        loop {
            self.commits.borrow_and_update();
            match self.records.get(self.id)? {
                None => return Ok(None),
                now if now != self.last => {
                    self.last.clone_from(&now);
                    return Ok(now);
                }
                Some(_) => {}
            }
            tokio::select! {
                moved = self.commits.changed() => {
                    if moved.is_err() {
                        return Ok(None);
                    }
                }
                () = self.draining.cancelled() => return Ok(None),
            }
        }
    }
}
