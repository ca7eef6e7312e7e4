//! When a process is asked to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Ends when the process is sent SIGTERM or SIGINT.
///
/// If no handler can be installed it never ends, and the signals keep their
/// default effect.
pub async fn stopped() {
    if let Err(error) = wait().await {
        tracing::warn!(%error, "cannot listen for signals; stopping will not drain");
        std::future::pending::<()>().await;
    }
}

async fn wait() -> io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping");
    Ok(())
}
