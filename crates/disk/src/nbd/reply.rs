//! Replies, in one buffer until they are sent, so that several go in one piece.

use std::io::{self, Write};

use super::negotiate::Session;
use super::proto::{self, ALLOCATION_ID, CHUNK_LEN, Errno, Request, SIMPLE_LEN, chunk, command};

/// A buffer keeps this much for the next replies.
const KEEP: usize = 256 << 10;

/// What one worker has to say.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Zeros where nothing was written yet.
    bytes: Vec<u8>,
    used: usize,
}

/// A part of a read's answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Where it stands on the disk.
    pub(super) at: u64,
    pub(super) len: usize,
    pub(super) first: bool,
    pub(super) last: bool,
}

impl Replies {
    /// Bytes that wait to be sent.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.bytes[..self.used])?;
        self.used = 0;
        if self.bytes.len() > KEEP {
            self.bytes = Vec::new();
        }
        Ok(())
    }

    /// Room for `len` bytes behind what waits.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.used + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..end]
    }

    fn put(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.room(part.len()).copy_from_slice(part);
            self.used += part.len();
        }
    }

    /// Answers a request that returns no data, or any that failed.
    pub(super) fn finish(
        &mut self,
        session: Session,
        request: &Request,
        result: Result<(), Errno>,
    ) {
        let error = result.err().map_or(0, |error| error as u32);
        let chunked = matches!(request.command, command::READ | command::BLOCK_STATUS);
        if session.structured && chunked {
            let head = chunk(proto::chunk::ERROR, true, request.cookie, 6);
            self.put(&[&head, &error.to_be_bytes(), &[0, 0]]);
        } else {
            self.put(&[&proto::simple(error, request.cookie)]);
        }
    }

    /// Answers a read of nothing.
    pub(super) fn nothing(&mut self, session: Session, request: &Request) {
        if session.structured {
            self.put(&[&chunk(proto::chunk::NONE, true, request.cookie, 0)]);
        } else {
            self.put(&[&proto::simple(0, request.cookie)]);
        }
    }

    /// Answers a part of a read with zeros that are not sent; of a session with chunks.
    pub(super) fn hole(&mut self, request: &Request, part: Part) {
        let len = u32::try_from(part.len).unwrap_or(0);
        let head = chunk(proto::chunk::HOLE, part.last, request.cookie, 12);
        self.put(&[&head, &part.at.to_be_bytes(), &len.to_be_bytes()]);
    }

    /// Answers a part of a read with what `fill` puts into its place; with nothing if it fails.
    pub(super) fn data(
        &mut self,
        session: Session,
        request: &Request,
        part: Part,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let head = match session.structured {
            true => CHUNK_LEN + 8,
            false if part.first => SIMPLE_LEN,
            // Without chunks a long answer is one.
            false => 0,
        };
        let room = self.room(head + part.len);
        fill(&mut room[head..])?;
        if session.structured {
            let len = u32::try_from(part.len + 8).unwrap_or(0);
            let chunk = chunk(proto::chunk::DATA, part.last, request.cookie, len);
            room[..CHUNK_LEN].copy_from_slice(&chunk);
            room[CHUNK_LEN..head].copy_from_slice(&part.at.to_be_bytes());
        } else if part.first {
            room[..head].copy_from_slice(&proto::simple(0, request.cookie));
        }
        self.used += head + part.len;
        Ok(())
    }

    /// Answers what stretches are made of.
    pub(super) fn status(&mut self, request: &Request, found: &[(u64, u32)]) {
        let len = u32::try_from(4 + 8 * found.len()).unwrap_or(0);
        let head = chunk(proto::chunk::STATUS, true, request.cookie, len);
        self.put(&[&head, &ALLOCATION_ID.to_be_bytes()]);
        for (run, state) in found {
            // No run is longer than the request.
            let run = u32::try_from(*run).unwrap_or(u32::MAX);
            self.put(&[&run.to_be_bytes(), &state.to_be_bytes()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: u16) -> Request {
        Request { flags: 0, command, cookie: 7, offset: 0, len: 4 }
    }

    #[test]
    fn replies_go_out_together_in_order() {
        let mut replies = Replies::default();
        let plain = Session::default();
        let part = Part { at: 0, len: 4, first: true, last: true };
        let fill = |room: &mut [u8]| {
            room.copy_from_slice(b"data");
            Ok(())
        };
        replies.data(plain, &request(command::READ), part, fill).unwrap();
        replies.finish(plain, &request(command::WRITE), Ok(()));
        let mut wanted = proto::simple(0, 7).to_vec();
        wanted.extend(b"data");
        wanted.extend(proto::simple(0, 7));
        assert_eq!(replies.len(), wanted.len());
        let mut sent = Vec::new();
        replies.send(&mut sent).unwrap();
        assert_eq!(sent, wanted);
        replies.send(&mut sent).unwrap();
        assert_eq!((replies.len(), sent.len()), (0, wanted.len()), "it was sent twice");
    }

    #[test]
    fn a_part_that_failed_leaves_no_trace() {
        let mut replies = Replies::default();
        let chunked = Session { structured: true, allocation: false };
        let part = Part { at: 8, len: 4, first: true, last: true };
        replies.nothing(chunked, &request(command::READ));
        let before = replies.len();
        let failed = |room: &mut [u8]| {
            room.fill(9);
            Err(io::ErrorKind::Other.into())
        };
        replies.data(chunked, &request(command::READ), part, failed).unwrap_err();
        assert_eq!(replies.len(), before);
        replies.finish(chunked, &request(command::READ), Err(Errno::Io));
        let mut sent = Vec::new();
        replies.send(&mut sent).unwrap();
        assert!(!sent.contains(&9), "what was read in vain went out");
    }
}
