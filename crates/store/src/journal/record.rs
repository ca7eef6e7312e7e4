use crate::layer::{self, Writes};

/// One group of transactions: what is durable and visible together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Record {
    /// Its first and its last transaction.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) writes: Writes,
}

/// The hash that ties a record to the one before it.
pub(crate) type Chain = [u8; 16];

const MAGIC: [u8; 4] = *b"vmj1";
const HEAD: usize = 56;
const TAIL: usize = 16;
/// Records start at multiples of this.
pub(crate) const ALIGN: usize = 16;
const REMOVED: u32 = u32::MAX;
/// No record is longer; what says so is damage.
const LONGEST: usize = 64 << 20;

/// What lies at a place in a segment.
#[derive(Debug)]
pub(crate) enum Found {
    Whole { record: Record, chain: Chain, len: usize },
    Empty,
    Broken(&'static str),
}

impl Record {
    /// Appends the record to `out`, padded to [`ALIGN`]; returns its own hash.
    pub(crate) fn encode(&self, key: &[u8; 32], prev: Chain, out: &mut Vec<u8>) -> Chain {
        let start = out.len();
        out.resize(start + HEAD, 0);
        for (key, value) in &self.writes {
            out.extend_from_slice(&len32(key.len()).to_le_bytes()[..2]);
            let value_len = value.as_ref().map_or(REMOVED, |value| len32(value.len()));
            out.extend_from_slice(&value_len.to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        let payload = len32(out.len() - start - HEAD);
        let head = &mut out[start..start + HEAD];
        head[..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&payload.to_le_bytes());
        head[8..16].copy_from_slice(&self.first.to_le_bytes());
        head[16..24].copy_from_slice(&self.last.to_le_bytes());
        head[24..32].copy_from_slice(&self.at_ms.to_le_bytes());
        head[32..48].copy_from_slice(&prev);
        let check = crc32c::crc32c(&head[..52]);
        head[52..56].copy_from_slice(&check.to_le_bytes());
        let chain = hash(key, &out[start..]);
        out.extend_from_slice(&chain);
        let len = (out.len() - start).next_multiple_of(ALIGN);
        out.resize(start + len, 0);
        chain
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        layer::size(&self.writes)
    }

    /// Reads what lies at the start of `bytes`. Does not compare the record's
    /// link to the one before: [`Record::prev`] gives it.
    pub(crate) fn find(key: &[u8; 32], bytes: &[u8]) -> Found {
        let Some(head) = bytes.get(..HEAD) else {
            let empty = bytes.iter().all(|b| *b == 0);
            return if empty { Found::Empty } else { Found::Broken("half a header") };
        };
        if head.iter().all(|b| *b == 0) {
            return Found::Empty;
        }
        if head[..4] != MAGIC {
            return Found::Broken("no record begins here");
        }
        if crc32c::crc32c(&head[..52]).to_le_bytes() != head[52..56] {
            return Found::Broken("the header's checksum is wrong");
        }
        let payload = u32_at(head, 4) as usize;
        if payload > LONGEST {
            return Found::Broken("the header's length is impossible");
        }
        let Some(rest) = bytes.get(HEAD..HEAD + payload + TAIL) else {
            return Found::Broken("the record is longer than its segment");
        };
        let (body, chain) = rest.split_at(payload);
        if hash(key, &bytes[..HEAD + payload]) != chain {
            return Found::Broken("the record's hash is wrong");
        }
        let Some(writes) = decode(body) else {
            return Found::Broken("the record's writes cannot be read");
        };
        let record = Self {
            first: u64_at(head, 8),
            last: u64_at(head, 16),
            at_ms: u64_at(head, 24),
            writes,
        };
        let mut own = Chain::default();
        own.copy_from_slice(chain);
        let len = (HEAD + payload + TAIL).next_multiple_of(ALIGN);
        Found::Whole { record, chain: own, len }
    }

    /// The link to the record before, of the whole record at the start of `bytes`.
    pub(crate) fn prev(bytes: &[u8]) -> Chain {
        let mut prev = Chain::default();
        prev.copy_from_slice(&bytes[32..48]);
        prev
    }
}

fn decode(mut body: &[u8]) -> Option<Writes> {
    let mut writes = Writes::new();
    while !body.is_empty() {
        let (lens, rest) = body.split_first_chunk::<6>()?;
        let key_len = usize::from(u16::from_le_bytes([lens[0], lens[1]]));
        let value_len = u32_at(lens, 2);
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = if value_len == REMOVED {
            (None, rest)
        } else {
            let (value, rest) = rest.split_at_checked(value_len as usize)?;
            (Some(value.to_vec()), rest)
        };
        writes.insert(key.to_vec(), value);
        body = rest;
    }
    Some(writes)
}

/// Keyed, so that what a tenant stores can never look like a record.
fn hash(key: &[u8; 32], bytes: &[u8]) -> Chain {
    let mut out = Chain::default();
    out.copy_from_slice(&blake3::keyed_hash(key, bytes).as_bytes()[..16]);
    out
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("transactions are bounded far below 4 GiB")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_no_flipped_bit_goes_unseen() {
        let key = [7; 32];
        let writes = Writes::from([(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), None)]);
        let record = Record { first: 1, last: 2, at_ms: 3, writes };
        let mut bytes = Vec::new();
        let chain = record.encode(&key, [9; 16], &mut bytes);
        let Found::Whole { record: back, chain: own, len } = Record::find(&key, &bytes) else {
            panic!("not whole")
        };
        assert_eq!((back, own, len, Record::prev(&bytes)), (record, chain, bytes.len(), [9; 16]));
        let used = HEAD + 2 + 4 + 2 + 2 + 4 + 1 + TAIL;
        for bit in 0..used * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Record::find(&key, &bad), Found::Broken(_)), "bit {bit}");
        }
    }
}
