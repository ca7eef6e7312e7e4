//! Where a service listens.

use std::{fmt, io, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// The address of a service: `unix:/run/vmint/catalog.sock` or `tcp:host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServiceAddress {
    /// A unix socket, for peers on the same machine.
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

/// Either kind of connected socket.
pub type Socket = Box<dyn Wire>;

/// What a connection must be able to do.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// The text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write `unix:/absolute/path` or `tcp:host:port`")]
pub struct BadAddress(pub String);

impl ServiceAddress {
    /// Opens a connection to it.
    pub async fn dial(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

impl FromStr for ServiceAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:").or(text.starts_with('/').then_some(text)) {
            return path.starts_with('/').then(|| Self::Unix(path.into())).ok_or_else(bad);
        }
        let address = text.strip_prefix("tcp:").unwrap_or(text);
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self::Tcp(address.to_owned()))
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl Serialize for ServiceAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServiceAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_read_back_from_their_text() {
        for text in ["unix:/run/a.sock", "tcp:catalog:7001", "tcp:[::1]:7001"] {
            assert_eq!(text.parse::<ServiceAddress>().unwrap().to_string(), text);
        }
        assert_eq!("/a".parse(), Ok(ServiceAddress::Unix("/a".into())));
        assert_eq!("host:1".parse(), Ok(ServiceAddress::Tcp("host:1".into())));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "unix:", "unix:relative", "tcp:host", "host:99999", ":80", "host"] {
            assert_eq!(text.parse::<ServiceAddress>(), Err(BadAddress(text.to_owned())));
        }
    }
}
