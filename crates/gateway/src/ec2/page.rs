//! The compatibility page: what the table of operations says, for people.

use std::fmt::Write as _;

use super::{entry::Entry, service::Service, ssm};

const HEAD: &str = "# What of EC2 is served

Made by `cargo xtask golden` from the table that the gateway itself checks requests by; a test
fails when the two differ. An operation that is not here answers `InvalidAction`, a parameter
that is neither taken nor named `UnknownParameter`, and one that is not supported, or not with
that value, `UnsupportedOperation`; an empty one counts as not sent. `DryRun` is taken
everywhere. A `!` marks what must be given, `N` counts from 1.

Where an answer must say something that has no meaning here it says what EC2 says of a plain
image: hypervisor `xen`, virtualization `hvm`, root device type `ebs`. RegisterImage takes an
image without `Architecture` for `i386`, as EC2 does, and for `hvm`, as nothing else can run.
CreateImage powers a running machine off by its power button, takes the disks, and starts it
again; it shows as stopped meanwhile. With `NoReboot` its disks are frozen at one moment while
it runs, as a power cut would leave them. What a volume's type promises is recorded and shown;
every volume is as fast as the host.

Two mutations that are signed alike, to the byte and so in one second, are told apart by the
SDKs' `amz-sdk-invocation-id`: the same number is the same request. Without it each is done, as
EC2 does; a `ClientToken` makes one of those that are meant to be one.

";

const SSM: &str = "## SSM

Parameters of type `String` and `StringList`, of the tier `Standard`. A name has up to 384
characters, and the last 80 versions are kept. What stands under `/aws/service/` and
`/vmint/service/` is for everybody to read and for the operator to put. RunInstances takes
`resolve:ssm:NAME` for `ImageId`, with `:VERSION` or `:LABEL` behind it.

| operation | members | not supported |
|---|---|---|
";

const S3: &str = "
## S3

By path, on the same port, signed in the header, in the query or piece by piece; objects are
kept by storage and only their account may use them. `Content-MD5` and the checksums CRC32,
CRC32C, CRC64NVME, SHA-1 and SHA-256 are held against what comes, and nothing is kept that is
not as declared. A key has up to 400 bytes, a multipart upload up to 1000 parts. A copy shares
its content with the original and costs no space on the disk, though it counts as any object.
What else S3 has answers `NotImplemented`: versions, ACLs, tags, encryption.

ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, ListObjects,
ListObjectsV2, PutObject (with `If-Match`, `If-None-Match: *`), CopyObject (as PutObject, with
`x-amz-copy-source-if-match`), GetObject (with `Range`, `If-Match`, `If-None-Match`), HeadObject,
DeleteObject, DeleteObjects, CreateMultipartUpload, UploadPart, UploadPartCopy, ListParts,
CompleteMultipartUpload (as PutObject), AbortMultipartUpload.

ImportImage and ImportSnapshot read files from buckets (`UserBucket`, or `s3://BUCKET/KEY` for
`Url`). ExportImage writes a file of each disk of an image: the root disk's is called
`S3Prefix`, the task's id and the format, others have a number before that. CreateStoreImageTask
writes the whole image as `IMAGE-ID.bin`, a bundle that `vmint image load` reads too;
CreateRestoreImageTask makes an image with an id of its own of it.
";

/// The page, from the tables of operations.
pub(super) fn page<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let mut entries = entries.collect::<Vec<_>>();
    entries.sort_unstable_by_key(|entry| (entry.service.name(), entry.operation.name));
    let mut page = HEAD.to_owned();
    let mut service = "";
    for entry in entries {
        let operation = &entry.operation;
        if entry.service.name() != service {
            service = entry.service.name();
            let _infallible = write!(page, "## {}\n\n", title(entry.service));
            page.push_str(
                "| operation | parameters | not supported | filters |\n|---|---|---|---|\n",
            );
        }
        let only = operation.only.iter().map(|(name, values)| match values {
            [] => code(name),
            values => {
                let values = values.iter().map(|value| code(value)).collect::<Vec<_>>();
                format!("{} but {}", code(name), values.join(" "))
            }
        });
        let _infallible = writeln!(
            page,
            "| {} | {} | {} | {} |",
            operation.name,
            cell(operation.parameters().map(|name| code(&name))),
            cell(only),
            cell(operation.filters.iter().map(|name| code(name))),
        );
    }
    page.push_str(SSM);
    for operation in ssm::OPERATIONS {
        let _infallible = writeln!(
            page,
            "| {} | {} | {} |",
            operation.name,
            cell(operation.takes.iter().map(|name| code(name))),
            cell(operation.refuses.iter().map(|name| code(name))),
        );
    }
    page.push_str(S3);
    page
}

fn title(service: Service) -> &'static str {
    match service {
        Service::Ec2 => "EC2",
        Service::Sts => "STS",
        Service::Ebs => "EBS direct",
        Service::Ssm => "SSM",
        other => other.name(),
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn cell(items: impl Iterator<Item = String>) -> String {
    let text = items.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "–".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::ec2::entry;

    /// With `VMINT_GOLDEN` set it writes the page instead.
    #[test]
    fn golden_the_compatibility_page_is_current() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ec2.md");
        let page = page(entry::all());
        if std::env::var_os("VMINT_GOLDEN").is_some() {
            std::fs::write(file, &page).unwrap();
        }
        let there = std::fs::read_to_string(file).unwrap_or_default();
        assert!(there == page, "docs/ec2.md is not current: run `cargo xtask golden`");
    }
}
