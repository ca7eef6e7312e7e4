//! The internet as fetching sees it.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::OnceCell,
};

use crate::{
    Fetch,
    import_url::{HTTPS, is_public},
};

/// How names are resolved and addresses reached. No proxy, whatever the
/// environment says.
#[tonic::async_trait]
pub(crate) trait Net: fmt::Debug + Send + Sync {
    /// Every address of a name.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream>;

    /// Whether it may be gone to.
    fn allows(&self, to: SocketAddr) -> bool;

    /// Whom to believe.
    async fn tls(&self) -> io::Result<Arc<ClientConfig>>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Internet {
    allow: Vec<SocketAddr>,
    authorities: Option<PathBuf>,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Internet {
    pub(crate) fn new(config: &Fetch) -> Self {
        let Fetch { allow, authorities } = config.clone();
        Self { allow, authorities, tls: OnceCell::new() }
    }
}

#[tonic::async_trait]
impl Net for Internet {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // With a dot at its end a name is whole: no search domain is tried.
        let found = lookup_host((format!("{name}."), HTTPS)).await;
        // Hosts files have names without it.
        let found = match found {
            Ok(found) => found.collect::<Vec<_>>(),
            Err(_) => lookup_host((name, HTTPS)).await?.collect(),
        };
        Ok(found.into_iter().map(|address| address.ip()).collect())
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).await
    }

    fn allows(&self, to: SocketAddr) -> bool {
        (is_public(to.ip()) && to.port() == HTTPS) || self.allow.contains(&to)
    }

    async fn tls(&self) -> io::Result<Arc<ClientConfig>> {
        let load = || async {
            let authorities = self.authorities.clone();
            let roots = tokio::task::spawn_blocking(move || roots(authorities)).await;
            let roots = roots.map_err(io::Error::other)??;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok::<_, io::Error>(Arc::new(config))
        };
        self.tls.get_or_try_init(load).await.cloned()
    }
}

/// The system's certificate authorities and the operator's.
fn roots(further: Option<PathBuf>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = further {
        let mut file = BufReader::new(File::open(path)?);
        for certificate in certificates(&mut file)? {
            roots.add(certificate).map_err(io::Error::other)?;
        }
    }
    if roots.is_empty() {
        return Err(io::Error::other("this host has no certificate authorities installed"));
    }
    Ok(roots)
}

fn certificates(file: &mut dyn io::BufRead) -> io::Result<Vec<CertificateDer<'static>>> {
    use rustls::pki_types::pem::PemObject as _;
    let read = CertificateDer::pem_reader_iter(file).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| io::Error::other(error.to_string()))
}
