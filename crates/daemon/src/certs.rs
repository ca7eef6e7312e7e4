//! The deployment's own certificate authority and what it issues.
//!
//! A trust directory holds `ca.pem` and `ca.key`, which stay with whoever runs
//! the deployment, and a directory a service to give to its process alone:
//! `ca.pem`, `cert.pem`, `key.pem`, `context.pub`, and for the gateway
//! `context.key`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use vmint_rpc::{ContextSigner, GATEWAY, dns_name, uri_name};
use x509_parser::pem::parse_x509_pem;

/// How long a service's certificate is valid.
pub const LEAF_LIFE: Duration = Duration::from_hours(24 * 30);
/// How long the authority is valid.
const CA_LIFE: Duration = Duration::from_hours(24 * 3650);
/// For clocks that are behind.
const BACKDATED: Duration = Duration::from_hours(1);

/// Why a trust directory could not be made or renewed.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("a certificate could not be made")]
    Issue(#[from] rcgen::Error),
    #[error("`{0}` is not a service name: use lower-case letters, digits and hyphens")]
    BadName(String),
    #[error("{} is damaged: move the trust directory away to make a new one", .0.display())]
    Damaged(PathBuf),
}

/// Makes what is missing in the trust directory `dir` for `services`, and renews
/// certificates with less than a third of their life left.
///
/// Does nothing if all is well, so it may run at every start. Keys are kept when
/// certificates are renewed. Returns the services that got a new certificate.
/// Blocks on the file system.
pub fn init(dir: &Path, services: &[&str]) -> Result<Vec<String>, CertError> {
    make_dir(dir)?;
    let lock = dir.join(".lock");
    let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
    let _held = held.map_err(at(&lock))?;

    let (ca_pem, issuer) = authority(dir)?;
    let context = context_key(dir)?;
    let mut renewed = Vec::new();
    for service in services {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if service.is_empty() || !service.bytes().all(plain) {
            return Err(CertError::BadName((*service).to_owned()));
        }
        let own = dir.join(service);
        make_dir(&own)?;
        if leaf(&own, service, &ca_pem, &issuer)? {
            renewed.push((*service).to_owned());
        }
        let public = hex::encode(ContextSigner::new(&context).public());
        write_if_other(&own.join("context.pub"), &public, 0o644)?;
        if *service == GATEWAY {
            write_if_other(&own.join("context.key"), &hex::encode(context), 0o600)?;
        }
    }
    Ok(renewed)
}

/// The authority, made if there is none.
fn authority(dir: &Path) -> Result<(String, Issuer<'static, KeyPair>), CertError> {
    let (key_path, pem_path) = (dir.join("ca.key"), dir.join("ca.pem"));
    let mut params = CertificateParams::default();
    params.distinguished_name = named("vmint deployment authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = key_pair(&key_path)?;
    let pem = if let Some(pem) = read(&pem_path)? {
        pem
    } else {
        (params.not_before, params.not_after) = valid_for(CA_LIFE);
        let pem = params.self_signed(&key)?.pem();
        write(&pem_path, &pem, 0o644)?;
        pem
    };
    Ok((pem.clone(), Issuer::from_ca_cert_pem(&pem, key)?))
}

/// Issues the certificate of `service` if it must be; says whether it did.
fn leaf(
    dir: &Path,
    service: &str,
    ca_pem: &str,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<bool, CertError> {
    let (path, ca_path) = (dir.join("cert.pem"), dir.join("ca.pem"));
    let key_path = dir.join("key.pem");
    let same_authority = read(&ca_path)?.as_deref() == Some(ca_pem);
    if same_authority
        && key_path.exists()
        && let Some(pem) = read(&path)?
        && is_fresh(&pem)
    {
        return Ok(false);
    }
    let key = key_pair(&key_path)?;
    let mut params = CertificateParams::new(vec![dns_name(service)])?;
    let uri = uri_name(service).as_str().try_into()?;
    params.subject_alt_names.push(SanType::URI(uri));
    params.distinguished_name = named(service);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = valid_for(LEAF_LIFE);
    write(&path, &params.signed_by(&key, issuer)?.pem(), 0o644)?;
    // Last, because its presence says that the rest is there.
    write(&ca_path, ca_pem, 0o644)?;
    Ok(true)
}

fn context_key(dir: &Path) -> Result<[u8; 32], CertError> {
    let path = dir.join("context.key");
    let mut key = [0; 32];
    if let Some(text) = read(&path)? {
        return match hex::decode_to_slice(text.trim(), &mut key) {
            Ok(()) => Ok(key),
            Err(_) => Err(CertError::Damaged(path)),
        };
    }
    getrandom::fill(&mut key).map_err(|e| CertError::Io {
        path: path.clone(),
        source: io::Error::other(e.to_string()),
    })?;
    write(&path, &hex::encode(key), 0o600)?;
    Ok(key)
}

fn key_pair(path: &Path) -> Result<KeyPair, CertError> {
    if let Some(pem) = read(path)? {
        return KeyPair::from_pem(&pem).map_err(|_| CertError::Damaged(path.to_owned()));
    }
    let key = KeyPair::generate()?;
    write(path, &key.serialize_pem(), 0o600)?;
    Ok(key)
}

/// Whether at least a third of a certificate's life is left.
fn is_fresh(pem: &str) -> bool {
    let Ok((_, pem)) = parse_x509_pem(pem.as_bytes()) else { return false };
    let Ok(certificate) = pem.parse_x509() else { return false };
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = OffsetDateTime::now_utc().unix_timestamp();
    from <= now && (to - now) * 3 >= to - from
}

fn valid_for(life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - BACKDATED, now + life)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn make_dir(dir: &Path) -> Result<(), CertError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
}

fn read(path: &Path) -> Result<Option<String>, CertError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn write_if_other(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    if read(path)?.as_deref() == Some(text) { Ok(()) } else { write(path, text, mode) }
}

/// Writes a whole file or none of it.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let new = path.with_extension("new");
    let written = || -> io::Result<()> {
        let _left_by_a_crash = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> CertError {
    let path = path.to_owned();
    move |source| CertError::Io { path: path.clone(), source }
}
