//! The main job for real: one image from a disk to running machines.

mod cast;
mod need;
mod story;

use std::{net::TcpListener, path::PathBuf, time::Instant};

use crate::{
    cli::DemoArgs,
    client::{Failure, Result},
    up::Deployment,
};
use cast::Cast;

/// The accounts of the story; the first is the deployment's operator.
const ACCOUNTS: [&str; 3] = ["maker=100000000001", "friend=200000000002", "stranger=300000000003"];

/// How many steps the story has.
const STEPS: usize = 10;

/// Prints one step's line.
fn say(step: usize, name: &str, text: &str) {
    let number = format!("{step}/{STEPS}");
    println!("{number:>5} {name:<10} {text}");
}

/// A line of a guest's console under a step.
fn quote(line: &str) {
    println!("      {:<10} | {line}", "");
}

/// Runs everything and leaves nothing behind, unless told to keep it.
pub(crate) async fn run(args: DemoArgs) -> Result<()> {
    let began = Instant::now();
    let host = need::prepare(args.yes, args.image.is_none())?;
    let probe = host.probe().await?;
    say(1, "host", &format!("{}, {probe}", host.describe()));

    let place = Place::new(args.keep)?;
    // Freed just before the gateway takes it.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let started = Instant::now();
    let accounts: Vec<String> = ACCOUNTS.map(str::to_owned).to_vec();
    let (mut deployment, made) = Deployment::start(&place.dir, listen, &accounts).await?;
    let seconds = started.elapsed().as_secs_f64();
    let names = vmint_daemon::SERVICES.join(", ");
    say(2, "stack", &format!("{names}   ready in {seconds:.1} s   http://{listen}"));

    let cast = Cast::new(&place.dir, &made)?;
    let told = tokio::select! {
        told = story::tell(&cast, &place.dir, args.image) => told,
        () = vmint_daemon::signals::stopped() => Err(Failure::new("interrupted")),
    };
    if args.keep && told.is_ok() {
        println!("done in {:.0} s, and still running:", began.elapsed().as_secs_f64());
        println!("  vmint --data {} ls", place.dir.display());
        println!("Ctrl-C ends it.");
        vmint_daemon::signals::stopped().await;
    }
    // Machines outlive the services, so they are ended first.
    let ended = cast.end_everything().await;
    deployment.stop().await;
    drop(place);
    told?;
    ended?;
    if !args.keep {
        println!(
            "done in {:.0} s; nothing is left behind. Keep it running with --keep, or start your \
             own: vmint up",
            began.elapsed().as_secs_f64(),
        );
    }
    Ok(())
}

/// A directory of the demo's own.
struct Place {
    dir: PathBuf,
    keep: bool,
}

impl Place {
    fn new(keep: bool) -> Result<Self> {
        // Short, because unix sockets lie in it.
        let made = tempfile::Builder::new().prefix("vmint-").tempdir_in("/tmp")?;
        Ok(Self { dir: made.keep(), keep })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.keep {
            println!("its data stay in {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("warning: {} could not be removed: {error}", self.dir.display());
        }
    }
}
