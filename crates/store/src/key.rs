//! Keys as bytes that sort as the keys do.

use vmint_ids::{Id, Kind};

/// What orders the records of a table: its bytes sort as it does.
///
/// At most [`MAX_KEY`](crate::MAX_KEY) bytes long.
pub trait Key: Sized {
    fn encode(&self) -> Vec<u8>;
    /// `None` if the bytes are not such a key.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// One part of a composite key. Says itself where it ends, so that no pair of
/// parts can be mistaken for another pair.
pub trait Part {
    fn write(&self, out: &mut Vec<u8>);
    /// Takes itself off the front of `from`.
    fn read(from: &mut &[u8]) -> Option<Self>
    where
        Self: Sized;
}

/// The bytes with which every composite key starts whose first parts are `parts`.
#[must_use]
pub fn prefix(parts: &[&dyn Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        part.write(&mut out);
    }
    out
}

/// Writes `bytes` so that they sort as before, and, with [`END`] behind them,
/// before everything they are a prefix of.
pub(crate) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
}

pub(crate) const END: [u8; 2] = [0, 1];

/// Takes escaped bytes and their end off the front of `from`.
pub(crate) fn unescape(from: &mut &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        match (from.get(at)?, from.get(at + 1)) {
            (0, Some(0xff)) => {
                out.push(0);
                at += 2;
            }
            (0, Some(1)) => {
                *from = &from[at + 2..];
                return Some(out);
            }
            (0, _) => return None,
            (&byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*head)
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Part for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(from: &mut &[u8]) -> Option<Self> {
                take(from).map(Self::from_be_bytes)
            }
        }
        impl Key for $number {
            fn encode(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }
            fn decode(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_be_bytes)
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64 u128);

impl<K: Kind> Part for Id<K> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_key());
    }
    fn read(from: &mut &[u8]) -> Option<Self> {
        take(from).map(Self::from_key)
    }
}

impl<K: Kind> Key for Id<K> {
    fn encode(&self) -> Vec<u8> {
        self.to_key().to_vec()
    }
    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_key)
    }
}

impl<const N: usize> Part for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(from: &mut &[u8]) -> Option<Self> {
        take(from)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self) -> Vec<u8> {
        self.to_vec()
    }
    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl Part for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        escape(self, out);
        out.extend_from_slice(&END);
    }
    fn read(from: &mut &[u8]) -> Option<Self> {
        unescape(from)
    }
}

impl Key for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }
    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl Part for &str {
    fn write(&self, out: &mut Vec<u8>) {
        escape(self.as_bytes(), out);
        out.extend_from_slice(&END);
    }
    /// Borrowed text is only for writing prefixes.
    fn read(_: &mut &[u8]) -> Option<Self> {
        None
    }
}

impl Part for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
    fn read(from: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(unescape(from)?).ok()
    }
}

impl Key for String {
    fn encode(&self) -> Vec<u8> {
        self.clone().into_bytes()
    }
    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),+))*) => {$(
        impl<$($part: Part),+> Key for ($($part,)+) {
            fn encode(&self) -> Vec<u8> {
                prefix(&[$(&self.$at),+])
            }
            fn decode(mut bytes: &[u8]) -> Option<Self> {
                let key = ($($part::read(&mut bytes)?,)+);
                bytes.is_empty().then_some(key)
            }
        }
    )*};
}
tuples! { (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, F 4) }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composite_keys_sort_as_their_parts_and_read_back() {
        let texts = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "aa", "ab", "é"];
        let mut keys: Vec<(String, u64)> =
            texts.iter().flat_map(|t| [0, 1, 256].map(|n| ((*t).to_owned(), n))).collect();
        keys.sort();
        let encoded: Vec<_> = keys.iter().map(Key::encode).collect();
        assert!(encoded.is_sorted());
        for (key, bytes) in keys.iter().zip(&encoded) {
            assert_eq!(<(String, u64)>::decode(bytes).as_ref(), Some(key));
            assert!(bytes.starts_with(&prefix(&[&key.0])));
        }
        assert_eq!(<(String, u64)>::decode(b"a"), None);
    }
}
