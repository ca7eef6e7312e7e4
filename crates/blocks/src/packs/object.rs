//! Packs as objects: written here, put as a whole when they are to be durable, read in ranges.

mod claim;

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    future::Future,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{
    ClientOptions, ObjectStore, PutPayload, RetryConfig, aws::AmazonS3Builder, path::Path as Key,
};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use super::{
    Appended, Kept, ObjectOptions, PackStore, number_of,
    segments::{SEGMENT, Segments},
};
use crate::pack::{self, Listed};

#[derive(Debug, Default)]
struct State {
    /// Bytes of the packs that are objects.
    sizes: HashMap<u32, u64>,
    /// Packs still here only.
    spool: HashMap<u32, Arc<File>>,
    /// Of those, the ones an earlier process left.
    left: BTreeSet<u32>,
}

/// `packs/N.pack` and empty `trash/N-SINCE.pack` in the bucket; `spool`, `footers` and `cache`
/// in the directory.
#[derive(Debug)]
pub(crate) struct ObjectPacks {
    objects: Arc<dyn ObjectStore>,
    prefix: Key,
    deadline: Duration,
    dir: PathBuf,
    state: Mutex<State>,
    segments: Segments,
    /// Taken only when dropped.
    runtime: Option<Runtime>,
}

impl ObjectPacks {
    /// Opens the bucket for the store in `dir`; refuses one that another store writes to.
    pub(crate) fn open(dir: &Path, options: &ObjectOptions) -> io::Result<Self> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&options.bucket)
            .with_region(&options.region)
            .with_retry(RetryConfig { retry_timeout: options.deadline, ..RetryConfig::default() });
        let mut client = ClientOptions::new()
            .with_timeout(options.deadline)
            .with_connect_timeout(Duration::from_secs(5));
        if let Some(endpoint) = &options.endpoint {
            client = client.with_allow_http(endpoint.starts_with("http://"));
            builder = builder.with_endpoint(endpoint);
        }
        if let Some((id, secret)) = &options.access_key {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        let objects = builder.with_client_options(client).build().map_err(other)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("blocks-objects")
            .enable_all()
            .build()?;
        for name in ["spool", "footers"] {
            fs::create_dir_all(dir.join(name))?;
        }
        let packs = Self {
            objects: Arc::new(objects),
            prefix: Key::from(options.prefix.as_str()),
            deadline: options.deadline,
            dir: dir.to_owned(),
            state: Mutex::default(),
            segments: Segments::open(dir.join("cache"), options.cache_bytes)?,
            runtime: Some(runtime),
        };
        packs.claim(options.take_over)?;
        Ok(packs)
    }

    fn key(&self, name: &str) -> Key {
        name.split('/').fold(self.prefix.clone(), |key, part| key.child(part))
    }

    fn pack_key(&self, number: u32) -> Key {
        self.key(&format!("packs/{}", pack::name(number)))
    }

    /// Where it says since when a pack is in the trash.
    fn mark_key(&self, number: u32, since: u64) -> Key {
        self.key(&format!("trash/{number:08x}-{since}.pack"))
    }

    fn unmark(&self, number: u32, since: u64) -> io::Result<()> {
        gone(self.wait(self.objects.delete(&self.mark_key(number, since))))
    }

    /// Runs a request to its end, or its deadline.
    fn wait<T>(&self, work: impl Future<Output = object_store::Result<T>>) -> io::Result<T> {
        let runtime = self.runtime.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let done = runtime.block_on(async { tokio::time::timeout(self.deadline, work).await });
        match done {
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
            Ok(Err(object_store::Error::NotFound { .. })) => Err(io::ErrorKind::NotFound.into()),
            Ok(result) => result.map_err(other),
        }
    }

    fn names(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let prefix = self.key(folder);
        let found: Vec<_> = self.wait(self.objects.list(Some(&prefix)).try_collect())?;
        let name = |meta: object_store::ObjectMeta| {
            Some((meta.location.filename()?.to_owned(), meta.size))
        };
        Ok(found.into_iter().filter_map(name).collect())
    }

    fn spool_path(&self, number: u32) -> PathBuf {
        self.dir.join("spool").join(pack::name(number))
    }

    fn spooled(&self, number: u32) -> Option<Arc<File>> {
        self.state.lock().spool.get(&number).cloned()
    }

    fn range(&self, number: u32, start: u64, end: u64) -> io::Result<Bytes> {
        let key = self.pack_key(number);
        let bytes = self.wait(self.objects.get_range(&key, start..end))?;
        if bytes.len() as u64 == end - start {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Puts one sealed pack, keeps parts of it for reading, and lets go of its file.
    fn put(&self, number: u32, file: &File) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        let (bytes, size) = (Bytes::from(bytes), file.metadata()?.len());
        let payload = PutPayload::from_bytes(bytes.clone());
        self.wait(self.objects.put(&self.pack_key(number), payload))?;
        for (part, at) in bytes.chunks(1 << 20).zip(0..) {
            self.segments.put((number, at), part);
        }
        let mut state = self.state.lock();
        state.sizes.insert(number, size);
        state.spool.remove(&number);
        state.left.remove(&number);
        drop(state);
        fs::remove_file(self.spool_path(number))
    }
}

