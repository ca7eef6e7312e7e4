//! Tables and compressed clusters of a qcow2 file.

use vmint_images::{Limits, open};

use super::builder::{CLUSTER, DATA, FILL, L1, L2, REFBLOCK, REFTABLE, packed_entry};
use super::{Case, deflate, drain, edit, zstd};

pub(crate) fn cases() -> Vec<Case> {
    let l1 = |value: u64| edit(move |i| i.u64(L1, value).done());
    let l2 = |value: u64| edit(move |i| i.u64(L2, value).done());
    let full = deflate(&[FILL; CLUSTER]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("L2 past the end", l1(1 << 40), "malformed"),
        ("L2 at the very end", l1(8 * CLUSTER as u64), "malformed"),
        ("L2 unaligned", l1(L2 as u64 + 512), "malformed"),
        ("L2 in the header", l1(512), "malformed"),
        ("L2 is the L1", l1(L1 as u64), "malformed"),
        ("L2 is the refcount block", l1(REFBLOCK as u64), "malformed"),
        ("L1 reserved bits", l1(L2 as u64 | 1), "malformed"),
        ("L1 high reserved bits", l1(L2 as u64 | 1 << 60), "malformed"),
        ("data past the end", l2(1 << 40), "malformed"),
        ("data at 2^56", l2(0x00ff_ffff_ffff_0000), "malformed"),
        ("data unaligned", l2(DATA as u64 + 512), "malformed"),
        ("data in the header", l2(0x200), "malformed"),
        ("data is the L1", l2(L1 as u64), "malformed"),
        ("data is its own L2", l2(L2 as u64), "malformed"),
        ("data is the refcount table", l2(REFTABLE as u64), "malformed"),
        ("L2 reserved bits", l2(DATA as u64 | 2), "malformed"),
        ("zero flag with data past the end", l2(1 << 40 | 1), "ok"),
        ("zero flag over a table", l2(L1 as u64 | 1), "malformed"),
        ("one cluster twice", edit(|i| i.u64(L2 + 16, DATA as u64).done()), "malformed"),
        (
            "every entry one cluster",
            edit(|i| (0..256).for_each(|n| i.u64(L2 + 8 * n, DATA as u64).done())),
            "malformed",
        ),
        (
            "many L2 that are one",
            edit(|i| {
                i.u64(24, 8 << 30).u32(36, 16);
                (0..16).for_each(|n| i.u64(L1 + 8 * n, L2 as u64).done());
            }),
            "malformed",
        ),
        ("zero flag in version 2", edit(|i| i.u32(4, 2).u64(L2, 1).done()), "malformed"),
        ("packed past the end", l2(packed_entry(1 << 40, 0)), "malformed"),
        ("packed in the header", l2(packed_entry(16, 0)), "malformed"),
        ("packed in the L1", l2(packed_entry(L1 as u64, 0)), "malformed"),
        (
            "packed runs into a cluster",
            l2(packed_entry(2 * CLUSTER as u64 - 100, 255)),
            "malformed",
        ),
        ("packed with copied bit", l2(packed_entry(DATA as u64, 0) | 1 << 63), "malformed"),
        ("packed garbage", l2(packed_entry(DATA as u64, 127)), "malformed"),
        ("packed short", edit(|i| i.packed(&deflate(&[FILL; CLUSTER - 1]), 0).done()), "malformed"),
        ("packed long", edit(|i| i.packed(&deflate(&[FILL; CLUSTER + 1]), 0).done()), "malformed"),
        (
            "packed bomb",
            edit(|i| i.packed(&deflate(&vec![FILL; 50 << 20]), 120).done()),
            "malformed",
        ),
        ("packed cut off", edit(|i| i.packed(&full[..full.len() / 2], 0).done()), "malformed"),
        (
            "one stream for two",
            edit(|i| i.packed(&full, 0).u64(L2 + 16, packed_entry(DATA as u64, 0)).done()),
            "malformed",
        ),
        (
            "zstd short",
            edit(|i| i.zstd().packed(&zstd(&[FILL; CLUSTER - 1]), 0).done()),
            "malformed",
        ),
        (
            "zstd bomb",
            edit(|i| i.zstd().packed(&zstd(&vec![FILL; 100 << 20]), 120).done()),
            "malformed",
        ),
        (
            "zstd window of 2 GiB",
            {
                let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0, 0];
                edit(|i| i.zstd().packed(&frame, 0).done())
            },
            "malformed",
        ),
        ("zstd that is deflate", edit(|i| i.zstd().packed(&full, 0).done()), "malformed"),
        (
            "deflate that is zstd",
            edit(|i| i.packed(&zstd(&[FILL; CLUSTER]), 0).done()),
            "malformed",
        ),
    ];
    cases
        .into_iter()
        .map(|(name, bytes, wanted)| (format!("qcow2 {name}"), bytes, wanted))
        .collect()
}

#[test]
fn budgets_hold() {
    // 8 GiB of data would be unfolded from a file this small if each cluster could be packed.
    let full = deflate(&[FILL; CLUSTER]);
    let bomb = edit(|i| {
        for n in 0..256 {
            let at = DATA + CLUSTER * 4 + n * 512;
            i.bytes(at, &full).u64(L2 + 8 * n, packed_entry(at as u64, 0));
        }
    });
    let limits = Limits { max_data: 1 << 20, ..Limits::default() };
    let error = open(bomb.clone(), None, &limits).unwrap_err();
    assert_eq!(error.reason(), "too-much-data");
    let disk = open(bomb.clone(), None, &Limits::default()).unwrap();
    assert_eq!(drain(&disk, &[FILL]).unwrap(), 16 << 20);
    let limits = Limits { max_memory: 2048, ..Limits::default() };
    assert_eq!(open(bomb, None, &limits).unwrap_err().reason(), "too-complex");
    let limits = Limits { max_virtual: u64::MAX, ..Limits::default() };
    let size = edit(|i| i.u64(24, (64 << 40) + 512).done());
    assert_eq!(open(size, None, &limits).unwrap_err().reason(), "too-large");
}
