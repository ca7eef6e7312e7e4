//! A small NBD client, so that tests can misbehave.
#![allow(dead_code)] // each test file uses a part

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const ZERO: u16 = 6;
pub(crate) const STATUS: u16 = 7;
pub(crate) const FUA: u16 = 1;

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) size: u64,
    cookie: u64,
}

impl Client {
    /// Connects with simple replies; waits for a server that is still starting.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let end = Instant::now() + Duration::from_secs(20);
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut client = Self { stream, size: 0, cookie: 0 };
        let mut greeting = [0; 18];
        client.stream.read_exact(&mut greeting)?;
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        client.stream.write_all(&3_u32.to_be_bytes())?;
        // EXPORT_NAME with an empty name.
        client.stream.write_all(&option(1, &[]))?;
        let mut export = [0; 10];
        client.stream.read_exact(&mut export)?;
        client.size = u64::from_be_bytes(export[..8].try_into().unwrap());
        Ok(client)
    }

    pub(crate) fn send(
        &mut self,
        command: u16,
        flags: u16,
        offset: u64,
        len: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.cookie += 1;
        let head = request(command, flags, self.cookie, offset, len);
        self.stream.write_all(&[&head[..], payload].concat())
    }

    /// The error number of a simple reply.
    pub(crate) fn reply(&mut self) -> io::Result<u32> {
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        assert_eq!(reply[8..], self.cookie.to_be_bytes());
        Ok(u32::from_be_bytes(reply[4..8].try_into().unwrap()))
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<u32> {
        self.send(WRITE, 0, offset, bytes.len() as u32, bytes)?;
        self.reply()
    }

    pub(crate) fn command(&mut self, command: u16, offset: u64, len: u32) -> io::Result<u32> {
        self.send(command, 0, offset, len, &[])?;
        self.reply()
    }

    pub(crate) fn read(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<u32> {
        let error = self.command(READ, offset, buf.len() as u32)?;
        if error == 0 {
            self.stream.read_exact(buf)?;
        }
        Ok(error)
    }
}

pub(crate) fn option(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend((body.len() as u32).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub(crate) fn request(command: u16, flags: u16, cookie: u64, offset: u64, len: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes
}

/// Small repeatable numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
