//! Three memory servers on one PostgreSQL: what one of them has acknowledged, each of them finds at once, out of its
//! cache or not, and a database that is killed in the middle of many stores takes none of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mcp_system_tests::databases::{self, Database};
use mcp_system_tests::single::Single;
use mcp_system_tests::wire::{Client, Place};
use serde_json::{Value, json};

use crate::group::{Group, Scenario, same};

const REPLICAS: usize = 3;
/// Callers that store at once, each for an agent of its own, at one replica after the other.
const WRITERS: usize = 6;
/// The most memories of one agent, so that one call lists them all.
const OF_ONE_AGENT: usize = 200;
/// How long a database that was killed may be missed, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn group() -> Group {
    let scenarios = vec![
        Scenario::new("no_answer_is_older_than_what_another_one_acknowledged", never_stale),
        Scenario::new("acknowledged_is_found_after_the_database_was_killed", database_killed),
    ];
    Group { name: "replicas", scenarios, shared: Vec::new() }
}

struct Site {
    database: Database,
    replicas: Vec<Single>,
}

impl Site {
    fn start() -> Result<Self> {
        let database = databases::postgres(&[])?;
        let url = database.url();
        let settings = |file: &std::path::Path| {
            format!(
                "settings: {{postgres: {{urlFile: '{}', pool: {{minSize: 1, maxSize: 8}}}}}}\n\
                 resilience: {{recoverySeconds: 1}}",
                file.display()
            )
        };
        let replica = |_| {
            let file = |data: &std::path::Path| -> Result<String> {
                let file = data.join("url");
                std::fs::write(&file, url).context("cannot write the database's URL")?;
                Ok(settings(&file))
            };
            Single::start_as("memory", file, |_| Vec::new())
        };
        let replicas = (0..REPLICAS).map(replica).collect::<Result<_>>()?;
        Ok(Self { database, replicas })
    }

    fn places(&self) -> Result<Vec<Place>> {
        self.replicas.iter().map(|replica| Place::of(&replica.url())).collect()
    }

    fn clients(&self) -> Result<Vec<Client>> {
        self.places()?.iter().map(Client::http).collect()
    }
}

fn never_stale() -> Result<()> {
    let site = Site::start()?;
    let mut clients = site.clients()?;
    let cached = json!({"agent_id": "a", "query": "crane harbour", "limit": OF_ONE_AGENT, "use_cache": true});
    let mut all = BTreeSet::new();
    let mut hits = 0;
    for round in 0..30 {
        all.insert(store(&mut clients[round % REPLICAS], "a", round)?);
        if round % 3 == 2 {
            let oldest = all.pop_first().context("nothing is stored")?;
            let forget = json!({"agent_id": "a", "memory_id": oldest});
            clients[(round + 1) % REPLICAS].call("delete_memory", &forget)?.result()?;
        }
        for (number, client) in clients.iter_mut().enumerate() {
            for again in [false, true] {
                let result = client.call("search_memories_cached", &cached)?.result()?;
                same(&format!("what replica {number} finds in round {round}"), &ids(&result)?, &all)?;
                let hit = result["structuredContent"]["cached"] == true;
                ensure!(
                    !hit || again,
                    "replica {number} had the answer of round {round} before it was asked"
                );
                hits += usize::from(hit);
            }
        }
    }
    same("answers out of a cache", &hits, &(30 * REPLICAS))
}

