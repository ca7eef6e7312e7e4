//! Commands on one noun each.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where a copy comes from, and how it is kept.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// The region it is in, which is then named by its id.
    #[arg(long, value_name = "REGION", default_value = "")]
    pub(crate) from_region: String,
    /// Encrypt the copy, though the source is not.
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// The key of yours to encrypt it under, instead of the default one.
    #[arg(long, value_name = "ID", default_value = "")]
    pub(crate) kms_key: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build a small Linux disk that boots, from this distribution's packages.
    Build {
        /// The disk file to write.
        file: PathBuf,
        /// The disk's size; as small as it can be if left out.
        #[arg(long)]
        size_gib: Option<u64>,
        /// Leave a root shell on the serial console, for whoever may read it.
        #[arg(long)]
        console_shell: bool,
    },
    /// List the images you may launch.
    List {
        /// Only yours.
        #[arg(long)]
        mine: bool,
        /// EC2's filters, such as name=web* or tag:stage=prod.
        #[arg(long = "filter", value_name = "NAME=VALUE")]
        filters: Vec<String>,
    },
    /// Show one image.
    Show { image: String },
    /// Register an image over snapshots of yours.
    Register {
        name: String,
        /// The root disk's snapshot.
        #[arg(long)]
        snapshot: String,
        #[arg(long, default_value = "")]
        description: String,
        /// x86_64 or i386.
        #[arg(long, default_value = "x86_64")]
        arch: String,
    },
    /// Copy an image of yours.
    Copy {
        image: String,
        /// The copy's name.
        #[arg(default_value = "")]
        name: String,
        #[command(flatten)]
        into: CopyArgs,
    },
    /// Write an image's root disk as a file that other tools read.
    Export {
        image: String,
        /// Its ending says the format: raw, qcow2, vmdk, vhd or ova.
        file: PathBuf,
        /// The format, whatever the ending says.
        #[arg(long, default_value = "")]
        format: String,
    },
    /// Write an image of yours, all its disks and what it is, as a bundle that another vmint loads.
    Save {
        image: String,
        /// The file to write: an OCI image layout in a tar.
        file: PathBuf,
    },
    /// Make an image of a bundle that `save` wrote.
    Load {
        /// The bundle.
        file: PathBuf,
        /// The image's name; the bundle's if left out.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// End an image; what runs goes on.
    Deregister {
        image: String,
        /// Delete its snapshots where nothing else needs them.
        #[arg(long)]
        delete_snapshots: bool,
        /// Only say which would go and how many bytes that would free.
        #[arg(long)]
        dry_run: bool,
    },
    /// Say how much room an image of yours takes, and how much of it is its own.
    Usage { image: String },
    /// Say whom an image is shared with.
    Permissions { image: String },
    /// Add, replace or take away tags of an image of yours.
    Tag {
        image: String,
        /// KEY=VALUE to set, KEY alone to take away.
        #[arg(required = true)]
        tags: Vec<String>,
    },
    /// Put a product of yours on an image of yours.
    Sell { image: String, product_code: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// List your snapshots.
    List {
        /// Those that others share with you, and the public ones, too.
        #[arg(long)]
        all: bool,
        /// EC2's filters, such as status=completed or tag:stage=prod.
        #[arg(long = "filter", value_name = "NAME=VALUE")]
        filters: Vec<String>,
    },
    /// Make a snapshot of a volume as it is now.
    Create {
        volume: String,
        #[arg(long, default_value = "")]
        description: String,
        /// KEY=VALUE, any number of times.
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Make snapshots of all volumes of an instance, of one moment.
    CreateSet {
        /// An id.
        instance: String,
        /// Leave the root volume out.
        #[arg(long)]
        no_root: bool,
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Copy a snapshot that you may read.
    Copy {
        snapshot: String,
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        into: CopyArgs,
    },
    /// Say whom a snapshot is shared with, or change it.
    Share {
        snapshot: String,
        /// Accounts that may make volumes and copies of it from now on.
        #[arg(long = "add", value_name = "ACCOUNT")]
        add: Vec<String>,
        /// Accounts that may not any more.
        #[arg(long = "remove", value_name = "ACCOUNT")]
        remove: Vec<String>,
        /// Let everybody.
        #[arg(long, conflicts_with = "private")]
        public: bool,
        /// Let only the accounts named.
        #[arg(long)]
        private: bool,
    },
    /// Write one as a disk file that other tools read.
    Export {
        snapshot: String,
        /// Its ending says the format: raw, qcow2, vmdk, vhd or ova.
        file: PathBuf,
        /// The format, whatever the ending says.
        #[arg(long, default_value = "")]
        format: String,
    },
    /// Delete one that no image needs.
    Delete {
        snapshot: String,
        /// Only say how many bytes that would free.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List your volumes.
    List {
        /// EC2's filters, such as status=available or tag:stage=prod.
        #[arg(long = "filter", value_name = "NAME=VALUE")]
        filters: Vec<String>,
    },
    /// Show one volume, and how much of what it was made of lies on the host.
    Show { volume: String },
    /// Make a volume, empty or of a snapshot.
    Create {
        /// In GiB; of a snapshot, at least as much as it has.
        #[arg(long, default_value_t = 0)]
        size_gib: i32,
        #[arg(long, default_value = "")]
        snapshot: String,
        /// Encrypt it at rest.
        #[arg(long)]
        encrypt: bool,
        /// KEY=VALUE, any number of times.
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Attach a volume to an instance.
    Attach {
        volume: String,
        /// An id or a name.
        instance: String,
        /// Such as /dev/sdf; the first free one if left out.
        #[arg(long, default_value = "")]
        device: String,
        /// Delete it when its instance is terminated.
        #[arg(long)]
        delete_on_termination: bool,
    },
    /// Take a volume from its instance.
    Detach {
        volume: String,
        /// Do not wait for the guest to agree.
        #[arg(long)]
        force: bool,
    },
    /// Make a volume larger.
    Grow { volume: String, size_gib: i32 },
    /// Delete one that is not attached, with all that is on it.
    Delete { volume: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Read all that is stored and check it, in the background; goes on over
    /// restarts.
    Scrub {
        /// How fast, in MiB a second; 10 if left out.
        #[arg(long)]
        rate_mib: Option<u32>,
        /// Only say how far it is.
        #[arg(long, conflicts_with_all = ["rate_mib", "cancel"])]
        status: bool,
        /// End the one under way.
        #[arg(long, conflicts_with = "rate_mib")]
        cancel: bool,
    },
    /// Hold snapshots, volumes, index and packs to one another.
    Check {
        /// Of the storage in --data, which must not be running.
        #[arg(long)]
        offline: bool,
        /// Its settings, if they lie elsewhere.
        #[arg(long, requires = "offline")]
        config: Option<PathBuf>,
        /// Read every chunk too.
        #[arg(long, requires = "offline")]
        contents: bool,
    },
    /// List lost chunks and the snapshots, volumes and images they hit.
    Damage,
    /// Bring lost chunks back.
    Repair {
        /// A snapshot or volume that `damage` names.
        disk: String,
        /// A file of the very same disk, in any format that `import` reads.
        #[arg(required_unless_present = "region")]
        file: Option<PathBuf>,
        /// Fetch them from this region instead.
        #[arg(long, conflicts_with = "file", requires = "source")]
        region: Option<String>,
        /// The image there that it is of; yours, if it may not be read itself.
        #[arg(long)]
        image: Option<String>,
        /// The snapshot there of the same disk.
        #[arg(long)]
        source: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key pair and keep the private half in the profile's directory.
    Create {
        name: String,
        /// RSA of 2048 bits, for tools that take no ed25519.
        #[arg(long)]
        rsa: bool,
    },
    /// Record the public key in a file.
    Import { name: String, file: PathBuf },
    /// List key pairs.
    List,
    /// Forget a key pair.
    Delete { name: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MarketCommand {
    /// Offer a product at a price an hour, such as 0.12 EUR; 0 is free.
    Create {
        title: String,
        /// For one instance and hour.
        #[arg(long, default_value = "0")]
        price: String,
        #[arg(long, default_value = "EUR")]
        currency: String,
    },
    /// List products.
    List,
    /// Subscribe to a product.
    Subscribe {
        product_code: String,
        /// The price is owed for every instance that runs.
        #[arg(long)]
        accept_terms: bool,
    },
    /// End a subscription.
    Cancel { agreement: String },
    /// List subscriptions, as buyer and seller.
    Agreements,
    /// List the runs you pay for or are paid for.
    Usage,
    /// List bookings.
    Ledger,
    /// Recompute the ledger (operator).
    Audit,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Say who you are.
    Whoami,
    /// List accounts.
    List,
    /// Make an account (operator) and a profile for it.
    Create { name: String },
    /// Remove every resource of an account (operator; only in test mode).
    Purge {
        /// Its id.
        account: String,
    },
    /// Make a token for your account.
    Token {
        /// Who it is for.
        #[arg(long, default_value = "cli")]
        principal: String,
        /// May not change anything.
        #[arg(long)]
        read_only: bool,
        /// For how long, in hours.
        #[arg(long, default_value_t = 12)]
        hours: u32,
    },
    /// Make an access key and print what EC2's clients want in their
    /// environment: `eval "$(vmint account env)"`.
    Env,
    /// List tokens.
    Tokens,
    /// Make a token useless.
    Revoke { session: String },
    /// Access keys, which sign requests.
    #[command(subcommand)]
    Key(AccessKeyCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccessKeyCommand {
    /// Make an access key; its secret is shown this once.
    Create {
        /// Who it is for: you, if not set.
        #[arg(long, default_value = "")]
        principal: String,
        /// May not change anything.
        #[arg(long)]
        read_only: bool,
        /// Its id, instead of a drawn one (operator).
        #[arg(long, default_value = "")]
        id: String,
        /// Its secret, instead of a drawn one (operator).
        #[arg(long, default_value = "", env = "VMINT_SECRET_ACCESS_KEY", hide_env_values = true)]
        secret: String,
        /// For which account, instead of yours (operator).
        #[arg(long, default_value = "")]
        account: String,
    },
    /// List access keys.
    List,
    /// Let its signatures count no more.
    Disable { key: String },
    /// Let its signatures count again.
    Enable { key: String },
    /// Destroy it and its secret.
    Delete { key: String },
}
