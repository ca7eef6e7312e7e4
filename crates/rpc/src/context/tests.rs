//! What no one but the gateway can make, and for how long it lasts.

use super::*;

const AUDIENCE: &str = "catalog";
const ACTION: &str = "catalog:UpdateImage";

fn signer() -> ContextSigner {
    ContextSigner::new(&[7; 32])
}

fn verifier() -> ContextVerifier {
    ContextVerifier::new(&signer().public(), AUDIENCE).unwrap()
}

fn caller() -> Caller {
    Caller {
        session: "AKIA1".to_owned(),
        source: "192.0.2.1".to_owned(),
        ..Caller::account("111111111111", "alice")
    }
}

fn signed(life: Duration) -> HeaderValue {
    signer().sign_at(&caller(), AUDIENCE, ACTION, at(1000), life)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// The same envelope with something else in it.
fn altered(header: &HeaderValue, change: impl Fn(&mut Claims)) -> HeaderValue {
    let bytes = BASE64_STANDARD_NO_PAD.decode(header.as_bytes()).unwrap();
    let mut envelope = Envelope::decode(bytes.as_slice()).unwrap();
    let mut claims = Claims::decode(envelope.claims.as_slice()).unwrap();
    change(&mut claims);
    envelope.claims = claims.encode_to_vec();
    HeaderValue::try_from(BASE64_STANDARD_NO_PAD.encode(envelope.encode_to_vec())).unwrap()
}

#[test]
fn what_the_gateway_signs_is_read_as_it_was() {
    for kind in [CallerKind::Operator, CallerKind::Account, CallerKind::Service] {
        let caller = Caller { kind, ..caller() };
        let header = signer().sign(&caller, AUDIENCE, ACTION);
        assert_eq!(verifier().verify(&header, ACTION), Ok(caller));
    }
}

#[test]
fn padded_base64_is_read_too() {
    let header = signed(LONGEST_CONTEXT);
    let text = header.to_str().unwrap();
    let padded = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
    let padded = HeaderValue::try_from(padded).unwrap();
    assert!(verifier().verify_at(&padded, ACTION, at(1001)).is_ok());
}

#[test]
fn no_claim_can_be_altered() {
    let header = signed(LONGEST_CONTEXT);
    let changes: [fn(&mut Claims); 11] = [
        |c| c.account = "222222222222".to_owned(),
        |c| c.principal.push('x'),
        |c| c.kind = 1,
        |c| c.session.clear(),
        |c| c.request_id.push('0'),
        |c| c.source = "127.0.0.1".to_owned(),
        |c| c.audience = "storage".to_owned(),
        |c| c.action = "catalog:Everything".to_owned(),
        |c| c.issued_ms += 1,
        |c| c.expires_ms += 1,
        |c| c.nonce.push(0),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        let forged = altered(&header, change);
        let answer = verifier().verify_at(&forged, ACTION, at(1001));
        assert_eq!(answer, Err(ContextError::Forged), "claim {n}");
    }
}

#[test]
fn no_byte_can_be_altered() {
    let header = signed(LONGEST_CONTEXT);
    let bytes = BASE64_STANDARD_NO_PAD.decode(header.as_bytes()).unwrap();
    for at_byte in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at_byte] ^= 1;
        let forged = HeaderValue::try_from(BASE64_STANDARD_NO_PAD.encode(forged)).unwrap();
        let answer = verifier().verify_at(&forged, ACTION, at(1001));
        assert!(answer.is_err(), "byte {at_byte}");
    }
}

#[test]
fn another_key_does_not_count() {
    let other = ContextSigner::new(&[8; 32]);
    let header = other.sign(&caller(), AUDIENCE, ACTION);
    assert_eq!(verifier().verify(&header, ACTION), Err(ContextError::Forged));
}

#[test]
fn a_context_lasts_a_minute_at_most() {
    let header = signed(LONGEST_CONTEXT);
    let verify = |header, seconds| verifier().verify_at(header, ACTION, at(seconds)).map(|_| ());
    assert_eq!(verify(&header, 1059), Ok(()));
    assert_eq!(verify(&header, 1060), Err(ContextError::Expired));
    assert_eq!(verify(&header, 996), Ok(()), "a little skew is no harm");
    assert_eq!(verify(&header, 994), Err(ContextError::Early));
    let longer = signed(LONGEST_CONTEXT + Duration::from_millis(1));
    assert_eq!(verify(&longer, 1001), Err(ContextError::Expired));
}

#[test]
fn a_context_is_for_one_service_and_one_action() {
    let header = signed(LONGEST_CONTEXT);
    let elsewhere = ContextVerifier::new(&signer().public(), "storage").unwrap();
    assert_eq!(elsewhere.verify_at(&header, ACTION, at(1001)), Err(ContextError::Audience));
    assert_eq!(
        verifier().verify_at(&header, "catalog:DeregisterImage", at(1001)),
        Err(ContextError::Action)
    );
}

#[test]
fn rubbish_is_refused_without_much_work() {
    for text in ["", "=", "!!!!", "AAAA", &"A".repeat(MAX_CONTEXT_BYTES + 1)] {
        let header = HeaderValue::try_from(text).unwrap();
        assert_eq!(verifier().verify(&header, ACTION), Err(ContextError::Malformed), "{text:.8}");
    }
}
