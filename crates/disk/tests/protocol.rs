//! The block server against clients that misbehave.
#![allow(clippy::cast_possible_truncation, clippy::unwrap_used)] // sizes of tests are small

mod client;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::{Client, DISC, FLUSH, FUA, READ, Random, STATUS, TRIM, WRITE, ZERO, option, request};
use tempfile::TempDir;
use vmint_disk::{Base, DiskError, Export, Volume};

const SIZE: u64 = (1 << 20) + 77;
const INVALID: u32 = 22;
const NO_SPACE: u32 = 28;
const NOT_SUPPORTED: u32 = 95;

fn served() -> (TempDir, Arc<Volume>, Export) {
    let dir = TempDir::new().unwrap();
    let volume = Arc::new(Volume::create(&dir.path().join("vol"), SIZE, None).unwrap());
    let export = Export::start(&dir.path().join("sock"), 0o640, volume.clone()).unwrap();
    (dir, volume, export)
}

/// Whether the server has closed the connection (and said nothing more).
fn closed(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn requests_of_any_shape_are_answered() {
    let (_dir, volume, export) = served();
    let mut client = Client::connect(export.path()).unwrap();
    assert_eq!(client.size, SIZE);
    // One byte, no byte, the last byte, across blocks.
    assert_eq!(client.write(SIZE - 1, b"z").unwrap(), 0);
    assert_eq!(client.write(5, b"").unwrap(), 0);
    assert_eq!(client.write(SIZE, b"").unwrap(), 0);
    assert_eq!(client.write(4095, b"ab").unwrap(), 0);
    let mut buf = [0; 4];
    assert_eq!(client.read(4094, &mut buf).unwrap(), 0);
    assert_eq!(&buf, b"\0ab\0");
    assert_eq!(client.read(SIZE, &mut []).unwrap(), 0);
    for (command, offset, len, wanted) in [
        (READ, SIZE - 3, 4, INVALID),
        (READ, u64::MAX, 1, INVALID),
        (READ, 0, (32 << 20) + 1, INVALID),
        (READ, 0, u32::MAX, INVALID),
        (TRIM, SIZE - 3, 4, INVALID),
        (TRIM, u64::MAX - 1, u32::MAX, INVALID),
        (ZERO, SIZE, 1, NO_SPACE),
        (TRIM, 0, 0, 0),
        (ZERO, SIZE, 0, 0),
        (ZERO, 4096, 1, 0),
        (STATUS, 0, 512, INVALID),
        (FLUSH, 0, 0, 0),
        (5, 0, 1, NOT_SUPPORTED),
        (99, 0, 0, NOT_SUPPORTED),
    ] {
        assert_eq!(
            client.command(command, offset, len).unwrap(),
            wanted,
            "{command} {offset} {len}"
        );
    }
    assert_eq!(client.write(SIZE - 1, b"zz").unwrap(), NO_SPACE);
    assert_eq!(client.write(u64::MAX - 5, &vec![1; 2_000_000]).unwrap(), NO_SPACE);
    assert_eq!(client.write(SIZE - 1, &vec![1; 2_000_000]).unwrap(), NO_SPACE);
    client.send(READ, 4, 0, 1, &[]).unwrap();
    assert_eq!(client.reply().unwrap(), INVALID, "a flag that was not offered");
    client.send(WRITE, FUA, 9, 3, b"fua").unwrap();
    assert_eq!(client.reply().unwrap(), 0);
    let mut all = vec![0; SIZE as usize];
    assert_eq!(client.read(0, &mut all).unwrap(), 0);
    let mut model = vec![0; SIZE as usize];
    model[9..12].copy_from_slice(b"fua");
    model[4095] = b'a';
    model[SIZE as usize - 1] = b'z';
    assert!(all == model);
    client.send(DISC, 0, 0, 0, &[]).unwrap();
    assert!(closed(&mut client.stream));
    drop(volume);
}

#[test]
fn many_requests_in_flight_are_all_answered() {
    let (_dir, volume, export) = served();
    let base: Vec<u8> = (0..SIZE).map(|at| (at / 997) as u8).collect();
    volume.write_at(0, &base).unwrap();
    let mut client = Client::connect(export.path()).unwrap();
    let mut random = Random(11);
    let mut sender = client.stream.try_clone().unwrap();
    let wanted: Vec<(u64, u32, u16)> = (0..2000)
        .map(|_| {
            let at = random.below(SIZE - 9000);
            match random.below(10) {
                0 => (0, 0, FLUSH),
                _ => (at, random.below(9000) as u32, READ),
            }
        })
        .collect();
    let sent = wanted.clone();
    let thread = std::thread::spawn(move || {
        for (cookie, (at, len, command)) in sent.into_iter().enumerate() {
            sender.write_all(&request(command, 0, cookie as u64, at, len)).unwrap();
        }
    });
    let mut seen = vec![false; wanted.len()];
    for _ in 0..wanted.len() {
        let mut reply = [0; 16];
        client.stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[4..8], [0; 4]);
        let cookie = u64::from_be_bytes(reply[8..].try_into().unwrap()) as usize;
        assert!(!std::mem::replace(&mut seen[cookie], true), "answered twice");
        let (at, len, command) = wanted[cookie];
        if command == READ {
            let mut bytes = vec![0; len as usize];
            client.stream.read_exact(&mut bytes).unwrap();
            assert!(bytes == base[at as usize..][..len as usize]);
        }
    }
    thread.join().unwrap();
}

