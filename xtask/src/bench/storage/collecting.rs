//! Row 19: space that nothing needs comes back while images come in.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use vmint_blocks::{BlockStore, Domain, Options, Sealed};

use super::{
    Bench, images,
    ingest::{domain, take_in},
    limits,
    peers::{Peer, found},
    table::{Goal, Row, Series},
};
use crate::{
    Result,
    bench::clock::{Took, clock},
};

pub(super) fn measure(bench: &Bench, image: &Path) -> Result<Row> {
    eprintln!("row 19");
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let other = salted(image, &dir.path().join("other.raw"))?;
    let (mut alone, mut beside) = (Series::default(), Series::default());
    let (mut collected, mut shares) = (Series::default(), Vec::new());
    let collections = AtomicUsize::new(0);
    for round in 0..bench.rounds {
        let place = dir.path().join(round.to_string());
        let store = BlockStore::open(&place, Options::default())?;
        let kept = take_in(&store, domain(), image)?;
        bench.settle()?;
        let fresh = |n: usize| Domain::derive(b"bench", &format!("{n}"));
        alone.add(clock(|| take_in(&store, fresh(1), &other).map(drop))?.1);
        let (took, share) = one(&store, &kept)?;
        collected.add(took);
        shares.push(share);
        // What is collected meanwhile is what came in last, under another name.
        drop(take_in(&store, fresh(2), &other)?);
        bench.settle()?;
        let over = AtomicBool::new(false);
        let ((), took) = thread::scope(|scope| {
            let collecting = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let swept = one(&store, &kept).map_err(|error| error.to_string());
                    swept?;
                    collections.fetch_add(2, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(10));
                }
                Ok::<_, String>(())
            });
            let took = clock(|| take_in(&store, fresh(3), &other).map(drop));
            over.store(true, Ordering::Relaxed);
            collecting.join().map_err(|_| "the collection panicked")??;
            took
        })?;
        beside.add(took);
        drop((store, kept));
        fs::remove_dir_all(place)?;
    }
    let share = crate::bench::clock::median(&shares);
    let mut row = Row {
        number: "19",
        what: "collection of one of two unrelated images".to_owned(),
        ours: format!(
            "{}; {:.1} % of the dead bytes came back; ingest beside it takes {:.2} × as long",
            collected.millis(),
            share * 100.0,
            beside.wall() / alone.wall()
        ),
        limit: format!("ingest alone {}", alone.millis()),
        noisy: alone.noisy(),
        ..Row::default()
    };
    let of = "of ingest's rate while collecting";
    row.goals.push(Goal::at_least(of, alone.wall() / beside.wall(), 0.85).because(format!(
        "{} collections ran in the time of an ingest, one after the other, and used {:.2} CPU-s \
         beside its own {:.2} on {} cores",
        collections.into_inner() / bench.rounds,
        (beside.cpu() - alone.cpu()).max(0.0),
        alone.cpu(),
        limits::cores(),
    )));
    row.goals.push(Goal::at_least("of dead bytes", share, 0.95));
    for peer in Peer::ALL {
        if !found(peer.name()) {
            row.peers.push(format!("{} is not installed", peer.name()));
            continue;
        }
        let place = dir.path().join(peer.name());
        peer.prepare(&place)?;
        peer.store(&place, image, "kept")?;
        peer.store(&place, &other, "gone")?;
        bench.settle()?;
        let took = Series(vec![peer.forget(&place, "gone", "kept")?]);
        fs::remove_dir_all(place)?;
        let wanted = if peer == Peer::Casync { 0.0 } else { 3.0 };
        row.peer(
            peer.name(),
            collected.wall(),
            &took,
            &format!("{} (once)", took.millis()),
            wanted,
        );
    }
    Ok(row)
}

/// Collects all but what is kept: what that took, and which part of the dead bytes came back.
fn one(store: &BlockStore, kept: &Sealed) -> Result<(Took, f64)> {
    let roots = [(domain(), kept.root, kept.size_bytes)];
    let (report, took) = clock(|| {
        let report = store.collect(roots, Some(Duration::ZERO))?;
        // What went to the trash goes from the disk one round later.
        store.collect(roots, Some(Duration::ZERO))?;
        Ok(report)
    })?;
    let left = store.stats().pack_bytes.saturating_sub(kept_bytes(kept));
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
    let share = 1.0 - left as f64 / report.dead_bytes.max(1) as f64;
    Ok((took, share))
}

fn kept_bytes(kept: &Sealed) -> u64 {
    kept.stored_bytes
}

/// The same image with all of its data changed, as compressible as before.
fn salted(image: &Path, out: &Path) -> Result<PathBuf> {
    let mut data = images::data(image)?;
    for byte in &mut data {
        *byte ^= 0x5a;
    }
    data.truncate(data.len() / 4096 * 4096);
    fs::write(out, data)?;
    Ok(out.to_owned())
}
