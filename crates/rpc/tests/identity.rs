//! Which certificates name a service.

use rcgen::{CertificateParams, KeyPair, SanType};
use vmint_rpc::peer_name;

fn named(uris: &[&str]) -> Option<String> {
    let mut params = CertificateParams::new(vec!["gateway.vmint.internal".to_owned()]).ok()?;
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().ok()?));
    }
    let certificate = params.self_signed(&KeyPair::generate().ok()?).ok()?;
    peer_name(certificate.der())
}

#[test]
fn exactly_one_name_of_this_deployment_counts() {
    assert_eq!(named(&["spiffe://vmint/gateway"]).as_deref(), Some("gateway"));
    for uris in [
        &[][..],
        &["spiffe://other/gateway"],
        &["spiffe://vmint/"],
        &["spiffe://vmint/a/b"],
        &["spiffe://vmint/Gateway"],
        &["https://vmint/gateway"],
        &["spiffe://vmint/launcher", "spiffe://vmint/gateway"],
        &["spiffe://vmint/gateway", "spiffe://other/gateway"],
    ] {
        assert_eq!(named(uris), None, "{uris:?}");
    }
}

#[test]
fn what_is_no_certificate_names_nobody() {
    assert_eq!(peer_name(&b"rubbish".to_vec().into()), None);
}
