//! From bytes to a tree of parameters.

use super::{Node, Params};
use crate::{Code, Error};

/// The longest body that is read.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// More pairs than any operation needs: 10,000 account ids, and then some.
const MAX_PAIRS: usize = 12_288;
const MAX_NAME: usize = 255;
/// `LaunchTemplateConfigs.1.Overrides.1.BlockDeviceMapping.1.Ebs.SnapshotId` is 8.
const MAX_DEPTH: usize = 12;
/// Indexes beyond it name no list of EC2's.
const MAX_INDEX: u32 = 65_535;

/// Names that belong to the signature and not to the operation.
const SIGNATURE: [&str; 6] = [
    "AWSAccessKeyId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureVersion",
    "Timestamp",
];

impl Params {
    /// Reads the body of a POST: `application/x-www-form-urlencoded`.
    pub fn from_form(body: &[u8]) -> Result<Self, Error> {
        let text =
            std::str::from_utf8(body).map_err(|_| malformed("The body is not UTF-8 text."))?;
        Self::from_query(text)
    }

    /// Reads a query string, without its `?`. What belongs to the signature is
    /// left out.
    ///
    /// At most 1 MiB, 12,288 pairs, names of 255 bytes and 12 levels; a name
    /// given twice is refused.
    pub fn from_query(query: &str) -> Result<Self, Error> {
        if query.len() > MAX_BYTES {
            let text = "The request is longer than 1 MiB.";
            return Err(Error::new(Code::RequestEntityTooLarge, text));
        }
        let mut root = Node::default();
        let mut pairs = 0;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            pairs += 1;
            if pairs > MAX_PAIRS {
                return Err(malformed("The request has more than 12,288 parameters."));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if !is_signature(&name) {
                root.add(&name, decode(value)?)?;
            }
        }
        Ok(Self { path: String::new(), node: root })
    }
}

impl Node {
    fn add(&mut self, name: &str, value: String) -> Result<(), Error> {
        if name.len() > MAX_NAME || name.split('.').count() > MAX_DEPTH {
            return Err(malformed("A parameter's name is too long."));
        }
        let mut node = self;
        for part in name.split('.') {
            if !is_word(part) {
                return Err(malformed(&format!("The parameter name {name:?} is malformed.")));
            }
            node = node.inner.entry(part.to_owned()).or_default();
        }
        match node.value.replace(value) {
            None => Ok(()),
            Some(_) => Err(malformed(&format!("The parameter {name} is given more than once."))),
        }
    }
}

/// An index of a list, without a sign, blanks or leading zeros.
pub(super) fn index(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten().filter(|index| *index <= MAX_INDEX)
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

fn is_signature(name: &str) -> bool {
    SIGNATURE.contains(&name)
        || name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("X-Amz-"))
}

/// Undoes percent encoding; `+` is a blank.
pub(crate) fn decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    #[allow(clippy::cast_possible_truncation)] // two hexadecimal digits
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(malformed("A percent sign is not followed by two digits.")),
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| malformed("A parameter is not UTF-8 text."))
}

fn malformed(text: &str) -> Error {
    Error::new(Code::MalformedQueryString, text)
}

/// As [`decode`], but `+` is itself; none if it is malformed.
pub(crate) fn decode_component(text: &str) -> Option<String> {
    decode(&text.replace('+', "%2B")).ok()
}
