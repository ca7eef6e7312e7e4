//! The one binary: the person's tool, the services, and what starts them.

mod cli;
mod client;
mod closed_pipe;
mod commands;
mod demo;
mod doctor;
mod seed;
mod serve;
mod supervise;
mod up;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;

use cli::{Cli, Command, Global, ImageCommand, StorageCommand};
use client::{Client, Result};

/// This very program, also when its file has been replaced since it was started.
const PROGRAM: &str = "/proc/self/exe";

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A machine's keeper is single-threaded: it changes its namespaces.
    if let Command::Machine { dir } = &cli.command {
        return vmint_vmm::shim::main(dir);
    }
    let workers = match &cli.command {
        Command::Serve(_) => 2,
        _ => 1,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = closed_pipe::quietly(|| runtime.block_on(run(cli.global, cli.command)));
            // A read of the terminal that will never end must not keep us.
            runtime.shutdown_background();
            outcome.unwrap_or_else(Ok)
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

/// Runs a command and says its exit code.
async fn run(global: Global, command: Command) -> Result<u8> {
    match command {
        Command::Up(args) => up::up(&global, args).await?,
        Command::Down => up::down(&global)?,
        Command::Status => up::status(&global).await?,
        Command::Demo(args) => demo::run(args).await?,
        Command::Doctor => return doctor::run(&global).await,
        Command::Serve(args) => serve::run(args).await?,
        Command::Supervise(args) => supervise::run(args).await?,
        Command::Certs(args) => serve::certs(&args)?,
        Command::Image(ImageCommand::Build { file, size_gib, console_shell }) => {
            let made = build(&file, size_gib, console_shell)?;
            let size = client::size(made.size_bytes);
            println!("disk      {}  raw {size}, Linux {}", file.display(), made.kernel);
        }
        Command::Bootstrap(args) => up::bootstrap(args).await?,
        Command::Health(args) => serve::health(&args).await?,
        Command::Machine { .. } => {}
        Command::Storage(StorageCommand::Check { offline: true, config, contents }) => {
            return commands::storage::check_offline(&global, config, contents).await;
        }
        other => return user(&global, other).await,
    }
    Ok(0)
}

/// Builds the demo's disk.
fn build(out: &Path, size_gib: Option<u64>, console_shell: bool) -> Result<seed::Report> {
    let options = seed::SeedOptions { size_gib, console_shell, ..Default::default() };
    seed::build(out, &options).map_err(|error| client::Failure::new(error.to_string()))
}

/// What needs a signed-in connection.
async fn user(global: &Global, command: Command) -> Result<u8> {
    let client = &Client::open(global)?;
    match command {
        Command::Import(args) => commands::import::run(client, args).await?,
        Command::Publish(args) => commands::image::publish(client, args).await?,
        Command::Share(args) => commands::image::share(client, args, true).await?,
        Command::Unshare(args) => commands::image::share(client, args, false).await?,
        Command::Launch(args) => commands::instance::launch(client, args).await?,
        Command::Ls => commands::instance::list(client).await?,
        Command::Console(args) => commands::console::attach(client, &args.instance).await?,
        Command::Logs(args) => commands::console::logs(client, args).await?,
        Command::Ssh(args) => return commands::ssh::run(client, args).await,
        Command::Stop(args) => commands::instance::stop(client, args).await?,
        Command::Start(args) => commands::instance::start(client, &args.instance).await?,
        Command::Reboot(args) => commands::instance::reboot(client, &args.instance).await?,
        Command::Terminate(args) => commands::instance::terminate(client, args).await?,
        Command::Image(command) => commands::image::run(client, command).await?,
        Command::Snapshot(command) => commands::snapshot::run(client, command).await?,
        Command::Volume(command) => commands::volume::run(client, command).await?,
        Command::Bundle(command) => commands::bundle::run(client, command).await?,
        Command::Storage(command) => return commands::storage::run(client, command).await,
        Command::Key(command) => commands::key::run(client, command).await?,
        Command::Market(command) => commands::market::run(client, command).await?,
        Command::Account(command) => commands::account::run(client, command).await?,
        Command::Api(args) => commands::api::run(client, args).await?,
        _ => {}
    }
    Ok(0)
}
