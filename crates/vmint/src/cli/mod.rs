//! The command tree.

mod bundles;
mod nouns;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use bundles::BundleCommand;
pub(crate) use nouns::{
    AccessKeyCommand, AccountCommand, ImageCommand, KeyCommand, MarketCommand, SnapshotCommand,
    StorageCommand, VolumeCommand,
};

/// Machine images for your own hardware: build, share, sell and launch them.
#[derive(Debug, Parser)]
#[command(name = "vmint", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where the gateway is, such as 127.0.0.1:8773.
    #[arg(long, global = true, env = "VMINT_URL")]
    pub(crate) url: Option<String>,
    /// The bearer token to use, instead of the profile's.
    #[arg(long, global = true, env = "VMINT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Which account's profile to use; `vmint up` writes one for each.
    #[arg(long, global = true, env = "VMINT_PROFILE")]
    pub(crate) profile: Option<String>,
    /// Where the deployment keeps its data and profiles.
    #[arg(long, global = true, env = "VMINT_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// How to print what is found.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Do not wait for long work to end.
    #[arg(long, global = true)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Columns for people.
    Table,
    /// The gRPC message as proto3 JSON.
    Json,
    /// Only ids, one a line.
    Id,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything: one process a service, under a supervisor.
    Up(UpArgs),
    /// Stop what `up --detach` started.
    Down,
    /// Show which services answer.
    Status,
    /// Run the whole story for real: import, share, launch, image, copy.
    Demo(DemoArgs),
    /// Say what this host lacks.
    Doctor,

    /// Take in a disk file and register it as an image.
    Import(ImportArgs),
    /// Make an image of an instance's disks.
    Publish(PublishArgs),
    /// Let accounts launch an image ("all" for everybody).
    Share(ShareArgs),
    /// Take that back.
    Unshare(ShareArgs),
    /// Launch an image.
    Launch(LaunchArgs),
    /// List instances.
    Ls,
    /// The serial console, live; Ctrl-] quits.
    Console(InstanceRef),
    /// The serial console's log.
    Logs(LogsArgs),
    /// Log in with the key the instance was launched with.
    Ssh(SshArgs),
    /// Power an instance off; it can be started again.
    Stop(StopArgs),
    /// Start a stopped instance.
    Start(InstanceRef),
    /// Reset an instance.
    Reboot(InstanceRef),
    /// End instances for good.
    Terminate(InstanceRefs),

    /// Images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Snapshots.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Volumes.
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Instance-store bundles: a disk as signed parts in a bucket.
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Upkeep of what is stored (operator).
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Key pairs.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Products, subscriptions and what they cost.
    #[command(subcommand)]
    Market(MarketCommand),
    /// Accounts and tokens.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Call any method by hand: `vmint api gateway.v1.GatewayService/ListImages '{}'`.
    Api(ApiArgs),

    /// Run one service (used by `up`, containers and units).
    Serve(ServeArgs),
    /// Keep one service running, as the first process of its container.
    Supervise(ServeArgs),
    /// Make the certificates services know each other by.
    Certs(CertsArgs),
    /// Make the first accounts of a deployment and print their tokens.
    Bootstrap(BootstrapArgs),
    /// Ask a service for its health.
    Health(HealthArgs),
    #[command(name = "__machine", hide = true)]
    Machine { dir: PathBuf },
}

