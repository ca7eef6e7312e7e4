//! One connection's requests.
//!
//! Workers take turns at reading: whoever holds the reader takes the next request. What needs
//! only the volume's own files is answered on the spot, without waking another thread, and so is
//! what comes from the base while the base has been quick lately; anything slower is done after
//! the reader has been handed on. While the next request is there already, and no more than some
//! replies wait, a quick one's reply waits for the next: a client that asks for much at once gets
//! its answers in few pieces, one that asks once gets it at once.

use std::io::{self, BufReader, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::negotiate::Session;
use super::proto::{Errno, MAX_PAYLOAD, Request, STATE_HOLE, STATE_ZERO, command};
use super::reply::{Part, Replies};
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
/// A base that takes this many does not keep replies waiting.
const SLOW: u64 = QUICK / 4;
/// So many bytes of replies do not wait for more.
const TOGETHER: usize = 64 << 10;

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

/// What a worker has at hand.
#[derive(Default)]
struct Hand {
    /// What is to be written.
    payload: Vec<u8>,
    replies: Replies,
}

impl<'env> Connection<'env> {
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, 'env>) {
        let mut hand = Hand::default();
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let reader = self.reader.lock();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if self.closing.load(Ordering::SeqCst) {
                return;
            }
            let next = self.turn(scope, reader, &mut hand);
            let sent = self.send(&mut hand.replies);
            match next.and_then(|next| sent.map(|()| next)) {
                Ok(Next::Go) => {}
                Ok(Next::Close) | Err(_) => {
                    // Nobody reads on; requests in flight still answer. Another worker may
                    // hold the reader and wait for bytes: this wakes it.
                    self.closing.store(true, Ordering::SeqCst);
                    drop(self.socket.shutdown(Shutdown::Read));
                    return;
                }
            }
            if hand.payload.capacity() > KEEP {
                hand.payload = Vec::new();
            }
        }
    }

    /// Takes requests until one was slow enough to let another worker read meanwhile. Replies
    /// may be left to be sent.
    fn turn<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        mut reader: MutexGuard<'_, BufReader<UnixStream>>,
        hand: &mut Hand,
    ) -> io::Result<Next> {
        loop {
            // What comes now may be long in coming.
            let there = reader.buffer().len();
            if there < Request::LEN || hand.replies.len() >= TOGETHER {
                self.send(&mut hand.replies)?;
            }
            let mut bytes = [0; Request::LEN];
            reader.read_exact(&mut bytes)?;
            let Some(request) = Request::parse(&bytes) else { return Ok(Next::Close) };
            let len = request.len as usize;
            let near = match request.command {
                command::DISC => return Ok(Next::Close),
                command::WRITE if request.len > MAX_PAYLOAD => {
                    self.finish(&request, Err(Errno::Invalid), hand);
                    return Ok(Next::Close);
                }
                command::WRITE if len > PIECE => {
                    self.send(&mut hand.replies)?;
                    let result = self.write_long(&request, &mut reader, &mut hand.payload)?;
                    self.finish(&request, result, hand);
                    continue;
                }
                command::WRITE => {
                    if reader.buffer().len() < len {
                        self.send(&mut hand.replies)?;
                    }
                    let payload = &mut hand.payload;
                    payload.resize(payload.len().max(len), 0);
                    reader.read_exact(&mut payload[..len])?;
                    request.flags == 0 && self.volume.takes_quickly(request.offset, request.len)
                }
                command::READ if self.volume.is_near(request.offset, u64::from(request.len)) => {
                    len <= PIECE
                }
                command::READ => {
                    let pace = self.pace.load(Ordering::Relaxed);
                    if pace >= SLOW {
                        self.send(&mut hand.replies)?;
                    }
                    if len < HOLE_CHECK && pace < QUICK {
                        self.read_far(&request, hand)?;
                        continue;
                    }
                    self.hand_on(scope, reader, hand)?;
                    self.read_far(&request, hand)?;
                    return Ok(Next::Go);
                }
                _ => false,
            };
            if near {
                self.answer(&request, hand)?;
                continue;
            }
            self.hand_on(scope, reader, hand)?;
            self.answer(&request, hand)?;
            return Ok(Next::Go);
        }
    }

    /// Gives the reader up and makes sure that somebody takes it.
    fn hand_on<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, 'env>,
        reader: MutexGuard<'_, BufReader<UnixStream>>,
        hand: &mut Hand,
    ) -> io::Result<()> {
        self.call_another(scope);
        drop(reader);
        self.send(&mut hand.replies)
    }

    fn call_another<'scope>(&'scope self, scope: &'scope Scope<'scope, 'env>) {
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
    fn read_far(&self, request: &Request, hand: &mut Hand) -> io::Result<()> {
        let start = Instant::now();
        self.answer(request, hand)?;
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX >> 4);
        let before = self.pace.load(Ordering::Relaxed);
        // A slow read counts at once, quick ones bit by bit. Losing an update does no harm.
        let now = if took > 8 * QUICK { took.min(64 * QUICK) } else { (before * 7 + took) / 8 };
        self.pace.store(now, Ordering::Relaxed);
        Ok(())
    }

    fn answer(&self, request: &Request, hand: &mut Hand) -> io::Result<()> {
        let (offset, len) = (request.offset, u64::from(request.len));
        let fua = request.flags & command::FUA != 0;
        let allowed = match request.command {
            command::WRITE_ZEROES => command::FUA | command::NO_HOLE,
            command::BLOCK_STATUS => command::REQ_ONE,
            _ => command::FUA,
        };
        if request.flags & !allowed != 0 {
            self.finish(request, Err(Errno::Invalid), hand);
            return Ok(());
        }
        let done = match request.command {
            command::READ => return self.read(request, &mut hand.replies),
            command::BLOCK_STATUS => {
                let done = self.block_status(request, &mut hand.replies);
                if let Err(error) = done {
                    self.finish(request, Err(error), hand);
                }
                return Ok(());
            }
            command::WRITE => self.checked_write(offset, &hand.payload[..request.len as usize]),
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
        self.finish(request, flushed, hand);
        Ok(())
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
        payload: &mut Vec<u8>,
    ) -> io::Result<Result<(), Errno>> {
        let mut result =
            if request.flags & !command::FUA == 0 { Ok(()) } else { Err(Errno::Invalid) };
        // Nothing of a write that does not fit is done.
        let fits = request.offset.checked_add(u64::from(request.len));
        if fits.is_none_or(|end| end > self.volume.size()) {
            result = Err(Errno::NoSpace);
        }
        let (mut at, mut left) = (request.offset, request.len as usize);
        payload.resize(payload.len().max(PIECE), 0);
        while left > 0 {
            let piece = &mut payload[..left.min(PIECE)];
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

    fn read(&self, request: &Request, replies: &mut Replies) -> io::Result<()> {
        let session = self.session;
        let fits = request.offset.checked_add(u64::from(request.len));
        if request.len > MAX_PAYLOAD || fits.is_none_or(|end| end > self.volume.size()) {
            replies.finish(session, request, Err(Errno::Invalid));
            return Ok(());
        }
        if request.len == 0 {
            replies.nothing(session, request);
            return Ok(());
        }
        let (mut at, mut left) = (request.offset, request.len as usize);
        // Without chunks a long answer is one: others must not come between its pieces.
        let mut long = None;
        while left > 0 {
            let len = left.min(PIECE);
            let (first, last) = (at == request.offset, len == left);
            let part = Part { at, len, first, last };
            if session.structured && self.is_zero(at, len) {
                replies.hole(request, part);
            } else {
                let fill = |room: &mut [u8]| self.volume.read_at(at, room);
                if let Err(error) = replies.data(session, request, part, fill) {
                    if !session.structured && !first {
                        // The header has said that all is well; only the end can say otherwise.
                        return Err(error);
                    }
                    replies.finish(session, request, Err(Errno::from(&error)));
                    return Ok(());
                }
            }
            if long.is_none() && !(session.structured || last) {
                long = Some(self.writer.lock());
            }
            match &mut long {
                Some(writer) => replies.send(&mut **writer)?,
                None if !last => self.send(replies)?,
                None => {}
            }
            at += len as u64;
            left -= len;
        }
        Ok(())
    }

    fn is_zero(&self, at: u64, len: usize) -> bool {
        len >= HOLE_CHECK
            && matches!(self.volume.extent(at, len as u64),
                Ok((Extent::Zero | Extent::Hole, run)) if run == len as u64)
    }

    fn block_status(&self, request: &Request, replies: &mut Replies) -> Result<(), Errno> {
        let end = request.offset.checked_add(u64::from(request.len));
        let end = end.filter(|end| *end <= self.volume.size() && request.len > 0);
        let end = end.filter(|_| self.session.allocation).ok_or(Errno::Invalid)?;
        let most = if request.flags & command::REQ_ONE != 0 { 1 } else { MAX_DESCRIPTORS };
        let mut found: Vec<(u64, u32)> = Vec::new();
        let mut at = request.offset;
        while at < end {
            let extent = self.volume.extent(at, end - at);
            let (extent, len) = extent.map_err(|error| Errno::from(&error))?;
            let state = if extent == Extent::Data { 0 } else { STATE_HOLE | STATE_ZERO };
            let full = found.len() == most;
            match found.last_mut() {
                Some((run, same)) if *same == state => *run += len,
                _ if full => break,
                _ => found.push((len, state)),
            }
            at += len;
        }
        replies.status(request, &found);
        Ok(())
    }

    /// Answers a request that returns no data, or any that failed.
    fn finish(&self, request: &Request, result: Result<(), Errno>, hand: &mut Hand) {
        hand.replies.finish(self.session, request, result);
    }

    fn send(&self, replies: &mut Replies) -> io::Result<()> {
        if replies.len() == 0 {
            return Ok(());
        }
        replies.send(&mut *self.writer.lock())
    }
}
