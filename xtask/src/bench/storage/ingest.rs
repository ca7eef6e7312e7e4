//! Rows 1, 2 and 5: an image goes in, goes in again, and comes out.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use vmint_blocks::{BlockStore, Domain, Options, REGION_BYTES, Sealed, Tree};
use vmint_images::{Limits, Opener, Source, write};

use super::{
    Bench, images, limits,
    peers::{Peer, durable, found},
    table::{Goal, Row, Series},
};
use crate::{
    Result,
    bench::clock::{Took, clock, ran},
};

#[derive(Default)]
struct Times {
    disk: Series,
    cpu: Series,
    hash: Series,
    sums: Series,
    read: Series,
    unpack: Series,
    new: Series,
    known: Series,
    verified: Series,
    export: Series,
    copy: Series,
    others: Others,
}

/// What others took, in the order of [`Peer::ALL`].
#[derive(Default)]
struct Others {
    new: [Series; 3],
    known: [Series; 3],
    out: [Series; 3],
    qcow2: Series,
    qcow2_out: Series,
}

impl Times {
    /// Whether a limit moved so much that the ratios say little.
    fn noisy(&self) -> bool {
        self.cpu.noisy() || self.hash.noisy() || self.unpack.noisy()
    }
}

/// What later rows want to know of these.
pub(super) struct Ingested {
    pub(super) rows: Vec<Row>,
    /// Seconds that ours took for the new image, and borg for one it knew.
    pub(super) new: f64,
    pub(super) borg_again: Option<f64>,
    pub(super) data_mib: f64,
}

pub(super) fn domain() -> Domain {
    Domain::derive(b"bench", "bench")
}

/// Puts an image into blocks as an import does.
pub(super) fn take_in(store: &BlockStore, domain: Domain, image: &Path) -> Result<Sealed> {
    let disk = Opener::new(&Limits::default()).open(File::open(image)?)?;
    let (size, disk) = (disk.size_bytes(), Arc::new(disk));
    let reader = disk.clone();
    let read = move |at: u64, buffer: &mut [u8]| Source::read_at(&*reader, at, buffer);
    let extents = disk.extents().map(|extent| extent.map_err(std::io::Error::other));
    Ok(store.ingest_from(domain, size, extents, Arc::new(read), &mut |_| true)?)
}

pub(super) fn measure(bench: &Bench, image: &Path) -> Result<Ingested> {
    images::warm(image)?;
    let data = images::data(image)?;
    let packed = limits::compressed(&data)?;
    let mut times = Times::default();
    for round in 0..bench.rounds {
        eprintln!("rows 1, 2 and 5, round {}", round + 1);
        one_round(bench, image, &data, &packed, &mut times, round < bench.peers)?;
    }
    if times.noisy() && !bench.quick {
        // Others are so far from the limits that theirs may stay.
        times = Times { others: times.others, ..Times::default() };
        for round in 0..bench.rounds {
            eprintln!("rows 1, 2 and 5 once more, round {}", round + 1);
            one_round(bench, image, &data, &packed, &mut times, false)?;
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
    let mib = data.len() as f64 / f64::from(1 << 20);
    let borg = (!times.others.known[2].0.is_empty()).then(|| times.others.known[2].wall());
    Ok(Ingested { rows: rows(&times, mib), new: times.new.wall(), borg_again: borg, data_mib: mib })
}

fn one_round(
    bench: &Bench,
    image: &Path,
    data: &[u8],
    packed: &[Vec<u8>],
    times: &mut Times,
    with_others: bool,
) -> Result {
    let dir = tempfile::tempdir_in(&bench.dir)?;
    let dir = dir.path();
    bench.settle()?;
    times.disk.add(limits::write(&dir.join("limit"), data)?);
    times.cpu.add(limits::hash_and_compress(data)?);
    let ours = dir.join("ours");
    let store = BlockStore::open(&ours, Options::default())?;
    bench.settle()?;
    times.new.add(timed(&ours, || take_in(&store, domain(), image).map(drop))?);
    times.hash.add(limits::hash(data)?);
    times.sums.add(limits::sums(data)?);
    times.read.add(limits::read(image)?);
    let (sealed, took) = clock(|| take_in(&store, domain(), image))?;
    if sealed.new_bytes > 0 {
        return Err("an image that is known came in as new".into());
    }
    times.known.add(took);
    drop(store);
    let store = BlockStore::open(&ours, Options::default())?;
    let tree = store.tree(domain(), sealed.root, sealed.size_bytes);
    times.unpack.add(limits::decompress(packed)?);
    times.verified.add(clock(|| read_all(&tree))?.1);
    bench.settle()?;
    times.export.add(export(&tree, &dir.join("export.raw"), image)?);
    bench.settle()?;
    let mut copy = Command::new("cp");
    copy.args(["--sparse=always", "--reflink=never"]).arg(image).arg(dir.join("copy.raw"));
    times.copy.add(timed(dir, || ran(&mut copy).map(drop))?);
    fs::remove_file(dir.join("copy.raw"))?;
    if with_others { others(bench, image, dir, &mut times.others) } else { Ok(()) }
}

fn others(bench: &Bench, image: &Path, dir: &Path, times: &mut Others) -> Result {
    if found("qemu-img") {
        bench.settle()?;
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "-m", "16"]);
        convert.args(["-W", "-f", "raw"]).arg(image).arg(dir.join("image.qcow2"));
        times.qcow2.add(timed(dir, || ran(&mut convert).map(drop))?);
        bench.settle()?;
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "qcow2", "-O", "raw", "-m", "16", "-W"]);
        convert.arg(dir.join("image.qcow2")).arg(dir.join("image.raw"));
        times.qcow2_out.add(timed(dir, || ran(&mut convert).map(drop))?);
        fs::remove_file(dir.join("image.raw"))?;
        fs::remove_file(dir.join("image.qcow2"))?;
    }
    for (n, peer) in Peer::ALL.into_iter().enumerate().filter(|(_, peer)| found(peer.name())) {
        let place = dir.join(peer.name());
        peer.prepare(&place)?;
        bench.settle()?;
        times.new[n].add(peer.store(&place, image, "first")?);
        bench.settle()?;
        times.known[n].add(peer.store(&place, image, "again")?);
        bench.settle()?;
        times.out[n].add(peer.extract(&place, "first", &dir.join("out"))?);
        fs::remove_dir_all(place)?;
    }
    Ok(())
}

