use crate::{AccessKeyId, Permissions, Result, Use, ops::now_ms};

/// One write for each key in this time, however busy it is.
const COARSE_MS: u64 = 60_000;

impl Permissions {
    /// Records that a key signed a request for `service` that was let in; a
    /// use within a minute after another is not told apart from it.
    pub async fn record_access_key_use(&self, id: AccessKeyId, service: &str) -> Result<()> {
        let Some(key) = self.access_keys.get(&id)? else { return Ok(()) };
        let now = now_ms();
        if key.last_used.is_some_and(|last| last.ms + COARSE_MS > now) {
            return Ok(());
        }
        let service = service.chars().filter(char::is_ascii_graphic).take(64).collect();
        self.access_keys.set_used(id, Use { ms: now, service }).await
    }
}