#[test]
fn an_answer_does_not_wait_for_what_is_still_to_come() {
    let (_dir, _volume, export) = served();
    let mut client = Client::connect(export.path()).unwrap();
    client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let reply = |stream: &mut UnixStream, cookie: u64, data: usize| {
        let mut bytes = vec![0; 16 + data];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes[4..8], [0; 4]);
        assert_eq!(bytes[8..16], cookie.to_be_bytes());
    };
    // Half a request follows.
    let next = request(READ, 0, 2, 4096, 4096);
    client.stream.write_all(&[&request(READ, 0, 1, 0, 4096), &next[..10]].concat()).unwrap();
    reply(&mut client.stream, 1, 4096);
    client.stream.write_all(&next[10..]).unwrap();
    reply(&mut client.stream, 2, 4096);
    // A write follows, short and long, whose payload is late.
    for len in [8192, SIZE as u32] {
        let write = request(WRITE, 0, 4, 0, len);
        client.stream.write_all(&[request(READ, 0, 3, 0, 512), write].concat()).unwrap();
        reply(&mut client.stream, 3, 512);
        client.stream.write_all(&vec![7; len as usize]).unwrap();
        reply(&mut client.stream, 4, 0);
    }
    // The client says that it leaves, and hears the last answer.
    let leave = request(DISC, 0, 6, 0, 0);
    client.stream.write_all(&[request(READ, 0, 5, 0, 512), leave].concat()).unwrap();
    reply(&mut client.stream, 5, 512);
    assert!(closed(&mut client.stream));
}

/// A base that takes its time, as one that fetches over a network does.
#[derive(Default)]
struct Slow {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Base for Slow {
    fn size(&self) -> u64 {
        SIZE
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        self.now.fetch_sub(1, Ordering::SeqCst);
        buf.fill((offset / 4096) as u8);
        Ok(())
    }
}

#[test]
fn a_slow_base_is_read_by_several_at_once() {
    let dir = TempDir::new().unwrap();
    let base = Arc::new(Slow::default());
    let over = Some(("slow", base.clone() as Arc<dyn Base>));
    let volume = Arc::new(Volume::create(&dir.path().join("vol"), SIZE, over).unwrap());
    let export = Export::start(&dir.path().join("sock"), 0o600, volume).unwrap();
    let mut client = Client::connect(export.path()).unwrap();
    for block in 0..200_u64 {
        client.stream.write_all(&request(READ, 0, block, block * 4096, 4096)).unwrap();
    }
    for _ in 0..200 {
        let mut reply = [0; 16 + 4096];
        client.stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[4..8], [0; 4]);
        let block = u64::from_be_bytes(reply[8..16].try_into().unwrap());
        assert!(reply[16..].iter().all(|byte| *byte == block as u8));
    }
    let most = base.most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at once");
}

#[test]
fn a_broken_request_ends_its_connection_only() {
    let (_dir, _volume, export) = served();
    let mut good = Client::connect(export.path()).unwrap();
    let mut bad = Client::connect(export.path()).unwrap();
    bad.stream.write_all(&[0x41; 28]).unwrap();
    assert!(closed(&mut bad.stream));
    let mut huge = Client::connect(export.path()).unwrap();
    huge.send(WRITE, 0, 0, (32 << 20) + 1, &[]).unwrap();
    assert_eq!(huge.reply().unwrap(), INVALID);
    assert!(closed(&mut huge.stream));
    assert_eq!(good.write(0, b"still here").unwrap(), 0);
}

