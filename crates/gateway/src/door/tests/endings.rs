//! Plain HTTP, and streams that end.

use super::*;

#[tokio::test]
async fn plain_http_is_told_what_is_here() {
    let open = open().await;
    let get = |path: &'static str| {
        let address = open.address.clone();
        async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get(path).header("host", "x");
            let request = request.body(http_body_util::Empty::<hyper::body::Bytes>::new()).unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    };
    assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
    let (status, text) = get("/nothing").await;
    assert_eq!(status, 404);
    assert!(text.contains("grpcurl"), "{text}");
    let mut ready = get("/readyz").await;
    for _ in 0..500 {
        if ready.0 == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        ready = get("/readyz").await;
    }
    assert_eq!(ready, (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn a_watch_follows_an_image_until_it_is_there() {
    let open = open().await;
    let pending = "ami-0000000000000000a";
    let set = |state: catalog::ImageState, percent| {
        let mut world = open.lab.world.lock();
        let mut image = world.images[IMAGE].clone();
        image.image_id = pending.to_owned();
        image.progress_percent = percent;
        image.set_state(state);
        world.images.insert(pending.to_owned(), image);
        world.owners.insert(pending.to_owned(), OWNER.to_owned());
    };
    set(catalog::ImageState::Pending, 0);
    let mut client = GatewayServiceClient::new(open.channel.clone());
    let request = pb::WatchImageRequest { image_id: pending.to_owned() };
    let mut watch = client.watch_image(with("owner", request)).await.unwrap().into_inner();
    let mut next = async || watch.next().await.map(|a| a.unwrap().image.unwrap().progress_percent);
    assert_eq!(next().await, Some(0));
    set(catalog::ImageState::Pending, 40);
    assert_eq!(next().await, Some(40));
    set(catalog::ImageState::Available, 100);
    assert_eq!(next().await, Some(100));
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn a_drain_ends_streams_and_the_process() {
    let open = open().await;
    let mut client = LauncherServiceClient::new(open.channel.clone());
    let request = launcher::WatchInstanceRequest { instance_id: INSTANCE.to_owned() };
    let mut watch = client.watch_instance(with("owner", request)).await.unwrap().into_inner();
    open.stop.cancel();
    let end = watch.next().await.unwrap().unwrap_err();
    assert_eq!(reason(&end), (Code::Unavailable, "SERVICE_UNAVAILABLE".to_owned()));
    open.served.await.unwrap();
}
