/// How a store uses its disk and memory. All sizes in bytes.
#[derive(Debug, Clone)]
pub struct Options {
    /// sled's page cache; it really uses some hundred MiB under load.
    pub cache_bytes: u64,
    /// The newest writes are held in memory only until there is so much of them;
    /// so much of the journal is read again at opening. Three times as much at
    /// most, when the view falls behind.
    pub batch_bytes: usize,
    /// The first journal segment; written before `open` returns, so small.
    pub first_segment_bytes: u64,
    /// Each later segment is four times its predecessor, up to this.
    pub segment_bytes: u64,
    /// A checkpoint is written once this much journal has been sealed since the
    /// last one (or half of the last checkpoint, whichever is more, up to
    /// 128 MiB).
    pub checkpoint_every_bytes: u64,
    /// A file kept only to be deleted when the disk is full, so that the store
    /// can still be opened then; 0 for none.
    pub ballast_bytes: u64,
    /// Commits are refused while less than this is free; at least what a busy
    /// moment leaves for the view to write, some 16 MiB.
    pub keep_free_bytes: u64,
    /// Events kept for each topic; older ones are dropped as new ones come.
    pub events_kept: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 8 << 20,
            batch_bytes: 4 << 20,
            first_segment_bytes: 256 << 10,
            segment_bytes: 16 << 20,
            checkpoint_every_bytes: 16 << 20,
            ballast_bytes: 64 << 20,
            keep_free_bytes: 32 << 20,
            events_kept: 100_000,
        }
    }
}
