//! The volume against a plain array, through freezes, restarts and power cuts.

#![allow(clippy::cast_possible_truncation)] // sizes of tests are small

mod cases;
mod sets;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{Extent, Frozen, Volume};
use crate::log::Boot;
use crate::{Base, Span, VolumeKey};

struct Mem(Vec<u8>);

impl Base for Mem {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        buf.copy_from_slice(&self.0[offset as usize..][..buf.len()]);
        Ok(())
    }

    /// Stretches of 10,000 bytes, to have ends inside blocks.
    fn span(&self, offset: u64) -> io::Result<Span> {
        let end = ((offset / 10_000 + 1) * 10_000).min(self.size());
        let data = self.0[offset as usize..end as usize].iter().any(|byte| *byte != 0);
        Ok(Span { end, data })
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Write {
        at: u32,
        len: u32,
        seed: u8,
    },
    Zero {
        at: u32,
        len: u32,
    },
    Trim {
        at: u32,
        len: u32,
    },
    Flush,
    Freeze,
    /// Rebase onto the newest frozen volume, or the oldest.
    Rebase {
        newest: bool,
    },
    Restart,
    PowerCut,
    Compact,
    Grow {
        by: u32,
    },
}

fn ops() -> impl Strategy<Value = Op> {
    let at = 0..400_000_u32;
    let len = prop_oneof![0..6_000_u32, 0..90_000_u32];
    let aligned = (0..90_u32, 1..20_u32).prop_map(|(at, len)| (at * 4096, len * 4096));
    prop_oneof![
        6 => (at.clone(), len.clone(), 1..=255_u8)
            .prop_map(|(at, len, seed)| Op::Write { at, len, seed }),
        3 => (aligned.clone(), 1..=255_u8)
            .prop_map(|((at, len), seed)| Op::Write { at, len, seed }),
        2 => (at.clone(), len.clone()).prop_map(|(at, len)| Op::Zero { at, len }),
        2 => aligned.prop_map(|(at, len)| Op::Zero { at, len }),
        1 => (at, len).prop_map(|(at, len)| Op::Trim { at, len }),
        3 => Just(Op::Flush),
        2 => Just(Op::Freeze),
        2 => any::<bool>().prop_map(|newest| Op::Rebase { newest }),
        2 => Just(Op::Restart),
        1 => Just(Op::PowerCut),
        1 => Just(Op::Compact),
        1 => (0..30_000_u32).prop_map(|by| Op::Grow { by }),
    ]
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// A volume and what it must hold.
struct World {
    _dir: TempDir,
    path: std::path::PathBuf,
    volume: Option<Volume>,
    key: Option<VolumeKey>,
    bases: HashMap<String, Arc<dyn Base>>,
    now: Vec<u8>,
    /// As of the last flush, and which bytes were written since.
    flushed: Vec<u8>,
    touched: Vec<bool>,
    frozen: Vec<(Frozen, Vec<u8>)>,
}

impl World {
    fn new(base: Vec<u8>, size: usize, sealed: bool) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("vol");
        let mut now = base.clone();
        now.resize(size, 0);
        let base: Arc<dyn Base> = Arc::new(Mem(base));
        let key = sealed.then(|| VolumeKey::from_bytes([size as u8; 64]));
        let under = Some(("base-0", base.clone()));
        let volume = Volume::create_with(&path, size as u64, under, key.as_ref()).unwrap();
        Self {
            _dir: dir,
            path,
            volume: Some(volume),
            key,
            bases: HashMap::from([("base-0".into(), base)]),
            flushed: now.clone(),
            touched: vec![false; size],
            now,
            frozen: Vec::new(),
        }
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().unwrap()
    }

    fn reopen(&mut self, boot: Boot) {
        self.volume = None;
        let bases = &self.bases;
        let find = |label: &str| Ok(bases[label].clone());
        self.volume = Some(Volume::open_in(&self.path, find, boot, self.key.as_ref()).unwrap());
    }

    fn change(&mut self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        self.touched[at..at + bytes.len()].fill(true);
    }

    fn settle(&mut self) {
        self.flushed.clone_from(&self.now);
        self.touched = vec![false; self.now.len()];
    }

    fn clip(&self, at: u32, len: u32) -> (u32, u32) {
        let size = self.now.len() as u32;
        let at = at.min(size);
        (at, len.min(size - at))
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Write { at, len, seed } => {
                let (at, len) = self.clip(at, len);
                let bytes = noise(u64::from(seed), len as usize);
                self.volume().write_at(u64::from(at), &bytes).unwrap();
                self.change(at, &bytes);
            }
            Op::Zero { at, len } | Op::Trim { at, len } => {
                let (at, len) = self.clip(at, len);
                let volume = self.volume();
                if matches!(op, Op::Trim { .. }) {
                    volume.trim(u64::from(at), u64::from(len)).unwrap();
                } else {
                    volume.write_zeroes(u64::from(at), u64::from(len)).unwrap();
                }
                self.change(at, &vec![0; len as usize]);
            }
            Op::Flush => {
                self.volume().flush().unwrap();
                self.settle();
            }
            Op::Freeze => {
                let frozen = self.volume().freeze().unwrap();
                self.settle();
                self.check_frozen(&frozen);
                self.frozen.push((frozen, self.now.clone()));
            }
            Op::Rebase { newest } => {
                if self.frozen.is_empty() {
                    return;
                }
                let at = if newest { self.frozen.len() - 1 } else { 0 };
                let (frozen, content) = self.frozen.remove(at);
                let base: Arc<dyn Base> = Arc::new(Mem(content));
                let label = format!("base-{}", self.bases.len());
                self.bases.insert(label.clone(), base.clone());
                self.volume().rebase(&label, base, &frozen).unwrap();
            }
            // Dropping the volume syncs nothing: it is what a kill does.
            Op::Restart => {
                let boot = Boot::current(&self.path).unwrap();
                self.reopen(boot);
            }
            Op::PowerCut => {
                self.reopen(Boot::other());
                let mut found = vec![0; self.now.len()];
                self.volume().read_at(0, &mut found).unwrap();
                for (at, byte) in found.iter().enumerate() {
                    let fine = *byte == self.flushed[at] || self.touched[at];
                    assert!(fine, "byte {at} was flushed and is lost");
                }
                // The other boot's volume made all of it firm.
                self.now = found;
                self.settle();
                let boot = Boot::current(&self.path).unwrap();
                self.reopen(boot);
            }
            Op::Compact => {
                let volume = self.volume();
                volume.flush().unwrap();
                volume.stack().top().unwrap().compact().unwrap();
                self.settle();
            }
            Op::Grow { by } => {
                let size = self.now.len() + by as usize;
                self.volume().grow(size as u64).unwrap();
                self.now.resize(size, 0);
                self.flushed.resize(size, 0);
                self.touched.resize(size, false);
            }
        }
    }

    /// A frozen volume holds what was there, and names all that differs from its base.
    fn check_frozen(&self, frozen: &Frozen) {
        let mut content = vec![0; self.now.len()];
        assert_eq!(frozen.size(), content.len() as u64);
        frozen.read_at(0, &mut content).unwrap();
        assert!(content == self.now, "the frozen content differs");
        let base = &self.bases[frozen.base_label().unwrap()];
        let mut rebuilt = vec![0; content.len()];
        base.read_at(0, &mut rebuilt[..base.size() as usize]).unwrap();
        let mut last = None;
        for range in frozen.dirty() {
            assert!(last.is_none_or(|last| last < range.start) && range.start < range.end);
            last = Some(range.end);
            let range = range.start as usize..range.end as usize;
            rebuilt[range.clone()].copy_from_slice(&content[range]);
        }
        assert!(rebuilt == content, "some change is not named");
    }

    fn check(&self) {
        let volume = self.volume();
        assert_eq!(volume.size(), self.now.len() as u64);
        let mut content = vec![1; self.now.len()];
        volume.read_at(0, &mut content).unwrap();
        let wrong = content.iter().zip(&self.now).position(|(found, wanted)| found != wanted);
        assert_eq!(wrong, None, "the content differs");
        for (frozen, wanted) in &self.frozen {
            let mut content = vec![1; wanted.len()];
            frozen.read_at(0, &mut content).unwrap();
            assert!(content == *wanted, "a frozen content changed");
        }
        let mut at = 0;
        while at < volume.size() {
            let (extent, len) = volume.extent(at, volume.size() - at).unwrap();
            let bytes = &self.now[at as usize..(at + len) as usize];
            assert!(extent == Extent::Data || bytes.iter().all(|byte| *byte == 0));
            at += len;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn is_like_an_array(
        base_len in 1..250_000_usize,
        more in 0..120_000_usize,
        steps in prop::collection::vec(ops(), 1..40),
        sealed: bool,
    ) {
        let mut base = noise(base_len as u64, base_len);
        base[base_len / 3..base_len / 2].fill(0);
        let mut world = World::new(base, base_len + more, sealed);
        for op in steps {
            world.step(op);
            world.check();
        }
    }
}
