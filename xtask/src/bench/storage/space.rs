//! Row 4: what four images of one family take together.

use std::{fs, path::Path};

use vmint_blocks::{BlockStore, Options};

use super::{
    Bench, cuts,
    images::{Images, NAMES},
    ingest::{domain, take_in},
    peers::{Peer, casync_at_our_level, found},
    table::{Goal, Row},
};
use crate::Result;

/// Bytes after each of the four images.
type Steps = [f64; 4];

/// What later rows want to know of these.
pub(super) struct Space {
    pub(super) row: Row,
    /// MiB that each peer's store grew by when `v2` came to `v1`.
    pub(super) second: Vec<(&'static str, f64)>,
}

#[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

pub(super) fn measure(bench: &Bench, images: &Images) -> Result<Space> {
    eprintln!("row 4");
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let store = BlockStore::open(&dir.path().join("ours"), Options::default())?;
    let ours = steps(
        |_, image| {
            take_in(&store, domain(), image)?;
            Ok(store.stats().pack_bytes)
        },
        images,
    )?;
    drop(store);
    let found_alone = cuts::find(images)?;
    let [byte, grid, regions] =
        [found_alone.by_the_byte, found_alone.on_the_grid, found_alone.in_regions].map(mib);
    let all = ours[3];
    let mut row = Row {
        number: "4",
        what: "store size after four images of one family".to_owned(),
        ours: shown(&ours),
        limit: format!("FastCDC 64 KiB by the byte, each chunk zstd 1: {byte:.0} MiB"),
        ..Row::default()
    };
    let more = |to: f64, from: f64| 100.0 * (to / from - 1.0);
    row.goals.push(Goal::at_most("× FastCDC chunks alone", all / byte, 1.15).because(format!(
        "cuts on the 4 KiB grid make {:+.1} %, those at each 16 MiB {:+.1} %, headers, footers \
         and the tree {:+.1} %",
        more(grid, byte),
        more(regions, grid),
        more(all, regions),
    )));
    let mut second = Vec::new();
    for (peer, wanted) in Peer::ALL.into_iter().zip([1.0, 0.8, 0.5]) {
        if !found(peer.name()) {
            row.peers.push(format!("{} is not installed", peer.name()));
            continue;
        }
        let place = dir.path().join(peer.name());
        peer.prepare(&place)?;
        let theirs = steps(
            |name, image| {
                peer.store(&place, image, name)?;
                peer.bytes(&place)
            },
            images,
        )?;
        second.push((peer.name(), theirs[1] - theirs[0]));
        let mut why = vec![format!(
            "v1 alone takes {:.2} × {}'s, what the other three add {:.2} ×",
            ours[0] / theirs[0],
            peer.name(),
            (ours[3] - ours[0]) / (theirs[3] - theirs[0]),
        )];
        if peer == Peer::Casync {
            let same = mib(casync_at_our_level(&place)?);
            why.push(format!(
                "its chunks would take {same:.0} MiB at zstd 1, so its level makes {:.1} % and \
                 where it cuts the rest",
                -more(theirs[3], same),
            ));
        }
        fs::remove_dir_all(place)?;
        row.peers.push(format!("{} {}", peer.name(), shown(&theirs)));
        let of = format!("× {}", peer.name());
        row.goals.push(Goal::at_most(of, all / theirs[3], wanted).because(why.join("; ")));
    }
    Ok(Space { row, second })
}

/// MiB of all that is kept after each image.
fn steps(mut store: impl FnMut(&str, &Path) -> Result<u64>, images: &Images) -> Result<Steps> {
    let mut steps = Steps::default();
    for (step, name) in steps.iter_mut().zip(NAMES) {
        *step = mib(store(name, &images.path(name))?);
    }
    Ok(steps)
}

fn shown(steps: &Steps) -> String {
    let mut before = 0.0;
    let grown = NAMES.iter().zip(steps).map(|(name, after)| {
        format!("{name} +{:.0}", after - std::mem::replace(&mut before, *after))
    });
    let grown = grown.collect::<Vec<_>>().join(", ");
    format!("{:.0} MiB ({grown})", steps[3])
}
