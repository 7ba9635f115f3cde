//! The endpoint as its callers see it, against a real HTTP server that can be made to fail.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use mcp_system_config::{EmbeddingSettings, EndpointEmbeddings, Resilience, Retry};
use mcp_system_embedding::{Batches, Embedder, Error};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

#[derive(Default)]
struct Seen {
    /// Requests, refused ones among them.
    requests: AtomicUsize,
    largest: AtomicUsize,
    /// Requests that are still to be answered with an error.
    failures: AtomicUsize,
}

/// Answers each text with its length and its number of words, in reverse order.
async fn embeddings(State(seen): State<Arc<Seen>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    if headers.get("authorization").is_none_or(|key| key != "Bearer secret") {
        return (StatusCode::UNAUTHORIZED, "a key is missing").into_response();
    }
    let failing = seen.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if failing.is_ok() {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy").into_response();
    }
    if body["input"].as_array().expect("texts").iter().any(|text| text == "poison") {
        return (StatusCode::BAD_REQUEST, "refused").into_response();
    }
    // Long enough for other callers to queue behind it.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let texts: Vec<&str> =
        body["input"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
    seen.largest.fetch_max(texts.len(), Ordering::SeqCst);
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .rev()
        .map(|(index, text)| json!({"index": index, "embedding": [text.len(), text.split(' ').count()]}))
        .collect();
    Json(json!({"data": data, "model": body["model"]})).into_response()
}

async fn started(seen: &Arc<Seen>, key: &str, failure_threshold: u32) -> Batches {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let router = Router::new().route("/v1/embeddings", post(embeddings)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let endpoint = EndpointEmbeddings { url, model: "small".into(), ..Default::default() };
    let settings = EmbeddingSettings { endpoint: Some(endpoint), ..Default::default() };
    let retry = Retry { attempts: 3, min_backoff_milliseconds: 1, max_backoff_milliseconds: 2 };
    let resilience = Resilience { failure_threshold, recovery_seconds: 60, retry, ..Resilience::default() };
    let key = Some(key.to_owned());
    let lookup = move |name: &str| if name == "EMBEDDINGS_API_KEY" { key.clone() } else { None };
    mcp_system_kit::install_crypto();
    Batches::start(Embedder::of(&settings, &resilience, &lookup).expect("usable").expect("named"))
}

/// What the endpoint says of a text: its length, in words of its mean length.
fn length_in_words(vector: &[f32]) -> f32 {
    vector[0] / vector[1]
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn each_text_gets_its_own_vector() {
    let batches = started(&Arc::default(), "secret", 5).await;
    let vectors = batches.embed(texts(&["one", "two words", ""])).await.expect("answered");
    let lengths: Vec<f32> = vectors.iter().map(|vector| length_in_words(vector)).collect();
    assert_eq!(lengths, [3.0, 4.5, 0.0]);
    let squares = vectors.iter().map(|vector| vector.iter().map(|number| number * number).sum::<f32>());
    assert!(squares.into_iter().all(|sum| (sum - 1.0).abs() < 1e-6), "of length one");
    assert_eq!(batches.embedder().model(), "small");
    assert_eq!(batches.embed(Vec::new()).await, Ok(Vec::new()));
}

#[tokio::test]
async fn concurrent_callers_share_requests_of_at_most_fifty() {
    let seen = Arc::new(Seen::default());
    let batches = started(&seen, "secret", 5).await;
    let calls = (1..=200usize).map(|length| {
        let batches = batches.clone();
        tokio::spawn(async move { (length, batches.embed(vec!["x".repeat(length)]).await) })
    });
    for call in calls.collect::<Vec<_>>() {
        let (length, vectors) = call.await.expect("no panic");
        #[allow(clippy::cast_precision_loss)]
        let expected = length as f32;
        assert!((length_in_words(&vectors.expect("answered")[0]) - expected).abs() < 0.01, "{length}");
    }
    assert!(seen.requests.load(Ordering::SeqCst) < 50, "200 callers were gathered");
    assert!(seen.largest.load(Ordering::SeqCst) <= 50);
    let many = batches.embed(texts(&["y"; 120])).await.expect("answered");
    assert_eq!(many.len(), 120);
    assert!(seen.largest.load(Ordering::SeqCst) <= 50);
}

#[tokio::test]
async fn what_is_refused_for_one_caller_is_not_for_those_beside_it() {
    let batches = started(&Arc::default(), "secret", 5).await;
    let calls = (0..40).map(|number| {
        let batches = batches.clone();
        let text = if number == 20 { "poison" } else { "harmless" };
        tokio::spawn(async move { batches.embed(texts(&[text])).await.is_ok() })
    });
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.expect("no panic"), number != 20, "{number}");
    }
}

#[tokio::test]
async fn a_passing_failure_is_ridden_out_and_a_lasting_one_opens_the_breaker() {
    let seen = Arc::new(Seen::default());
    let batches = started(&seen, "secret", 2).await;
    seen.failures.store(2, Ordering::SeqCst);
    assert!(batches.embed(texts(&["a"])).await.is_ok(), "the third try succeeds");
    seen.failures.store(1000, Ordering::SeqCst);
    for _ in 0..2 {
        let error = batches.embed(texts(&["a"])).await.expect_err("busy");
        assert!(matches!(&error, Error::Endpoint(message) if message.contains("busy")), "{error}");
    }
    let before = seen.requests.load(Ordering::SeqCst);
    assert!(matches!(batches.embed(texts(&["a"])).await, Err(Error::Open(_))));
    assert_eq!(seen.requests.load(Ordering::SeqCst), before, "it is left alone");
}

#[tokio::test]
async fn a_refusal_is_told_and_not_repeated() {
    let seen = Arc::new(Seen::default());
    let batches = started(&seen, "wrong", 1).await;
    for _ in 0..2 {
        let error = batches.embed(texts(&["a"])).await.expect_err("refused");
        assert!(error.to_string().contains("a key is missing"), "{error}");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 2, "asked once each, and the breaker stays closed");
}

#[tokio::test]
async fn changed_settings_reach_an_endpoint_that_is_in_use() {
    let seen = Arc::new(Seen::default());
    let batches = started(&seen, "secret", 1000).await;
    seen.failures.store(1000, Ordering::SeqCst);
    batches.embed(texts(&["a"])).await.expect_err("busy");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 3, "tried three times");
    let guarded = batches.embedder().guarded().expect("an endpoint");
    let retry = Retry { attempts: 1, ..Retry::default() };
    guarded.set(&Resilience { failure_threshold: 2, recovery_seconds: 60, retry, ..Resilience::default() });
    batches.embed(texts(&["a"])).await.expect_err("busy");
    assert_eq!(seen.requests.load(Ordering::SeqCst), 4, "tried once, as the settings say now");
    let error = batches.embed(texts(&["a"])).await.expect_err("left alone");
    assert!(matches!(error, Error::Open(_)), "two failures open it now, one of which was before: {error}");
}
