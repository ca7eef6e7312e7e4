use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};
use tokio_util::sync::CancellationToken;
use vmint_ids::InstanceId;

use super::Launcher;
use crate::{LauncherError, Result, State, machines::console_tail};

/// A piece of a console in one message, in bytes.
const PIECE: usize = 32 << 10;

/// What a machine prints: what it printed before, then what comes.
#[derive(Debug)]
pub struct Console {
    ready: Bytes,
    live: Option<OwnedReadHalf>,
    draining: CancellationToken,
}

/// What is typed to a machine.
#[derive(Debug)]
pub struct ConsoleInput {
    write: OwnedWriteHalf,
}

impl Launcher {
    /// The end of what the instance printed on its serial console, at most 64 KiB.
    /// And as of when, milliseconds since 1970.
    pub async fn console_output(&self, account: &str, text: &str) -> Result<(Vec<u8>, i64)> {
        let instance = self.records.owned(account, text)?;
        let live = self.fleet.live(instance.id).is_some();
        let at = if live { crate::clock::now() } else { instance.changed_at };
        Ok((self.printed(instance.id).await?, at))
    }

    /// What the instance printed; with `follow` what it prints from now on, too.
    pub async fn console(&self, account: &str, text: &str, follow: bool) -> Result<Console> {
        let id = self.records.owned(account, text)?.id;
        let draining = self.draining.clone();
        if let Some(live) = self.fleet.live(id).filter(|_| follow) {
            let stream = live.machine.console(true).await;
            let (read, _) = stream.map_err(|e| mute(id, &e))?.into_split();
            return Ok(Console { ready: Bytes::new(), live: Some(read), draining });
        }
        let ready = self.printed(id).await?.into();
        Ok(Console { ready, live: None, draining })
    }

    /// A running instance's console, both ways.
    pub async fn attach(&self, account: &str, text: &str) -> Result<(Console, ConsoleInput)> {
        let instance = self.records.owned(account, text)?;
        let live = self.fleet.live(instance.id);
        let live = live.ok_or_else(|| instance.not_now("attach to"))?;
        let stream = live.machine.console(true).await.map_err(|e| mute(instance.id, &e))?;
        let (read, write) = stream.into_split();
        let draining = self.draining.clone();
        Ok((Console { ready: Bytes::new(), live: Some(read), draining }, ConsoleInput { write }))
    }

    async fn printed(&self, id: InstanceId) -> Result<Vec<u8>> {
        if let Some(live) = self.fleet.live(id) {
            let log = live.machine.console_log().await.map_err(|e| mute(id, &e))?;
            return Ok(console_tail(log));
        }
        let ended = self.records.get(id)?.is_none_or(|i| i.state == State::Terminated);
        if ended {
            let kept = tokio::fs::read(self.fleet.console_path(id)).await;
            return Ok(kept.unwrap_or_default());
        }
        Ok(console_tail(self.fleet.last_console(id).await))
    }
}

impl Console {
    /// The next piece; `None` once there is no more.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if !self.ready.is_empty() {
            let piece = self.ready.len().min(PIECE);
            return Ok(Some(self.ready.split_to(piece)));
        }
        let Some(live) = &mut self.live else { return Ok(None) };
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = tokio::select! {
            read = live.read_buf(&mut piece) => read,
            () = self.draining.cancelled() => return Ok(None),
        };
        // An error is the machine's end, as far as a reader is concerned.
        match read {
            Ok(0) | Err(_) => Ok(None),
            Ok(_) => Ok(Some(piece.freeze())),
        }
    }
}

impl ConsoleInput {
    /// Types `bytes`; false once the machine is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.write.write_all(bytes).await.is_ok()
    }
}

fn mute(id: InstanceId, error: &impl ToString) -> LauncherError {
    LauncherError::MachineMute { id, why: error.to_string() }
}
