//! Real weights, run here: what is alike must come out alike.

use mcp_system_config::{EmbeddingSettings, OnnxEmbeddings, RerankSettings, Resilience};
use mcp_system_embedding::{Batches, Embedder, Reranker};
use mcp_system_tests::weights;

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn a_sentence_encoder_puts_like_meanings_together_whatever_is_beside_them() {
    let path = weights::sentence_encoder().expect("installs");
    let onnx = OnnxEmbeddings { path: path.to_str().expect("UTF-8").to_owned() };
    let settings = EmbeddingSettings { onnx: Some(onnx), ..Default::default() };
    let embedder = Embedder::of(&settings, &Resilience::default(), &|_| None).expect("loads").expect("named");
    assert!(embedder.model().starts_with("onnx:"), "{}", embedder.model());
    let long = "The committee talked about the budget of the harbour for hours. ".repeat(40);
    let texts =
        ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again.", &long];
    let vectors = embedder.embed(texts.map(str::to_owned).to_vec()).await.expect("runs");
    assert_eq!(vectors.iter().map(Vec::len).collect::<Vec<_>>(), [384; 4]);
    assert!(cosine(&vectors[0], &vectors[1]) > cosine(&vectors[0], &vectors[2]) + 0.3);
    // Alone, without the padding that a long neighbour brings.
    let alone = embedder.embed(vec![texts[0].to_owned()]).await.expect("runs");
    assert!(cosine(&alone[0], &vectors[0]) > 0.99, "{}", cosine(&alone[0], &vectors[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_waits_for_a_few_of_the_texts_that_are_under_way() {
    let path = weights::sentence_encoder().expect("installs");
    let onnx = OnnxEmbeddings { path: path.to_str().expect("UTF-8").to_owned() };
    let settings = EmbeddingSettings { onnx: Some(onnx), ..Default::default() };
    let embedder = Embedder::of(&settings, &Resilience::default(), &|_| None).expect("loads").expect("named");
    let batches = Batches::start(embedder);
    let entries = (0..4).map(|_| {
        let batches = batches.clone();
        let texts = vec!["The committee talked about the budget of the harbour.".to_owned(); 50];
        tokio::spawn(async move { batches.embed(texts).await.map(|vectors| vectors.len()) })
    });
    let entries: Vec<_> = entries.collect();
    // The first of them are under way.
    batches.embed(vec!["a text".into()]).await.expect("runs");
    assert_eq!(batches.embed_query("a query".into()).await.expect("runs").len(), 384);
    assert!(!entries.iter().any(tokio::task::JoinHandle::is_finished), "it did not wait for all of them");
    for part in entries {
        assert_eq!(part.await.expect("ends"), Ok(50));
    }
}

#[tokio::test]
async fn a_cross_encoder_prefers_what_answers() {
    let path = weights::cross_encoder().expect("installs").to_str().expect("UTF-8").to_owned();
    let reranker = Reranker::load(&RerankSettings { path, candidates: 30 }).expect("loads");
    let texts = [
        "Paris is a large city with many cafes.",
        "The capital of France is Paris.",
        "Bread is baked from flour.",
    ];
    let scores = reranker
        .scores("What is the capital of France?".into(), texts.map(str::to_owned).to_vec())
        .await
        .expect("runs");
    assert!(scores[1] > scores[0] && scores[0] > scores[2], "{scores:?}");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    let encoder = weights::sentence_encoder().expect("installs").to_str().expect("UTF-8").to_owned();
    let other = Reranker::load(&RerankSettings { path: encoder, candidates: 30 }).expect("loads");
    let error = other.scores("a".into(), vec!["b".into()]).await.expect_err("no cross-encoder");
    assert!(error.to_string().contains("a cross-encoder answers one"), "{error}");
}
