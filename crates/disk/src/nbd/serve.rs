//! One connection's requests.
//!
//! Workers take turns at reading: whoever holds the reader takes the next request. What needs
//! only the volume's own files is answered on the spot, without waking another thread, and so is
//! what comes from the base while the base has been quick lately; anything slower is done after
//! the reader has been handed on.

use std::io::{self, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::negotiate::Session;
use super::proto::{
    self, ALLOCATION_ID, CHUNK_LEN, Errno, MAX_PAYLOAD, Request, SIMPLE_LEN, STATE_HOLE,
    STATE_ZERO, chunk, command,
};
use crate::volume::{Extent, Volume};

/// Requests of one connection that are worked on at once.
const MAX_WORKERS: usize = 8;
/// Larger requests are handled in pieces of this size, which bounds a worker's memory.
const PIECE: usize = 1 << 20;
/// A worker keeps this much for the next request.
const KEEP: usize = 256 << 10;
/// Reads from this size on are checked for being all zeros, to spare sending them.
const HOLE_CHECK: usize = 64 << 10;
const MAX_DESCRIPTORS: usize = 1024;
/// A base that takes this many nanoseconds a read costs less than waking another thread.
const QUICK: u64 = 60_000;
/// Room for a reply's header before its data, so that both go in one piece.
const HEAD: usize = CHUNK_LEN + 8;

struct Connection<'a> {
    volume: &'a Volume,
    session: Session,
    reader: Mutex<BufReader<UnixStream>>,
    writer: Mutex<UnixStream>,
    /// To shut the connection down whoever holds the other two.
    socket: UnixStream,
    closing: AtomicBool,
    workers: AtomicUsize,
    /// Workers that wait for the reader.
    waiting: AtomicUsize,
    /// What a read of the base took lately, in nanoseconds.
    pace: AtomicU64,
}

/// Serves requests until the client leaves or breaks the protocol, or the socket is shut down.
pub(crate) fn serve(stream: UnixStream, session: Session, volume: &Volume) -> io::Result<()> {
    let connection = Connection {
        volume,
        session,
        reader: Mutex::new(BufReader::with_capacity(64 << 10, stream.try_clone()?)),
        socket: stream.try_clone()?,
        writer: Mutex::new(stream),
        closing: AtomicBool::new(false),
        workers: AtomicUsize::new(1),
        waiting: AtomicUsize::new(0),
        pace: AtomicU64::new(0),
    };
    thread::scope(|scope| connection.work(scope));
    Ok(())
}

/// What to do after a request.
enum Next {
    Go,
    Close,
}

