//! What a memory server has acknowledged, it still holds: after SIGKILL in the middle of many stores, and on a disk
//! that is full. Real processes, many callers at once; what was acknowledged is counted against what is found, and against what
//! the kernel was told to bring to the disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mcp_system_tests::single::Single;
use mcp_system_tests::wire::{Client, Place};
use serde_json::{Value, json};

use crate::group::{Group, Scenario, same};

/// Callers that store at once, each for an agent of its own.
const WRITERS: usize = 8;
/// The most memories of one agent, so that one call lists them all.
const OF_ONE_AGENT: usize = 200;
/// Stores that are looked at one by one.
const STORES: usize = 40;
/// Deaths of one server.
const ROUNDS: usize = 3;

pub(crate) fn group() -> Group {
    let mut scenarios: Vec<Scenario> = ["full", "normal"]
        .map(|level| {
            Scenario::new(format!("acknowledged_is_found_after_kill_9_synchronous_{level}"), move || {
                kill_9(level)
            })
        })
        .into();
    scenarios.push(Scenario::new("a_full_disk_refuses_and_loses_nothing", a_full_disk));
    scenarios.push(Scenario::new("acknowledged_is_synced_before_synchronous_full", a_power_cut));
    Group { name: "crashes", scenarios, shared: Vec::new() }
}

/// What one writer knows: ids that the server acknowledged, and whether one call was left without an answer.
#[derive(Debug, Default)]
struct Known {
    acknowledged: BTreeSet<String>,
    unanswered: usize,
}

fn kill_9(level: &str) -> Result<()> {
    let mut server = Single::start("memory", &format!("settings: {{synchronous: {level}}}"))?;
    let mut known: Vec<Known> = (0..WRITERS).map(|_| Known::default()).collect();
    for round in 1..=ROUNDS {
        // Not at the same moment of each round.
        let enough = WRITERS * 5 * round;
        store_until_killed(&server, &mut known, enough)?;
        server.again()?;
        let mut client = Client::http(&Place::of(&server.url())?)?;
        for (writer, known) in known.iter().enumerate() {
            let found = held(&mut client, &agent(writer))?;
            let lost: Vec<&String> = known.acknowledged.difference(&found).collect();
            ensure!(lost.is_empty(), "round {round}: {} of {} are lost: {lost:?}", lost.len(), agent(writer));
            let most = known.acknowledged.len() + known.unanswered;
            ensure!(found.len() <= most, "round {round}: {} memories of at most {most}", found.len());
            // The index was made anew from what is stored.
            let newest = known.acknowledged.last().context("nothing was acknowledged")?;
            let search = json!({"agent_id": agent(writer), "query": "crane harbour", "limit": OF_ONE_AGENT});
            ensure!(ids(&mut client, "search_memories", &search)?.contains(newest), "{newest} is not found");
        }
    }
    Ok(())
}

fn agent(writer: usize) -> String {
    format!("writer {writer}")
}

/// Stores from all writers at once, and kills the server when so many more were acknowledged.
fn store_until_killed(server: &Single, known: &mut [Known], enough: usize) -> Result<()> {
    let place = Place::of(&server.url())?;
    let clients: Vec<Client> = known.iter().map(|_| Client::http(&place)).collect::<Result<_>>()?;
    let counts: Vec<AtomicUsize> = known.iter().map(|_| AtomicUsize::new(0)).collect();
    let stored = || counts.iter().map(|count| count.load(Ordering::SeqCst)).sum::<usize>();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (known.iter_mut().zip(clients).zip(&counts).enumerate())
            .map(|(writer, ((known, client), count))| {
                scope.spawn(move || store_until_it_fails(client, writer, known, count))
            })
            .collect();
        let started = Instant::now();
        // Each has stored something, or there is nothing to be found of it.
        while (stored() < enough || counts.iter().any(|count| count.load(Ordering::SeqCst) == 0))
            && started.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        server.kill()?;
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| anyhow!("a writer panicked"))?)
    })?;
    let stored = stored();
    ensure!(stored >= enough, "only {stored} stores were acknowledged in 20 s");
    Ok(())
}

