//! Nearly valid and arbitrary bytes.

use std::io;

use proptest::prelude::*;
use vmint_images::{Format, Limits, Source, open};

use super::builder::{CLUSTER, DATA, FILL, Image, L1, L2, REFTABLE};
use super::{deflate, drain, zstd};

/// A source that counts, to see that a refusal is cheap, and that nothing is read beyond it.
struct Counting(Vec<u8>, std::sync::atomic::AtomicU64);

impl Source for Counting {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        assert!(offset + buf.len() as u64 <= self.0.len() as u64, "read past the end");
        self.1.fetch_add(buf.len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.0.read_at(offset, buf)
    }
}

#[test]
fn detection_reads_little() {
    let source = Counting(vec![0; 64 << 20], 0.into());
    assert_eq!(vmint_images::detect(&source).unwrap(), Format::Raw);
    assert!(source.1.into_inner() < 40_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Valid files with a few bytes wrong: read or refused, nothing else.
    #[test]
    fn mutated_images_do_no_harm(
        edits in prop::collection::vec(
            (prop_oneof![0..128_usize, L1..L1 + 16, L2..L2 + 64, REFTABLE..REFTABLE + 16,
                DATA..DATA + 64], any::<u8>()),
            1..8,
        ),
        kind in 0..3,
        cut in prop::option::weighted(0.2, 0..8 * CLUSTER),
    ) {
        let mut image = Image::new();
        match kind {
            0 => {}
            1 => image.packed(&deflate(&[FILL; CLUSTER]), 0).done(),
            _ => image.zstd().packed(&zstd(&[FILL; CLUSTER]), 0).done(),
        }
        for (at, byte) in edits {
            image.0[at] = byte;
        }
        image.0.truncate(cut.unwrap_or(usize::MAX));
        let source = Counting(image.0, 0.into());
        match open(source, None, &Limits { max_virtual: 1 << 32, ..Limits::default() }) {
            Ok(disk) => {
                let any: Vec<u8> = (0..=255).collect();
                if let Err(error) = drain(&disk, &any) {
                    prop_assert!(error.is_senders_fault(), "{}", error);
                }
            }
            Err(error) => prop_assert!(error.is_senders_fault(), "{}", error),
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..3000), magic: bool) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(0..0, *b"QFI\xfb\0\0\0\x03");
        }
        let any: Vec<u8> = (0..=255).collect();
        if let Ok(disk) = open(bytes, None, &Limits::default()) {
            prop_assert!(drain(&disk, &any).is_ok());
        }
    }
}
