//! Neural models beside the index: by an endpoint that can be made to fail, and by real weights.

use super::tests::{capacity, search};
use super::*;
use crate::store::conformance::{memory, scope};
use crate::store::postgres::PostgresStore;
use crate::store::postgres::tests::options;
use crate::store::sqlite::{Options, SqliteStore};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use mcp_system_config::{
    EmbeddingSettings, EndpointEmbeddings, OnnxEmbeddings, RerankSettings, Resilience, Retry,
};
use mcp_system_tests::{databases, weights};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

#[derive(Default)]
struct Endpoint {
    dead: AtomicBool,
    /// It can be given venom, which it else fails at.
    immune: AtomicBool,
    /// Texts that began as a question does.
    queries: AtomicUsize,
    /// It was given something that it does slowly, and when that is to be done.
    slow: Notify,
    done: Notify,
}

/// The subject of a text, whatever its words. "two" is a wider model, "turned" one as wide that means something else by each
/// number; poison is refused, and venom makes it fail.
async fn embeddings(State(endpoint): State<Arc<Endpoint>>, Json(body): Json<Value>) -> Response {
    if endpoint.dead.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let texts: Vec<&str> =
        body["input"].as_array().expect("texts").iter().filter_map(Value::as_str).collect();
    let queries = texts.iter().filter(|text| text.starts_with("what")).count();
    endpoint.queries.fetch_add(queries, Ordering::SeqCst);
    if texts.iter().any(|text| text.contains("poison")) {
        return (StatusCode::BAD_REQUEST, "refused").into_response();
    }
    if texts.iter().any(|text| text.contains("venom")) && !endpoint.immune.load(Ordering::SeqCst) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "failed").into_response();
    }
    if texts.iter().any(|text| text.contains("slowly")) {
        endpoint.slow.notify_one();
        endpoint.done.notified().await;
    }
    let about =
        |text: &str, words: &[&str]| f64::from(u8::from(words.iter().any(|word| text.contains(word))));
    let vector = |text: &str| {
        let mut vector =
            vec![about(text, &["tea", "beverage"]), about(text, &["bicycle", "two wheels"]), 0.01];
        if body["model"] == "two" {
            vector.push(0.02);
        }
        if body["model"] == "turned" {
            vector.swap(0, 1);
        }
        vector
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"index": index, "embedding": vector(text)}))
        .collect();
    Json(json!({"data": data})).into_response()
}

async fn serve() -> (Arc<Endpoint>, String) {
    mcp_system_kit::install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let endpoint = Arc::new(Endpoint::default());
    let router = Router::new().route("/v1/embeddings", post(embeddings)).with_state(endpoint.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, url)
}

/// This model of the endpoint at this URL.
fn settings(url: &str, model: &str) -> EmbeddingSettings {
    let endpoint = EndpointEmbeddings { url: url.into(), model: model.into(), ..Default::default() };
    EmbeddingSettings { endpoint: Some(endpoint), ..Default::default() }
}

fn neural(settings: &EmbeddingSettings) -> Neural {
    let retry = Retry { attempts: 1, min_backoff_milliseconds: 1, max_backoff_milliseconds: 2 };
    let resilience = Resilience { failure_threshold: 1000, retry, ..Resilience::default() };
    Neural::of(settings, &resilience, &|_| None, None).expect("usable").patient()
}

struct Site {
    _directory: TempDir,
    engine: Arc<Engine<SqliteStore>>,
    endpoint: Arc<Endpoint>,
    url: String,
    background: AbortHandle,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.background.abort();
    }
}

impl Site {
    async fn new() -> Self {
        let (endpoint, url) = serve().await;
        let directory = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(directory.path(), &Options::default()).await.expect("opens");
        let engine = Arc::new(Engine::new(Arc::new(store), capacity(1 << 30)));
        let background = in_background(&engine);
        Self { _directory: directory, engine, endpoint, url, background }
    }

