//! The one spelling of a request that both sides sign.

use super::{Request, SigError};

/// The path. S3's is encoded once; every other service's has its dots and
/// double slashes resolved and what is on the wire encoded once more.
#[must_use]
pub fn canonical_path(path: &str, s3: bool) -> String {
    if s3 {
        let part = |part: &str| match percent_decode(part, false) {
            Some(decoded) => encode(&decoded, false),
            None => encode(part.as_bytes(), false),
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        return format!("/{}", path.split('/').map(part).collect::<Vec<_>>().join("/"));
    }
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    if kept.is_empty() {
        return "/".to_owned();
    }
    let slash = if path.ends_with('/') { "/" } else { "" };
    encode(format!("/{}{slash}", kept.join("/")).as_bytes(), true)
}

/// The query string, sorted, without the signature itself; none if it is
/// malformed.
#[must_use]
pub fn canonical_query(query: &str) -> Option<String> {
    let mut pairs = raw_pairs(query)?
        .into_iter()
        .map(|(name, value)| (encode(&name, false), encode(&value, false)))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect::<Vec<_>>();
    pairs.sort_unstable();
    let pairs = pairs.into_iter().map(|(name, value)| format!("{name}={value}"));
    Some(pairs.collect::<Vec<_>>().join("&"))
}

/// The signed headers with their values, one a line; all values of a header,
/// trimmed and with single blanks, joined by commas.
pub fn canonical_headers(request: &Request<'_>, names: &[String]) -> Result<Vec<u8>, SigError> {
    let mut text = Vec::new();
    for name in names {
        text.extend_from_slice(name.as_bytes());
        let mut separator = b':';
        for (_, value) in request.headers.iter().filter(|(known, _)| known == name) {
            text.push(separator);
            separator = b',';
            let words = value.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
            for (at, word) in words.enumerate() {
                if at > 0 {
                    text.push(b' ');
                }
                text.extend_from_slice(word);
            }
        }
        if separator == b':' {
            let text = format!("The signed header '{name}' is not in the request.");
            return Err(SigError::Incomplete(text));
        }
        text.push(b'\n');
    }
    Ok(text)
}

/// The query's pairs as texts; none if one is malformed.
pub(super) fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let text = |bytes| String::from_utf8(bytes).ok();
    let pairs = raw_pairs(query)?.into_iter();
    pairs.map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

type RawPair = (Vec<u8>, Vec<u8>);

fn raw_pairs(query: &str) -> Option<Vec<RawPair>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode(name, true)?, percent_decode(value, true)?))
        })
        .collect()
}

fn percent_decode(text: &str, plus: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}

fn encode(bytes: &[u8], keep_slash: bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        if plain || keep_slash && byte == b'/' {
            text.push(byte.into());
        } else {
            text.push('%');
            text.push(DIGITS[usize::from(byte >> 4)].into());
            text.push(DIGITS[usize::from(byte & 15)].into());
        }
    }
    text
}
