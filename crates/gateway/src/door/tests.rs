//! The door from outside, with fake services behind it.

mod endings;

use std::{collections::BTreeMap, time::Duration};

use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use vmint_api::{
    catalog::v1 as catalog,
    catalog::v1::catalog_internal_service_client::CatalogInternalServiceClient,
    gateway::v1::{self as pb, gateway_service_client::GatewayServiceClient},
    launcher::v1::{self as launcher, launcher_service_client::LauncherServiceClient},
    permissions::v1::{self as permissions, permissions_service_client::PermissionsServiceClient},
};
use vmint_rpc::{CallerKind, Fault, ServiceAddress};
use vmint_store::Store;

use crate::{
    Limits,
    ec2::Regions,
    run::Bound,
    testing::{
        Lab,
        world::{IMAGE, INSTANCE, OWNER},
    },
};

struct Open {
    lab: Lab,
    address: String,
    channel: Channel,
    served: JoinHandle<()>,
    stop: CancellationToken,
    _guard: DropGuard,
}

async fn open_with(limits: Limits) -> Open {
    let lab = Lab::new();
    let listen = ServiceAddress::Tcp("127.0.0.1:0".to_owned());
    let regions = Regions::new("here".to_owned(), BTreeMap::new());
    let bound = Bound::assemble(
        &listen,
        lab.peers(),
        Store::in_memory(),
        limits,
        regions,
        BTreeMap::new(),
        true,
    );
    let bound = bound.await.unwrap();
    let ServiceAddress::Tcp(address) = bound.address().clone() else { panic!("not TCP") };
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let served = tokio::spawn(async move { bound.run(stopped).await.unwrap() });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let guard = stop.clone().drop_guard();
    Open { lab, address, channel, served, stop, _guard: guard }
}

async fn open() -> Open {
    open_with(Limits::default()).await
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), Fault::from_status(status).reason)
}

fn who() -> permissions::GetCallerIdentityRequest {
    permissions::GetCallerIdentityRequest {}
}

fn image() -> pb::GetImageRequest {
    pb::GetImageRequest { image_id: IMAGE.to_owned() }
}

#[tokio::test]
async fn a_call_is_forwarded_for_its_session_under_its_trace() {
    let open = open().await;
    let mut client = PermissionsServiceClient::new(open.channel.clone());
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut request = with("owner", who());
    let parent = format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);

    let answer = client.get_caller_identity(request).await.unwrap();

    assert_eq!(answer.metadata().get("x-request-id").unwrap(), trace);
    assert_eq!(answer.into_inner().account.unwrap().account_id, OWNER);
    let world = open.lab.world.lock();
    let caller = world.callers.last().unwrap();
    assert_eq!(
        (caller.kind, caller.session.as_str()),
        (CallerKind::Account, "ses-00000000000000001")
    );
    assert_eq!((caller.request_id.as_str(), caller.source.as_str()), (trace, "127.0.0.1"));
}

#[tokio::test]
async fn an_identity_can_not_be_lent_by_metadata() {
    let open = open().await;
    let mut client = PermissionsServiceClient::new(open.channel.clone());
    let mut request = with("other", who());
    let metadata = request.metadata_mut();
    for name in ["x-vmint-account", "x-account-id", "x-caller-id", "x-amzn-identity", "x-principal"]
    {
        metadata.insert(name, OWNER.parse().unwrap());
    }
    metadata.insert_bin("x-vmint-caller-bin", MetadataValue::from_bytes(b"forged"));
    metadata.insert("x-harmless", "kept".parse().unwrap());

    let answer = client.get_caller_identity(request).await.unwrap().into_inner();

    assert_ne!(answer.account.unwrap().account_id, OWNER);
    let headers = open.lab.world.lock().headers.clone();
    let lent = |name: &&String| name.starts_with("x-vmint-") || name.starts_with("x-account");
    assert_eq!(headers.iter().filter(lent).collect::<Vec<_>>(), ["x-vmint-caller-bin"]);
    assert!(headers.contains(&"x-harmless".to_owned()));
    assert!(!headers.contains(&"authorization".to_owned()), "the token went on");
}

