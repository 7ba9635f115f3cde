//! Fetching from a real server on this machine.

use super::*;
use crate::outbound::Lookup;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use futures::StreamExt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Serves the cases below; returns the port.
async fn serve() -> u16 {
    let endless = |bytes| {
        let chunk = axum::body::Bytes::from(vec![b'x'; bytes]);
        futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()))
    };
    let slow = endless(1).then(async |chunk| {
        tokio::time::sleep(Duration::from_millis(300)).await;
        chunk
    });
    let slow = std::sync::Mutex::new(Some(Body::from_stream(slow.boxed())));
    let slow = Arc::new(slow);
    let routes = Router::new()
        .route("/text", get(async || ([("x-kind", "plain"), ("set-cookie", "a=b")], "hällo")))
        .route("/binary", get(async || ([("content-type", "image/png")], vec![0_u8, 255, 1])))
        .route("/latin", get(async || ([("content-type", "text/plain")], vec![b'h', 0xe4])))
        .route("/missing", get(async || (StatusCode::NOT_FOUND, "no such thing")))
        .route("/large", get(async || "x".repeat(2000)))
        .route("/endless", get(async move || Body::from_stream(endless(512))))
        .route("/silent", get(async || std::future::pending::<()>().await))
        .route(
            "/slow",
            get(async move || slow.lock().unwrap().take().expect("asked for once").into_response()),
        )
        .route("/to/{*target}", get(async |Path(target): Path<String>| Redirect::temporary(&target)))
        .route(
            "/hop/{left}",
            get(async |Path(left): Path<u32>| match left {
                0 => "arrived".into_response(),
                left => Redirect::to(&format!("/hop/{}", left - 1)).into_response(),
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    port
}

/// A tool for which every name leads to these addresses.
fn tool(allowed: &[&str], addresses: &'static [&'static str]) -> HttpFetch {
    within(30, allowed, addresses)
}

fn within(timeout_seconds: u32, allowed: &[&str], addresses: &'static [&'static str]) -> HttpFetch {
    let settings = HttpFetchSettings {
        allowed_hosts: allowed.iter().map(|host| (*host).to_owned()).collect(),
        allow_private_addresses: false,
        max_bytes: 1000,
        timeout_seconds,
    };
    let lookup: Lookup = Arc::new(move |_| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    });
    HttpFetch::new(&settings, &Clients::with_lookup(lookup)).expect("built")
}

async fn fetch(tool: &HttpFetch, url: String) -> Result<Fetched, String> {
    tool.execute(Fetch { url, method: Method::Get }, &Call::default()).await.map_err(|failure| failure.0)
}

#[tokio::test]
async fn documents_come_as_text_or_base64() {
    let base = format!("http://127.0.0.1:{}", serve().await);
    let tool = tool(&["127.0.0.1"], &[]);
    let text = fetch(&tool, format!("{base}/text")).await.expect("fetched");
    assert_eq!(
        (text.status, text.body.as_str(), text.encoding, text.bytes),
        (200, "hällo", Encoding::Text, 6)
    );
    assert_eq!(text.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(text.headers.get("x-kind").map(String::as_str), Some("plain"));
    assert!(!text.headers.contains_key("set-cookie"));
    let binary = fetch(&tool, format!("{base}/binary")).await.expect("fetched");
    assert_eq!((binary.body.as_str(), binary.encoding), ("AP8B", Encoding::Base64));
    let latin = fetch(&tool, format!("{base}/latin")).await.expect("fetched");
    assert_eq!((latin.body.as_str(), latin.encoding), ("h\u{fffd}", Encoding::Text));
    let missing = fetch(&tool, format!("{base}/missing")).await.expect("an answer all the same");
    assert_eq!((missing.status, missing.body.as_str()), (404, "no such thing"));
    let head = Fetch { url: format!("{base}/large"), method: Method::Head };
    let head = tool.execute(head, &Call::default()).await.expect("only the head");
    assert_eq!((head.bytes, head.headers.get("content-length").map(String::as_str)), (0, Some("2000")));
}

#[tokio::test]
async fn what_is_too_large_or_too_slow_is_given_up() {
    let base = format!("http://127.0.0.1:{}", serve().await);
    let tool = tool(&["127.0.0.1"], &[]);
    for path in ["large", "endless"] {
        let error = fetch(&tool, format!("{base}/{path}")).await.expect_err(path);
        assert!(error.contains("is larger than the 1000 bytes"), "{error}");
    }
    let hasty = within(1, &["127.0.0.1"], &[]);
    for path in ["slow", "silent"] {
        let error = fetch(&hasty, format!("{base}/{path}")).await.expect_err(path);
        assert!(error.contains("within 1 seconds"), "{path}: {error}");
    }
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_and_checked_each_time() {
    let port = serve().await;
    let base = format!("http://127.0.0.1:{port}");
    let tool = tool(&["127.0.0.1", "private.test"], &["127.0.0.1"]);
    let arrived = fetch(&tool, format!("{base}/hop/5")).await.expect("five are allowed");
    assert_eq!((arrived.body.as_str(), arrived.url), ("arrived", format!("{base}/hop/0")));
    assert_eq!(arrived.redirects.len(), 5);
    let error = fetch(&tool, format!("{base}/hop/6")).await.expect_err("one too many");
    assert!(error.starts_with("more than 5 redirects"), "{error}");
    for (target, expected) in [
        (format!("http://localhost:{port}/text"), "localhost is not among the hosts"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "169.254.169.254 is not among the hosts"),
        (format!("http://private.test:{port}/text"), "leads to no address that may be reached"),
        ("file:///etc/passwd".to_owned(), "only http and https"),
    ] {
        let error = fetch(&tool, format!("{base}/to/{target}")).await.expect_err(&target);
        assert!(error.contains(expected), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_refused() {
    let port = serve().await;
    for addresses in [&["127.0.0.1"], &["10.0.0.1"], &["169.254.169.254"], &["::ffff:127.0.0.1"]] {
        let tool = tool(&["rebind.test", "*.rebind.test"], addresses);
        for host in ["rebind.test", "a.rebind.test", "REBIND.test."] {
            let error = fetch(&tool, format!("http://{host}:{port}/text")).await.expect_err("private");
            assert!(error.contains("leads to no address that may be reached"), "{error}");
        }
    }
    let localhost = tool(&["localhost"], &["127.0.0.1"]);
    let text =
        fetch(&localhost, format!("http://localhost:{port}/text")).await.expect("named in the settings");
    assert_eq!(text.body, "hällo");
    let elsewhere = tool(&["localhost"], &["10.0.0.1"]);
    assert!(fetch(&elsewhere, format!("http://localhost:{port}/text")).await.is_err());
}

#[tokio::test]
async fn addresses_that_cannot_be_used_are_refused_with_the_reason() {
    let tool = tool(&["example.com"], &["1.1.1.1"]);
    for (url, expected) in [
        ("not a url", "url cannot be used"),
        ("ftp://example.com/", "only http and https"),
        ("http://user:secret@example.com/", "leave it out"),
        ("http://example.org/", "example.org is not among the hosts"),
        ("http://127.0.0.1/", "127.0.0.1 is not among the hosts"),
    ] {
        let error = fetch(&tool, url.to_owned()).await.expect_err(url);
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
    }
}
