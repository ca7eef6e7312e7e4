//! The serial console, to read and to type at.

use std::{
    io::{IsTerminal as _, Write as _},
    os::fd::AsFd as _,
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::{io::AsyncReadExt as _, sync::mpsc};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use vmint_api::launcher::v1::{AttachConsoleRequest, StreamConsoleRequest};

use crate::{
    cli::LogsArgs,
    client::{Client, Result},
};

/// Ctrl-].
const QUIT: u8 = 0x1d;

/// Prints the log, and what comes if asked.
pub(crate) async fn logs(client: &Client, args: LogsArgs) -> Result<()> {
    let instance_id = super::instance::get(client, &args.instance).await?.instance_id;
    let request = StreamConsoleRequest { instance_id, follow: args.follow };
    let mut pieces = client.launcher().stream_console(request).await?.into_inner();
    let mut seen = Vec::new();
    while let Some(piece) = pieces.next().await {
        let output = piece?.output;
        write_out(&output)?;
        if let Some(until) = &args.until {
            seen.extend_from_slice(&output);
            if seen.windows(until.len().max(1)).any(|window| window == until.as_bytes()) {
                break;
            }
            // The text may begin in one piece and end in the next.
            let keep = seen.len().saturating_sub(until.len());
            seen.drain(..keep);
        }
    }
    Ok(())
}

fn write_out(output: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(output)?;
    Ok(out.flush()?)
}

/// Both ways, until Ctrl-] or the end of the machine.
pub(crate) async fn attach(client: &Client, name: &str) -> Result<()> {
    let instance_id = super::instance::get(client, name).await?.instance_id;
    let (send, receive) = mpsc::channel(16);
    let first = AttachConsoleRequest { instance_id, input: Vec::new().into() };
    let _ = send.send(first).await;
    let _raw = Raw::enter();
    eprint!("connected to {name}; Ctrl-] quits\r\n");
    let mut output =
        client.launcher().attach_console(ReceiverStream::new(receive)).await?.into_inner();
    let mut stdin = tokio::io::stdin();
    let mut typed = [0; 1024];
    let mut typing = true;
    loop {
        tokio::select! {
            piece = output.next() => match piece {
                Some(piece) => write_out(&piece?.output)?,
                None => break,
            },
            read = stdin.read(&mut typed), if typing => {
                let bytes = &typed[..read?];
                if bytes.contains(&QUIT) {
                    break;
                }
                // A pipe that ends goes on watching.
                typing = !bytes.is_empty();
                let input = AttachConsoleRequest {
                    instance_id: String::new(),
                    input: bytes.to_vec().into(),
                };
                if typing && send.send(input).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The terminal handing on every key, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}
