//! Who may connect, and who may call.

use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tonic::{Code, Status};
use vmint_api::catalog::v1::catalog_service_client::CatalogServiceClient;
use vmint_daemon::{Daemon, DaemonError, certs};
use vmint_rpc::{Fault, Policies, ServiceAddress, connect, connect_plain};

use crate::stack::{Deployment, doing};

fn reason(status: &Status) -> String {
    Fault::from_status(status).reason
}

#[tokio::test]
async fn the_gateway_calls_for_an_account_over_either_kind_of_socket() {
    let deployment = Deployment::new();
    for listen in [deployment.config().listen, ServiceAddress::Tcp("127.0.0.1:0".to_owned())] {
        let config = vmint_daemon::ServiceConfig { listen, ..deployment.config() };
        let bound = deployment.catalog(&config).bind().await.unwrap();
        let running = crate::stack::Running::of(bound);
        let mut client = deployment.client(&running);
        let answer = client.update_image(doing("echo")).await.unwrap();
        assert!(answer.metadata().contains_key("x-request-id"));
        assert_eq!(answer.into_inner().image.unwrap().name, "111111111111");
        running.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_known_service_may_not_call_what_is_not_for_it() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut client = CatalogServiceClient::new(deployment.channel(&running, "launcher"));
    let refused = client.update_image(doing("echo")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::PermissionDenied, "PEER_NOT_ALLOWED")
    );
}

#[tokio::test]
async fn the_gateway_without_a_caller_is_refused_on_a_users_method() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut client = CatalogServiceClient::new(deployment.channel(&running, "gateway"));
    let refused = client.update_image(doing("echo")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unauthenticated, "CONTEXT_MISSING")
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_does_not_connect() {
    let (deployment, other) = (Deployment::new(), Deployment::new());
    let running = deployment.start().await;
    let mut client = CatalogServiceClient::new(other.channel(&running, "gateway"));
    let refused = client.update_image(doing("echo")).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "SERVICE_UNREACHABLE")
    );
}

#[tokio::test]
async fn a_server_that_is_another_service_is_not_spoken_to() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let gateway = deployment.identity("gateway");
    let channel = connect(&running.address, &gateway, "storage");
    let refused = CatalogServiceClient::new(channel).update_image(doing("echo")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("storage"), "{refused}");
}

#[tokio::test]
async fn without_tls_nothing_is_answered() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let channel = connect_plain(&running.address, "catalog");
    let refused = CatalogServiceClient::new(channel).update_image(doing("echo")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn without_a_certificate_nothing_is_answered() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut roots = RootCertStore::empty();
    let ca = deployment.path().join("trust/ca.pem");
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("catalog.vmint.internal").unwrap();
    let socket = running.address.dial().await.unwrap();

    // In TLS 1.3 the client learns of it when it reads.
    let talk = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.read_u8().await
    };
    let refused = talk.await.unwrap_err();
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_method_without_a_policy_is_not_served() {
    let deployment = Deployment::new();
    // Decoding by prost loses the options, as if none had been written.
    let set = <prost_types::FileDescriptorSet as prost::Message>::decode(vmint_api::DESCRIPTORS);
    let bare = Policies::read(&prost::Message::encode_to_vec(&set.unwrap()));
    let daemon = deployment.catalog(&deployment.config()).with_policies(bare);
    let refused = daemon.bind().await.unwrap_err();
    let DaemonError::Policies(missing) = refused else { panic!("{refused}") };
    assert_eq!(missing.names, ["/vmint.catalog.v1.CatalogService/UpdateImage"]);
}

#[tokio::test]
async fn the_trust_directory_of_another_service_is_refused() {
    let deployment = Deployment::new();
    let refused = Daemon::new("storage", &deployment.config()).unwrap_err();
    assert!(matches!(refused, DaemonError::WrongName { .. }), "{refused}");
}

#[tokio::test]
async fn an_expired_certificate_does_not_connect() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let trust = deployment.path().join("trust");
    let read = |name: &str| std::fs::read_to_string(trust.join(name)).unwrap();
    let ca = KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), ca).unwrap();
    let key = KeyPair::from_pem(&read("gateway/key.pem")).unwrap();
    let mut params = CertificateParams::new(vec!["gateway.vmint.internal".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI("spiffe://vmint/gateway".try_into().unwrap()));
    params.not_after = time::OffsetDateTime::now_utc() - time::Duration::minutes(1);
    let expired = params.signed_by(&key, &issuer).unwrap().pem();
    std::fs::write(trust.join("gateway/cert.pem"), expired).unwrap();

    let refused = deployment.client(&running).update_image(doing("echo")).await.unwrap_err();

    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_without_a_restart() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let gateway = deployment.identity("gateway");
    let path = deployment.path().join("trust/gateway/cert.pem");
    let before = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let issued = certs::init(&deployment.path().join("trust"), &["gateway"]).unwrap();
    assert_eq!(issued, ["gateway"]);
    assert_ne!(std::fs::read(&path).unwrap(), before);

    gateway.reload().unwrap();

    let caller = vmint_rpc::Caller::account("111111111111", "alice");
    let channel = connect(&running.address, &gateway, "catalog");
    let channel = channel.acting(&gateway.signer().unwrap(), &caller);
    CatalogServiceClient::new(channel).update_image(doing("echo")).await.unwrap();
}