#[test]
fn a_broken_handshake_is_cut_off() {
    let (_dir, _volume, export) = served();
    let unknown_flags = 0xffff_ffff_u32.to_be_bytes().to_vec();
    let start = 3_u32.to_be_bytes().to_vec();
    let with = |bytes: &[u8]| [&start[..], bytes].concat();
    let oversize = [b"IHAVEOPT".as_slice(), &[0, 0, 0, 7], &u32::MAX.to_be_bytes()].concat();
    for bytes in [
        unknown_flags,
        with(b"NOTANOPTION....................."),
        with(&oversize),
        with(&option(1, b"another export")),
        with(&option(2, &[])),
        // More options than anybody needs.
        with(&option(77, b"x").repeat(64)),
    ] {
        let mut stream = UnixStream::connect(export.path()).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(&bytes).unwrap();
        assert!(closed(&mut stream), "{bytes:?}");
    }
}

#[test]
fn malformed_options_are_refused_and_talk_goes_on() {
    let (_dir, _volume, export) = served();
    let mut stream = UnixStream::connect(export.path()).unwrap();
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).unwrap();
    stream.write_all(&3_u32.to_be_bytes()).unwrap();
    let invalid = 1 << 31 | 3;
    let unknown = 1 << 31 | 6;
    let unsupported = 1 << 31 | 1;
    for (kind, body, wanted) in [
        (7, vec![], invalid),
        (7, vec![0xff; 6], invalid),
        (7, [&[0; 4][..], &[0, 9, 0]].concat(), invalid),
        (7, [&1_u32.to_be_bytes()[..], b"x", &[0, 0]].concat(), unknown),
        (3, vec![1], invalid),
        (8, vec![1], invalid),
        (10, [&[0; 4][..], &[0, 0, 0, 0]].concat(), invalid),
        (9, [&[0; 4][..], &u32::MAX.to_be_bytes()].concat(), invalid),
        (5, vec![], unsupported),
    ] {
        stream.write_all(&option(kind, &body)).unwrap();
        let mut head = [0; 20];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(head[12..16], u32::to_be_bytes(wanted), "option {kind} {body:?}");
        let mut text = vec![0; u32::from_be_bytes(head[16..].try_into().unwrap()) as usize];
        stream.read_exact(&mut text).unwrap();
    }
}

#[test]
fn connections_are_bounded() {
    let (_dir, _volume, export) = served();
    let clients: Vec<_> = (0..16).map(|_| Client::connect(export.path()).unwrap()).collect();
    assert!(Client::connect(export.path()).is_err());
    drop(clients);
    let end = Instant::now() + Duration::from_secs(20);
    while export.connections() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Client::connect(export.path()).is_ok());
}

#[test]
fn arbitrary_bytes_do_no_harm() {
    let (_dir, volume, export) = served();
    volume.write_at(0, b"precious").unwrap();
    let mut random = Random(5);
    for round in 0..200 {
        let mut stream = UnixStream::connect(export.path()).unwrap();
        let mut bytes: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
        if round % 2 == 0 {
            // Past the greeting, then noise in options.
            bytes = [&3_u32.to_be_bytes()[..], &option(random.below(12) as u32, &bytes)].concat();
        }
        drop(stream.write_all(&bytes));
        drop(stream.shutdown(std::net::Shutdown::Write));
        assert!(closed(&mut stream));
    }
    let mut kept = [0; 8];
    volume.read_at(0, &mut kept).unwrap();
    assert_eq!(&kept, b"precious");
}

#[test]
fn stopping_answers_what_is_in_flight() {
    let (dir, _volume, export) = served();
    let mut client = Client::connect(export.path()).unwrap();
    for cookie in 0..64 {
        client.stream.write_all(&request(FLUSH, 0, cookie, 0, 0)).unwrap();
    }
    export.stop();
    let mut answers = Vec::new();
    client.stream.read_to_end(&mut answers).unwrap();
    assert_eq!(answers.len() % 16, 0, "whole replies only");
    assert!(!dir.path().join("sock").exists());
    assert!(UnixStream::connect(export.path()).is_err());
}

#[test]
fn a_socket_path_has_its_limit() {
    let (dir, volume, _export) = served();
    let long = dir.path().join("s".repeat(110));
    let result = Export::start(&long, 0o600, volume);
    assert!(matches!(result, Err(DiskError::SocketPath(_))));
}
