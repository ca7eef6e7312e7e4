use super::*;
use tokio::net::UnixListener;

const SOON: Duration = Duration::from_secs(20);

/// A monitor that answers `lines[n]` to request `n`, then hangs up.
async fn serve(listener: UnixListener, lines: Vec<String>) {
    let (stream, _) = listener.accept().await.expect("a client");
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    write.write_all(b"{\"QMP\":{}}\n").await.expect("greeting");
    for answer in lines {
        let mut request = String::new();
        read.read_line(&mut request).await.expect("a request");
        write.write_all(answer.as_bytes()).await.expect("answer");
    }
}

fn pair(lines: &[&str]) -> (tempfile::TempDir, std::path::PathBuf, JoinHandle<()>) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("q");
    let listener = UnixListener::bind(&path).expect("bind");
    let lines = lines.iter().map(|l| format!("{l}\n")).collect();
    (dir, path, tokio::spawn(serve(listener, lines)))
}

#[tokio::test]
async fn answers_errors_and_events_find_their_readers() {
    let (_dir, path, server) = pair(&[
        r#"{"return":{},"id":1}"#,
        concat!(
            r#"{"event":"STOP","timestamp":{"seconds":1,"microseconds":2}}"#,
            "\n",
            r#"{"return":{"status":"paused"},"id":2}"#
        ),
        r#"{"error":{"class":"GenericError","desc":"no"},"id":3}"#,
    ]);
    let qmp = Qmp::connect(&path, SOON).await.expect("connected");
    let mut events = qmp.events();
    let answer = qmp.command("query-status", Value::Null, SOON).await.expect("answer");
    assert_eq!(answer["status"], "paused");
    let event = events.recv().await.expect("event");
    assert_eq!((event.name.as_str(), event.at_us()), ("STOP", 1_000_002));
    let error = qmp.command("x", json!({"a": 1}), SOON).await.expect_err("refused");
    assert!(matches!(error, VmmError::Refused { ref text, .. } if text == "no"), "{error}");
    server.await.expect("server");
    let error = qmp.command("x", Value::Null, SOON).await.expect_err("hung up");
    assert!(matches!(error, VmmError::Disconnected), "{error}");
}

#[tokio::test]
async fn a_silent_monitor_meets_the_deadline() {
    let (_dir, path, _server) = pair(&[r#"{"return":{},"id":1}"#, ""]);
    let qmp = Qmp::connect(&path, SOON).await.expect("connected");
    let error = qmp.command("x", Value::Null, Duration::from_millis(1)).await;
    assert!(matches!(error, Err(VmmError::Deadline { .. } | VmmError::Disconnected)));
}

#[tokio::test]
async fn a_line_given_up_half_way_ends_the_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("q");
    let listener = UnixListener::bind(&path).expect("bind");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"{\"QMP\":{}}\n{\"return\":{},\"id\":1}\n").await.expect("greeting");
        // Reads no more, so that a long line cannot be written whole.
        std::future::pending::<()>().await;
    });
    let qmp = Qmp::connect(&path, SOON).await.expect("connected");
    let long = json!({"x": "x".repeat(4 << 20)});
    let error = qmp.command("x", long, Duration::from_millis(50)).await;
    assert!(matches!(error, Err(VmmError::Deadline { .. })), "{error:?}");
    tokio::time::timeout(SOON, qmp.closed()).await.expect("closed");
    let error = qmp.command("x", Value::Null, SOON).await;
    assert!(matches!(error, Err(VmmError::Disconnected)), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn what_is_no_monitor_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("q");
    let listener = UnixListener::bind(&path).expect("bind");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"SSH-2.0\n").await.expect("write");
    });
    let error = Qmp::connect(&path, SOON).await.expect_err("no greeting");
    assert!(matches!(error, VmmError::Protocol(_)), "{error}");
    server.await.expect("server");
}
