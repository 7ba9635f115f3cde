//! Clients that send too slowly or too much. The clock is stopped, so that it runs on whenever nothing else does: a minute's wait
//! takes no time, and no test asserts one.

use super::{Running, start};
use crate::demo::settings;
use futures::future::join_all;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Nobody is that patient.
const PATIENCE: usize = 1000;

async fn connected(server: &Running) -> TcpStream {
    TcpStream::connect(server.url.trim_start_matches("http://")).await.expect("connects")
}

/// Sends a byte a second until the server has enough of it, and gives what it said.
async fn dripping(stream: &mut TcpStream, bytes: impl Iterator<Item = u8>) -> (usize, String) {
    let mut answer = Vec::new();
    let mut sent = 0;
    for byte in bytes.take(PATIENCE) {
        let mut some = [0; 1024];
        tokio::select! {
            read = stream.read(&mut some) => match read {
                // Whoever is cut off while it sends may see a reset instead of an end.
                Ok(0) | Err(_) => return (sent, String::from_utf8_lossy(&answer).into_owned()),
                Ok(length) => answer.extend_from_slice(&some[..length]),
            },
            () = sleep(Duration::from_secs(1)) => {
                if stream.write_all(&[byte]).await.is_ok() {
                    sent += 1;
                }
            }
        }
    }
    (sent, String::from_utf8_lossy(&answer).into_owned())
}

/// Whether a request is answered on a connection of its own.
async fn is_served(server: &Running) -> bool {
    let mut stream = connected(server).await;
    let request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer.starts_with("HTTP/1.1 200") && answer.contains("alive")
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_a_byte_at_a_time_is_cut_off() {
    let server = start(settings(), |server| server).await;
    let mut streams = join_all((0..20).map(|_| connected(&server))).await;
    let head = || b"POST /mcp HTTP/1.1\r\nx-padding: ".iter().copied().chain(std::iter::repeat(b'x'));
    let dripped = join_all(streams.iter_mut().map(|stream| dripping(stream, head())));
    let others = async {
        for _ in 0..20 {
            assert!(is_served(&server).await);
            sleep(Duration::from_secs(2)).await;
        }
    };
    let (dripped, ()) = tokio::join!(dripped, others);
    for (sent, answer) in dripped {
        assert!(sent > 0 && sent < PATIENCE, "it was listened to for {sent} bytes");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert!(is_served(&server).await);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_a_byte_at_a_time_is_cut_off() {
    let server = start(settings(), |server| server).await;
    let head = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        accept: application/json, text/event-stream\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n";
    let mut streams = join_all((0..20).map(|_| connected(&server))).await;
    for stream in &mut streams {
        stream.write_all(head).await.expect("sent");
    }
    let dripped = join_all(streams.iter_mut().map(|stream| dripping(stream, std::iter::repeat(b' '))));
    let others = async {
        for _ in 0..10 {
            assert!(is_served(&server).await);
            sleep(Duration::from_secs(2)).await;
        }
    };
    let (dripped, ()) = tokio::join!(dripped, others);
    for (sent, answer) in dripped {
        assert!(sent > 0 && sent < PATIENCE, "it was listened to for {sent} bytes");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("took too long"), "{answer}");
    }
    assert!(is_served(&server).await);
}

#[tokio::test]
async fn bodies_without_end_are_cut_off_at_their_limit_while_others_are_served() {
    const LIMIT: usize = 100_000;
    let mut config = settings();
    config.listen.max_body_bytes = u32::try_from(LIMIT).expect("small");
    let server = start(config, |server| server).await;
    let flood = async || {
        let mut stream = connected(&server).await;
        let head = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
            accept: application/json, text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.expect("sent");
        let chunk = [b"2710\r\n", vec![b' '; 10_000].as_slice(), b"\r\n"].concat();
        let mut sent = 0;
        // Without an end of its own: only the server ends this.
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    };
    let floods = join_all((0..20).map(|_| flood()));
    let others = async {
        for _ in 0..20 {
            assert!(is_served(&server).await);
        }
    };
    let (sent, ()) = tokio::join!(floods, others);
    // What the server takes into memory is bounded by what it takes at all; the sockets' buffers are the system's.
    for sent in sent {
        assert!(sent < LIMIT + (16 << 20), "{sent} bytes were taken");
    }
    assert!(is_served(&server).await);
}
