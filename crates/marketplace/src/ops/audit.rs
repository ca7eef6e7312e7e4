use crate::{Marketplace, Result};

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// Whether the ledger is what the meters say, to the last pico.
    pub balanced: bool,
    pub transactions: u64,
    pub entries: u64,
    pub open_meters: u64,
    pub closed_meters: u64,
    /// What is wrong, at most 100; runs that nobody had the right to are named
    /// here too, without the ledger being out of balance.
    pub faults: Vec<String>,
}

impl Marketplace {
    /// Recomputes the whole ledger from the meters.
    pub async fn audit(&self) -> Result<Audit> {
        // What is booked meanwhile may look like a fault; then look again, and
        // at last with everything standing still.
        for _ in 0..2 {
            let (books, before) = (self.books.clone(), self.books.sequence());
            let audit = tokio::task::spawn_blocking(move || books.audit()).await??;
            if audit.balanced || self.books.sequence() == before {
                return Ok(audit);
            }
        }
        self.books.audit_standing_still().await
    }
}
