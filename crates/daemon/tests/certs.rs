//! What a trust directory holds, and when it is renewed.
#![allow(clippy::unwrap_used)] // a helper may fail its test

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rcgen::{CertificateParams, KeyPair};
use time::{Duration, OffsetDateTime};
use vmint_daemon::certs::{CertError, init};
use vmint_rpc::{Identity, TrustError};

const SERVICES: [&str; 2] = ["gateway", "catalog"];

fn everything(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(everything(&path));
        } else {
            files.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn it_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(init(dir.path(), &SERVICES).unwrap(), SERVICES);
    let made = everything(dir.path());
    assert_eq!(init(dir.path(), &SERVICES).unwrap(), Vec::<String>::new());
    assert_eq!(everything(dir.path()), made);
    for service in SERVICES {
        let identity = Identity::load(&dir.path().join(service)).unwrap();
        assert_eq!(identity.name(), service);
        identity.verifier().unwrap();
    }
}

#[test]
fn secrets_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), &SERVICES).unwrap();
    for secret in
        ["ca.key", "context.key", "catalog/key.pem", "gateway/key.pem", "gateway/context.key"]
    {
        let mode = fs::metadata(dir.path().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    assert!(!dir.path().join("catalog/context.key").exists(), "only the gateway signs");
    assert!(!dir.path().join("catalog/ca.key").exists());
    let catalog = Identity::load(&dir.path().join("catalog")).unwrap();
    assert!(matches!(catalog.signer(), Err(TrustError::Read { .. })));
}

#[test]
fn what_has_lived_two_thirds_of_its_life_is_renewed_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), &SERVICES).unwrap();
    let own = dir.path().join("catalog");
    let key_pem = fs::read_to_string(own.join("key.pem")).unwrap();
    let key = KeyPair::from_pem(&key_pem).unwrap();
    let aged = |days_left: i64| {
        let mut params = CertificateParams::new(vec!["catalog.vmint.internal".to_owned()]).unwrap();
        let now = OffsetDateTime::now_utc();
        params.not_after = now + Duration::days(days_left);
        params.not_before = params.not_after - Duration::days(30);
        fs::write(own.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        init(dir.path(), &SERVICES).unwrap()
    };
    assert_eq!(aged(11), Vec::<String>::new());
    assert_eq!(aged(9), ["catalog"]);
    assert_eq!(aged(-1), ["catalog"]);
    assert_eq!(fs::read_to_string(own.join("key.pem")).unwrap(), key_pem);
    assert_eq!(Identity::load(&own).unwrap().name(), "catalog");
}

#[test]
fn a_new_authority_issues_everything_anew() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), &SERVICES).unwrap();
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    assert_eq!(init(dir.path(), &SERVICES).unwrap(), SERVICES);
}

#[test]
fn names_that_are_paths_and_damaged_keys_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "../etc", "a/b", "Catalog"] {
        assert!(matches!(init(dir.path(), &[name]), Err(CertError::BadName(_))), "{name}");
    }
    fs::write(dir.path().join("ca.key"), "rubbish").unwrap();
    assert!(matches!(init(dir.path(), &SERVICES), Err(CertError::Damaged(_))));
}

#[test]
fn a_directory_that_is_not_there_says_how_to_make_it() {
    let dir = tempfile::tempdir().unwrap();
    let error = Identity::load(&dir.path().join("catalog")).unwrap_err();
    assert!(error.to_string().contains("vmint certs init"), "{error}");
}