/// Does `work` until what it wrote below `dir` is durable.
fn timed(dir: &Path, work: impl FnOnce() -> Result) -> Result<Took> {
    let ((), took) = clock(|| {
        work()?;
        durable(dir)
    })?;
    Ok(took)
}

/// Reads a content on all cores, a MiB at a time.
fn read_all(tree: &Tree) -> Result {
    let next = AtomicU64::new(0);
    let read = || -> vmint_blocks::Result<()> {
        let mut piece = vec![0; 1 << 20];
        loop {
            let region = next.fetch_add(REGION_BYTES, Ordering::Relaxed);
            if region >= tree.size_bytes() {
                return Ok(());
            }
            let end = tree.size_bytes().min(region + REGION_BYTES);
            for extent in tree.extents(region..end) {
                let (range, kind) = extent?;
                if kind == vmint_blocks::ExtentKind::Hole {
                    continue;
                }
                for at in range.clone().step_by(1 << 20) {
                    let length = usize::try_from(range.end - at).unwrap_or(0).min(1 << 20);
                    tree.read_at(at, &mut piece[..length])?;
                }
            }
        }
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..limits::cores()).map(|_| scope.spawn(read)).collect();
        for reader in readers {
            reader.join().map_err(|_| "a reader panicked")??;
        }
        Ok(())
    })
}

struct Content<'a>(&'a Tree);

