//! Row 4: what four images of one family take together.

use std::{collections::HashSet, fs, path::Path};

use vmint_blocks::{BlockStore, Options};

use super::{
    Bench,
    images::{Images, NAMES},
    ingest::{domain, take_in},
    peers::{Peer, found},
    table::{Goal, Row},
};
use crate::Result;

const AVERAGE: u32 = 64 << 10;

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(super) fn measure(bench: &Bench, images: &Images) -> Result<Row> {
    eprintln!("row 4");
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let ours = dir.path().join("ours");
    let store = BlockStore::open(&ours, Options::default())?;
    let mut steps = Vec::new();
    for name in NAMES {
        let sealed = take_in(&store, domain(), &images.path(name))?;
        steps.push(format!("{name} +{:.0}", mib(sealed.stored_bytes)));
    }
    let bytes = store.stats().pack_bytes;
    drop(store);
    let limit = content_defined(images)?;
    let mut row = Row {
        number: "4",
        what: "store size after four images of one family".to_owned(),
        ours: format!("{:.0} MiB ({})", mib(bytes), steps.join(", ")),
        limit: format!("FastCDC 64 KiB by the byte, each chunk zstd 1: {:.0} MiB", mib(limit)),
        ..Row::default()
    };
    let of = "× FastCDC chunks alone";
    row.goals.push(Goal::at_most(of, mib(bytes) / mib(limit), 1.15).because(
        "cuts on the 4 KiB grid and at each 16 MiB find a little less; headers, footers and the \
         tree are in ours",
    ));
    for (peer, wanted) in Peer::ALL.into_iter().zip([1.0, 0.8, 0.5]) {
        if !found(peer.name()) {
            row.peers.push(format!("{} is not installed", peer.name()));
            continue;
        }
        let place = dir.path().join(peer.name());
        peer.prepare(&place)?;
        for name in NAMES {
            peer.store(&place, &images.path(name), name)?;
        }
        let theirs = peer.bytes(&place)?;
        fs::remove_dir_all(place)?;
        row.peers.push(format!("{} {:.0} MiB", peer.name(), mib(theirs)));
        let of = format!("× {}", peer.name());
        row.goals.push(Goal::at_most(of, mib(bytes) / mib(theirs), wanted).because(
            "how much images share decides this; the goals were set on a set that shares more, \
             and restic and borg pack at a higher level or store larger chunks",
        ));
    }
    Ok(row)
}

/// Bytes of all distinct chunks of the images, each compressed, and of nothing else.
fn content_defined(images: &Images) -> Result<u64> {
    let (mut seen, mut sum) = (HashSet::new(), 0);
    for name in NAMES {
        sum += one(&images.path(name), &mut seen)?;
    }
    Ok(sum)
}

fn one(image: &Path, seen: &mut HashSet<blake3::Hash>) -> Result<u64> {
    let bytes = fs::read(image)?;
    let cutter = fastcdc::v2020::FastCDC::new(&bytes, AVERAGE / 4, AVERAGE, AVERAGE * 4);
    let mut sum = 0;
    for chunk in cutter {
        let chunk = &bytes[chunk.offset..chunk.offset + chunk.length];
        let zero = chunk.iter().all(|byte| *byte == 0);
        if !zero && seen.insert(blake3::hash(chunk)) {
            sum += zstd::bulk::compress(chunk, 1)?.len().min(chunk.len()) as u64;
        }
    }
    Ok(sum)
}