fn database_killed() -> Result<()> {
    let mut site = Site::start()?;
    let places = site.places()?;
    let (count, ends) = (AtomicUsize::new(0), AtomicBool::new(false));
    let known = std::thread::scope(|scope| -> Result<Vec<Known>> {
        let (places, count, ends) = (&places, &count, &ends);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || store_on_and_on(places, writer, count, ends)))
            .collect();
        let disturbed = kill_twice(&mut site.database, count);
        ends.store(true, Ordering::SeqCst);
        let known = writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| anyhow!("a writer panicked"))?)
            .collect::<Result<Vec<Known>>>();
        disturbed?;
        known
    })?;
    for (number, client) in site.clients()?.iter_mut().enumerate() {
        for (writer, known) in known.iter().enumerate() {
            let recent = json!({"agent_id": agent(writer), "limit": OF_ONE_AGENT});
            let held = ids(&answer(client, "get_recent_memories", &recent)?)?;
            let lost: Vec<&String> = known.acknowledged.difference(&held).collect();
            ensure!(
                lost.is_empty(),
                "replica {number}: {} of {} are lost: {lost:?}",
                lost.len(),
                agent(writer)
            );
            let most = known.acknowledged.len() + known.unanswered;
            ensure!(held.len() <= most, "replica {number}: {} memories of at most {most}", held.len());
            let search = json!({"agent_id": agent(writer), "query": "crane harbour", "limit": OF_ONE_AGENT});
            let found = ids(&answer(client, "search_memories", &search)?)?;
            same(&format!("what replica {number} finds"), &found, &held)?;
        }
    }
    Ok(())
}

/// Kills the database in the middle of stores, twice, and waits each time until stores are acknowledged again.
fn kill_twice(database: &mut Database, count: &AtomicUsize) -> Result<()> {
    for round in 1..=2 {
        wait_for(count, 40)?;
        database.kill()?;
        std::thread::sleep(Duration::from_millis(500));
        database.start()?;
        wait_for(count, 20).with_context(|| format!("after death {round} of the database"))?;
    }
    Ok(())
}

/// Waits until so many more stores were acknowledged.
fn wait_for(count: &AtomicUsize, more: usize) -> Result<()> {
    let (start, before) = (Instant::now(), count.load(Ordering::SeqCst));
    while count.load(Ordering::SeqCst) < before + more {
        ensure!(start.elapsed() < PATIENCE, "{more} more stores were not acknowledged within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// What one writer knows: ids that a server acknowledged, and how many calls failed.
#[derive(Debug, Default)]
struct Known {
    acknowledged: BTreeSet<String>,
    unanswered: usize,
}

fn store_on_and_on(places: &[Place], writer: usize, count: &AtomicUsize, ends: &AtomicBool) -> Result<Known> {
    let mut clients = places.iter().map(Client::http).collect::<Result<Vec<_>>>()?;
    let mut known = Known::default();
    let mut number = writer;
    while !ends.load(Ordering::SeqCst) && known.acknowledged.len() < OF_ONE_AGENT / 2 {
        number += 1;
        let replicas = clients.len();
        if let Ok(id) = store(&mut clients[number % replicas], &agent(writer), number) {
            known.acknowledged.insert(id);
            count.fetch_add(1, Ordering::SeqCst);
            // Both deaths of the database find writers at work.
            std::thread::sleep(Duration::from_millis(10));
        } else {
            // It may be stored all the same.
            known.unanswered += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(known)
}

/// What a replica says once its breaker has let it ask the database again: each has its own, and closes it in its own
/// time after the first store that another one acknowledged.
fn answer(client: &mut Client, tool: &str, arguments: &Value) -> Result<Value> {
    let start = Instant::now();
    loop {
        match client.call(tool, arguments).and_then(|answer| answer.result()) {
            Err(error) if start.elapsed() < PATIENCE => {
                ensure!(error.to_string().contains("can be made again"), error);
                std::thread::sleep(Duration::from_millis(50));
            }
            answered => return answered,
        }
    }
}

fn agent(writer: usize) -> String {
    format!("writer {writer}")
}

fn store(client: &mut Client, agent: &str, number: usize) -> Result<String> {
    let content = format!("crane {number} of {agent} in the harbour");
    let stored = client.call("store_memory", &json!({"agent_id": agent, "content": content}))?.result()?;
    let id = stored["structuredContent"]["memory_id"].as_str().context("a stored memory without an id")?;
    Ok(id.to_owned())
}

fn ids(result: &Value) -> Result<BTreeSet<String>> {
    let memories = result["structuredContent"]["memories"].as_array().context("no memories")?;
    Ok(memories.iter().filter_map(|memory| memory["memory_id"].as_str().map(str::to_owned)).collect())
}