#[derive(Debug, Clone, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags are truth values")]
pub(crate) struct UpArgs {
    /// The public address.
    #[arg(long, default_value = "127.0.0.1:8773")]
    pub(crate) listen: SocketAddr,
    /// Go on in the background; `vmint down` stops it.
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// An account to make at the first start: NAME or NAME=ID. The first
    /// one given is the operator's.
    #[arg(long = "account", value_name = "NAME[=ID]")]
    pub(crate) accounts: Vec<String>,
    /// An access key to make at the first start, of the account of that name;
    /// of the first one if none is named.
    #[arg(long = "access-key", value_name = "ID:SECRET[:ACCOUNT]")]
    pub(crate) access_keys: Vec<String>,
    /// What this region is called. Given more than once, a deployment is
    /// started for each, on ports that follow one another; any of their
    /// endpoints answers EC2's clients for all of them.
    #[arg(long = "region", value_name = "NAME")]
    pub(crate) regions: Vec<String>,
    /// Keep machines on paper only: every state and event, and no guest.
    #[arg(long)]
    pub(crate) simulated: bool,
    /// Let the operator empty whole accounts (`vmint account purge`): for
    /// deployments that tests run against.
    #[arg(long)]
    pub(crate) test_mode: bool,
    /// Have images of a provider from the first start, public and with their
    /// public parameters: one of a small Linux that boots, and one that is only
    /// marked Windows.
    #[arg(long)]
    pub(crate) stand_in_images: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Install what is missing without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Leave everything running at the end.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Use this disk file instead of building one.
    #[arg(long)]
    pub(crate) image: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// The disk file, or an https URL that the server fetches it from.
    pub(crate) source: PathBuf,
    /// The image's name.
    pub(crate) name: String,
    /// raw, qcow2, vmdk and so on; found out if left out.
    #[arg(long, default_value = "")]
    pub(crate) format: String,
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// x86_64 or i386.
    #[arg(long, default_value = "x86_64")]
    pub(crate) arch: String,
    /// Make the snapshot only.
    #[arg(long)]
    pub(crate) snapshot_only: bool,
    /// An image or snapshot of yours that a raw disk is much like: what is
    /// equal is not sent.
    #[arg(long, default_value = "")]
    pub(crate) base: String,
    /// Go on with this upload.
    #[arg(long, value_name = "UPLOAD")]
    pub(crate) resume: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PublishArgs {
    /// The instance's id or name.
    pub(crate) instance: String,
    /// The new image's name.
    pub(crate) name: String,
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// Power the machine off while its disks are taken, and on again.
    #[arg(long)]
    pub(crate) reboot: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ShareArgs {
    /// The image's id or name.
    pub(crate) image: String,
    /// Account ids, or "all".
    #[arg(required = true)]
    pub(crate) who: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LaunchArgs {
    /// The image's id, or the name of one of yours.
    pub(crate) image: String,
    /// A short name for the instance.
    #[arg(default_value = "")]
    pub(crate) name: String,
    /// Which key pair may log in.
    #[arg(long, default_value = "")]
    pub(crate) key: String,
    /// How large the machine is.
    #[arg(long = "type", default_value = "v1.small")]
    pub(crate) kind: String,
    /// How many to launch.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: i32,
    /// A file to hand to the guest.
    #[arg(long)]
    pub(crate) user_data: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InstanceRef {
    /// Its id or name.
    pub(crate) instance: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct InstanceRefs {
    /// Ids or names.
    #[arg(required = true)]
    pub(crate) instances: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// Its id or name.
    pub(crate) instance: String,
    /// Go on as it grows.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// With --follow: end once a line holds this text.
    #[arg(long, requires = "follow")]
    pub(crate) until: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SshArgs {
    /// Its id or name.
    pub(crate) instance: String,
    /// The private key's file; else the one `vmint key create` wrote.
    #[arg(short, long)]
    pub(crate) identity: Option<PathBuf>,
    /// Whom to log in as.
    #[arg(short, long, default_value = "root")]
    pub(crate) user: String,
    /// What to run there; a shell if left out.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StopArgs {
    /// Its id or name.
    pub(crate) instance: String,
    /// Pull the plug.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ApiArgs {
    /// package.Service/Method; `vmint.` in front may be left out. Alone, or
    /// "list", it lists the methods.
    #[arg(default_value = "list")]
    pub(crate) method: String,
    /// The request as proto3 JSON.
    #[arg(default_value = "{}")]
    pub(crate) request: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Service {
    Permissions,
    Catalog,
    Marketplace,
    Storage,
    Launcher,
    Gateway,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    /// Which service.
    #[arg(value_enum)]
    pub(crate) service: Service,
    /// Its settings; the environment's come over them.
    #[arg(long, env = "VMINT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// End when the parent process ends.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CertsArgs {
    /// Where to make them: one directory a service.
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BootstrapArgs {
    /// The permissions service, such as unix:/run/vmint/permissions.sock.
    #[arg(long)]
    pub(crate) address: String,
    /// The trust directory of "operator".
    #[arg(long)]
    pub(crate) trust: PathBuf,
    /// NAME or NAME=ID; the first is the operator's.
    #[arg(long = "account", value_name = "NAME[=ID]", required = true)]
    pub(crate) accounts: Vec<String>,
    /// Where to write the profiles, if anywhere.
    #[arg(long)]
    pub(crate) profiles: Option<PathBuf>,
    /// The gateway's address to write into them.
    #[arg(long, default_value = "127.0.0.1:8773")]
    pub(crate) gateway: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct HealthArgs {
    /// The service.
    #[arg(value_enum)]
    pub(crate) service: Service,
    /// Its settings, where its address is.
    #[arg(long, env = "VMINT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}