impl Source for Content<'_> {
    fn len(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_at(offset, buf).map_err(std::io::Error::other)
    }

    fn next_data(&self, from: u64) -> std::io::Result<Option<std::ops::Range<u64>>> {
        for extent in self.0.extents(from..self.0.size_bytes()) {
            if let (range, vmint_blocks::ExtentKind::Data) =
                extent.map_err(std::io::Error::other)?
            {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }
}

/// Writes a content as a raw file; it must be the image it came from.
fn export(tree: &Tree, out: &Path, image: &Path) -> Result<Took> {
    let took = timed(out.parent().unwrap_or(out), || {
        let source = Content(tree);
        let export = write::Export { source: &source, id: [0; 16], watch: &|_| true };
        let mut sparse = write::Sparse::new(File::create(out)?);
        write::raw(&export, &mut sparse)?;
        Ok(sparse.finish()?.sync_all()?)
    })?;
    ran(Command::new("cmp").args([out, image]))?;
    fs::remove_file(out)?;
    Ok(took)
}

fn rows(times: &Times, mib: f64) -> Vec<Row> {
    let (new, known) = (times.new.wall(), times.known.wall());
    let mut first = Row {
        number: "1",
        what: format!("ingest of a new image, {mib:.0} MiB of data, durable"),
        ours: times.new.rate(mib),
        limit: format!(
            "blake3 + zstd 1 on all cores {}; disk write and fsync {}",
            times.cpu.rate(mib),
            times.disk.rate(mib)
        ),
        noisy: times.cpu.noisy(),
        ..Row::default()
    };
    let floor = times.cpu.wall().max(times.disk.wall());
    first.goals.push(Goal::at_least("of the limit", floor / new, 0.8));
    first.why = new_goes_to(times);
    let mut second = Row {
        number: "2",
        what: "ingest of the same image again".to_owned(),
        ours: times.known.rate(mib),
        limit: format!(
            "blake3 on all cores {}; reading the page cache {}",
            times.hash.rate(mib),
            times.read.rate(mib)
        ),
        noisy: times.hash.noisy(),
        ..Row::default()
    };
    let both = (times.hash.wall() + times.read.wall()) / known;
    let floor = times.hash.wall().max(times.read.wall());
    second.goals.push(Goal::at_least("of the slower limit", floor / known, 0.7));
    second.why = known_goes_to(times);
    second.peers.push(format!("reading and then hashing as the limits do: {both:.2} of that"));
    for (n, (new_goal, known_goal)) in [(8.0, 0.0), (4.0, 10.0), (3.0, 10.0)].iter().enumerate() {
        let peer = Peer::ALL[n];
        first.peer_or_none(peer.name(), new, &times.others.new[n], mib, *new_goal);
        second.peer_or_none(peer.name(), known, &times.others.known[n], mib, *known_goal);
    }
    first.peer_or_none("qemu-img convert -c (zstd)", new, &times.others.qcow2, mib, 0.0);
    vec![first, second, out_row(times, mib)]
}

/// Where the time of a new image went beside what its limit does.
fn new_goes_to(times: &Times) -> String {
    let cores = limits::cores();
    #[allow(clippy::cast_precision_loss, reason = "a few cores")]
    let had = cores as f64 * times.new.wall();
    let (ours, limit) = (times.new.cpu(), times.cpu.cpu());
    format!(
        "of {had:.2} s of {cores} cores it used {ours:.2}, where hashing and compressing alone \
         used {limit:.2}; reading the file and finding cuts take {:.2} of the rest, records and \
         packs the others; {:.2} passed unused, waiting for the disk or for the last region",
        times.read.cpu() + times.sums.cpu(),
        (had - ours).max(0.0),
    )
}

/// Where the time of a known image went.
fn known_goes_to(times: &Times) -> String {
    let share = |part: f64| 100.0 * part / times.known.wall();
    let parts = [times.hash.wall(), times.read.wall(), times.sums.wall()];
    let rest = times.known.wall() - parts.iter().sum::<f64>();
    let [hash, read, sums] = parts.map(share);
    format!(
        "of its time hashing is {hash:.0} %, copying out of the page cache {read:.0} %, finding \
         cuts {sums:.0} %, each as fast as alone; looking up and all else {:.0} %",
        share(rest.max(0.0)),
    )
}

fn out_row(times: &Times, mib: f64) -> Row {
    let mut row = Row {
        number: "5",
        what: "the image comes out again, verified".to_owned(),
        ours: format!(
            "read on all cores {}; to a raw file, durable {}",
            times.verified.rate(mib),
            times.export.rate(mib)
        ),
        limit: format!(
            "zstd decompress on all cores {}; cp and sync {}",
            times.unpack.rate(mib),
            times.copy.rate(mib)
        ),
        noisy: times.unpack.noisy(),
        ..Row::default()
    };
    let of = "of decompress, read on all cores";
    let reached = times.unpack.wall() / times.verified.wall();
    let share = |part: f64| 100.0 * part / times.verified.wall();
    row.goals.push(Goal::at_least(of, reached, 0.7).because(format!(
        "of its time unpacking is {:.0} %, hashing each chunk against its name {:.0} %, each as \
         fast as alone; reading the packs and copying to who asked the rest",
        share(times.unpack.wall()),
        share(times.hash.wall()),
    )));
    let ours = times.export.wall();
    row.why = format!(
        "to a raw file it used {:.2} CPU-s in {ours:.2} s: what is read back ({:.2} CPU-s) and \
         written comes from one thread, and cp and sync alone take {:.2} s",
        times.export.cpu(),
        times.verified.cpu(),
        times.copy.wall(),
    );
    for (n, wanted) in [4.0, 0.0, 0.0].into_iter().enumerate() {
        let (peer, theirs) = (Peer::ALL[n], &times.others.out[n]);
        row.peer_or_none(&format!("{} extract", peer.name()), ours, theirs, mib, wanted);
    }
    row.peer_or_none("qemu-img convert of qcow2 -c", ours, &times.others.qcow2_out, mib, 0.0);
    row
}