impl<'env> Connection<'env> {
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, 'env>) {
        let mut buf = Vec::new();
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let reader = self.reader.lock();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            match self.turn(scope, reader, &mut buf) {
                Ok(Next::Go) => {}
                Ok(Next::Close) | Err(_) => {
                    // Nobody reads on; requests in flight still answer. Another worker may
                    // hold the reader and wait for bytes: this wakes it.
                    self.closing.store(true, Ordering::SeqCst);
                    drop(self.socket.shutdown(Shutdown::Read));
                    return;
                }
            }
            if buf.capacity() > KEEP {
                buf = Vec::new();
            }
        }
    }

    /// Takes requests until one was slow enough to let another worker read meanwhile.
    fn turn<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        mut reader: MutexGuard<'_, BufReader<UnixStream>>,
        buf: &mut Vec<u8>,
    ) -> io::Result<Next> {
        loop {
            let mut bytes = [0; Request::LEN];
            reader.read_exact(&mut bytes)?;
            let Some(request) = Request::parse(&bytes) else { return Ok(Next::Close) };
            let len = request.len as usize;
            let near = match request.command {
                command::DISC => return Ok(Next::Close),
                command::WRITE if request.len > MAX_PAYLOAD => {
                    self.finish(&request, Err(Errno::Invalid))?;
                    return Ok(Next::Close);
                }
                command::WRITE if len > PIECE => {
                    let result = self.write_long(&request, &mut reader, buf)?;
                    self.finish(&request, result)?;
                    continue;
                }
                command::WRITE => {
                    buf.resize(buf.len().max(len), 0);
                    reader.read_exact(&mut buf[..len])?;
                    request.flags == 0 && self.volume.takes_quickly(request.offset, request.len)
                }
                command::READ if self.volume.is_near(request.offset, u64::from(request.len)) => {
                    len <= PIECE
                }
                command::READ => {
                    let quick = len < HOLE_CHECK && self.pace.load(Ordering::Relaxed) < QUICK;
                    if quick {
                        self.read_far(&request, buf)?;
                        continue;
                    }
                    self.hand_on(scope);
                    drop(reader);
                    self.read_far(&request, buf)?;
                    return Ok(Next::Go);
                }
                _ => false,
            };
            if near {
                self.answer(&request, buf)?;
                continue;
            }
            self.hand_on(scope);
            drop(reader);
            self.answer(&request, buf)?;
            return Ok(Next::Go);
        }
    }

    /// Makes sure that somebody takes the reader once it is free.
    fn hand_on<'scope>(&'scope self, scope: &'scope Scope<'scope, 'env>) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return;
        }
        if self.workers.fetch_add(1, Ordering::SeqCst) >= MAX_WORKERS {
            self.workers.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let work = move || self.work(scope);
        if thread::Builder::new().name("nbd".into()).spawn_scoped(scope, work).is_err() {
            // One worker less; those there serve on.
            self.workers.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Answers a read that needs the base, and remembers how long it took.
    fn read_far(&self, request: &Request, buf: &mut Vec<u8>) -> io::Result<()> {
        let start = Instant::now();
        self.answer(request, buf)?;
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX >> 4);
        let before = self.pace.load(Ordering::Relaxed);
        // A slow read counts at once, quick ones bit by bit. Losing an update does no harm.
        let now = if took > 8 * QUICK { took.min(64 * QUICK) } else { (before * 7 + took) / 8 };
        self.pace.store(now, Ordering::Relaxed);
        Ok(())
    }

    fn answer(&self, request: &Request, buf: &mut Vec<u8>) -> io::Result<()> {
        let (offset, len) = (request.offset, u64::from(request.len));
        let fua = request.flags & command::FUA != 0;
        let allowed = match request.command {
            command::WRITE_ZEROES => command::FUA | command::NO_HOLE,
            command::BLOCK_STATUS => command::REQ_ONE,
            _ => command::FUA,
        };
        if request.flags & !allowed != 0 {
            return self.finish(request, Err(Errno::Invalid));
        }
        let done = match request.command {
            command::READ => return self.read(request, buf),
            command::BLOCK_STATUS => return self.block_status(request),
            command::WRITE => self.checked_write(offset, &buf[..request.len as usize]),
            command::TRIM => self.volume.trim(offset, len).map_err(|error| Errno::from(&error)),
            command::WRITE_ZEROES => {
                let zeroed = self.volume.write_zeroes(offset, len);
                zeroed.map_err(|error| match Errno::from(&error) {
                    Errno::Invalid => Errno::NoSpace,
                    other => other,
                })
            }
            command::FLUSH => Ok(()),
            _ => Err(Errno::NotSupported),
        };
        let flush = fua || request.command == command::FLUSH;
        let flushed = match done {
            Ok(()) if flush => self.volume.flush().map_err(|error| Errno::from(&error)),
            other => other,
        };
        self.finish(request, flushed)
    }

    fn checked_write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.volume.write_at(offset, bytes).map_err(|error| match Errno::from(&error) {
            // The protocol's word for writing past the end.
            Errno::Invalid => Errno::NoSpace,
            other => other,
        })
    }

    /// Writes a long payload piece by piece; reads all of it whatever happens.
    fn write_long(
        &self,
        request: &Request,
        reader: &mut BufReader<UnixStream>,
        buf: &mut Vec<u8>,
    ) -> io::Result<Result<(), Errno>> {
        let mut result =
            if request.flags & !command::FUA == 0 { Ok(()) } else { Err(Errno::Invalid) };
        // Nothing of a write that does not fit is done.
        let fits = request.offset.checked_add(u64::from(request.len));
        if fits.is_none_or(|end| end > self.volume.size()) {
            result = Err(Errno::NoSpace);
        }
        let (mut at, mut left) = (request.offset, request.len as usize);
        buf.resize(buf.len().max(PIECE), 0);
        while left > 0 {
            let piece = &mut buf[..left.min(PIECE)];
            reader.read_exact(piece)?;
            result = result.and_then(|()| self.checked_write(at, piece));
            at = at.saturating_add(piece.len() as u64);
            left -= piece.len();
        }
        if request.flags & command::FUA != 0 {
            let flush = || self.volume.flush().map_err(|error| Errno::from(&error));
            result = result.and_then(|()| flush());
        }
        Ok(result)
    }

    fn read(&self, request: &Request, buf: &mut Vec<u8>) -> io::Result<()> {
        let fits = request.offset.checked_add(u64::from(request.len));
        if request.len > MAX_PAYLOAD || fits.is_none_or(|end| end > self.volume.size()) {
            return self.finish(request, Err(Errno::Invalid));
        }
        if request.len == 0 {
            return self.finish_read(request);
        }
        let (mut at, mut left) = (request.offset, request.len as usize);
        buf.resize(buf.len().max(HEAD + left.min(PIECE)), 0);
        // Without chunks a long answer is one: others must not come between its pieces.
        let mut long = None;
        while left > 0 {
            let len = left.min(PIECE);
            let last = len == left;
            let first = at == request.offset;
            if self.session.structured && self.is_zero(at, len) {
                self.send(
                    &[
                        &chunk(proto::chunk::HOLE, last, request.cookie, 12)[..],
                        &at.to_be_bytes(),
                        &u32::try_from(len).unwrap_or(0).to_be_bytes(),
                    ]
                    .concat(),
                )?;
            } else {
                if let Err(error) = self.volume.read_at(at, &mut buf[HEAD..HEAD + len]) {
                    if !self.session.structured && !first {
                        // The header has said that all is well; only the end can say otherwise.
                        return Err(error);
                    }
                    return self.finish(request, Err(Errno::from(&error)));
                }
                let start = self.read_header(request, at, len, last, first, buf);
                if self.session.structured || (first && last) {
                    self.send(&buf[start..HEAD + len])?;
                } else {
                    let writer = long.get_or_insert_with(|| self.writer.lock());
                    writer.write_all(&buf[start..HEAD + len])?;
                }
            }
            at += len as u64;
            left -= len;
        }
        Ok(())
    }

    /// Puts a piece's header before its data in `buf`; returns where it starts.
    fn read_header(
        &self,
        request: &Request,
        at: u64,
        len: usize,
        last: bool,
        first: bool,
        buf: &mut [u8],
    ) -> usize {
        if self.session.structured {
            let len = u32::try_from(len + 8).unwrap_or(0);
            let head = chunk(proto::chunk::DATA, last, request.cookie, len);
            buf[..CHUNK_LEN].copy_from_slice(&head);
            buf[CHUNK_LEN..HEAD].copy_from_slice(&at.to_be_bytes());
            0
        } else if first {
            buf[HEAD - SIMPLE_LEN..HEAD].copy_from_slice(&proto::simple(0, request.cookie));
            HEAD - SIMPLE_LEN
        } else {
            HEAD
        }
    }

    fn is_zero(&self, at: u64, len: usize) -> bool {
        len >= HOLE_CHECK
            && matches!(self.volume.extent(at, len as u64),
                Ok((Extent::Zero | Extent::Hole, run)) if run == len as u64)
    }

    fn block_status(&self, request: &Request) -> io::Result<()> {
        let end = request.offset.checked_add(u64::from(request.len));
        let end = end.filter(|end| *end <= self.volume.size() && request.len > 0);
        let Some(end) = end.filter(|_| self.session.allocation) else {
            return self.finish(request, Err(Errno::Invalid));
        };
        let most = if request.flags & command::REQ_ONE != 0 { 1 } else { MAX_DESCRIPTORS };
        let mut found: Vec<(u64, u32)> = Vec::new();
        let mut at = request.offset;
        while at < end {
            let (extent, len) = match self.volume.extent(at, end - at) {
                Ok(found) => found,
                Err(error) => return self.finish(request, Err(Errno::from(&error))),
            };
            let state = if extent == Extent::Data { 0 } else { STATE_HOLE | STATE_ZERO };
            let full = found.len() == most;
            match found.last_mut() {
                Some((run, same)) if *same == state => *run += len,
                _ if full => break,
                _ => found.push((len, state)),
            }
            at += len;
        }
        let len = u32::try_from(4 + 8 * found.len()).unwrap_or(0);
        let mut bytes = chunk(proto::chunk::STATUS, true, request.cookie, len).to_vec();
        bytes.extend(ALLOCATION_ID.to_be_bytes());
        for (run, state) in found {
            // No run is longer than the request.
            bytes.extend(u32::try_from(run).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(state.to_be_bytes());
        }
        self.send(&bytes)
    }

    /// Answers a request that returns no data, or any that failed.
    fn finish(&self, request: &Request, result: Result<(), Errno>) -> io::Result<()> {
        let error = result.err().map_or(0, |error| error as u32);
        let chunked = matches!(request.command, command::READ | command::BLOCK_STATUS);
        if !(self.session.structured && chunked) {
            return self.send(&proto::simple(error, request.cookie));
        }
        let head = chunk(proto::chunk::ERROR, true, request.cookie, 6);
        self.send(&[&head[..], &error.to_be_bytes(), &[0, 0]].concat())
    }

    /// Answers a read of nothing.
    fn finish_read(&self, request: &Request) -> io::Result<()> {
        if self.session.structured {
            self.send(&chunk(proto::chunk::NONE, true, request.cookie, 0))
        } else {
            self.send(&proto::simple(0, request.cookie))
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.writer.lock().write_all(bytes)
    }
}
