//! The talk before the first request.

use std::io::{self, Read, Write};

use super::proto::{self, handshake, info, option, option_reply, reply};

/// No option of an honest client comes near this.
const MAX_OPTION: u32 = 4096;
const MAX_OPTIONS: usize = 64;

/// What was agreed on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) structured: bool,
    /// The client may ask for block status.
    pub(crate) allocation: bool,
}

/// Talks until requests may follow; `None` when the client only wanted to know or misbehaved.
/// The one export has the empty name, and `size` bytes.
pub(crate) fn negotiate<S: Read + Write>(stream: &mut S, size: u64) -> io::Result<Option<Session>> {
    let flags = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
    let greeting = [
        &proto::GREETING.to_be_bytes()[..],
        &proto::OPTION_MAGIC.to_be_bytes(),
        &flags.to_be_bytes(),
    ];
    stream.write_all(&greeting.concat())?;
    let mut client = [0; 4];
    stream.read_exact(&mut client)?;
    let client = u32::from_be_bytes(client);
    if client & !u32::from(flags) != 0 {
        return Ok(None);
    }
    let mut session = Session::default();
    for _ in 0..MAX_OPTIONS {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let (kind, len) = (proto::u32_at(&head, 8), proto::u32_at(&head, 12));
        if proto::u64_at(&head, 0) != proto::OPTION_MAGIC || len > MAX_OPTION {
            return Ok(None);
        }
        let mut body = vec![0; len as usize];
        stream.read_exact(&mut body)?;
        match kind {
            option::EXPORT_NAME => {
                if !body.is_empty() {
                    // This option has no way to say no.
                    return Ok(None);
                }
                let mut answer = export(size);
                if client & u32::from(handshake::NO_ZEROES) == 0 {
                    answer.resize(answer.len() + 124, 0);
                }
                stream.write_all(&answer)?;
                return Ok(Some(session));
            }
            option::ABORT => {
                stream.write_all(&option_reply(kind, reply::ACK, &[]))?;
                return Ok(None);
            }
            _ => {
                let (answer, go) = answer(kind, &body, size, &mut session);
                stream.write_all(&answer)?;
                if go {
                    return Ok(Some(session));
                }
            }
        }
    }
    Ok(None)
}

/// The answer to an option, and whether requests follow.
fn answer(kind: u32, body: &[u8], size: u64, session: &mut Session) -> (Vec<u8>, bool) {
    let ack = option_reply(kind, reply::ACK, &[]);
    let refuse = |why: u32, text: &str| (option_reply(kind, why, text.as_bytes()), false);
    match kind {
        option::LIST if body.is_empty() => {
            // One export with an empty name.
            ([option_reply(kind, reply::SERVER, &[0; 4]), ack].concat(), false)
        }
        option::STRUCTURED_REPLY if body.is_empty() => {
            session.structured = true;
            (ack, false)
        }
        option::LIST | option::STRUCTURED_REPLY => refuse(reply::INVALID, "no data expected"),
        option::INFO | option::GO => match parse_info(body) {
            None => refuse(reply::INVALID, "malformed"),
            Some((name, _)) if !name.is_empty() => {
                refuse(reply::UNKNOWN, "the only export has the empty name")
            }
            Some((_, wants_block_size)) => {
                let mut body = info::EXPORT.to_be_bytes().to_vec();
                body.extend(export(size));
                let mut answer = option_reply(kind, reply::INFO, &body);
                if wants_block_size {
                    let mut body = info::BLOCK_SIZE.to_be_bytes().to_vec();
                    for bytes in [1, 4096, proto::MAX_PAYLOAD] {
                        body.extend(u32::to_be_bytes(bytes));
                    }
                    answer.extend(option_reply(kind, reply::INFO, &body));
                }
                answer.extend(ack);
                (answer, kind == option::GO)
            }
        },
        option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
            let set = kind == option::SET_META_CONTEXT;
            if set {
                session.allocation = false;
            }
            match parse_contexts(body, set) {
                _ if set && !session.structured => {
                    refuse(reply::INVALID, "negotiate structured replies first")
                }
                None => refuse(reply::INVALID, "malformed"),
                Some((name, _)) if !name.is_empty() => {
                    refuse(reply::UNKNOWN, "the only export has the empty name")
                }
                Some((_, false)) => (ack, false),
                Some((_, true)) => {
                    session.allocation |= set;
                    let id = if set { proto::ALLOCATION_ID } else { 0 };
                    let body = [&id.to_be_bytes()[..], proto::ALLOCATION].concat();
                    ([option_reply(kind, reply::META_CONTEXT, &body), ack].concat(), false)
                }
            }
        }
        _ => refuse(reply::UNSUPPORTED, "unknown option"),
    }
}

fn export(size: u64) -> Vec<u8> {
    [&size.to_be_bytes()[..], &proto::EXPORT_FLAGS.to_be_bytes()].concat()
}

/// The export's name, and whether block sizes were asked for.
fn parse_info(body: &[u8]) -> Option<(&[u8], bool)> {
    let (name, rest) = string(body)?;
    let (count, items) = rest.split_first_chunk::<2>()?;
    if items.len() != usize::from(u16::from_be_bytes(*count)) * 2 {
        return None;
    }
    let wanted = info::BLOCK_SIZE.to_be_bytes();
    Some((name, items.as_chunks().0.contains(&wanted)))
}

/// The export's name, and whether the queries match the context we have.
fn parse_contexts(body: &[u8], set: bool) -> Option<(&[u8], bool)> {
    let (name, rest) = string(body)?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    let count = u32::from_be_bytes(*count);
    // Listing without a query lists everything.
    let mut matched = count == 0 && !set;
    for _ in 0..count {
        let (query, after) = string(rest)?;
        matched |= query == proto::ALLOCATION || !set && query == b"base:";
        rest = after;
    }
    rest.is_empty().then_some((name, matched))
}

fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}
