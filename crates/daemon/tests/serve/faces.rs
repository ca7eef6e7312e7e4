//! What a process tells about itself, to whoever may connect.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use vmint_daemon::ServiceConfig;
use vmint_rpc::{Channel, ServiceAddress};

use crate::stack::{Deployment, Running, doing};

#[tokio::test]
async fn health_needs_no_caller() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut health = HealthClient::new(deployment.channel(&running, "launcher"));
    for service in ["", "vmint.catalog.v1.CatalogService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
}

async fn reflect(channel: Channel, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { message_request: Some(question), ..Default::default() };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    answers.into_inner().next().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_knows_the_error_details() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let channel = deployment.channel(&running, "launcher");

    let question = MessageRequest::ListServices(String::new());
    let MessageResponse::ListServicesResponse(listed) = reflect(channel.clone(), question).await
    else {
        panic!("not a list")
    };
    let names: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "vmint.catalog.v1.CatalogService",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());

    for symbol in [
        "vmint.catalog.v1.CatalogService",
        "vmint.catalog.v1.Image",
        "google.rpc.ErrorInfo",
        "grpc.health.v1.Health",
    ] {
        let question = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let answer = reflect(channel.clone(), question).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{symbol}");
    }
}

async fn get(address: &ServiceAddress, path: &str) -> String {
    let mut socket = address.dial().await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_count_calls_by_method_and_code() {
    let deployment = Deployment::new();
    let ops = Some(ServiceAddress::Tcp("127.0.0.1:0".to_owned()));
    let config = ServiceConfig { ops, ..deployment.config() };
    let daemon = deployment.catalog(&config);
    daemon.metrics().gauge("catalog_images", "Images kept.", &[("state", "a\"b")], || 7.0);
    daemon.metrics().counter("catalog_seen_total", "Things seen.", &[]).add(3);
    let running = Running::of(daemon.bind().await.unwrap());
    let mut client = deployment.client(&running);
    client.update_image(doing("echo")).await.unwrap();
    client.update_image(doing("echo")).await.unwrap();
    client.update_image(doing("panic")).await.unwrap_err();

    let ops = running.ops.clone().unwrap();
    let text = get(&ops, "/metrics").await;

    let method = "grpc_service=\"vmint.catalog.v1.CatalogService\",grpc_method=\"UpdateImage\"";
    for line in [
        format!("grpc_server_started_total{{{method}}} 3"),
        format!("grpc_server_handled_total{{{method},grpc_code=\"Ok\"}} 2"),
        format!("grpc_server_handled_total{{{method},grpc_code=\"Internal\"}} 1"),
        format!("grpc_server_handling_seconds_count{{{method}}} 3"),
        "catalog_images{state=\"a\\\"b\"} 7".to_owned(),
        "catalog_seen_total 3".to_owned(),
        "# TYPE process_resident_memory_bytes gauge".to_owned(),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
    for (path, status) in [("/healthz", "200"), ("/readyz", "200"), ("/else", "404")] {
        assert!(get(&ops, path).await.starts_with(&format!("HTTP/1.1 {status}")), "{path}");
    }
}
