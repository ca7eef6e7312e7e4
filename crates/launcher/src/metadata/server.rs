//! The service itself: HTTP/1.1 on a machine's socket.

use std::{
    convert::Infallible,
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    token,
    tree::{Facts, Tree, VERSIONS},
};
use crate::clock;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// Connections of one guest at a time; more wait.
const MOST: usize = 32;
const HEAD: Duration = Duration::from_secs(10);
/// No connection is kept for longer, busy or not.
const LIFE: Duration = Duration::from_mins(2);
const HEAD_BYTES: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(100);

/// One machine's metadata service, bound and not yet serving.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    tree: Arc<Tree>,
    /// Notes that the guest has asked; once.
    heard: Arc<Heard>,
}

/// The file that says that a guest was heard of in this run.
#[derive(Debug)]
struct Heard {
    file: PathBuf,
    noted: AtomicBool,
}

impl Heard {
    fn note(&self) {
        if !self.noted.swap(true, Ordering::Relaxed) {
            let file = self.file.clone();
            // Nobody waits for it: at worst the next look finds out by other means.
            drop(tokio::task::spawn_blocking(move || std::fs::write(file, "")));
        }
    }
}

impl Server {
    /// Binds the socket at `path`, in place of one left by an earlier process.
    /// The guest's first request makes the file `heard`.
    pub(crate) fn bind(path: &Path, facts: &Facts, heard: PathBuf) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let heard = Arc::new(Heard { file: heard, noted: AtomicBool::new(false) });
        Ok(Self { listener, tree: Arc::new(Tree::of(facts)), heard })
    }

    /// Answers until `over`.
    pub(crate) async fn serve(self, over: CancellationToken) {
        let room = Arc::new(Semaphore::new(MOST));
        let tasks = TaskTracker::new();
        while let Some(permit) = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit.ok(),
            () = over.cancelled() => None,
        } {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = over.cancelled() => break,
            };
            let Ok((stream, _)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            let (tree, heard) = (Arc::clone(&self.tree), Arc::clone(&self.heard));
            let over = over.clone();
            tasks.spawn(async move {
                tokio::select! {
                    _ = timeout(LIFE, converse(stream, tree, heard)) => {}
                    () = over.cancelled() => {}
                }
                drop(permit);
            });
        }
        drop(self.listener);
        tasks.close();
        tasks.wait().await;
    }
}

