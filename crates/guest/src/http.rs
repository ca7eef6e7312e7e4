//! One HTTP/1.1 request on a connection of its own: bounded in size and in time.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

const HEAD_LIMIT: usize = 16 << 10;
/// User data is at most 16 KiB on EC2; ours may be larger, an answer of this size not.
const BODY_LIMIT: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(3);
const WHOLE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    Io(io::Error),
    /// It is not HTTP, or larger than we take.
    Malformed(&'static str),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(what) => write!(f, "the answer {what}"),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An answer's status and body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Sends `method path` with `header` and reads the answer to its end.
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    header: (&str, &str),
) -> Result<Answer, HttpError> {
    let end = Instant::now() + WHOLE;
    let mut stream = TcpStream::connect_timeout(&server, CONNECT)?;
    stream.set_write_timeout(Some(CONNECT))?;
    let (name, value) = header;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {}\r\n{name}: {value}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n",
        server.ip()
    )?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left))?;
        let size = stream.read(&mut part)?;
        bytes.extend_from_slice(&part[..size]);
        if let Some(answer) = parse(&bytes, size == 0)? {
            return Ok(answer);
        }
    }
}

/// The answer in `bytes`; `None` if more must come. `ended`: nothing more will.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<Answer>, HttpError> {
    use HttpError::Malformed;
    let Some(head_end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        if bytes.len() > HEAD_LIMIT {
            return Err(Malformed("has too long a head"));
        }
        return if ended { Err(Malformed("ended in its head")) } else { Ok(None) };
    };
    let head = str::from_utf8(&bytes[..head_end]).map_err(|_| Malformed("is not HTTP"))?;
    let body = &bytes[head_end + 4..];
    if body.len() > BODY_LIMIT {
        return Err(Malformed("is larger than 1 MiB"));
    }
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let version = first.next().unwrap_or_default();
    let status = first.next().and_then(|s| s.parse().ok());
    let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
        return Err(Malformed("is not HTTP"));
    };
    let field = |wanted: &str| {
        lines.clone().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    if field("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return match chunks(body)? {
            Some(body) => Ok(Some(Answer { status, body })),
            None if ended => Err(Malformed("ended in its body")),
            None => Ok(None),
        };
    }
    match field("content-length") {
        Some(length) => {
            let length: usize = length.parse().map_err(|_| Malformed("has no usable length"))?;
            if length > BODY_LIMIT {
                return Err(Malformed("is larger than 1 MiB"));
            }
            match body.get(..length) {
                Some(body) => Ok(Some(Answer { status, body: body.to_vec() })),
                None if ended => Err(Malformed("ended in its body")),
                None => Ok(None),
            }
        }
        None if ended => Ok(Some(Answer { status, body: body.to_vec() })),
        None => Ok(None),
    }
}

/// A chunked body put together; `None` if its last chunk is not there yet.
fn chunks(mut body: &[u8]) -> Result<Option<Vec<u8>>, HttpError> {
    use HttpError::Malformed;
    let mut whole = Vec::new();
    loop {
        let Some(line) = body.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
        let size = str::from_utf8(&body[..line]).ok().and_then(|l| l.split(';').next());
        let size = size.and_then(|s| usize::from_str_radix(s.trim(), 16).ok());
        let size = size.filter(|s| *s <= BODY_LIMIT).ok_or(Malformed("has a bad chunk"))?;
        if size == 0 {
            return Ok(Some(whole));
        }
        let Some(chunk) = body.get(line + 2..line + 2 + size) else { return Ok(None) };
        whole.extend_from_slice(chunk);
        body = body.get(line + 4 + size..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, ended: bool) -> Result<Option<Answer>, HttpError> {
        parse(text.as_bytes(), ended)
    }

    fn body(answer: Result<Option<Answer>, HttpError>) -> String {
        let answer = answer.expect("HTTP").expect("whole");
        String::from_utf8(answer.body).expect("text")
    }

    #[test]
    fn all_three_framings_are_read() {
        let sized = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(body(read(sized, false)), "abc");
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(body(read(chunked, false)), "abc");
        let closed = "HTTP/1.0 404 Not Found\r\n\r\nno";
        assert_eq!(body(read(closed, true)), "no");
    }

    #[test]
    fn every_prefix_asks_for_more_or_says_it_was_cut_off() {
        let whole = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for cut in 0..whole.len() - 2 {
            assert_eq!(read(&whole[..cut], false).expect("no error yet"), None, "{cut}");
            assert!(read(&whole[..cut], true).is_err(), "{cut}");
        }
    }

    #[test]
    fn hostile_answers_are_refused() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert!(read(text, false).is_err(), "{text}");
        }
        assert!(read(&"x".repeat(HEAD_LIMIT + 1), false).is_err());
    }
}
