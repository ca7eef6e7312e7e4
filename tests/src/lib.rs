//! The stories' stage: the real binary, its services as processes to be killed, and
//! everybody who acts on it.
//!
//! [`Stack`] starts `vmint up` over a directory of its own and ends everything with it.
//! [`Account`] is somebody signed in: generated clients, and the short ways the stories
//! need. What the command line says is [`Said`]; a refusal is a [`Seen`].
#![allow(clippy::missing_panics_doc, reason = "a panic is how a story says that it failed")]

mod account;
mod binary;
mod cli;
mod ec2;
mod foreign;
mod objects;
mod processes;
mod stack;

use std::{
    fmt::Debug,
    io::Write as _,
    time::{Duration, Instant},
};

use tonic::Status;
use vmint_rpc::Fault;
pub use vmint_rpc::{Seen, new_request_id};

pub use account::Account;
pub use binary::disk;
pub use cli::Said;
pub use ec2::{Answer, Ec2};
pub use foreign::buf;
pub use objects::{Heard, Pieces, noise};
pub use processes::{alive, kill9};
pub use stack::{Setting, Stack, access_key};

/// What a guest prints once its first-boot agent is done.
pub const READY: &str = "vmint-guest: ready";
/// What a machine may take to boot, emulated on a busy host.
pub const BOOT: Duration = Duration::from_secs(180);
/// What anything else may take.
pub const SOON: Duration = Duration::from_secs(60);
/// Every service, the door first.
pub const SERVICES: [&str; 6] =
    ["gateway", "catalog", "permissions", "marketplace", "storage", "launcher"];

/// Says that `test` could not be run, and why; `VMINT_SKIP_LOG` names a file to note it in.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    let Some(log) = std::env::var_os("VMINT_SKIP_LOG") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
    let noted = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    if let Err(error) = noted {
        eprintln!("the skip log cannot be written: {error}");
    }
}

/// Asks again until there is an answer; panics after `limit` with what was waited for.
///
/// For what sends no event, such as another process's end.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The refusal in an answer that must be one.
pub fn refused<T: Debug>(answer: Result<T, Status>) -> Seen {
    match answer {
        Ok(done) => panic!("must have been refused, but: {done:?}"),
        Err(status) => Fault::from_status(&status),
    }
}

/// As [`refused`], for this reason, and with words that help.
pub fn refused_as<T: Debug>(answer: Result<T, Status>, reason: &str) -> Seen {
    let seen = refused(answer);
    assert_eq!(seen.reason, reason, "{seen:?}");
    assert!(seen.message.len() > 10 || seen.hint.is_some(), "no words that help: {seen:?}");
    seen
}
