//! A request over HTTP as a fuzzer writes it: a line of method, path and query, one line a header,
//! an empty line, and the body.

use vmint_ec2::sigv4;

const MOST_HEADERS: usize = 96;

pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    /// Names are as HTTP gives them: tokens, in lower case.
    pub headers: Vec<(&'a str, &'a [u8])>,
    pub body: &'a [u8],
}

impl<'a> Asked<'a> {
    /// Reads one; none where HTTP itself would have refused it.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (head, body) = match data.windows(2).position(|pair| pair == b"\n\n") {
            Some(at) => (&data[..at], &data[at + 2..]),
            None => (data, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let first = std::str::from_utf8(lines.next()?).ok()?;
        let (method, target) = first.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: &'a [u8]| {
            let at = line.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(&line[..at]).ok()?;
            (!name.is_empty() && name.bytes().all(is_token)).then_some((name, &line[at + 1..]))
        };
        let headers = lines.take(MOST_HEADERS).map(header).collect::<Option<_>>()?;
        Some(Self { method, path, query, headers, body })
    }

    pub fn request(&self) -> sigv4::Request<'_> {
        let (method, path, query) = (self.method, self.path, self.query);
        sigv4::Request { method, path, query, headers: &self.headers }
    }

    pub fn header(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.headers.iter().find(|(known, _)| *known == name)?;
        std::str::from_utf8(value).ok().map(str::trim)
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
