//! Sixty URLs that must lead nowhere, and a server that behaves in every way.
#![allow(clippy::unwrap_used, clippy::pedantic, reason = "a test may stop anywhere")]

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::{Broken, Fetched, begin, net::Net};
use crate::import_url::{HTTPS, ImportUrl, is_public};

/// A public address; connections to it reach the test's own server.
const PUBLIC: &str = "93.184.216.34";

/// Names and addresses as a test wants them; counts whom it was made to call.
#[derive(Debug)]
struct Lab {
    names: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    asked: AtomicU32,
    called: Mutex<Vec<SocketAddr>>,
    server: Option<SocketAddr>,
    tls: Arc<ClientConfig>,
}

impl Lab {
    fn new(server: Option<SocketAddr>, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (names, called) = (Mutex::default(), Mutex::default());
        Self { names, asked: AtomicU32::new(0), called, server, tls: Arc::new(tls) }
    }

    /// The name has these addresses when it is asked for first, second, …
    fn name(&self, name: &str, answers: &[&[&str]]) {
        let answer = |all: &&[&str]| all.iter().map(|ip| ip.parse().unwrap()).collect();
        self.names.lock().insert(name.to_owned(), answers.iter().map(answer).collect());
    }

    async fn fetch(&self, url: &str, have: &Fetched) -> Result<super::Coming, String> {
        let url: ImportUrl = url.parse().map_err(|error| format!("{error}"))?;
        begin(self, &url, have).await.map_err(|broken| match broken {
            Broken::ForGood(why) => why,
            Broken::ForNow(why) => format!("for now: {why}"),
            Broken::Other(error) => error.to_string(),
        })
    }
}

#[tonic::async_trait]
impl Net for Lab {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut names = self.names.lock();
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        let next = answers.pop_front().unwrap();
        if answers.is_empty() {
            answers.push_back(next.clone());
        }
        Ok(next)
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.called.lock().push(to);
        let server = self.server.ok_or(io::ErrorKind::ConnectionRefused)?;
        TcpStream::connect(server).await
    }

    fn allows(&self, to: SocketAddr) -> bool {
        is_public(to.ip()) && to.port() == HTTPS
    }

    async fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        Ok(self.tls.clone())
    }
}

