//! What can be asked of instance-store bundles.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Make one of a snapshot or volume; the bucket is made if you have none
    /// of that name.
    Create {
        /// An id.
        disk: String,
        /// BUCKET/PREFIX: PREFIX.manifest.xml and PREFIX.part.NN come there.
        location: String,
        /// x86_64, i386 or arm64.
        #[arg(long, default_value = "x86_64")]
        arch: String,
        /// Its machine runs Windows.
        #[arg(long)]
        windows: bool,
        /// Such as ephemeral0=sdb; ami=sda1 and root=/dev/sda1 if left out.
        #[arg(long = "device", value_name = "NAME=DEVICE")]
        devices: Vec<String>,
        /// The key to encrypt it under; your default one if left out.
        #[arg(long, default_value = "")]
        kms_key: String,
    },
    /// List those that were begun in the last seven days.
    List,
    /// End one that is under way.
    Cancel { task: String },
    /// Read one: its signature and every part's digest must hold.
    Verify {
        /// BUCKET/PREFIX.manifest.xml.
        manifest: String,
    },
    /// Make a snapshot of one.
    Restore {
        /// BUCKET/PREFIX.manifest.xml.
        manifest: String,
        #[arg(long, default_value = "")]
        description: String,
    },
}
