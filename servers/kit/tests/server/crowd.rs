//! Many connections, slow ones, and bodies without end. Counted, not timed.

use super::{Running, client, counted, start};
use crate::demo::settings;
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{ChildStdout, Command};

const IDLE: usize = 10_000;
const ACTIVE: usize = 1_000;

/// Where the helper process of the test below finds the server.
const ADDRESS: &str = "MCP_TEST_CROWD_ADDRESS";

fn raise_limit(wanted: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    assert!(hard >= wanted, "this test needs {wanted} open files, and the hard limit is {hard}");
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(wanted), hard).expect("raised");
}

async fn opened(address: &str, count: usize) -> Vec<TcpStream> {
    let connects = (0..count).map(|_| TcpStream::connect(address));
    stream::iter(connects).buffer_unordered(64).map(|stream| stream.expect("connects")).collect().await
}

fn request(tool: &str, arguments: &Value) -> Vec<u8> {
    let params = json!({"name": tool, "arguments": arguments});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_and_a_thousand_active_connections_are_held() {
    raise_limit((IDLE + 2 * ACTIVE + 1000) as u64);
    let server = start(settings(), |server| server).await;
    server.until("healthy").await;
    let address = server.url.trim_start_matches("http://").to_owned();
    // The other ends of the idle ones are in a process of their own: there are limits to the files of one.
    let mut clients = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", "crowd::the_idle_ones_of_the_test_above"])
        .env(ADDRESS, &address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let mut told = BufReader::new(clients.stdout.take().expect("piped")).lines();
    until_told(&mut told, "open").await;
    let active = opened(&address, ACTIVE).await;
    let call = request("wait", &json!({"milliseconds": 600_000}));
    let mut active: Vec<TcpStream> = stream::iter(active)
        .map(|mut stream| async {
            stream.write_all(&call).await.expect("sent");
            stream
        })
        .buffer_unordered(64)
        .collect()
        .await;

    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let metrics = server.metrics().await;
        let number = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
            line.trim().parse::<f64>().expect("a number")
        };
        #[allow(clippy::cast_precision_loss, reason = "thousands")]
        let (connections, calls) = ((IDLE + ACTIVE) as f64, ACTIVE as f64);
        if number("mcp_tools_active_connections ") >= connections
            && number("mcp_tools_requests_in_flight ") >= calls
        {
            break;
        }
        assert!(Instant::now() < deadline, "not all are there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Beside them all, the next one is answered, and none of them was closed for it.
    let answer = server.call("echo", &json!({"text": "still here"})).send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(server.demo.seen().dropped.load(Ordering::SeqCst), 0);
    let mut byte = [0];
    for stream in &active {
        let read = stream.try_read(&mut byte).expect_err("nothing was sent, and nothing closed");
        assert_eq!(read.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(clients.stdin.take());
    until_told(&mut told, "held").await;
    active.clear();
    let deadline = Instant::now() + Duration::from_mins(1);
    while server.demo.seen().dropped.load(Ordering::SeqCst) < ACTIVE {
        assert!(Instant::now() < deadline, "calls go on without their clients");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads what the helper process says until it says this.
async fn until_told(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) {
    while let Some(line) = lines.next_line().await.expect("text") {
        if line.contains(wanted) {
            return;
        }
    }
    panic!("the other process ended before it said {wanted:?}");
}

/// Does nothing by itself: the test above runs it in another process, where it opens the idle connections, holds them
/// until its input ends, sees that none was closed, and uses one.
#[tokio::test]
async fn the_idle_ones_of_the_test_above() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    raise_limit(IDLE as u64 + 100);
    let mut idle = opened(&address, IDLE).await;
    println!("\nopen");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.expect("ended");
    let mut byte = [0];
    for stream in &idle {
        let read = stream.try_read(&mut byte).expect_err("nothing was sent, and nothing closed");
        assert_eq!(read.kind(), std::io::ErrorKind::WouldBlock);
    }
    let mut one = idle.pop().expect("one");
    one.write_all(&request("echo", &json!({"text": "after a rest"}))).await.expect("sent");
    let mut seen = vec![0; 4096];
    let length = one.read(&mut seen).await.expect("answered");
    assert!(String::from_utf8_lossy(&seen[..length]).contains("after a rest"));
    println!("\nheld");
}

#[tokio::test]
async fn more_requests_than_are_allowed_are_told_to_come_back() {
    let mut config = settings();
    config.listen.max_in_flight = 3;
    let server = start(config, |server| server).await;
    let mut calls: FuturesUnordered<_> =
        (0..40).map(|_| server.call("wait", &json!({"milliseconds": 300})).send()).collect();
    let mut refused = 0;
    while let Some(answer) = calls.next().await {
        let answer = answer.expect("answered");
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            refused += 1;
            assert_eq!(answer.headers()["retry-after"], "1");
            let told: Value = answer.json().await.expect("JSON");
            assert!(
                told["error"]["message"].as_str().expect("told").contains("listen.maxInFlight"),
                "{told}"
            );
        }
    }
    let ran = server.demo.seen().finished.load(Ordering::SeqCst);
    assert!(refused > 0 && ran + refused == 40, "{ran} ran, {refused} were refused");
    answered(&server).await;
}

/// Waits until a call finds a place: that of the call before is free as soon as its answer is written.
async fn answered(server: &Running) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while server.call("echo", &json!({"text": "now"})).send().await.expect("answered").status()
        != StatusCode::OK
    {
        assert!(Instant::now() < deadline, "no place is free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_answer_keeps_its_place_until_its_client_has_read_it() {
    let mut config = settings();
    config.listen.max_in_flight = 1;
    config.listen.max_body_bytes = 64 << 20;
    let server = start(config, |server| server).await;
    let mut slow = TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects");
    // More than the sockets' buffers hold.
    slow.write_all(&request("echo", &json!({"text": "x".repeat(32 << 20)}))).await.expect("sent");
    slow.readable().await.expect("the answer begins");
    let refused = server.call("echo", &json!({"text": "now"})).send().await.expect("answered");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(slow);
    answered(&server).await;
}

#[tokio::test]
async fn bodies_that_are_sent_at_the_same_time_take_no_more_memory_than_there_is_for_them() {
    const LARGEST: usize = 1 << 20;
    let mut config = settings();
    config.listen.max_body_bytes = u32::try_from(LARGEST).expect("small");
    let server = start(config, |server| server).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, \
         text/event-stream\r\ncontent-length: {LARGEST}\r\n\r\n"
    );
    // Each lacks a byte, so that it lies in memory until somebody gives up.
    let unfinished = [head.as_bytes(), vec![b' '; LARGEST - 1].as_slice()].concat();
    let mut streams = opened(server.url.trim_start_matches("http://"), 34).await;
    for stream in &mut streams {
        // Who is turned away may not get rid of it all.
        let _ = stream.write_all(&unfinished).await;
    }
    let deadline = Instant::now() + Duration::from_secs(25);
    while !server.metrics().await.contains("mcp_tools_http_rejected_total{code=\"503\"}") {
        assert!(Instant::now() < deadline, "all of them lie in memory");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(streams);
    answered(&server).await;
}

#[tokio::test]
async fn a_server_that_is_full_is_no_broken_one() {
    let mut config = settings();
    config.listen.max_in_flight = 1;
    let server = start(config, |server| server).await;
    let hung = tokio::spawn(server.call("wait", &json!({"milliseconds": 60_000})).send());
    counted(&server.demo.seen().began, "the call never came").await;
    let echo =
        async || server.call("echo", &json!({"text": "full?"})).send().await.expect("answered").status();
    assert_eq!(echo().await, StatusCode::SERVICE_UNAVAILABLE);
    // In this time it asks itself, which it does every five seconds.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (_, report) = server.health().await;
    assert_eq!(report["status"], "healthy", "{report}");
    assert_eq!(echo().await, StatusCode::SERVICE_UNAVAILABLE);
    hung.abort();
}

#[tokio::test]
async fn more_connections_than_are_allowed_wait_until_one_closes() {
    let mut config = settings();
    config.listen.max_connections = 4;
    let server = start(config, |server| server).await;
    server.until("healthy").await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut connections = opened(&address, 8).await;
    let call = request("echo", &json!({"text": "hello"}));
    for connection in &mut connections {
        connection.write_all(&call).await.expect("sent");
    }
    // The system has taken them all, the server only as many as it may; each that ends lets the next one in.
    let answered = Arc::new(AtomicUsize::new(0));
    let readers: FuturesUnordered<_> = connections
        .into_iter()
        .map(|mut connection| {
            let answered = answered.clone();
            async move {
                let mut buffer = vec![0; 4096];
                let length = connection.read(&mut buffer).await.expect("answered");
                assert!(String::from_utf8_lossy(&buffer[..length]).contains("hello"));
                answered.fetch_add(1, Ordering::SeqCst);
            }
        })
        .collect();
    readers.collect::<Vec<()>>().await;
    assert_eq!(answered.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_at_its_limit() {
    let mut config = settings();
    config.listen.max_body_bytes = 100_000;
    let server = start(config, |server| server).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let endless = stream::repeat_with(move || {
        counted.fetch_add(10_000, Ordering::SeqCst);
        Ok::<_, std::io::Error>(vec![b' '; 10_000])
    });
    let answer =
        server.post(reqwest::Body::wrap_stream(endless)).timeout(Duration::from_secs(30)).send().await;
    // Told, or cut off while it was still sending: the count is what matters.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    // What the sockets' buffers took comes on top of the limit.
    let sent = sent.load(Ordering::SeqCst);
    assert!(sent < 100_000 + (16 << 20), "{sent} bytes were taken");
    let health = client().get(format!("{}/health/live", server.url)).send().await.expect("answered");
    assert_eq!(health.status(), StatusCode::OK);
}
