//! `kill -9` in the middle of writing: what was acknowledged is there afterwards.

use super::*;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// Tells this test executable, started once more, that it is the server that gets killed.
const DIRECTORY: &str = "MEMORY_DURABILITY_DIRECTORY";
/// Tells it the level of `synchronous`.
const LEVEL: &str = "MEMORY_DURABILITY_LEVEL";
const TEST: &str = "store::sqlite::tests::durability::what_was_acknowledged_survives_kill_9";

fn level() -> Synchronous {
    if std::env::var(LEVEL).as_deref() == Ok("normal") { Synchronous::Normal } else { Synchronous::Full }
}

/// Stores from several tasks at once until it is killed, and says what was acknowledged.
async fn store_until_killed(directory: &Path) {
    let options = Options { synchronous: level(), ..Options::default() };
    let store = Arc::new(SqliteStore::open(directory, &options).await.expect("opens"));
    let mut writers = Vec::new();
    for writer in 0..8 {
        let store = store.clone();
        writers.push(tokio::spawn(async move {
            for number in 0.. {
                let agent = format!("agent{writer}");
                let scope = scope(&agent);
                let kept = memory(number, &format!("kept for good: {number}"));
                store.insert(&scope, vec![kept]).await.expect("stored");
                let mut said = message("s", number);
                said.entry.id = format!("said{number}");
                store.say(&scope, said, Moment(number + 10)).await.expect("stored");
                // One write to the pipe a line: the kill leaves no half of one.
                let line = format!("acknowledged {agent} {number}\n");
                std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return store_until_killed(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut all = HashSet::new();
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(DIRECTORY, directory.path().join(round.to_string()))
            .env(LEVEL, if round % 2 == 0 { "full" } else { "normal" })
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = HashSet::new();
        while let Some(Ok(line)) = lines.next() {
            if let Some(write) = line.strip_prefix("acknowledged ") {
                acknowledged.insert(write.to_owned());
            }
            if acknowledged.len() == 100 + 57 * round {
                // SIGKILL; lines that are still in the pipe were acknowledged too.
                child.kill().expect("killed");
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= 100, "{} writes in round {round}", acknowledged.len());

        let store = open(&directory.path().join(round.to_string())).await;
        for write in &acknowledged {
            let (agent, number) = write.split_once(' ').unwrap();
            let scope = scope(agent);
            for id in [format!("m{number}"), format!("said{number}")] {
                assert!(store.get(&scope, &id).await.expect("reads").is_some(), "{agent} {id}");
            }
        }
        all.extend(acknowledged);
    }
    assert!(!all.is_empty());
}
