//! URLs that a disk may be fetched from, and addresses that may be gone to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::Uri;

/// The longest URL there is.
const LONGEST: usize = 2048;
/// The port of https.
pub(crate) const HTTPS: u16 = 443;

/// An https URL without credentials, whose host is a name or an address written
/// the one usual way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportUrl {
    host: Host,
    port: u16,
    /// Path and query.
    target: String,
}

/// Whom a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// Why a URL is not one that a disk may be fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("write a whole URL of at most 2048 characters, such as https://example.org/disk.qcow2")]
    Malformed,
    #[error("use https: nothing else is fetched")]
    Scheme,
    #[error("leave name and password out: no credentials are sent; use a presigned URL")]
    Credentials,
    #[error("write the host as a name (in ASCII) or as a plain address, such as 203.0.113.7")]
    Host,
}

impl ImportUrl {
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// As it stands in a `Host` header.
    pub(crate) fn authority(&self) -> String {
        if self.port == HTTPS {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Where a redirect from here leads to.
    pub(crate) fn follow(&self, location: &str) -> Result<Self, BadUrl> {
        if location.contains("://") || location.starts_with("//") {
            let whole = location.strip_prefix("//").map(|rest| format!("https://{rest}"));
            return whole.as_deref().unwrap_or(location).parse();
        }
        // Another scheme, such as `file:/x` or `data:x`, has a colon before any slash.
        if location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':')) {
            return Err(BadUrl::Scheme);
        }
        let target = if location.starts_with('/') {
            location.to_owned()
        } else {
            let path = self.target.split('?').next().unwrap_or("/");
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            format!("{dir}/{location}")
        };
        format!("https://{}{target}", self.authority()).parse()
    }
}

impl FromStr for ImportUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadUrl::Malformed);
        }
        let (scheme, rest) = text.split_once(':').ok_or(BadUrl::Malformed)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(BadUrl::Scheme);
        }
        let rest = rest.strip_prefix("//").ok_or(BadUrl::Malformed)?;
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(BadUrl::Credentials);
        }
        if authority.contains('%') {
            return Err(BadUrl::Host);
        }
        let text = text.split('#').next().unwrap_or_default();
        let uri: Uri = text.parse().map_err(|_| BadUrl::Malformed)?;
        let named = uri.authority().filter(|named| named.as_str() == authority);
        let named = named.ok_or(BadUrl::Malformed)?;
        let port = match (named.port_u16(), authority.strip_prefix(named.host())) {
            (Some(port), Some(_)) if port > 0 => port,
            (None, Some("")) => HTTPS,
            _ => return Err(BadUrl::Malformed),
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self { host: named.host().parse()?, port, target: target.to_owned() })
    }
}

impl FromStr for Host {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok());
            return address.map(|v6: Ipv6Addr| Self::Address(v6.into())).ok_or(BadUrl::Host);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let sound = |label: &&str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        // Resolvers read 127.1, 0x7f.1 and 2130706433 as addresses; no domain ends in such.
        let last = labels.last().copied().unwrap_or_default();
        let numeric = last.starts_with(|first: char| first.is_ascii_digit());
        if name.len() > 253 || !labels.iter().all(sound) || numeric {
            return Err(BadUrl::Host);
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for ImportUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.target)
    }
}

/// Whether an address is one of the public internet. Addresses that carry a v4
/// address in them are as good as that one.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = match (a, b, c) {
        // This network, private use, shared, loopback, link-local.
        (0 | 10 | 127, ..) | (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _)
        // Private use, protocol assignments, documentation, 6to4 relays, AS112, AMT.
        | (192, 168, _) | (192, 0, 0 | 2) | (192, 88, 99) | (192, 31, 196) | (192, 52, 193)
        | (192, 175, 48) | (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        _ => a >= 224,
    };
    // Clouds answer for their machines here, whatever the route.
    let metadata = (a, b, c, d) == (168, 63, 129, 16);
    !special && !metadata
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (s0, s1, s2, s3, s4, s5) {
        // Mapped and translated, and the well-known prefix of NAT64.
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => {
            v4(s6, s7)
        }
        // 6to4.
        (0x2002, high, low, ..) => v4(high, low),
        // Protocol assignments (Teredo among them), documentation, ORCHID, SRv6.
        (0x2001, 0..=0x1ff | 0xdb8, ..) | (0x3fff, 0..=0xfff, ..) | (0x5f00, ..) => false,
        // Everything else that is routed globally is here.
        (0x2000..=0x3fff, ..) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written() {
        let url: ImportUrl = "HTTPS://Example.ORG/a/b.qcow2?sig=x%2Fy#part".parse().unwrap();
        assert_eq!(url.to_string(), "https://example.org/a/b.qcow2?sig=x%2Fy");
        assert_eq!(url.port(), 443);
        let port: ImportUrl = "https://[2606:4700::1]:8443".parse().unwrap();
        assert_eq!(port.authority(), "[2606:4700::1]:8443");
        assert_eq!(port.target(), "/");
    }

    #[test]
    fn redirects_stay_https() {
        let url: ImportUrl = "https://example.org/a/b?c".parse().unwrap();
        let to = |location: &str| url.follow(location).map(|url| url.to_string());
        assert_eq!(to("/x").unwrap(), "https://example.org/x");
        assert_eq!(to("x?y").unwrap(), "https://example.org/a/x?y");
        assert_eq!(to("//other.example/z").unwrap(), "https://other.example/z");
        for bad in ["http://example.org/", "file:///etc/passwd", "file:/etc/passwd", "data:x"] {
            assert_eq!(to(bad), Err(BadUrl::Scheme), "{bad}");
        }
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for bad in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:0:a9fe:a9fe",
            "3fff::1",
            "5f00::1",
        ] {
            assert!(!is_public(bad.parse().unwrap()), "{bad}");
        }
        for good in ["1.1.1.1", "172.32.0.1", "93.184.216.34", "2606:4700::1", "::ffff:1.1.1.1"] {
            assert!(is_public(good.parse().unwrap()), "{good}");
        }
    }
}
