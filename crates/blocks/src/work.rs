//! A batch of chunks: hashed, compared with what is known, compressed and appended by a worker.

use std::cell::RefCell;

use crate::{
    BlocksError, ChunkId, Result,
    cut::BLOCK,
    id::{Keys, Kind},
    node::Entry,
    pack::{RECORD_HEADER, Record},
    seal::SEAL_BYTES,
    store::Inner,
};

/// Bytes after which a batch goes to a worker.
pub(crate) const BATCH: usize = 1 << 20;

/// Where a chunk belongs and its bytes within the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) region: u64,
    pub(crate) start: u16,
    pub(crate) blocks: u8,
    /// First byte within the batch.
    pub(crate) at: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pieces: Vec<Piece>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) entries: Vec<(u64, Entry)>,
    pub(crate) new_bytes: u64,
    pub(crate) known_bytes: u64,
    pub(crate) stored_bytes: u64,
    /// The batch's buffer, for the next one.
    pub(crate) bytes: Vec<u8>,
}

/// Per thread: the compressor, and where records are built.
struct Tools {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    payload: Vec<u8>,
    records: Vec<u8>,
    sealed: Vec<u8>,
    /// Chunks in a row that did not shrink.
    hopeless: u32,
}

thread_local! {
    static TOOLS: RefCell<Tools> = const {
        RefCell::new(Tools {
            zstd: None,
            payload: Vec::new(),
            records: Vec::new(),
            sealed: Vec::new(),
            hopeless: 0,
        })
    };
}

/// Stores the chunks of a batch.
pub(crate) fn take(store: &Inner, keys: &Keys, batch: Batch) -> Result<Done> {
    let mut done = Done::default();
    process(store, keys, &batch.bytes, &batch.pieces, &mut done)?;
    done.bytes = batch.bytes;
    done.bytes.clear();
    Ok(done)
}

/// Stores `pieces` of `bytes` and adds what became of them to `done`.
pub(crate) fn process(
    store: &Inner,
    keys: &Keys,
    bytes: &[u8],
    pieces: &[Piece],
    done: &mut Done,
) -> Result<()> {
    TOOLS.with_borrow_mut(|tools| tools.process(store, keys, bytes, pieces, done))
}

impl Tools {
    fn process(
        &mut self,
        store: &Inner,
        keys: &Keys,
        bytes: &[u8],
        pieces: &[Piece],
        done: &mut Done,
    ) -> Result<()> {
        let mut fresh: Vec<(Record, usize)> = Vec::new();
        let epoch = store.pins.epoch();
        self.records.clear();
        for piece in pieces {
            let raw = &bytes[piece.at..piece.at + usize::from(piece.blocks) * BLOCK];
            let id = keys.id(Kind::Data, raw);
            let entry = Entry { start: piece.start, blocks: piece.blocks, id };
            done.entries.push((piece.region, entry));
            let known = store.index.touch(&id, epoch).is_some()
                || fresh.iter().any(|(record, _)| record.id == id);
            if known {
                done.known_bytes += raw.len() as u64;
            } else {
                done.new_bytes += raw.len() as u64;
                let at = self.records.len();
                fresh.push((self.build(keys, id, raw)?, at));
            }
        }
        if !fresh.is_empty() {
            done.stored_bytes += store.append(&self.records, &fresh)?;
        }
        Ok(())
    }

    /// Appends the record of a chunk to `records`, compressed if that saves 6 % or more.
    fn build(&mut self, keys: &Keys, id: ChunkId, raw: &[u8]) -> Result<Record> {
        let size = u32::try_from(raw.len()).expect("a chunk is at most 256 KiB");
        let sealed = keys.sealer.is_some();
        let mut record = Record { id, raw: size, stored: size, zstd: false, sealed };
        self.records.reserve(RECORD_HEADER + raw.len() + SEAL_BYTES as usize);
        if let Some(stored) = self.compress(raw) {
            record = Record { stored, zstd: true, ..record };
        }
        let payload = if record.zstd { &self.payload } else { raw };
        if let Some(sealer) = &keys.sealer {
            let sealed = sealer.seal(&record, payload, &mut self.sealed);
            sealed.ok_or(BlocksError::Worker)?;
            record.stored += SEAL_BYTES;
            record.write(&self.sealed, &mut self.records);
        } else {
            record.write(payload, &mut self.records);
        }
        Ok(record)
    }

    fn compress(&mut self, raw: &[u8]) -> Option<u32> {
        // Encrypted and compressed data comes in long stretches: look only now and then.
        if self.hopeless >= 16 && !self.hopeless.is_multiple_of(8) {
            self.hopeless += 1;
            return None;
        }
        if self.zstd.is_none() {
            self.zstd = zstd::bulk::Compressor::new(1).ok();
        }
        self.payload.clear();
        self.payload.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let stored = self.zstd.as_mut()?.compress_to_buffer(raw, &mut self.payload).ok()?;
        if stored > raw.len() - raw.len() * 6 / 100 {
            self.hopeless = self.hopeless.wrapping_add(1);
            return None;
        }
        self.hopeless = 0;
        u32::try_from(stored).ok()
    }
}