async fn converse(stream: UnixStream, tree: Arc<Tree>, heard: Arc<Heard>) {
    let service = service_fn(move |request: Request<Incoming>| {
        heard.note();
        let response = answer(&tree, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a metadata request ended early");
    }
}

fn answer<B>(tree: &Tree, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    match *request.method() {
        Method::PUT if path == "/latest/api/token" => issue(tree, request),
        Method::GET | Method::HEAD => {
            let given = request.headers().get(TOKEN).and_then(|t| t.to_str().ok());
            if !given.is_some_and(|given| token::holds(&tree.secret, clock::now(), given)) {
                let mut refused = say(StatusCode::UNAUTHORIZED);
                refused.headers_mut().insert("www-authenticate", TOKEN_SCHEME);
                return refused;
            }
            match find(tree, path) {
                Some(body) => ok(body),
                None => say(StatusCode::NOT_FOUND),
            }
        }
        _ => say(StatusCode::METHOD_NOT_ALLOWED),
    }
}

const TOKEN_SCHEME: http::HeaderValue = http::HeaderValue::from_static("X-aws-ec2-metadata-token");

fn issue<B>(tree: &Tree, request: &Request<B>) -> Response<Full<Bytes>> {
    // A proxy in the guest would hand tokens to whoever asks it.
    if request.headers().contains_key("x-forwarded-for") {
        return say(StatusCode::FORBIDDEN);
    }
    let asked = request.headers().get(TTL).and_then(|t| t.to_str().ok());
    let seconds = asked.and_then(|t| t.parse::<u64>().ok());
    let Some(seconds) = seconds.filter(|s| (1..=token::LONGEST).contains(s)) else {
        return say(StatusCode::BAD_REQUEST);
    };
    let token = token::issue(&tree.secret, clock::now(), seconds);
    let mut response = ok(token.into_bytes());
    response.headers_mut().insert(TTL, seconds.into());
    response
}

fn find(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(VERSIONS.join("\n").into_bytes());
    }
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    VERSIONS.contains(&version).then(|| tree.look_up(rest))?
}

fn ok(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response.headers_mut().insert("server", http::HeaderValue::from_static("EC2ws"));
    response
}

fn say(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = ok(format!("{status}\n").into_bytes());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::metadata::tree::tests::facts;

    struct Guest {
        dir: tempfile::TempDir,
        over: CancellationToken,
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            self.over.cancel();
        }
    }

    impl Guest {
        fn new(facts: &Facts) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let heard = dir.path().join("heard");
            let server = Server::bind(&dir.path().join("m.sock"), facts, heard).unwrap();
            let over = CancellationToken::new();
            tokio::spawn(server.serve(over.clone()));
            Self { dir, over }
        }

        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.dir.path().join("m.sock")).await.unwrap()
        }

        /// Status and body.
        async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> (u16, String) {
            let mut stream = self.connect().await;
            let headers: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {v}\r\n")).collect();
            let headers = headers.concat();
            let request = format!(
                "{line} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n{headers}\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, body.to_owned())
        }

        async fn token(&self) -> String {
            let (status, token) = self.ask("PUT /latest/api/token", &[(TTL, "60")]).await;
            assert_eq!(status, 200);
            token
        }
    }

    #[tokio::test]
    async fn nothing_is_told_without_a_token() {
        let guest = Guest::new(&facts());
        for path in ["/", "/latest/meta-data/", "/latest/user-data", "/nothing"] {
            let line = format!("GET {path}");
            assert_eq!(guest.ask(&line, &[]).await.0, 401);
            assert_eq!(guest.ask(&line, &[(TOKEN, "nonsense")]).await.0, 401);
        }
        let mut other = facts();
        other.identity.token_secret = [9; 32];
        let foreign = Guest::new(&other).token().await;
        assert_eq!(guest.ask("GET /latest/meta-data/", &[(TOKEN, &foreign)]).await.0, 401);
    }

    #[tokio::test]
    async fn a_token_is_for_those_who_ask_themselves_and_say_for_how_long() {
        let guest = Guest::new(&facts());
        let ask = async |headers: &[_]| guest.ask("PUT /latest/api/token", headers).await.0;
        assert_eq!(ask(&[(TTL, "21600")]).await, 200);
        assert_eq!(ask(&[(TTL, "60"), ("X-Forwarded-For", "10.0.0.1")]).await, 403);
        for bad in [&[][..], &[(TTL, "0")], &[(TTL, "21601")], &[(TTL, "-1")], &[(TTL, "x")]] {
            assert_eq!(ask(bad).await, 400);
        }
        assert_eq!(guest.ask("POST /latest/api/token", &[(TTL, "60")]).await.0, 405);
        assert_eq!(guest.ask("PUT /latest/user-data", &[(TTL, "60")]).await.0, 405);
    }

    #[tokio::test]
    async fn every_version_tells_the_same() {
        let guest = Guest::new(&facts());
        let token = guest.token().await;
        for version in VERSIONS {
            let line = format!("GET /{version}/meta-data/instance-id");
            let told = guest.ask(&line, &[(TOKEN, &token)]).await;
            assert_eq!(told, (200, "i-0123456789abcdef0".to_owned()));
        }
        let (_, versions) = guest.ask("GET /", &[(TOKEN, &token)]).await;
        assert_eq!(versions, VERSIONS.join("\n"));
        for path in ["/1999-01-01/meta-data/", "/latest/meta-data/nothing"] {
            assert_eq!(guest.ask(&format!("GET {path}"), &[(TOKEN, &token)]).await.0, 404);
        }
    }

    #[tokio::test]
    async fn user_data_comes_back_as_it_was_given_or_not_at_all() {
        let guest = Guest::new(&facts());
        let token = guest.token().await;
        let (status, body) = guest.ask("GET /latest/user-data", &[(TOKEN, &token)]).await;
        assert_eq!((status, body.as_str()), (200, "#!/bin/sh\n"));
        let guest = Guest::new(&Facts { user_data: None, ..facts() });
        assert_eq!(guest.ask("GET /latest/user-data", &[(TOKEN, &token)]).await.0, 404);
    }

    #[tokio::test]
    async fn nonsense_does_not_disturb_others() {
        let guest = Guest::new(&facts());
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(guest.connect().await);
        }
        let mut rude = guest.connect().await;
        rude.write_all(b"\0\xff rubbish\r\n\r\n").await.unwrap();
        let mut long = guest.connect().await;
        let head = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(64 << 10));
        // Refused on the way: whether all of it was taken is the server's affair.
        drop(long.write_all(head.as_bytes()).await);
        let mut said = String::new();
        drop(long.read_to_string(&mut said).await);
        assert!(!said.starts_with("HTTP/1.1 200"), "{said}");
        assert_eq!(guest.token().await.len(), 54);
    }
}
