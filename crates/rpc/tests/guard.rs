//! Who gets past the guard, for every method there is.
#![allow(clippy::unwrap_used)] // a helper may fail its test

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use vmint_rpc::{
    CONTEXT_HEADER, Caller, CallerKind, ContextSigner, ContextVerifier, Fault, GuardLayer,
    Observer, Peer, Policies, Policy, REQUEST_ID_HEADER, strip_identity,
};

const UPDATE: &str = "/vmint.catalog.v1.CatalogService/UpdateImage";
const WATCH: &str = "/vmint.launcher.v1.LauncherService/WatchInstance";

fn signer() -> ContextSigner {
    ContextSigner::new(&[7; 32])
}

fn layer() -> GuardLayer {
    let verifier = ContextVerifier::new(&signer().public(), "catalog").unwrap();
    GuardLayer::new(Policies::ours().clone(), verifier)
}

/// A call to `path` from the service `peer`.
fn request(path: &str, peer: Option<&str>) -> Request<Body> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = format!("http://catalog.vmint.internal{path}").parse().unwrap();
    let service = peer.map(str::to_owned);
    request.extensions_mut().insert(Peer { service, address: "unix".to_owned() });
    request
}

fn action(path: &str) -> &'static str {
    &Policies::ours().of(path).unwrap().action
}

fn signed(path: &str, caller: &Caller) -> Request<Body> {
    let mut request = request(path, Some("gateway"));
    signer().stamp(request.headers_mut(), caller, "catalog", action(path));
    request
}

fn alice() -> Caller {
    Caller::account("111111111111", "alice")
}