fn store_until_it_fails(
    mut client: Client,
    writer: usize,
    known: &mut Known,
    count: &AtomicUsize,
) -> Result<()> {
    while known.acknowledged.len() + known.unanswered < OF_ONE_AGENT {
        let number = known.acknowledged.len() + known.unanswered;
        let content = format!("crane {number} of {} in the harbour", agent(writer));
        let arguments = json!({"agent_id": agent(writer), "content": content});
        let Ok(answer) = client.call("store_memory", &arguments) else {
            // It may be stored all the same.
            known.unanswered += 1;
            return Ok(());
        };
        let stored = answer.result()?;
        let id =
            stored["structuredContent"]["memory_id"].as_str().context("a stored memory without an id")?;
        known.acknowledged.insert(id.to_owned());
        count.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// The ids of all that an agent has stored.
fn held(client: &mut Client, agent: &str) -> Result<BTreeSet<String>> {
    ids(client, "get_recent_memories", &json!({"agent_id": agent, "limit": OF_ONE_AGENT}))
}

fn ids(client: &mut Client, tool: &str, arguments: &Value) -> Result<BTreeSet<String>> {
    let result = client.call(tool, arguments)?.result()?;
    let memories = result["structuredContent"]["memories"].as_array().context("no memories")?;
    Ok(memories.iter().filter_map(|memory| memory["memory_id"].as_str().map(str::to_owned)).collect())
}

/// Something else that lies on the disk, until it is removed.
const BALLAST: &str = "ballast";

/// A disk of a few MiB, seen by the server alone: its mounts are its own.
fn on_a_small_disk(data: &Path) -> Vec<String> {
    let script =
        r#"mount -t tmpfs -o size=6m none "$0" && head -c 3000000 /dev/zero > "$0/ballast" && exec "$@""#;
    let words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script];
    words.into_iter().map(str::to_owned).chain([data.display().to_string()]).collect()
}

fn a_full_disk() -> Result<()> {
    let server = Single::start_as("memory", |_| Ok("{}".to_owned()), on_a_small_disk)?;
    let mut client = Client::http(&Place::of(&server.url())?)?;
    let words = "harbour crane ".repeat(2000);
    let store = |number: usize| json!({"agent_id": "a", "content": format!("number {number} {words}")});
    let mut acknowledged = BTreeSet::new();
    let refusal = loop {
        ensure!(acknowledged.len() < OF_ONE_AGENT, "the disk does not become full");
        match client.call("store_memory", &store(acknowledged.len())) {
            Ok(answer) => {
                let id = answer.result()?["structuredContent"]["memory_id"].as_str().map(str::to_owned);
                acknowledged.insert(id.context("a stored memory without an id")?);
            }
            Err(refusal) => break refusal.to_string(),
        }
    };
    let told = refusal.contains("full") || refusal.contains("room");
    ensure!(told, "the refusal does not tell that the disk is full: {refusal}");
    same("what is held on a full disk", &held(&mut client, "a")?, &acknowledged)?;
    let search = json!({"agent_id": "a", "query": "harbour", "limit": OF_ONE_AGENT});
    same("what is found on a full disk", &ids(&mut client, "search_memories", &search)?, &acknowledged)?;

    // The server sees another file system than this process does, and its view can be looked into.
    let seen = format!("/proc/{}/root{}", server.pid()?, server.data().display());
    std::fs::remove_file(Path::new(&seen).join(BALLAST)).context("cannot make room")?;
    let answer = client.call("store_memory", &store(acknowledged.len()));
    let answer = answer.context("it does not store when there is room again")?.result()?;
    let id = answer["structuredContent"]["memory_id"].as_str().context("a stored memory without an id")?;
    acknowledged.insert(id.to_owned());
    same("what is held when there is room again", &held(&mut client, "a")?, &acknowledged)
}

/// A power cut takes what was not brought to the disk. None can be had here, but what the server asks the kernel for is seen.
fn a_power_cut() -> Result<()> {
    same("stores that were synced before they were acknowledged", &synced_stores("full")?, &STORES)?;
    let normal = synced_stores("normal")?;
    ensure!(
        normal < STORES / 2,
        "with `normal`, which is to be faster, {normal} of {STORES} were synced too"
    );
    Ok(())
}

/// How many of the stores were acknowledged after a sync that began after they were sent.
fn synced_stores(level: &str) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("calls");
    let settings = format!("{{settings: {{synchronous: {level}}}, shutdown: {{drainSeconds: 0}}}}");
    // `-I 2`: with a file to write to, it would not hear of its end, nor would the server.
    let trace = ["strace", "-I", "2", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-o"].map(str::to_owned);
    let trace: Vec<String> = trace.into_iter().chain([log.display().to_string()]).collect();
    let server = Single::start_as("memory", |_| Ok(settings), |_| trace)?;
    let mut client = Client::http(&Place::of(&server.url())?)?;
    let syncs = || -> Result<usize> {
        let calls = std::fs::read_to_string(&log).context("strace has written nothing")?;
        Ok(calls.lines().filter(|line| line.contains("sync") && line.ends_with("= 0")).count())
    };
    let mut count = 0;
    for number in 0..STORES {
        let before = syncs()?;
        let content = format!("crane {number} in the harbour");
        client.call("store_memory", &json!({"agent_id": "a", "content": content}))?.result()?;
        count += usize::from(syncs()? > before);
    }
    Ok(count)
}