/// What the server says to one connection after another, and what it was asked.
struct Server {
    lab: Lab,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn server(answers: &[&str]) -> Server {
    let key = rcgen::generate_simple_self_signed(vec!["files.example".into(), PUBLIC.into()]);
    let key = key.unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let (seen, answers) =
        (asked.clone(), answers.iter().map(|a| a.to_string()).collect::<Vec<_>>());
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        for answer in answers {
            let Ok(mut stream) = acceptor.accept(listener.accept().await.unwrap().0).await else {
                continue;
            };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            seen.lock().push(String::from_utf8(request).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    let lab = Lab::new(Some(address), roots);
    lab.name("files.example", &[&[PUBLIC]]);
    Server { lab, asked }
}

#[tokio::test]
async fn sixty_urls_lead_nowhere() {
    let lab = Lab::new(None, RootCertStore::empty());
    for (name, ip) in [
        ("localhost", "127.0.0.1"),
        ("inside.example", "10.0.0.5"),
        ("meta.example", "169.254.169.254"),
        ("six.example", "::1"),
        ("mapped.example", "::ffff:10.0.0.1"),
        ("nat.example", "64:ff9b::a00:1"),
        ("sixtofour.example", "2002:7f00:1::1"),
        ("local.example", "fe80::1"),
        ("ula.example", "fd00::1"),
        ("teredo.example", "2001:0:1::1"),
        ("zero.example", "0.0.0.0"),
        ("shared.example", "100.100.100.200"),
        ("multi.example", "224.0.0.251"),
        ("v6zero.example", "::"),
    ] {
        lab.name(name, &[&[ip]]);
    }
    // One public address beside an inner one does not make it public.
    lab.name("both.example", &[&[PUBLIC, "127.0.0.1"]]);
    lab.name("both6.example", &[&["2606:4700::1", "::1"]]);
    let urls = [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://127.0.0.1./",
        "https://0/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b::127.0.0.1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fe80::1%25lo]/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[ff02::1]/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.100.100.200/",
        "https://168.63.129.16/",
        "https://255.255.255.255/",
        "https://198.18.0.1/",
        "https://203.0.113.1/",
        "https://224.0.0.1/",
        "https://localhost/",
        "https://LOCALHOST/",
        "https://localhost./",
        "https://inside.example/",
        "https://meta.example/",
        "https://six.example/",
        "https://mapped.example/",
        "https://nat.example/",
        "https://sixtofour.example/",
        "https://local.example/",
        "https://ula.example/",
        "https://teredo.example/",
        "https://zero.example/",
        "https://shared.example/",
        "https://multi.example/",
        "https://v6zero.example/",
        "https://both.example/",
        "https://both6.example/",
        "http://files.example/",
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "gopher://127.0.0.1:70/_x",
        "ftp://127.0.0.1/",
        "data:,x",
        "dict://127.0.0.1:11211/",
        "https://files.example:22/",
        "https://93.184.216.34:8080/",
        "https://files.example@127.0.0.1/",
        "https://user:word@files.example/",
        "https://127.0.0.1\\@files.example/",
        "https://%31%32%37.0.0.1/",
        "https://①②⑦.⓪.⓪.①/",
        "https:127.0.0.1",
        "https:///etc/passwd",
        "//127.0.0.1/",
        "",
    ];
    assert!(urls.len() >= 60);
    lab.name("files.example", &[&[PUBLIC]]);
    for url in urls {
        let refused = lab.fetch(url, &Fetched::default()).await;
        let why = refused.err().unwrap_or_else(|| panic!("{url} was fetched"));
        assert!(why.len() > 10, "{url}: {why}");
    }
    assert_eq!(*lab.called.lock(), [], "somebody was called");
}

#[tokio::test]
async fn a_name_is_asked_for_once_and_what_was_seen_is_called() {
    let server = server(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    server.lab.name("files.example", &[&[PUBLIC], &["127.0.0.1"]]);
    server.lab.fetch("https://files.example/a", &Fetched::default()).await.unwrap();
    assert_eq!(server.lab.asked.load(Ordering::Relaxed), 1);
    assert_eq!(*server.lab.called.lock(), [format!("{PUBLIC}:443").parse().unwrap()]);
    let asked = server.asked.lock()[0].to_lowercase();
    assert!(asked.starts_with("get /a http/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nhost: files.example\r\n"), "{asked}");
    for secret in ["cookie", "authorization", "referer"] {
        assert!(!asked.contains(secret), "{asked}");
    }
    // The next time it has become an inner one.
    let refused = server.lab.fetch("https://files.example/a", &Fetched::default()).await;
    assert!(refused.err().unwrap().contains("public internet"));
    assert_eq!(server.lab.called.lock().len(), 1);
}

#[tokio::test]
async fn each_redirect_is_looked_at() {
    for to in [
        "https://169.254.169.254/latest",
        "https://inner.example/",
        "http://files.example/",
        "file:///etc/passwd",
        "gopher://x/",
        "https://[::1]/",
        "//127.0.0.1/",
        "https://127.1/",
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        let server = server(&[&answer]).await;
        server.lab.name("inner.example", &[&["10.1.1.1"]]);
        let refused = server.lab.fetch("https://files.example/a", &Fetched::default()).await;
        assert!(refused.is_err(), "{to}");
        assert_eq!(server.lab.called.lock().len(), 1, "{to} was called");
    }
    let moved = "HTTP/1.1 307 T\r\nLocation: b\r\nContent-Length: 0\r\n\r\n";
    let there = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let three = server(&[moved, moved, moved, there]).await;
    let coming = three.lab.fetch("https://files.example/a", &Fetched::default()).await.unwrap();
    assert_eq!((coming.from, coming.of), (0, Some(2)));
    let four = server(&[moved, moved, moved, moved, there]).await;
    let refused = four.lab.fetch("https://files.example/a", &Fetched::default()).await;
    assert!(refused.err().unwrap().contains("more than 3 times"));
}

#[tokio::test]
async fn a_certificate_of_another_is_refused() {
    let server = server(&["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]).await;
    server.lab.name("other.example", &[&[PUBLIC]]);
    let refused = server.lab.fetch("https://other.example/", &Fetched::default()).await;
    let why = refused.err().unwrap();
    assert!(why.contains("certificate") && !why.starts_with("for now"), "{why}");
}

#[tokio::test]
async fn what_is_missing_is_asked_for() {
    let part = "HTTP/1.1 206 P\r\nContent-Range: bytes 5-8/9\r\nETag: \"v1\"\r\n\
                Content-Length: 4\r\n\r\nrest";
    let whole = "HTTP/1.1 200 OK\r\nETag: \"v2\"\r\nContent-Length: 9\r\n\r\nwholefile";
    let wrong = "HTTP/1.1 206 P\r\nContent-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\nwhol";
    let packed = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx";
    let server = server(&[part, whole, wrong, packed]).await;
    let have = Fetched { bytes: 5, of: Some(9), version: "\"v1\"".into() };
    let url = "https://files.example/a";
    let coming = server.lab.fetch(url, &have).await.unwrap();
    assert_eq!((coming.from, coming.of, coming.version.as_str()), (5, Some(9), "\"v1\""));
    let asked = server.asked.lock()[0].to_lowercase();
    assert!(asked.contains("range: bytes=5-") && asked.contains("if-range: \"v1\""), "{asked}");
    // Another version of the file comes from its start.
    let coming = server.lab.fetch(url, &have).await.unwrap();
    assert_eq!((coming.from, coming.of, coming.version.as_str()), (0, Some(9), "\"v2\""));
    assert!(server.lab.fetch(url, &have).await.err().unwrap().contains("another part"));
    assert!(server.lab.fetch(url, &have).await.err().unwrap().contains("encoding"));
}
