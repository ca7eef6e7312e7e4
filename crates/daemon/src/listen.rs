//! Connections, from the socket to a known peer.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use vmint_rpc::{Identity, Peer, ServiceAddress, Socket, peer_name};

/// What a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How many peers may be shaking hands at once.
const HANDSHAKES: usize = 64;

/// A bound socket of either kind. Its unix socket goes when it is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: ServiceAddress,
}

#[derive(Debug)]
enum Kind {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds `address`; a socket that nobody listens on any more is replaced.
    pub async fn bind(address: &ServiceAddress) -> io::Result<Self> {
        match address {
            ServiceAddress::Unix(path) => {
                clear(path).await?;
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                Ok(Self { kind: Kind::Unix(listener, path.clone()), address: address.clone() })
            }
            ServiceAddress::Tcp(text) => {
                let listener = TcpListener::bind(text).await?;
                let address = ServiceAddress::Tcp(listener.local_addr()?.to_string());
                Ok(Self { kind: Kind::Tcp(listener), address })
            }
        }
    }

    /// Where it listens, with the port the kernel gave.
    #[must_use]
    pub fn address(&self) -> &ServiceAddress {
        &self.address
    }

    /// The next connection and where it comes from.
    pub async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match &self.kind {
            Kind::Unix(listener, _) => Ok((Box::new(listener.accept().await?.0), None)),
            Kind::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Box::new(stream), Some(from)))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.kind {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes room for a socket at `path` unless someone listens there.
async fn clear(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("another process listens on {}", path.display()),
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Accepts connections of peers with a certificate of ours until dropped.
///
/// At most `most` are open at once; further ones wait in the kernel. `cut` ends
/// all of them.
pub(crate) async fn accept(
    listener: Listener,
    identity: Identity,
    most: usize,
    cut: CancellationToken,
    to: mpsc::Sender<io::Result<PeerStream>>,
) {
    let acceptor = TlsAcceptor::from(identity.server());
    let (open, shaking) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(HANDSHAKES)));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let permits =
            async { (open.clone().acquire_owned().await, shaking.clone().acquire_owned().await) };
        let (Ok(permit), Ok(turn)) = permits.await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = to.closed() => return,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely; they come back.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, to, cut) = (acceptor.clone(), to.clone(), cut.clone());
        handshakes.spawn(async move {
            let _turn = turn;
            let address = from.map_or_else(|| "unix".to_owned(), |from| from.to_string());
            let stream = match timeout(HANDSHAKE, acceptor.accept(socket)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::info!(%address, %error, "a handshake failed"),
                Err(_) => return tracing::debug!(%address, "a handshake took too long"),
            };
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let peer = Peer { service: shown.and_then(peer_name), address };
            let cut = Box::pin(cut.cancelled_owned());
            // Only fails if the server has stopped.
            let _ = to.send(Ok(PeerStream { stream, peer, cut, _open: permit })).await;
        });
    }
}

/// A connection whose other end is known.
pub(crate) struct PeerStream {
    stream: TlsStream<Socket>,
    peer: Peer,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _open: OwnedSemaphorePermit,
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