#[tokio::test]
async fn no_token_a_bad_one_and_a_revoked_one_are_refused() {
    let open = open().await;
    let mut client = PermissionsServiceClient::new(open.channel.clone());
    let none = client.get_caller_identity(who()).await.unwrap_err();
    assert_eq!(reason(&none), (Code::Unauthenticated, "NOT_SIGNED_IN".to_owned()));
    assert!(Fault::from_status(&none).request_id.is_some());
    let bad = client.get_caller_identity(with("nobody", who())).await.unwrap_err();
    assert_eq!(reason(&bad), (Code::Unauthenticated, "NOT_SIGNED_IN".to_owned()));

    client.get_caller_identity(with("owner", who())).await.unwrap();
    client.get_caller_identity(with("owner", who())).await.unwrap();
    assert_eq!(open.lab.world.lock().authenticated, 2, "it was not remembered");
    let revoke = permissions::RevokeSessionRequest {
        session_id: "owner".to_owned(),
        request_id: String::new(),
    };
    client.revoke_session(with("owner", revoke)).await.unwrap();
    let revoked = client.get_caller_identity(with("owner", who())).await.unwrap_err();
    assert_eq!(reason(&revoked), (Code::Unauthenticated, "NOT_SIGNED_IN".to_owned()));
}

#[tokio::test]
async fn a_token_revoked_elsewhere_is_good_for_a_second_at_most() {
    let open = open().await;
    let mut client = GatewayServiceClient::new(open.channel.clone());
    client.get_image(with("owner", image())).await.unwrap();
    open.lab.world.lock().tokens.remove("owner");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let revoked = client.get_image(with("owner", image())).await.unwrap_err();
    assert_eq!(revoked.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn operators_and_readers_may_what_they_may() {
    let open = open().await;
    let mut accounts = PermissionsServiceClient::new(open.channel.clone());
    let account = permissions::CreateAccountRequest::default;
    let refused = accounts.create_account(with("owner", account())).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::PermissionDenied, "FORBIDDEN".to_owned()));
    accounts.create_account(with("root", account())).await.unwrap();
    let kind = open.lab.world.lock().callers.last().unwrap().kind;
    assert_eq!(kind, CallerKind::Operator);

    let mut gateway = GatewayServiceClient::new(open.channel.clone());
    gateway.get_image(with("reader", image())).await.unwrap();
    let launch = pb::RunInstancesRequest { image_id: IMAGE.to_owned(), ..Default::default() };
    let refused = gateway.run_instances(with("reader", launch)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::PermissionDenied, "FORBIDDEN".to_owned()));
    let sagas = pb::ListSagasRequest {};
    let refused = gateway.list_sagas(with("owner", sagas)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::PermissionDenied, "FORBIDDEN".to_owned()));
    gateway.list_sagas(with("root", sagas)).await.unwrap();
}

#[tokio::test]
async fn streams_go_both_ways_and_refusals_in_trailers_come_through() {
    let open = open().await;
    let mut client = LauncherServiceClient::new(open.channel.clone());
    let request =
        launcher::StreamConsoleRequest { instance_id: INSTANCE.to_owned(), follow: false };
    let mut stream = client.stream_console(with("owner", request)).await.unwrap().into_inner();
    let mut text = Vec::new();
    let end = loop {
        match stream.next().await.unwrap() {
            Ok(piece) => text.extend_from_slice(&piece.output),
            Err(status) => break status,
        }
    };
    assert_eq!(text, b"onetwothree");
    assert_eq!(reason(&end), (Code::FailedPrecondition, "INSTANCE_STATE_INVALID".to_owned()));
    assert_eq!(Fault::from_status(&end).hint.as_deref(), Some("a hint"));

    let (say, said) = tokio::sync::mpsc::channel(1);
    let said = tokio_stream::wrappers::ReceiverStream::new(said);
    let typed = |text: &str| launcher::AttachConsoleRequest {
        instance_id: INSTANCE.to_owned(),
        input: text.as_bytes().to_vec().into(),
    };
    say.send(typed("first")).await.unwrap();
    let mut heard = client.attach_console(with("owner", said)).await.unwrap().into_inner();
    assert_eq!(&heard.next().await.unwrap().unwrap().output[..], b"first");
    // The second is said only after the first was heard.
    say.send(typed("second")).await.unwrap();
    assert_eq!(&heard.next().await.unwrap().unwrap().output[..], b"second");
    drop(say);
    assert!(heard.next().await.is_none());

    let mut accounts = PermissionsServiceClient::new(open.channel.clone());
    let list = permissions::ListAccountsRequest::default();
    let refused = accounts.list_accounts(with("owner", list)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::InvalidArgument, "PAGE_TOKEN_INVALID".to_owned()));
    assert_eq!(Fault::from_status(&refused).domain, "permissions.vmint");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_with_the_limit() {
    let open = open().await;
    let long = "i".repeat(5 << 20);
    let mut own = GatewayServiceClient::new(open.channel.clone());
    let asked = pb::GetImageRequest { image_id: long.clone() };
    let refused = own.get_image(with("owner", asked)).await.unwrap_err();
    let mut forwarded = PermissionsServiceClient::new(open.channel.clone());
    let asked = permissions::ListAccountsRequest { page_token: long, ..Default::default() };
    let passed_on = forwarded.list_accounts(with("owner", asked)).await.unwrap_err();
    for status in [refused, passed_on] {
        let fault = Fault::from_status(&status);
        assert_eq!(
            (fault.code, fault.reason.as_str()),
            (Code::InvalidArgument, "MESSAGE_TOO_LARGE")
        );
        assert_eq!(fault.metadata["limit"], vmint_rpc::LARGEST_MESSAGE.to_string());
        assert!(fault.hint.unwrap().contains("4194304"));
        assert!(fault.request_id.is_some());
    }
    // The connection goes on.
    own.get_image(with("owner", image())).await.unwrap();
}

