//! What a process shows to its peers, and how it knows them.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::TLS13,
};

use crate::{ContextSigner, ContextVerifier};

/// The trust domain of a deployment's service names.
pub const TRUST_DOMAIN: &str = "vmint";

/// `spiffe://vmint/<service>`, the name in a service's certificate.
#[must_use]
pub fn uri_name(service: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/{service}")
}

/// `<service>.vmint.internal`, the name that TLS libraries can check.
#[must_use]
pub fn dns_name(service: &str) -> String {
    format!("{service}.vmint.internal")
}

/// The service that a verified certificate names; none unless exactly one.
#[must_use]
pub fn peer_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let prefix = uri_name("");
    let mut names = parsed.valid_uri_names().map(|uri| uri.strip_prefix(&prefix));
    let name = names.next()??;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (names.next().is_none() && !name.is_empty() && name.bytes().all(plain)).then(|| name.to_owned())
}

/// Why a trust directory does not serve.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("{}: make the trust directory with `vmint certs init`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} holds no PEM of the wanted kind", path.display())]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{} names no service of this deployment", path.display())]
    Nameless { path: PathBuf },
    #[error("the certificate, its key and the authority do not fit together: {0}")]
    Unfit(String),
}

/// The certificate of one service and the authority it trusts.
#[derive(Clone)]
pub struct Identity {
    name: String,
    dir: PathBuf,
    leaf: Arc<Leaf>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// What connections are made with; replaced when the files are renewed.
struct Leaf(RwLock<Arc<CertifiedKey>>);

impl Identity {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` of a service's trust directory.
    ///
    /// Blocks on the file system, for little.
    pub fn load(dir: &Path) -> Result<Self, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        for root in certificates(&dir.join("ca.pem"))? {
            roots.add(root).map_err(unfit)?;
        }
        let roots = Arc::new(roots);
        let (name, key) = read_leaf(dir, &provider)?;
        let leaf = Arc::new(Leaf(RwLock::new(Arc::new(key))));

        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(unfit)?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(leaf.clone());
        server.alpn_protocols = vec![b"h2".to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(unfit)?
            .with_root_certificates(roots)
            .with_client_cert_resolver(leaf.clone());
        client.alpn_protocols = vec![b"h2".to_vec()];
        let (client, server) = (Arc::new(client), Arc::new(server));
        Ok(Self { name, dir: dir.to_owned(), leaf, client, server })
    }

    /// Reads certificate and key again; later connections use them.
    pub fn reload(&self) -> Result<(), TrustError> {
        let (_, key) = read_leaf(&self.dir, &Arc::new(ring::default_provider()))?;
        *self.leaf.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(())
    }

    /// The service it names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For connections that this process makes.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }

    /// For connections that this process accepts; a client certificate is required.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// Verifies what the gateway signed for this service.
    pub fn verifier(&self) -> Result<ContextVerifier, TrustError> {
        ContextVerifier::load(&self.dir, &self.name)
            .map_err(|source| TrustError::Read { path: self.dir.join("context.pub"), source })
    }

    /// Signs callers; only the gateway's directory has the key for it.
    pub fn signer(&self) -> Result<ContextSigner, TrustError> {
        ContextSigner::load(&self.dir)
            .map_err(|source| TrustError::Read { path: self.dir.join("context.key"), source })
    }

    /// A secret of this service for `purpose`; the same until its key file changes.
    pub fn secret(&self, purpose: &str) -> Result<[u8; 32], TrustError> {
        let path = self.dir.join("key.pem");
        let key = fs::read(&path).map_err(|source| TrustError::Read { path, source })?;
        Ok(blake3::derive_key(&format!("vmint 2026 {purpose}"), &key))
    }
}

fn read_leaf(
    dir: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<(String, CertifiedKey), TrustError> {
    let path = dir.join("cert.pem");
    let chain = certificates(&path)?;
    let name = chain.first().and_then(peer_name).ok_or(TrustError::Nameless { path })?;
    let path = dir.join("key.pem");
    let bytes =
        fs::read(&path).map_err(|source| TrustError::Read { path: path.clone(), source })?;
    let key =
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| TrustError::Pem { path, source })?;
    Ok((name, CertifiedKey::from_der(chain, key, provider).map_err(unfit)?))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let bytes =
        fs::read(path).map_err(|source| TrustError::Read { path: path.to_owned(), source })?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|source| TrustError::Pem { path: path.to_owned(), source })
}

fn unfit(error: impl fmt::Display) -> TrustError {
    TrustError::Unfit(error.to_string())
}

impl Leaf {
    fn current(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaf")
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl ResolvesClientCert for Leaf {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
