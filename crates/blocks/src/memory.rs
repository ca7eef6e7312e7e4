//! How much memory chunks may take where nobody says.

use std::fs;

/// Of the machine's memory.
const SHARE: u64 = 16;
/// Bytes: what some boots read, and what many do.
const LEAST: u64 = 128 << 20;
const MOST: u64 = 2 << 30;

/// A sixteenth of the memory of this machine, or of what its control group may have if that is
/// less; 128 MiB to 2 GiB.
pub(crate) fn for_chunks() -> usize {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups =
        ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].map(read);
    share(&read("/proc/meminfo"), groups.iter().map(String::as_str))
}

fn share<'a>(meminfo: &str, groups: impl Iterator<Item = &'a str>) -> usize {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    // A group without a limit says `max`, or a number beyond all memory.
    let limits = groups.filter_map(|text| text.trim().parse::<u64>().ok());
    let all = limits.chain(kib.map(|kib| kib << 10)).min().unwrap_or_default();
    usize::try_from((all / SHARE).clamp(LEAST, MOST)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_machine_and_group_counts() {
        let of = |kib: u64, groups: [&str; 2]| {
            let meminfo = format!("MemFree: 1 kB\nMemTotal:       {kib} kB\n");
            share(&meminfo, groups.into_iter()) >> 20
        };
        let none = ["", ""];
        assert_eq!(of(24 << 20, none), 1536);
        assert_eq!(of(24 << 20, ["max\n", "9223372036854771712\n"]), 1536);
        assert_eq!(of(24 << 20, ["8589934592\n", ""]), 512);
        assert_eq!(of(1 << 20, none), 128, "the least");
        assert_eq!(of(1 << 30, none), 2048, "the most");
        assert_eq!(share("", none.into_iter()) >> 20, 128);
        assert!((128..=2048).contains(&(for_chunks() >> 20)));
    }
}
