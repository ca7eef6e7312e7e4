//! Commands on one noun each.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build a small Linux disk that boots, from this distribution's packages.
    Build {
        /// The disk file to write.
        file: PathBuf,
        /// The disk's size; as small as it can be if left out.
        #[arg(long)]
        size_gib: Option<u64>,
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
    /// End an image; what runs goes on.
    Deregister {
        image: String,
        /// Delete its snapshots where nothing else needs them.
        #[arg(long)]
        delete_snapshots: bool,
    },
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
    List,
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
    Delete { snapshot: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key pair and keep the private half in the profile's directory.
    Create { name: String },
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