    /// Has no entry get a vector from now on.
    async fn rest(&self) {
        self.background.abort();
        while !self.background.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Has entries get vectors again.
    fn work(&mut self) {
        self.background = in_background(&self.engine);
    }

    fn take(&self, model: &str) {
        self.engine.take_models(neural(&settings(&self.url, model)));
    }

    async fn store(&self, number: i64, content: &str) {
        let drafts = vec![draft(memory(number, content).entry, None)];
        let inserted = self.engine.store().insert(&scope("a"), drafts).await.expect("stored");
        self.engine.wrote(&scope("a"), inserted[0].number);
    }

    /// Waits until only so many entries are without a vector of this model.
    async fn embedded(&self, model: &str, but: usize) {
        for _ in 0..2400 {
            if self.engine.store().unembedded(model, 0, 10_000).await.expect("reads").len() == but {
                return self.acknowledged().await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("entries stay without vectors of {model}: {:?}", self.engine.neural().failure());
    }

    /// Waits until what was written is acknowledged too: only from then on a search has to know it.
    async fn acknowledged(&self) {
        self.engine.store().keep_vectors(&scope("a"), "any", Vec::new()).await.expect("answers");
    }

    /// Whether the model takes part in the best hit, and whether that answer was kept from before.
    async fn cached(&self, query: &str) -> (bool, bool) {
        let answer = self.engine.search_cached(&scope("a"), &search(query)).await.expect("answers");
        (answer.0.items[0].parts.dense > 0.0, answer.1)
    }

    async fn best(&self, query: &str) -> Found {
        let page = self.engine.search(&scope("a"), &search(query), Moment(0)).await.expect("searches");
        page.items.into_iter().next().expect("something is found")
    }
}

fn in_background(engine: &Arc<Engine<SqliteStore>>) -> AbortHandle {
    let engine = engine.clone();
    tokio::spawn(async move { engine.embed_entries().await }).abort_handle()
}

#[tokio::test]
async fn entries_get_vectors_in_the_background_and_those_of_another_model_when_it_changes() {
    let site = Site::new().await;
    site.store(1, "Ada likes green tea").await;
    site.store(2, "Bob rides his bicycle to work").await;
    assert!(site.best("a beverage").await.parts.dense.abs() < f32::EPSILON, "there is no model");
    site.take("one");
    site.embedded("one", 0).await;
    let best = site.best("which beverage").await;
    assert_eq!((&*best.kept.entry.id, best.parts.dense > 0.0), ("m1", true));
    assert_eq!(site.best("the thing on two wheels").await.kept.entry.id, "m2");
    site.store(3, "The beverage of the house is oolong").await;
    site.embedded("one", 0).await;

    for number in 4..400 {
        site.store(number, &format!("filler number {number}")).await;
    }
    site.take("two");
    // Searches are answered all the while.
    while !site.engine.store().unembedded("two", 0, 1).await.expect("reads").is_empty() {
        assert_eq!(site.best("green tea").await.kept.entry.id, "m1");
    }
    site.embedded("two", 0).await;
    let best = site.best("the thing on two wheels").await;
    assert_eq!((&*best.kept.entry.id, best.parts.dense > 0.0), ("m2", true));
    assert_eq!(site.engine.store().unembedded("one", 0, 1000).await.expect("reads").len(), 399);
    assert!(site.engine.neural().embedded() >= 399);
}

#[tokio::test]
async fn an_index_stays_when_the_model_changes_and_gets_what_the_store_has_of_the_new_one() {
    const BEVERAGE: &str = "a beverage";
    let mut site = Site::new().await;
    site.take("one");
    site.store(1, "Ada likes green tea").await;
    site.store(2, "Bob rides his bicycle to work").await;
    site.embedded("one", 0).await;
    let best = site.best(BEVERAGE).await;
    assert!(best.parts.dense > 0.0, "{best:?}");
    site.rest().await;
    // Something that the store does not hold: an index that was loaded anew would not have it.
    let (slot, version) = site.engine.slot(&scope("a")).await.expect("reads").expect("there");
    slot.write(|shelf| {
        let attributes = *shelf.index.get(best.kept.number).expect("there");
        shelf.index.insert(u64::MAX, None, &analyse("", None), None, attributes);
    });
    let is_the_same = || slot.read(|shelf| shelf.index.get(u64::MAX).is_some());

    site.engine.take_models(Neural::none());
    assert!(site.best(BEVERAGE).await.parts.dense.abs() < f32::EPSILON && is_the_same());
    site.take("one");
    assert_eq!(site.cached(BEVERAGE).await, (false, false), "vectors are not there yet");
    assert_eq!(site.cached(BEVERAGE).await, (false, true));
    site.work();
    let filled = async {
        while !site.cached(BEVERAGE).await.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), filled).await.expect("they come, and old answers go");
    assert!(is_the_same());
    assert_eq!(site.engine.store().version(&scope("a")).await.expect("reads"), version, "nothing was made");

    site.rest().await;
    site.take("turned");
    let best = site.best(BEVERAGE).await;
    assert!(best.parts.dense.abs() < f32::EPSILON && is_the_same(), "{best:?}");
    site.store(3, "The deployment is planned for Tuesday").await;
    assert_eq!(site.best("planned deployments").await.kept.entry.id, "m3", "at once");
    site.work();
    site.embedded("turned", 0).await;
    let best = site.best(BEVERAGE).await;
    assert_eq!((&*best.kept.entry.id, best.parts.dense > 0.0, is_the_same()), ("m1", true, true));
}

#[tokio::test]
async fn a_search_that_began_by_the_model_before_compares_nothing_with_the_new_one() {
    let site = Site::new().await;
    site.take("one");
    site.store(1, "Ada likes green tea").await;
    site.store(2, "Bob rides his bicycle to work").await;
    site.embedded("one", 0).await;
    let slow = tokio::spawn({
        let engine = site.engine.clone();
        async move { engine.search(&scope("a"), &search("a beverage, slowly"), Moment(0)).await }
    });
    site.endpoint.slow.notified().await;
    site.take("turned");
    site.embedded("turned", 0).await;
    let best = site.best("a beverage").await;
    assert_eq!((&*best.kept.entry.id, best.parts.dense > 0.0), ("m1", true));
    site.endpoint.done.notify_one();
    let page = slow.await.expect("ends").expect("searches");
    assert!(page.items.iter().all(|found| found.parts.dense.abs() < f32::EPSILON), "{:?}", page.items);
    assert!(site.best("a beverage").await.parts.dense > 0.0, "nor does it take the vectors away");
}

#[tokio::test]
async fn an_index_in_memory_takes_in_vectors_while_nobody_searches() {
    let site = Site::new().await;
    site.store(1, "Ada likes green tea").await;
    assert!(site.best("green tea").await.parts.dense.abs() < f32::EPSILON, "there is no model");
    site.take("one");
    site.embedded("one", 0).await;
    let (slot, version) = site.engine.slot(&scope("a")).await.expect("reads").expect("there");
    let followed = async {
        while slot.read(|shelf| shelf.version) < version {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), followed).await.expect("it follows");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_replicas_one_gives_vectors_to_what_has_none() {
    const ENTRIES: usize = 700;
    let database = databases::postgres(&[("fsync", "off")]).expect("a PostgreSQL");
    let (_endpoint, url) = serve().await;
    let mut engines = Vec::new();
    for _ in 0..3 {
        let store = PostgresStore::open(&options(database.url())).await.expect("opens");
        engines.push(Arc::new(Engine::new(Arc::new(store), capacity(1 << 30))));
    }
    let store = engines[0].store().clone();
    let drafts = (0..ENTRIES).map(|number| {
        let number = i64::try_from(number).expect("small");
        draft(memory(number, &format!("filler number {number}")).entry, None)
    });
    store.insert(&scope("a"), drafts.collect()).await.expect("stored");
    let mut replicas = tokio::task::JoinSet::new();
    for engine in engines.clone() {
        engine.take_models(neural(&settings(&url, "one")));
        replicas.spawn(async move { Box::pin(engine.embed_entries()).await });
    }
    while !store.unembedded("one", 0, 1).await.expect("reads").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    replicas.shutdown().await;
    let texts: Vec<u64> = engines.iter().map(|engine| engine.neural().embedded()).collect();
    assert_eq!(texts.iter().sum::<u64>(), ENTRIES as u64, "each text once: {texts:?}");
    let claim = loop {
        match store.claim_unembedded().await.expect("answers") {
            Some(claim) => break claim,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(
        engines[1].store().claim_unembedded().await.expect("answers").is_none(),
        "{claim:?} is another's"
    );
}

#[tokio::test]
async fn a_dead_endpoint_costs_quality_and_no_answer() {
    let site = Site::new().await;
    site.take("one");
    site.endpoint.dead.store(true, Ordering::SeqCst);
    site.store(1, "Ada likes green tea").await;
    let cached = async || {
        let answer = site.engine.search_cached(&scope("a"), &search("green tea")).await.expect("answers");
        (answer.0.items[0].parts.dense > 0.0, answer.1)
    };
    assert_eq!(cached().await, (false, false));
    assert_eq!(cached().await, (false, false), "an answer without the model is not kept");
    assert!(site.engine.neural().failure().expect("told in health").contains("503"));
    site.endpoint.dead.store(false, Ordering::SeqCst);
    site.embedded("one", 0).await;
    assert_eq!(cached().await, (true, false));
    assert_eq!(cached().await, (true, true));
    assert_eq!(site.engine.neural().failure(), None);
}

#[tokio::test]
async fn an_answer_by_other_models_is_not_taken_out_of_the_cache() {
    let site = Site::new().await;
    // Before there is a model, so that nothing is left to be done once it has its vector.
    site.store(1, "Ada likes green tea").await;
    site.take("one");
    site.embedded("one", 0).await;
    let cached = async || {
        let answer = site.engine.search_cached(&scope("a"), &search("green tea")).await.expect("answers");
        (answer.0.items[0].parts.dense > 0.0, answer.1)
    };
    assert_eq!(cached().await, (true, false));
    assert_eq!(cached().await, (true, true));
    // Nothing is written for this.
    site.engine.take_models(Neural::none());
    assert_eq!(cached().await, (false, false));
    assert_eq!(cached().await, (false, true));
}

#[tokio::test]
async fn a_text_that_is_refused_keeps_no_other_from_its_vector() {
    let site = Site::new().await;
    for (number, text) in [(1, "green tea"), (2, "this is poison to the model"), (3, "a bicycle")] {
        site.store(number, text).await;
    }
    site.take("one");
    site.embedded("one", 1).await;
    let left = site.engine.store().unembedded("one", 0, 9).await.expect("reads");
    assert_eq!(left[0].content, "this is poison to the model");
    assert_eq!(site.best("poison").await.kept.entry.id, "m2", "it is found by its words");
}

#[tokio::test]
async fn a_text_that_the_endpoint_fails_at_keeps_no_other_from_its_vector_and_is_tried_again() {
    let site = Site::new().await;
    for number in 1..=300 {
        let venom = [7, 8, 130].contains(&number);
        let text = if venom { format!("venom {number}") } else { format!("green tea {number}") };
        site.store(number, &text).await;
    }
    site.take("one");
    site.embedded("one", 3).await;
    let left = site.engine.store().unembedded("one", 0, 9).await.expect("reads");
    assert!(left.iter().all(|entry| entry.content.starts_with("venom")), "{left:?}");
    // One that comes later does not wait for these.
    site.store(301, "a bicycle").await;
    site.embedded("one", 3).await;
    assert!(site.engine.neural().failures() > 0, "counted");
    site.endpoint.immune.store(true, Ordering::SeqCst);
    site.embedded("one", 0).await;
}

#[tokio::test]
async fn a_query_that_comes_again_is_embedded_once() {
    let site = Site::new().await;
    site.take("one");
    site.store(1, "green tea").await;
    site.embedded("one", 0).await;
    for _ in 0..5 {
        assert!(site.best("what beverage").await.parts.dense > 0.0);
    }
    assert_eq!(site.endpoint.queries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_changed_text_gets_another_vector() {
    let site = Site::new().await;
    site.take("one");
    site.store(1, "green tea").await;
    site.store(2, "something else").await;
    site.embedded("one", 0).await;
    let kept = site.engine.store().get(&scope("a"), "m2").await.expect("reads").expect("there");
    let changed = draft(Entry { content: "a bicycle".into(), ..kept.entry }, None);
    let place = (kept.number, kept.version);
    site.engine.store().replace(&scope("a"), place, changed).await.expect("answers").expect("replaced");
    site.engine.wrote(&scope("a"), kept.number);
    site.embedded("one", 0).await;
    assert_eq!(site.best("the thing on two wheels").await.kept.entry.id, "m2");
}

#[tokio::test]
async fn real_weights_find_what_shares_no_word_and_look_twice() {
    let site = Site::new().await;
    for (number, text) in [
        (1, "My sister adopted a kitten from the shelter."),
        (2, "The quarterly report is due on Friday."),
        (3, "We repainted the kitchen in light blue."),
        (4, "He was diagnosed with a peanut allergy as a child."),
    ] {
        site.store(number, text).await;
    }
    let path = |path: std::path::PathBuf| path.to_str().expect("UTF-8").to_owned();
    let settings = EmbeddingSettings {
        onnx: Some(OnnxEmbeddings { path: path(weights::sentence_encoder().expect("installs")) }),
        rerank: Some(RerankSettings {
            path: path(weights::cross_encoder().expect("installs")),
            candidates: 3,
        }),
        ..Default::default()
    };
    site.engine.take_models(neural(&settings));
    let neural = site.engine.neural();
    site.embedded(neural.model().expect("a model"), 0).await;
    let best = site.best("Which snacks are dangerous for him?").await;
    assert_eq!(best.kept.entry.id, "m4");
    assert!(best.parts.dense > 0.0 && best.judgement.is_some(), "{best:?}");
    let page = site.engine.search(&scope("a"), &search("family pets"), Moment(0)).await.expect("searches");
    assert_eq!(page.items[0].kept.entry.id, "m1");
    assert!(page.items.iter().filter(|found| found.judgement.is_some()).count() <= 3);
    assert!(page.items.is_sorted_by(|a, b| a.score >= b.score), "{:?}", page.items);
}

#[tokio::test]
async fn other_weights_in_the_place_of_the_first_are_another_model() {
    let site = Site::new().await;
    site.store(1, "Ada likes green tea").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.onnx");
    let mut content = std::fs::read(weights::sentence_encoder().expect("installs")).expect("reads");
    std::fs::write(&path, &content).expect("written");
    let onnx = OnnxEmbeddings { path: path.to_str().expect("UTF-8").to_owned() };
    let settings = EmbeddingSettings { onnx: Some(onnx), ..Default::default() };
    site.engine.take_models(neural(&settings));
    let before = site.engine.neural();
    let model = before.model().expect("a model");
    site.embedded(model, 0).await;
    assert!(before.are_of(&settings));
    // Who made them, as ONNX writes it: the file is another, what it computes is not.
    content.extend([0x12, 1, b'x']);
    std::fs::write(&path, &content).expect("written");
    assert!(!before.are_of(&settings));
    site.engine.take_models(neural(&settings));
    let now = site.engine.neural();
    assert!(now.are_of(&settings) && now.model() != Some(model), "{:?}", now.model());
    site.embedded(now.model().expect("a model"), 0).await;
    assert_eq!(site.engine.store().unembedded(model, 0, 9).await.expect("reads").len(), 1);
    assert!(site.best("a beverage").await.parts.dense > 0.0);
}

#[tokio::test]
async fn all_that_are_worth_a_second_look_get_one_however_large_they_are() {
    let site = Site::new().await;
    let large = "x".repeat(90_000);
    let entry = |number: i32, importance: f64, content: &str| {
        draft(Entry { importance, ..memory(number.into(), content).entry }, None)
    };
    // The first fifty of these are more than an answer holds.
    let mut drafts: Vec<Draft> = (1..=60)
        .map(|number| {
            let content = format!("The capital letter in line {number} of the poem {large}");
            entry(number, 1.0 - f64::from(number) / 100.0, &content)
        })
        .collect();
    drafts.push(entry(61, 0.001, "The capital of France is Paris."));
    site.engine.store().insert(&scope("a"), drafts).await.expect("stored");
    let path = weights::cross_encoder().expect("installs").to_str().expect("UTF-8").to_owned();
    let rerank = Some(RerankSettings { path, candidates: 100 });
    site.engine.take_models(neural(&EmbeddingSettings { rerank, ..Default::default() }));
    // By what comes before the second look, the answer is the last of all.
    let asked = Search { limit: 100, importance_weight: 1.0, ..search("What is the capital of France?") };
    let page = site.engine.search(&scope("a"), &asked, Moment(0)).await.expect("searches");
    let judged: Vec<(&str, Option<f32>)> =
        page.items.iter().map(|found| (&*found.kept.entry.id, found.judgement)).collect();
    assert!(page.truncated && judged.iter().all(|(_, judgement)| judgement.is_some()), "{judged:?}");
    assert!(judged.iter().any(|(id, judgement)| *id == "m61" && *judgement > Some(0.5)), "{judged:?}");
}