/// What the handler would see, or the refusal.
async fn pass(request: Request<Body>) -> Result<Caller, Status> {
    let seen = Arc::new(Mutex::new(None));
    let kept = seen.clone();
    let handler = service_fn(move |request: Request<Body>| {
        let caller = request.extensions().get::<Caller>().cloned();
        assert!(!request.headers().contains_key(CONTEXT_HEADER), "handlers see no context");
        assert!(request.extensions().get::<Arc<Policy>>().is_some());
        *kept.lock().unwrap() = caller;
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let response = layer().layer(handler).oneshot(request).await.unwrap();
    assert!(response.headers().contains_key(REQUEST_ID_HEADER));
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(seen.lock().unwrap().take().expect("a caller")),
    }
}

#[track_caller]
fn assert_refused(answer: Result<Caller, Status>, code: Code, reason: &str) {
    let status = answer.expect_err("a refusal");
    let seen = Fault::from_status(&status);
    assert_eq!(
        (seen.code, seen.reason.as_str(), seen.domain.as_str()),
        (code, reason, "rpc.vmint")
    );
    assert!(seen.request_id.is_some());
}

#[tokio::test]
async fn a_signed_caller_gets_through_with_its_request_id() {
    let caller = alice();
    let seen = pass(signed(UPDATE, &caller)).await.unwrap();
    assert_eq!(seen, caller);
}

#[tokio::test]
async fn strangers_reach_no_method() {
    for policy in Policies::ours().iter() {
        let mut without_certificate = request(&policy.path, None);
        signer().stamp(without_certificate.headers_mut(), &alice(), "catalog", &policy.action);
        assert_refused(pass(without_certificate).await, Code::Unauthenticated, "PEER_UNKNOWN");

        let stranger = pass(request(&policy.path, Some("stranger"))).await;
        assert_refused(stranger, Code::PermissionDenied, "PEER_NOT_ALLOWED");
    }
}

#[tokio::test]
async fn claims_in_plain_metadata_are_refused_on_every_method() {
    let keys = [
        "x-caller-account",
        "x-caller-principal",
        "x-caller-kind",
        "x-caller-id",
        "x-vmint-caller",
        "x-vmint-account",
        "x-vmint-principal",
        "x-vmint-kind",
        "x-vmint-session",
        "x-account-id",
        "x-principal",
        "x-forwarded-user",
    ];
    for policy in Policies::ours().iter().filter(|p| p.allows("gateway")) {
        for key in keys {
            let mut forged = signed(&policy.path, &alice());
            forged.headers_mut().insert(key, HeaderValue::from_static("000000000000"));
            assert_refused(pass(forged).await, Code::Unauthenticated, "METADATA_FORGED");
        }
    }
}

#[tokio::test]
async fn bad_contexts_are_refused_by_reason() {
    let with = |value: HeaderValue| {
        let mut request = request(UPDATE, Some("gateway"));
        request.headers_mut().insert(CONTEXT_HEADER, value);
        request
    };
    let sign = |signer: &ContextSigner, audience, action| signer.sign(&alice(), audience, action);
    let forger = ContextSigner::new(&[8; 32]);
    let cases = [
        (with(HeaderValue::from_static("AAAA")), "CONTEXT_MALFORMED"),
        (with(sign(&forger, "catalog", action(UPDATE))), "CONTEXT_FORGED"),
        (with(sign(&signer(), "storage", action(UPDATE))), "CONTEXT_AUDIENCE"),
        (with(sign(&signer(), "catalog", "catalog:Other")), "CONTEXT_ACTION"),
        (request(UPDATE, Some("gateway")), "CONTEXT_MISSING"),
    ];
    for (request, reason) in cases {
        assert_refused(pass(request).await, Code::Unauthenticated, reason);
    }
    let mut twice = signed(UPDATE, &alice());
    let other = signer().sign(&Caller::account("222222222222", "bob"), "catalog", action(UPDATE));
    twice.headers_mut().append(CONTEXT_HEADER, other);
    assert_refused(pass(twice).await, Code::Unauthenticated, "METADATA_FORGED");
}

#[tokio::test]
async fn services_speak_for_themselves_where_they_are_let_in() {
    let pull = Policies::ours().iter().find(|p| p.peers.iter().any(|p| p == "marketplace"));
    let pull = pull.expect("a method that the marketplace may call");

    let own = pass(request(&pull.path, Some("marketplace"))).await.unwrap();
    assert_eq!((own.kind, own.principal.as_str()), (CallerKind::Service, "marketplace"));

    let mut for_someone = request(&pull.path, Some("marketplace"));
    signer().stamp(for_someone.headers_mut(), &alice(), "catalog", &pull.action);
    assert_refused(pass(for_someone).await, Code::Unauthenticated, "CONTEXT_NOT_FROM_GATEWAY");
}

#[tokio::test]
async fn the_gateway_needs_no_caller_for_internal_methods() {
    let internal = Policies::ours().iter().filter(|p| p.path.contains("InternalService/"));
    for policy in internal.filter(|p| p.allows("gateway")) {
        let caller = pass(request(&policy.path, Some("gateway"))).await.unwrap();
        assert_eq!((caller.kind, caller.account.as_str()), (CallerKind::Service, ""));
    }
}

#[tokio::test]
async fn what_is_for_the_operator_is_for_no_account() {
    let policy = Policies::ours().iter().find(|p| p.operator_only && p.peers.is_empty()).unwrap();
    let answer = pass(signed(&policy.path, &alice())).await;
    assert_refused(answer, Code::PermissionDenied, "OPERATOR_ONLY");
    let operator = Caller { kind: CallerKind::Operator, ..alice() };
    assert_eq!(pass(signed(&policy.path, &operator)).await.unwrap(), operator);
}

#[tokio::test]
async fn what_no_proto_file_names_does_not_exist() {
    for path in ["/vmint.catalog.v1.CatalogService/Nothing", "/", "/a/b", "/grpc.health.v1.Other/C"]
    {
        let answer = pass(request(path, Some("gateway"))).await;
        assert_refused(answer, Code::Unimplemented, "METHOD_UNKNOWN");
    }
}

#[test]
fn nothing_that_claims_an_identity_survives_stripping() {
    let mut headers = http::HeaderMap::new();
    for name in ["x-caller-account", "x-vmint-kind", CONTEXT_HEADER, "content-type"] {
        headers.append(name, HeaderValue::from_static("a"));
        headers.append(name, HeaderValue::from_static("b"));
    }
    strip_identity(&mut headers);
    assert_eq!(headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
}

#[derive(Default)]
struct Counts(Mutex<Vec<(String, Code)>>);

impl Observer for Counts {
    fn started(&self, _: &str) {}
    fn handled(&self, path: &str, code: Code, _: Duration) {
        self.0.lock().unwrap().push((path.to_owned(), code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_is_ended_at_the_callers_deadline() {
    let counts = Arc::new(Counts::default());
    let handler = service_fn(|_: Request<Body>| async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let mut guarded = layer().observed_by(counts.clone()).layer(handler);
    for (asked, expected) in [(Some("50m"), 50), (Some("2H"), 60_000), (None, 60_000)] {
        let mut request = signed(UPDATE, &alice());
        if let Some(asked) = asked {
            request.headers_mut().insert("grpc-timeout", HeaderValue::from_static(asked));
        }
        let began = tokio::time::Instant::now();
        let response = guarded.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(began.elapsed().as_millis(), expected);
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    let counted = counts.0.lock().unwrap().clone();
    assert_eq!(counted, vec![(UPDATE.to_owned(), Code::DeadlineExceeded); 3]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_given_all_the_time_it_wants() {
    let handler = service_fn(|_: Request<Body>| async {
        tokio::time::sleep(Duration::from_hours(1)).await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let verifier = ContextVerifier::new(&signer().public(), "launcher").unwrap();
    let guarded = GuardLayer::new(Policies::ours().clone(), verifier).layer(handler);
    let mut request = request(WATCH, Some("gateway"));
    signer().stamp(request.headers_mut(), &alice(), "launcher", action(WATCH));
    let response = guarded.oneshot(request).await.unwrap();
    assert!(Status::from_header_map(response.headers()).is_none());
}

#[tokio::test]
async fn a_panic_becomes_an_internal_error_without_its_text() {
    let handler = service_fn(|_: Request<Body>| async {
        assert!(std::env::args().count() > 1_000_000, "secret words");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let response = layer().layer(handler).oneshot(signed(UPDATE, &alice())).await.unwrap();
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("secret"));
    assert_eq!(Fault::from_status(&status).reason, "PANICKED");
}

#[tokio::test]
async fn health_and_reflection_need_no_caller() {
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let handler = service_fn(|_: Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let response = layer().layer(handler).oneshot(request(path, None)).await.unwrap();
        assert!(Status::from_header_map(response.headers()).is_none(), "{path}");
    }
}

#[test]
fn a_method_without_a_policy_is_noticed() {
    // Decoding by prost loses the options, as if none had been written.
    let set = <prost_types::FileDescriptorSet as prost::Message>::decode(vmint_api::DESCRIPTORS);
    let bare = Policies::read(&prost::Message::encode_to_vec(&set.unwrap()));
    let missing = bare.check_complete(["vmint.catalog.v1.CatalogService"]).unwrap_err();
    assert_eq!(missing.names, [UPDATE]);

    let ours = Policies::ours();
    let unknown = ours.check_complete(["vmint.nothing.v1.Nothing"]).unwrap_err();
    assert_eq!(unknown.names, ["vmint.nothing.v1.Nothing"]);
}

#[test]
fn every_method_of_ours_has_a_policy() {
    let services = Policies::ours().iter().filter_map(|p| p.path[1..].split('/').next());
    let services: std::collections::BTreeSet<_> =
        services.filter(|s| s.starts_with("vmint.")).collect();
    assert!(services.len() >= 6, "{services:?}");
    assert_eq!(Policies::ours().check_complete(services), Ok(()));
}
