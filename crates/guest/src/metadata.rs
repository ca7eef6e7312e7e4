//! The instance's metadata, asked for with a version 2 token.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use crate::http::{self, Answer, HttpError};

const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);
const PATIENCE: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const TOKEN_SECONDS: &str = "21600";

/// Why the metadata could not be had.
#[derive(Debug)]
pub(crate) enum MetadataError {
    Unreachable(HttpError),
    Refused { path: String, status: u16 },
    NotText { path: String },
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) => {
                write!(f, "no metadata at {}: {error}", SERVER.0)
            }
            Self::Refused { path, status } => write!(f, "metadata {path}: status {status}"),
            Self::NotText { path } => write!(f, "metadata {path} is not one line of text"),
        }
    }
}

impl std::error::Error for MetadataError {}

/// A token to ask with.
#[derive(Debug)]
pub(crate) struct Metadata {
    server: SocketAddr,
    token: String,
}

impl Metadata {
    /// Gets a token; asks again for up to a minute, as the network may be slower than we.
    pub(crate) fn open() -> Result<Self, MetadataError> {
        let server = SERVER.into();
        retry(PATIENCE, || {
            let path = "/latest/api/token";
            let header = ("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
            let answer = http::request(server, "PUT", path, header);
            let answer = answer.map_err(MetadataError::Unreachable)?;
            let token = line(path, success(path, answer)?)?;
            Ok(Self { server, token })
        })
    }

    /// The bytes at `path` below `/latest/`; `None` if there are none.
    pub(crate) fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, MetadataError> {
        retry(PATIENCE / 4, || {
            let header = ("X-aws-ec2-metadata-token", self.token.as_str());
            let answer = http::request(self.server, "GET", &format!("/latest/{path}"), header);
            let answer = answer.map_err(MetadataError::Unreachable)?;
            if answer.status == 404 {
                return Ok(None);
            }
            success(path, answer).map(Some)
        })
    }

    /// The one line at `path`; `None` if there is none.
    pub(crate) fn line(&self, path: &str) -> Result<Option<String>, MetadataError> {
        self.bytes(path)?.map(|body| line(path, body)).transpose()
    }
}

fn success(path: &str, answer: Answer) -> Result<Vec<u8>, MetadataError> {
    if answer.status == 200 {
        Ok(answer.body)
    } else {
        Err(MetadataError::Refused { path: path.to_owned(), status: answer.status })
    }
}

/// Metadata goes on the console and into files: no control bytes.
fn line(path: &str, body: Vec<u8>) -> Result<String, MetadataError> {
    let bad = || MetadataError::NotText { path: path.to_owned() };
    let text = String::from_utf8(body).map_err(|_| bad())?;
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(bad());
    }
    Ok(text.to_owned())
}

fn retry<T>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<T, MetadataError>,
) -> Result<T, MetadataError> {
    let end = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        match ask() {
            Err(MetadataError::Unreachable(_) | MetadataError::Refused { status: 500.., .. })
                if Instant::now() + pause < end =>
            {
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_trimmed_and_holds_no_control_bytes() {
        assert_eq!(line("x", b"i-1\n".to_vec()).expect("text"), "i-1");
        assert!(line("x", b"a\nvmint-guest: ready".to_vec()).is_err());
        assert!(line("x", b"\x1b[2J".to_vec()).is_err());
        assert!(line("x", b"\xff".to_vec()).is_err());
        assert!(line("x", Vec::new()).is_err());
    }
}
