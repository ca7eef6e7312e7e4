//! qcow2, version 3, 64 KiB clusters, without options any reader could stumble over.

use super::blocks::Blocks;
use super::{Export, Sink, WriteError};

const CLUSTER: u64 = 64 << 10;
const CLUSTER_BITS: u32 = 16;
/// Entries of eight bytes in a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Reference counts of two bytes in a cluster.
const COUNTS: u64 = CLUSTER / 2;
/// "Nothing else refers to this cluster", true of all of them.
const COPIED: u64 = 1 << 63;
const HEADER: usize = 104;

/// How many clusters there are of each kind, in the order they lie in the file.
struct Plan {
    count_table: u64,
    count_blocks: u64,
    l1: u64,
    l2: u64,
    data: u64,
}

impl Plan {
    fn new(export: &Export<'_>) -> Result<Self, WriteError> {
        let (mut l2, mut data, mut last) = (0, 0, None);
        for cluster in Blocks::new(export.source, CLUSTER) {
            let table = cluster? / ENTRIES;
            data += 1;
            if last.replace(table) != Some(table) {
                l2 += 1;
            }
        }
        let l1_entries = export.size().div_ceil(CLUSTER * ENTRIES);
        let l1 = l1_entries.div_ceil(ENTRIES).max(1);
        let mut plan = Self { count_table: 1, count_blocks: 1, l1, l2, data };
        // The counts also count themselves: a few rounds settle it.
        loop {
            let blocks = plan.clusters().div_ceil(COUNTS);
            let table = blocks.div_ceil(ENTRIES);
            if (blocks, table) == (plan.count_blocks, plan.count_table) {
                return Ok(plan);
            }
            (plan.count_blocks, plan.count_table) = (blocks, table);
        }
    }

    /// All clusters, the header's among them.
    fn clusters(&self) -> u64 {
        self.l2_at() + self.l2 + self.data
    }

    fn l1_at(&self) -> u64 {
        1 + self.count_table + self.count_blocks
    }

    fn l2_at(&self) -> u64 {
        self.l1_at() + self.l1
    }
}

/// Writes the disk as qcow2. The extents are walked four times, the data are read once.
pub fn qcow2(export: &Export<'_>, out: &mut (impl Sink + ?Sized)) -> Result<(), WriteError> {
    let plan = Plan::new(export)?;
    header(export, &plan, out)?;
    numbers(
        plan.count_table,
        (0..plan.count_blocks).map(|n| (1 + plan.count_table + n) * CLUSTER),
        out,
    )?;
    counts(&plan, out)?;
    tables(export, &plan, out)?;
    let mut buf = vec![0; usize::try_from(CLUSTER).unwrap_or(0)];
    let mut written = 0;
    for cluster in Blocks::new(export.source, CLUSTER) {
        let start = cluster? * CLUSTER;
        export.tick(start)?;
        export.read(start, &mut buf)?;
        out.put(&buf)?;
        written += 1;
    }
    if written != plan.data {
        return Err(WriteError::Changed);
    }
    export.tick(export.size())
}

fn header(
    export: &Export<'_>,
    plan: &Plan,
    out: &mut (impl Sink + ?Sized),
) -> Result<(), WriteError> {
    let l1_entries = export.size().div_ceil(CLUSTER * ENTRIES);
    let mut header = Vec::with_capacity(HEADER);
    let u32s = |header: &mut Vec<u8>, values: &[u32]| {
        header.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    };
    let u64s = |header: &mut Vec<u8>, values: &[u64]| {
        header.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    };
    let small = |value: u64| u32::try_from(value).map_err(|_| WriteError::Changed);
    header.extend_from_slice(b"QFI\xfb");
    u32s(&mut header, &[3]);
    // No backing file.
    u64s(&mut header, &[0]);
    u32s(&mut header, &[0, CLUSTER_BITS]);
    u64s(&mut header, &[export.size()]);
    // No encryption.
    u32s(&mut header, &[0, small(l1_entries)?]);
    u64s(&mut header, &[plan.l1_at() * CLUSTER, CLUSTER]);
    // No snapshots, no features; reference counts of 2^4 bits.
    u32s(&mut header, &[small(plan.count_table)?, 0]);
    u64s(&mut header, &[0, 0, 0, 0]);
    u32s(&mut header, &[4, 104]);
    out.put(&header)?;
    Ok(out.hole(CLUSTER - header.len() as u64)?)
}

/// Every cluster of the file is used once.
fn counts(plan: &Plan, out: &mut (impl Sink + ?Sized)) -> Result<(), WriteError> {
    let mut left = plan.clusters();
    for _ in 0..plan.count_blocks {
        let here = left.min(COUNTS);
        left -= here;
        let ones: Vec<u8> = (0..here).flat_map(|_| [0, 1]).collect();
        out.put(&ones)?;
        out.hole(CLUSTER - ones.len() as u64)?;
    }
    Ok(())
}

/// The L1 table, then the L2 tables that are not empty.
fn tables(
    export: &Export<'_>,
    plan: &Plan,
    out: &mut (impl Sink + ?Sized),
) -> Result<(), WriteError> {
    let mut l1 = Vec::new();
    let mut used = 0;
    let mut last = None;
    for cluster in Blocks::new(export.source, CLUSTER) {
        let table = cluster? / ENTRIES;
        if last.replace(table) != Some(table) {
            l1.resize(usize::try_from(table).unwrap_or(0), 0);
            l1.push(((plan.l2_at() + used) * CLUSTER) | COPIED);
            used += 1;
        }
    }
    if used != plan.l2 {
        return Err(WriteError::Changed);
    }
    numbers(plan.l1, l1.into_iter(), out)?;
    let mut table: Option<(u64, Vec<u64>)> = None;
    for (at, cluster) in (plan.l2_at() + plan.l2..).zip(Blocks::new(export.source, CLUSTER)) {
        let cluster = cluster?;
        let (index, within) = (cluster / ENTRIES, cluster % ENTRIES);
        if table.as_ref().is_none_or(|(at, _)| *at != index)
            && let Some((_, full)) = table.replace((index, Vec::new()))
        {
            numbers(1, full.into_iter(), out)?;
        }
        if let Some((_, entries)) = &mut table {
            entries.resize(usize::try_from(within).unwrap_or(0), 0);
            entries.push((at * CLUSTER) | COPIED);
        }
    }
    match table {
        Some((_, full)) => numbers(1, full.into_iter(), out),
        None => Ok(()),
    }
}

/// Numbers of eight bytes, filled up with zeros to whole clusters.
fn numbers(
    clusters: u64,
    values: impl Iterator<Item = u64>,
    out: &mut (impl Sink + ?Sized),
) -> Result<(), WriteError> {
    let bytes: Vec<u8> = values.flat_map(u64::to_be_bytes).collect();
    let rest = (clusters * CLUSTER).checked_sub(bytes.len() as u64).ok_or(WriteError::Changed)?;
    out.put(&bytes)?;
    Ok(out.hole(rest)?)
}