impl PackStore for ObjectPacks {
    fn list(&self) -> io::Result<Vec<Kept>> {
        let mut since = HashMap::new();
        for (name, _) in self.names("trash")? {
            let stem = name.strip_suffix(".pack").and_then(|stem| stem.split_once('-'));
            let parsed = stem.and_then(|(_, since)| since.parse::<u64>().ok());
            since.extend(number_of(&name).zip(parsed));
        }
        let mut state = State::default();
        for (name, size) in self.names("packs")? {
            state.sizes.extend(number_of(&name).map(|number| (number, size)));
        }
        for entry in fs::read_dir(self.dir.join("spool"))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(number) = number_of(name) else { continue };
            if state.sizes.contains_key(&number) {
                // It is an object already; the process died before it let go of the file.
                fs::remove_file(&path)?;
                continue;
            }
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            state.spool.insert(number, Arc::new(file));
            state.left.insert(number);
        }
        // The mark of a pack that went, whose own going a crash cut off: it must not be taken for
        // a later pack's.
        for (&number, since) in &since {
            if !state.sizes.contains_key(&number) && !state.spool.contains_key(&number) {
                self.unmark(number, *since)?;
            }
        }
        let mut kept = Vec::new();
        for (&number, &bytes) in &state.sizes {
            kept.push(Kept { number, bytes, since: since.get(&number).copied() });
        }
        for (&number, file) in &state.spool {
            kept.push(Kept {
                number,
                bytes: file.metadata()?.len(),
                since: since.get(&number).copied(),
            });
        }
        *self.state.lock() = state;
        Ok(kept)
    }

    fn create(&self, number: u32) -> io::Result<File> {
        let path = self.spool_path(number);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = file.write_all_at(&pack::header(number), 0) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.state.lock().spool.insert(number, Arc::new(file.try_clone()?));
        Ok(file)
    }

    fn sync(&self, packs: &[Appended]) -> io::Result<()> {
        let left: Vec<Appended> = {
            let state = self.state.lock();
            let file = |number: &u32| Some((*number, state.spool.get(number)?.clone()));
            state.left.iter().filter_map(file).collect()
        };
        for (number, file) in left.iter().chain(packs) {
            if self.spooled(*number).is_some() {
                self.put(*number, file)?;
            }
        }
        Ok(())
    }

    fn takes_whole_packs(&self) -> bool {
        true
    }

    fn read_at(&self, number: u32, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if let Some(file) = self.spooled(number) {
            return file.read_exact_at(bytes, offset);
        }
        let size = self.bytes(number)?;
        let (mut at, end) = (offset, offset + bytes.len() as u64);
        if end > size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while at < end {
            let part = at / SEGMENT;
            let (from, to) = (part * SEGMENT, ((part + 1) * SEGMENT).min(size));
            // Both lie within `bytes`, whose length is a usize.
            #[allow(clippy::cast_possible_truncation)]
            let out = &mut bytes[(at - offset) as usize..(end.min(to) - offset) as usize];
            let key = (number, u32::try_from(part).unwrap_or(u32::MAX));
            self.segments.read(key, at - from, out, || self.range(number, from, to))?;
            at = end.min(to);
        }
        Ok(())
    }

    fn read_kept(&self, number: u32, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        if let Some(file) = self.spooled(number) {
            return file.read_exact_at(bytes, offset);
        }
        let end = offset + bytes.len() as u64;
        if end > self.bytes(number)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if end > offset {
            bytes.copy_from_slice(&self.range(number, offset, end)?);
        }
        Ok(())
    }

    fn is_here(&self, number: u32, stretch: Range<u64>) -> bool {
        let mut parts = stretch.start / SEGMENT..stretch.end.div_ceil(SEGMENT);
        let key = |part| (number, u32::try_from(part).unwrap_or(u32::MAX));
        self.spooled(number).is_some() || parts.all(|part| self.segments.has(key(part)))
    }

    fn distrust(&self, number: u32) {
        self.segments.forget(number);
    }

    fn footer(&self, number: u32) -> io::Result<Option<(Vec<Listed>, u64)>> {
        let size = self.bytes(number)?;
        let path = self.dir.join("footers").join(format!("{number:08x}"));
        if self.spooled(number).is_none()
            && let Ok(held) = fs::read(&path)
            && let Some(before) = size.checked_sub(held.len() as u64)
        {
            let read = |bytes: &mut [u8], offset: u64| {
                let at = offset.checked_sub(before).and_then(|at| usize::try_from(at).ok());
                let part = at.and_then(|at| held.get(at..)).and_then(|b| b.get(..bytes.len()));
                bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            };
            if let Ok(Some(found)) = pack::read_footer(size, read) {
                return Ok(Some(found));
            }
        }
        let found = pack::read_footer(size, |bytes, offset| self.read_kept(number, bytes, offset))?;
        if let Some((listed, end)) = &found
            && self.spooled(number).is_none()
        {
            let new = path.with_extension("new");
            let footer = pack::footer(listed, *end);
            if let Err(error) = fs::write(&new, footer).and_then(|()| fs::rename(&new, &path)) {
                tracing::debug!(%error, "a footer is not held");
            }
        }
        Ok(found)
    }

    fn reseal(&self, number: u32, listed: &[Listed], end: u64) -> io::Result<()> {
        match self.spooled(number) {
            Some(_) => pack::seal(&self.spool_path(number), listed, end),
            // An object does not change; what can be read of it is read.
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn bytes(&self, number: u32) -> io::Result<u64> {
        let state = self.state.lock();
        match (state.spool.get(&number), state.sizes.get(&number)) {
            (Some(file), _) => Ok(file.metadata()?.len()),
            (None, Some(size)) => Ok(*size),
            (None, None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn retire(&self, number: u32, since: u64) -> io::Result<()> {
        let key = self.mark_key(number, since);
        self.wait(self.objects.put(&key, PutPayload::default())).map(drop)
    }

    fn delete(&self, number: u32) -> io::Result<()> {
        gone(self.wait(self.objects.delete(&self.pack_key(number))))?;
        let mark = format!("{number:08x}-");
        for (name, _) in self.names("trash")? {
            if name.starts_with(&mark) {
                gone(self.wait(self.objects.delete(&self.key(&format!("trash/{name}")))))?;
            }
        }
        let mut state = self.state.lock();
        state.sizes.remove(&number);
        state.left.remove(&number);
        if state.spool.remove(&number).is_some() {
            gone(fs::remove_file(self.spool_path(number)))?;
        }
        drop(state);
        self.segments.forget(number);
        gone(fs::remove_file(self.dir.join("footers").join(format!("{number:08x}"))))
    }

    fn fetched(&self) -> Option<(u64, u64)> {
        Some((self.segments.fetches.load(Ordering::Relaxed), self.segments.bytes()))
    }
}

impl Drop for ObjectPacks {
    fn drop(&mut self) {
        // The last owner may be a task of another runtime, which must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Takes what is not there for gone.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}