#[tokio::test]
async fn internal_and_unknown_methods_are_not_there() {
    let open = open().await;
    let mut internal = CatalogInternalServiceClient::new(open.channel.clone());
    let request = catalog::BatchGetImagesRequest {
        image_ids: vec![IMAGE.to_owned()],
        account_id: String::new(),
    };
    let refused = internal.batch_get_images(with("root", request)).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()));

    let mut client = tonic::client::Grpc::new(open.channel.clone());
    client.ready().await.unwrap();
    let path = "/vmint.gateway.v1.GatewayService/GetImages".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<pb::GetImageRequest, pb::GetImageResponse>::default();
    let refused = client.unary(with("owner", image()), path, codec).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::Unimplemented, "METHOD_UNKNOWN".to_owned()));
    let hint = Fault::from_status(&refused).hint.unwrap();
    assert!(hint.contains("/vmint.gateway.v1.GatewayService/GetImage"), "{hint}");
}

#[tokio::test]
async fn reflection_and_health_need_no_token_and_show_only_what_is_public() {
    let open = open().await;
    let mut client = ServerReflectionClient::new(open.channel.clone());
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("vmint.catalog.v1.CatalogInternalService".into())),
        ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".into())),
        ask(MessageRequest::FileContainingSymbol("vmint.gateway.v1.GatewayService".into())),
    ]);
    let answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    let answers =
        answers.map(|a| a.ok().and_then(|a| a.message_response)).collect::<Vec<_>>().await;
    let Some(Some(MessageResponse::ListServicesResponse(listed))) = answers.first() else {
        panic!("no list: {answers:?}");
    };
    let names = listed.service.iter().map(|s| s.name.as_str()).collect::<Vec<_>>();
    assert!(names.iter().all(|name| !name.contains("Internal")), "{names:?}");
    for package in ["catalog", "permissions", "marketplace", "launcher", "storage", "gateway"] {
        let prefix = format!("vmint.{package}.v1.");
        assert!(names.iter().any(|name| name.starts_with(&prefix)), "{package} in {names:?}");
    }
    assert!(names.contains(&"grpc.health.v1.Health"));
    // An unknown symbol ends the stream, so what follows is asked anew.
    assert!(!matches!(answers.get(1), Some(Some(MessageResponse::FileDescriptorResponse(_)))));
    for symbol in ["google.rpc.ErrorInfo", "vmint.gateway.v1.GatewayService"] {
        let asked = ask(MessageRequest::FileContainingSymbol(symbol.to_owned()));
        let mut answers =
            client.server_reflection_info(tokio_stream::iter([asked])).await.unwrap().into_inner();
        let answer = answers.next().await.unwrap().unwrap().message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{symbol}");
    }

    let mut health = HealthClient::new(open.channel.clone());
    let request = HealthCheckRequest { service: "vmint.catalog.v1.CatalogService".to_owned() };
    let mut status = 0;
    for _ in 0..500 {
        if let Ok(answer) = health.check(request.clone()).await {
            status = answer.get_ref().status;
        }
        if status == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status, 1, "the catalog is not serving");
}

#[tokio::test]
async fn too_many_calls_of_one_account_wait_and_another_is_let_in() {
    let limits = Limits { calls_per_second: 0.1, burst: 2.0, ..Limits::default() };
    let open = open_with(limits).await;
    let mut client = PermissionsServiceClient::new(open.channel.clone());
    client.get_caller_identity(with("owner", who())).await.unwrap();
    client.get_caller_identity(with("owner", who())).await.unwrap();
    let refused = client.get_caller_identity(with("owner", who())).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    assert!(Fault::from_status(&refused).retry_after.unwrap() > Duration::from_secs(1));
    client.get_caller_identity(with("other", who())).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_away_is_unavailable_and_the_rest_goes_on() {
    let open = open().await;
    open.lab.world.lock().away.insert("launcher");
    let mut machines = LauncherServiceClient::new(open.channel.clone());
    let request = launcher::GetInstanceRequest { instance_id: INSTANCE.to_owned() };
    let refused = machines.get_instance(with("owner", request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let mut gateway = GatewayServiceClient::new(open.channel.clone());
    gateway.get_image(with("owner", image())).await.unwrap();
}
