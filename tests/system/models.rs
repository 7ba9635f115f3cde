//! Neural models, taken over by a server that runs: real weights, a real process, its settings changed as the operator
//! changes them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcp_system_tests::single::Single;
use mcp_system_tests::weights;
use mcp_system_tests::wire::{Client, Place};
use serde_json::json;

use crate::group::{Group, Scenario, same};

const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn group() -> Group {
    let scenarios = vec![Scenario::new("are_taken_over_without_a_restart_and_bad_ones_are_not", taken_over)];
    Group { name: "models", scenarios, shared: Vec::new() }
}

fn taken_over() -> Result<()> {
    let reranker = weights::cross_encoder()?;
    let server = Single::start("memory", "settings: {}")?;
    let process = server.pid()?;
    let encoder = server.data().join("encoder.onnx");
    std::fs::copy(weights::sentence_encoder()?, &encoder)?;
    let mut client = Client::http(&Place::of(&server.url())?)?;
    for content in [
        "My sister adopted a kitten from the shelter.",
        "The quarterly report is due on Friday.",
        "He was diagnosed with a peanut allergy as a child.",
    ] {
        client.call("store_memory", &json!({"agent_id": "a", "content": content}))?;
    }
    same("a search without a model", &dense(&mut client)?, &(0.0, false))?;

    let embeddings = format!(
        "{{onnx: {{path: '{}'}}, rerank: {{path: '{}', candidates: 2}}}}",
        encoder.display(),
        reranker.display()
    );
    server.configure(&format!("settings: {{embeddings: {embeddings}}}"))?;
    let start = Instant::now();
    while dense(&mut client)?.0 <= 0.0 {
        ensure!(start.elapsed() < PATIENCE, "the model takes no part: {}", server.health()?);
        std::thread::sleep(Duration::from_millis(200));
    }
    ensure!(dense(&mut client)?.1, "the best was not looked at once more");
    ensure!(server.health()?.contains("\"models\""), "health does not tell of models");

    // Other weights in the same place, first none and then some: who made them, as ONNX writes it, makes the file another.
    let put = |content: &[u8]| -> Result<()> {
        let new = server.data().join("new");
        std::fs::write(&new, content)?;
        std::fs::rename(new, &encoder)?;
        Ok(())
    };
    let mut other = std::fs::read(&encoder)?;
    other.extend([0x12, 1, b'x']);
    put(b"no weights")?;
    until_health(&server, "encoder.onnx cannot be used", true)?;
    ensure!(dense(&mut client)?.0 > 0.0, "the weights of before do not work any more");
    // Other weights are told from these by how many texts got vectors since they were taken over.
    let brief = client
        .call("store_memory", &json!({"agent_id": "a", "content": "It will be gone soon."}))?
        .result()?;
    until_embedded(&server, 4)?;
    let id = &brief["structuredContent"]["memory_id"];
    client.call("delete_memory", &json!({"agent_id": "a", "memory_id": id}))?.result()?;
    put(&other)?;
    until_health(&server, "encoder.onnx cannot be used", false)?;
    until_embedded(&server, 3)?;
    ensure!(dense(&mut client)?.0 > 0.0, "the other weights take no part");

    // For other settings, weights that are in use are not needed again.
    std::fs::remove_file(&encoder)?;
    let start = Instant::now();
    // One that had to do without a model, since that took too long, is not kept.
    while !cached(&mut client)? {
        ensure!(start.elapsed() < PATIENCE, "no answer is kept");
    }
    server.configure(&format!("settings: {{embeddings: {embeddings}, cache: {{maxEntries: 0}}}}"))?;
    let start = Instant::now();
    while cached(&mut client)? {
        ensure!(start.elapsed() < PATIENCE, "the caches stay as they were: {}", server.health()?);
        std::thread::sleep(Duration::from_millis(200));
    }

    server.configure("settings: {embeddings: {onnx: {path: /no/such/weights.onnx}}}")?;
    until_health(&server, "/no/such/weights.onnx", true)?;
    ensure!(dense(&mut client)?.0 > 0.0, "the models of before do not work any more");
    same("the process", &server.pid()?, &process)
}

/// Waits until health tells this, or tells it no more.
fn until_health(server: &Single, told: &str, wanted: bool) -> Result<()> {
    let start = Instant::now();
    while server.health()?.contains(told) != wanted {
        ensure!(start.elapsed() < PATIENCE, "{told:?} should be told: {wanted}, but: {}", server.health()?);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Waits until so many texts have vectors of the present model.
fn until_embedded(server: &Single, wanted: usize) -> Result<()> {
    let start = Instant::now();
    while !server.metrics()?.contains(&format!("mcp_memory_embedded {wanted}\n")) {
        ensure!(start.elapsed() < PATIENCE, "{wanted} texts should have vectors: {}", server.metrics()?);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// What the neural model adds to the best hit's score, and whether that got a second look. A fresh query each time
/// would cost a run of the model; this one is kept.
fn dense(client: &mut Client) -> Result<(f64, bool)> {
    let search = json!({"agent_id": "a", "query": "which snacks are dangerous for him", "explain": true});
    let result = client.call("search_memories", &search)?.result()?;
    let best = &result["structuredContent"]["memories"][0];
    let explanation = best["explanation"].as_object().context("no explanation")?;
    let dense = explanation["dense"].as_f64().context("no part of the neural model")?;
    Ok((dense, explanation.contains_key("judgement")))
}

/// Whether a search is answered out of the cache.
fn cached(client: &mut Client) -> Result<bool> {
    let search = json!({"agent_id": "a", "query": "which snacks are dangerous for him"});
    let result = client.call("search_memories_cached", &search)?.result()?;
    result["structuredContent"]["cached"].as_bool().context("it is not told")
}
