//! How calls and processes come to an end.

use std::{io, time::Duration};

use tonic::Code;
use vmint_api::catalog::v1::catalog_service_client::CatalogServiceClient;
use vmint_daemon::{DaemonError, ServiceConfig};
use vmint_rpc::{Caller, Fault, LARGEST_MESSAGE, Retry, ServiceAddress, connect, retry};

use crate::stack::{Deployment, Running, doing};

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let gateway = deployment.identity("gateway");
    let alice = Caller::account("111111111111", "alice");
    let channel = connect(&running.address, &gateway, "catalog")
        .acting(&gateway.signer().unwrap(), &alice)
        .deadline(Duration::from_millis(100));
    let mut client = CatalogServiceClient::new(channel);
    let late = client.update_image(doing("sleep 60000")).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert_eq!(Fault::from_status(&late).reason, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn a_panic_costs_its_own_call_and_no_other() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut client = deployment.client(&running);
    let failed = client.update_image(doing("panic")).await.unwrap_err();
    assert_eq!(
        (failed.code(), Fault::from_status(&failed).reason.as_str()),
        (Code::Internal, "PANICKED")
    );
    client.update_image(doing("echo")).await.unwrap();
}

#[tokio::test]
async fn draining_lets_the_running_call_finish() {
    let deployment = Deployment::new();
    let mut running = deployment.start().await;
    let mut client = deployment.client(&running);
    let call = tokio::spawn(async move { client.update_image(doing("sleep 1000")).await });
    deployment.asleep().await;

    running.ask_to_stop();
    let (answer, ended) = (call.await.unwrap(), running.end().await);

    assert_eq!(answer.unwrap().into_inner().image.unwrap().description, "sleep 1000");
    ended.unwrap();
    assert!(!deployment.path().join("run/catalog.sock").exists(), "its socket is gone");
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let deployment = Deployment::new();
    let config = ServiceConfig { drain_seconds: 0, ..deployment.config() };
    let running = Running::of(deployment.catalog(&config).bind().await.unwrap());
    let mut client = deployment.client(&running);
    let call = tokio::spawn(async move { client.update_image(doing("sleep 60000")).await });
    deployment.asleep().await;

    running.end().await.unwrap();

    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_channel_outlives_a_restart_of_the_service() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let client = deployment.client(&running);
    client.clone().update_image(doing("echo")).await.unwrap();
    running.end().await.unwrap();
    let refused = client.clone().update_image(doing("echo")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);

    let again = retry(Retry::through_restart(), || {
        let mut client = client.clone();
        async move { client.update_image(doing("echo")).await }
    });
    let (answer, _running) = tokio::join!(again, deployment.start());

    assert_eq!(answer.unwrap().into_inner().image.unwrap().description, "echo");
}

#[tokio::test]
async fn two_processes_do_not_share_a_socket() {
    let deployment = Deployment::new();
    let _running = deployment.start().await;
    let refused = deployment.catalog(&deployment.config()).bind().await.unwrap_err();
    let DaemonError::Bind { source, .. } = refused else { panic!("{refused}") };
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_socket_left_by_a_killed_process_is_replaced() {
    let deployment = Deployment::new();
    let ServiceAddress::Unix(path) = deployment.config().listen else { panic!("not unix") };
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Dropped without being unlinked, as after kill -9.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let running = deployment.start().await;
    deployment.client(&running).update_image(doing("echo")).await.unwrap();
}

#[tokio::test]
async fn a_poisoned_process_ends_at_once_as_failed() {
    let deployment = Deployment::new();
    let (poison, poisoned) = tokio::sync::oneshot::channel::<String>();
    let daemon = deployment
        .catalog(&deployment.config())
        .poisoned(async { poisoned.await.unwrap_or_default() });
    let running = Running::of(daemon.bind().await.unwrap());
    poison.send("fsync failed".to_owned()).unwrap();
    let ended = running.ended().await.unwrap_err();
    assert!(matches!(&ended, DaemonError::Poisoned(why) if why == "fsync failed"), "{ended}");
}

#[tokio::test]
async fn a_failing_task_ends_the_process_and_a_good_one_is_told_to_stop() {
    let deployment = Deployment::new();
    let daemon = deployment.catalog(&deployment.config());
    let stop = daemon.stop_token();
    let (told, tell) = tokio::sync::oneshot::channel();
    let daemon = daemon
        .task("good", async move {
            stop.cancelled().await;
            told.send(()).map_err(|()| io::Error::other("nobody listens"))
        })
        .task("bad", async { Err(io::Error::other("lost its way")) });
    let ended = Running::of(daemon.bind().await.unwrap()).ended().await.unwrap_err();
    let DaemonError::Task { task, text } = ended else { panic!("{ended}") };
    assert_eq!((task.as_str(), text.as_str()), ("bad", "lost its way"));
    tell.await.expect("the good task saw the token");
}

#[tokio::test]
async fn a_message_that_is_too_long_costs_its_own_call_and_no_other() {
    let deployment = Deployment::new();
    let running = deployment.start().await;
    let mut client = deployment.client(&running);
    let long = doing(&"x".repeat(usize::try_from(LARGEST_MESSAGE).unwrap()));
    let refused = client.update_image(long).await.unwrap_err();
    let fault = Fault::from_status(&refused);
    assert_eq!((fault.code, fault.reason.as_str()), (Code::InvalidArgument, "MESSAGE_TOO_LARGE"));
    assert!(fault.hint.is_some() && fault.request_id.is_some());
    client.update_image(doing("nothing")).await.unwrap();
}
