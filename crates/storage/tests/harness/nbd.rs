//! A machine's view of a volume: a small NBD client.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

pub struct Nbd {
    stream: UnixStream,
    pub size: u64,
    cookie: u64,
}

impl Nbd {
    pub fn connect(path: impl AsRef<Path>) -> Self {
        let mut stream = UnixStream::connect(path).unwrap();
        let mut greeting = [0; 18];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
        stream.write_all(&3_u32.to_be_bytes()).unwrap();
        // EXPORT_NAME, with an empty name.
        let mut option = b"IHAVEOPT".to_vec();
        option.extend(1_u32.to_be_bytes());
        option.extend(0_u32.to_be_bytes());
        stream.write_all(&option).unwrap();
        let mut export = [0; 10];
        stream.read_exact(&mut export).unwrap();
        let size = u64::from_be_bytes(export[..8].try_into().unwrap());
        Self { stream, size, cookie: 0 }
    }

    fn ask(&mut self, command: u16, offset: u64, len: usize, payload: &[u8]) {
        self.cookie += 1;
        let mut request = 0x2560_9513_u32.to_be_bytes().to_vec();
        request.extend(0_u16.to_be_bytes());
        request.extend(command.to_be_bytes());
        request.extend(self.cookie.to_be_bytes());
        request.extend(offset.to_be_bytes());
        request.extend((len as u32).to_be_bytes());
        request.extend(payload);
        self.stream.write_all(&request).unwrap();
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        assert_eq!(reply[4..8], [0; 4], "command {command} at {offset} failed");
        assert_eq!(reply[8..], self.cookie.to_be_bytes());
    }

    pub fn read(&mut self, offset: u64, len: usize) -> Vec<u8> {
        self.ask(0, offset, len, &[]);
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.ask(1, offset, bytes.len(), bytes);
    }

    pub fn flush(&mut self) {
        self.ask(3, 0, 0, &[]);
    }

    pub fn read_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while (all.len() as u64) < self.size {
            let left = self.size - all.len() as u64;
            all.extend(self.read(all.len() as u64, left.min(1 << 20) as usize));
        }
        all
    }
}
