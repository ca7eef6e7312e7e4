//! One request, to an address that was looked at first, along at most three
//! redirects.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::task::AbortOnDropHandle;

use super::Net;
use crate::{
    StorageError,
    import_url::{Host, ImportUrl},
};

const REDIRECTS: usize = 3;
/// What a name, a connection, a handshake or the first line of an answer may
/// take, each.
const STEP: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// Why there is no file.
#[derive(Debug)]
pub(super) enum Broken {
    /// It may go better later.
    ForNow(String),
    /// It never will.
    ForGood(String),
    /// It was not the other end.
    Other(StorageError),
}

impl From<StorageError> for Broken {
    fn from(error: StorageError) -> Self {
        Self::Other(error)
    }
}

/// An answer and the connection it comes over.
pub(super) struct Open<B> {
    pub(super) response: Response<B>,
    _connection: AbortOnDropHandle<()>,
}

/// Asks for what is at `url`.
pub(super) async fn reach(
    net: &dyn Net,
    url: &ImportUrl,
    headers: &HeaderMap,
) -> Result<Open<Incoming>, Broken> {
    let mut at = url.clone();
    for _ in 0..=REDIRECTS {
        let open = ask(net, &at, headers).await?;
        match open.response.status() {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let to = open.response.headers().get(header::LOCATION);
                let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
                let onward = at.follow(to);
                at = onward.map_err(|bad| Broken::ForGood(format!("it leads elsewhere: {bad}")))?;
            }
            status if status.is_server_error() || is_passing(status) => {
                return Err(Broken::ForNow(format!("the server answers {status}")));
            }
            _ => return Ok(open),
        }
    }
    Err(Broken::ForGood(format!("it leads on more than {REDIRECTS} times")))
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

async fn ask(
    net: &dyn Net,
    url: &ImportUrl,
    headers: &HeaderMap,
) -> Result<Open<Incoming>, Broken> {
    let stream = connect(net, url).await?;
    let shaken = in_time("an answer", http1::handshake(TokioIo::new(stream))).await?;
    let (mut sender, connection) = shaken;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // Its error is that of the answer too.
        drop(connection.await);
    }));
    let mut request = Request::get(url.target())
        .header(header::HOST, url.authority())
        .header(header::USER_AGENT, concat!("vmint/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::ACCEPT_ENCODING, "identity")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Broken::ForGood(error.to_string()))?;
    request.headers_mut().extend(headers.clone());
    let response = in_time("an answer", sender.send_request(request)).await?;
    Ok(Open { response, _connection: connection })
}

/// A connection to an address of the URL's host, all of which may be gone to.
/// What was looked at is what is connected to: the name is not asked for again.
async fn connect(net: &dyn Net, url: &ImportUrl) -> Result<TlsStream<TcpStream>, Broken> {
    let addresses = match url.host() {
        Host::Address(address) => vec![*address],
        Host::Name(name) => in_time("its name", net.resolve(name)).await?,
    };
    let mut to =
        addresses.into_iter().map(|ip| SocketAddr::new(ip, url.port())).collect::<Vec<_>>();
    to.dedup();
    if to.is_empty() {
        return Err(Broken::ForNow("its name has no address".to_owned()));
    }
    // One that is not public among them is enough: such a name means no good.
    if !to.iter().all(|to| net.allows(*to)) {
        return Err(Broken::ForGood("it is not on the public internet at port 443".to_owned()));
    }
    let tls = net.tls().await.map_err(|error| Broken::ForGood(error.to_string()))?;
    let name = match url.host() {
        Host::Address(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| Broken::ForGood(error.to_string()))?,
    };
    let mut last = None;
    for to in to.into_iter().take(ADDRESSES) {
        match in_time("a connection", net.connect(to)).await {
            Ok(stream) => {
                let shaken = TlsConnector::from(tls).connect(name, stream);
                return match timeout(STEP, shaken).await {
                    Ok(Ok(stream)) => Ok(stream),
                    // A certificate does not get better.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        Err(Broken::ForGood(error.to_string()))
                    }
                    Ok(Err(error)) => Err(Broken::ForNow(error.to_string())),
                    Err(_) => Err(Broken::ForNow("no handshake in 30 seconds".to_owned())),
                };
            }
            Err(broken) => last = Some(broken),
        }
    }
    Err(last.unwrap_or_else(|| Broken::ForNow("it cannot be reached".to_owned())))
}

async fn in_time<T, E: std::error::Error>(
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Broken> {
    match timeout(STEP, work).await {
        Ok(done) => done.map_err(|error| Broken::ForNow(vmint_rpc::chain(&error))),
        Err(_) => Err(Broken::ForNow(format!("there is not {what} in 30 seconds"))),
    }
}
