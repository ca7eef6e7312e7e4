use std::collections::BTreeSet;

use crate::{MachineEvent, Marketplace, Result};

/// Products settled in one commit, so that its writes stay few.
const CODES: usize = 8;

impl Marketplace {
    /// Takes in what happened to machines: opens and closes meters and books
    /// what whole runs come to. The order, and how often an event is told, make
    /// no difference. Answers once all of it is durable.
    ///
    /// `cursor` is how far the feed has been read with these; it is kept in the
    /// commit of the last of them.
    pub async fn absorb(&self, events: Vec<MachineEvent>, cursor: u64) -> Result<()> {
        let mut batch = Vec::new();
        let mut codes = 0;
        for event in events.iter().flat_map(split) {
            if codes + event.codes.len() > CODES {
                self.books.settle(std::mem::take(&mut batch), None).await?;
                codes = 0;
            }
            codes += event.codes.len();
            batch.push(event);
        }
        self.books.settle(batch, Some(cursor)).await
    }

    /// How far the feed of the launcher has been read.
    pub fn cursor(&self) -> Result<u64> {
        self.books.cursor()
    }
}

/// The event as several that have few products each; none if it has none.
fn split(event: &MachineEvent) -> Vec<MachineEvent> {
    let codes: Vec<_> = event.codes.iter().cloned().collect();
    let part = |codes: &[_]| MachineEvent {
        codes: codes.iter().cloned().collect::<BTreeSet<_>>(),
        ..event.clone()
    };
    codes.chunks(CODES).map(part).collect()
}
