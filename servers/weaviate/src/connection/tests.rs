use super::*;
use mcp_system_config::Retry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// A server that gives each connection one of these answers in turn and closes it; an empty one is silence.
async fn server(answers: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answers[counted.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            match answer {
                "" => kept.push(stream),
                "cut" => drop(stream),
                answer => stream.write_all(answer.as_bytes()).await.unwrap(),
            }
        }
    });
    (url, calls)
}

fn client(url: &str, deadline: u64) -> Weaviate {
    let retry = Retry { attempts: 3, min_backoff_milliseconds: 1, max_backoff_milliseconds: 2 };
    let resilience =
        Resilience { failure_threshold: 3, recovery_seconds: 60, retry, ..Resilience::default() };
    let deadline = Duration::from_millis(deadline);
    Weaviate::new(&Connection {
        url: url.into(),
        api_key: None,
        deadline,
        max_answer_bytes: 1000,
        resilience,
    })
    .unwrap()
}

fn write() -> Call {
    Call::new(Method::POST, &["objects"], false)
}

#[tokio::test]
async fn what_reads_is_repeated_and_what_may_have_been_written_is_not() {
    let (url, calls) = server(&["cut", OK]).await;
    assert!(client(&url, 5000).bytes(Call::get(&["meta"])).await.is_ok());
    assert_eq!(calls.load(Ordering::SeqCst), 2);

    let (url, calls) = server(&["cut", OK]).await;
    assert!(matches!(client(&url, 5000).bytes(write()).await, Err(Error::Lost { .. })));
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    // It said that it did nothing.
    let (url, calls) = server(&[BUSY, OK]).await;
    assert!(client(&url, 5000).bytes(write()).await.is_ok());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_answer_in_its_place_leaves_open_whether_a_write_was_carried_out() {
    const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
    const TIMEOUT: &str = "HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n";
    const RESET: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 57\r\n\r\n\
                         upstream connect error or disconnect/reset before headers";
    for answers in [&[BAD_GATEWAY, OK], &[TIMEOUT, OK], &[RESET, OK]] {
        let (url, calls) = server(answers).await;
        let error = client(&url, 5000).bytes(write()).await.expect_err(answers[0]);
        assert!(matches!(error, Error::Lost { .. }) && error.is_outage(), "{error}");
        assert!(error.to_string().contains("may have been carried out all the same"), "{error}");
        assert_eq!(calls.load(Ordering::SeqCst), 1);

        let (url, calls) = server(answers).await;
        assert!(client(&url, 5000).bytes(Call::get(&["meta"])).await.is_ok(), "what reads is repeated");
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_database_that_fails_again_and_again_is_left_alone() {
    let (url, calls) = server(&[BUSY]).await;
    let client = client(&url, 5000);
    for _ in 0..3 {
        assert!(matches!(client.bytes(write()).await, Err(Error::Busy { status: 503, .. })));
    }
    assert_eq!(client.circuit_breaker(), State::Open);
    assert!(matches!(client.bytes(write()).await, Err(Error::Open(_))));
    assert_eq!(calls.load(Ordering::SeqCst), 9, "three calls of three tries");
}

#[tokio::test]
async fn changed_settings_reach_a_client_that_is_in_use() {
    let (url, calls) = server(&[BUSY]).await;
    let client = client(&url, 5000);
    client.bytes(write()).await.unwrap_err();
    assert_eq!((calls.load(Ordering::SeqCst), client.circuit_breaker()), (3, State::Closed));
    let retry = Retry { attempts: 1, ..Retry::default() };
    client.guarded().set(&Resilience { failure_threshold: 2, retry, ..Resilience::default() });
    client.bytes(write()).await.unwrap_err();
    assert_eq!((calls.load(Ordering::SeqCst), client.circuit_breaker()), (4, State::Open));
}

#[tokio::test]
async fn silence_ends_with_the_deadline_and_counts() {
    let (url, _) = server(&[""]).await;
    let client = client(&url, 30);
    for _ in 0..3 {
        assert!(matches!(client.bytes(write()).await, Err(Error::Late(_))));
    }
    assert!(matches!(client.bytes(write()).await, Err(Error::Open(_))));
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let (url, _) = server(&["HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n"]).await;
    let padded = client(&url, 200).bytes(Call::get(&["meta"])).await;
    assert!(matches!(padded, Err(Error::Late(_) | Error::Lost { .. })), "{padded:?}");
    let long: &'static str =
        Box::leak(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1001)).into_boxed_str());
    let answers: &'static [&'static str] = Box::leak(vec![long].into_boxed_slice());
    let (url, _) = server(answers).await;
    assert_eq!(client(&url, 5000).bytes(Call::get(&["meta"])).await, Err(Error::TooLarge { limit: 1000 }));
}

#[tokio::test]
async fn a_database_that_does_not_take_the_key_is_of_no_use() {
    const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    let (url, _) = server(&[OK, UNAUTHORIZED]).await;
    let refused = client(&url, 5000).check().await;
    assert!(matches!(refused, Err(Error::Refused { status: 401, .. })), "{refused:?}");
    for answers in [&[OK, OK], &[OK, FORBIDDEN]] {
        let (url, calls) = server(answers).await;
        assert_eq!(client(&url, 5000).check().await, Ok(()));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn nobody_there_is_told_with_the_url() {
    let error = client("http://127.0.0.1:9", 5000).check().await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:9") && error.contains("refused"), "{error}");
}

#[test]
fn paths_and_queries_are_encoded() {
    let client = client("http://host:1/behind/", 1);
    let call =
        Call::get(&["objects", "a/../b?c"]).query("tenant", Some("x&y=1")).query("after", None::<&str>);
    assert_eq!(client.url(&call).as_str(), "http://host:1/behind/v1/objects/a%2F..%2Fb%3Fc?tenant=x%26y%3D1");
}

#[test]
fn a_bad_setting_is_named_and_a_key_is_not_shown() {
    let connection = |url: &str, key: &str| Connection {
        url: url.into(),
        api_key: Some(key.into()),
        deadline: Duration::from_secs(1),
        max_answer_bytes: 1,
        resilience: Resilience::default(),
    };
    for url in ["weaviate:8080", "ftp://weaviate", ""] {
        let error = Weaviate::new(&connection(url, "k")).unwrap_err().to_string();
        assert!(error.contains("http://weaviate:8080"), "{error}");
    }
    assert!(Weaviate::new(&connection("http://weaviate", "a\nb")).is_err());
    let good = connection("http://weaviate", "secret");
    assert!(!format!("{good:?}{:?}", Weaviate::new(&good).unwrap()).contains("secret"));
}

#[test]
fn messages_are_taken_out_of_any_body() {
    assert_eq!(message(br#"{"error":[{"message":"a"},{"message":"b"}]}"#), "a; b");
    assert_eq!(message(br#"{"code":400,"message":"c"}"#), "c");
    assert_eq!(message(b"<html>"), "<html>");
    assert_eq!(message(b""), "no message");
    assert!(message("\u{fc}".repeat(5000).as_bytes()).len() <= MAX_MESSAGE_BYTES);
}
