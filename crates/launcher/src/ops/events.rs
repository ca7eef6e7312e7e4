use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Launcher;
use crate::{Result, instance::Happening, store};

/// The longest wait for something to happen.
const WAIT: Duration = Duration::from_secs(10);
/// What is left to a caller's deadline for the answer to arrive.
const MARGIN: Duration = Duration::from_millis(500);
const USUAL: usize = 100;
const MOST: usize = 1000;

/// One thing that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEvent {
    /// Grows; the cursor to go on after.
    pub sequence: u64,
    pub instance: String,
    pub account: String,
    pub image: String,
    pub product_codes: Vec<String>,
    pub kind: Happening,
    /// Which run of the instance, from 1; 0 if it never ran.
    pub run: u64,
    /// Milliseconds since 1970.
    pub at: i64,
}

impl Launcher {
    /// What happened after number `after`, oldest first; waits up to 10 s for something.
    /// `limit` 0 means 100; at most 1000.
    pub async fn events(&self, after: u64, limit: usize) -> Result<Vec<MachineEvent>> {
        let limit = if limit == 0 { USUAL } else { limit.min(MOST) };
        let wait =
            vmint_rpc::time_left().map_or(WAIT, |left| WAIT.min(left.saturating_sub(MARGIN)));
        let end = Instant::now() + wait;
        // Subscribed before the first look, so that nothing falls between.
        let mut commits = self.records.watch();
        loop {
            commits.borrow_and_update();
            let events = self.records.events(after, limit)?;
            if !events.is_empty() {
                return Ok(events.into_iter().map(Into::into).collect());
            }
            let moved = tokio::select! {
                moved = timeout_at(end, commits.changed()) => matches!(moved, Ok(Ok(()))),
                () = self.draining.cancelled() => false,
            };
            if !moved {
                return Ok(Vec::new());
            }
        }
    }
}

impl From<store::MachineEvent> for MachineEvent {
    fn from(event: store::MachineEvent) -> Self {
        Self {
            sequence: event.sequence,
            instance: event.instance,
            account: event.account,
            image: event.image,
            product_codes: event.product_codes,
            kind: event.kind,
            run: event.run,
            at: event.at,
        }
    }
}
