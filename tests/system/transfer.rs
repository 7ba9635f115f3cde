//! What a memory server holds is taken out and in while it serves: by the commands of docs/MEMORY.md, beside clients that
//! store and search, and once more when a process was killed in the middle of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mcp_system_tests::databases;
use mcp_system_tests::laptop::binary;
use mcp_system_tests::single::Single;
use mcp_system_tests::wire::{Client, Place};
use serde_json::{Value, json};

use crate::group::{Fixture, Group, Scenario, Shared, same};

/// Memories of each agent of the source: an import takes long enough to be met in the middle.
const OF_EACH: usize = 3000;
const AGENTS: [&str; 2] = ["ann", "bob"];
/// Memories of one call.
const BATCH: usize = 100;
/// What any one step may take.
const PATIENCE: Duration = Duration::from_mins(1);

static SOURCE: Shared<Source> = Shared::new(Source::make);

pub(crate) fn group() -> Group {
    let scenarios = vec![
        Scenario::new("an_import_beside_clients_is_found_and_nothing_of_theirs_is_lost", beside_clients),
        Scenario::new("an_import_whose_server_is_killed_is_repeated_and_all_is_there_once", a_killed_server),
        Scenario::new("an_export_that_is_killed_goes_on_and_restores_to_the_same", a_killed_export),
        Scenario::new("the_commands_of_the_docs_work_while_it_serves", the_docs),
        Scenario::new("the_tables_of_a_database_go_back_and_forward", tables_of_a_database),
    ];
    Group { name: "transfer", scenarios, shared: vec![&SOURCE] }
}

/// A server that holds something, and a backup of that.
struct Source {
    server: Single,
    folder: tempfile::TempDir,
}

impl Fixture for Source {
    fn end(self) -> Result<()> {
        Ok(())
    }
}

impl Source {
    fn make() -> Result<Self> {
        let server = Single::start("memory", "{}")?;
        let mut client = Client::http(&Place::of(&server.url())?)?;
        for agent in AGENTS {
            for first in (0..OF_EACH).step_by(BATCH) {
                let memories: Vec<Value> =
                    (first..first + BATCH).map(|number| json!({"content": content(agent, number)})).collect();
                client.call("store_memory_batch", &json!({"agent_id": agent, "memories": memories}))?;
            }
            let message =
                json!({"session_id": agent, "agent_id": agent, "role": "user", "message": "Is it open?"});
            client.call("store_conversation", &message)?;
        }
        let source = Self { server, folder: tempfile::tempdir()? };
        done(&mut memory(&source.server.data(), &["backup".as_ref(), source.backup().as_ref()])?)?;
        let held = ids(&source.backup())?;
        same("what the backup holds", &held.len(), &(AGENTS.len() * (OF_EACH + 1)))?;
        Ok(source)
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("backup.jsonl")
    }
}

fn content(agent: &str, number: usize) -> String {
    format!("crate {number} of {agent} stands in the harbour, in row {}, beside the crane", number / 7)
}

/// `mcp-system memory --data DATA ...`
fn memory(data: &Path, words: &[&Path]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(["memory", "--data"]).arg(data).args(words).stdin(Stdio::null());
    Ok(command)
}

/// What it says, if it succeeds.
fn done(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run mcp-system")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(said)
}

/// What it says, if it fails.
fn refused(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run mcp-system")?;
    ensure!(!output.status.success(), "{command:?} succeeds");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The ids of the memories and messages of a backup, each there once.
fn ids(backup: &Path) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for line in BufReader::new(File::open(backup)?).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if let Some(id) = line["entry"]["id"].as_str() {
            ensure!(ids.insert(id.to_owned()), "{id} is there twice");
        }
    }
    Ok(ids)
}

/// The ids of all that a server holds.
fn held(server: &Single) -> Result<BTreeSet<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("held.jsonl");
    done(&mut memory(&server.data(), &["backup".as_ref(), &file])?)?;
    ids(&file)
}

/// How many memories an agent has, as its server tells.
fn count(client: &mut Client, agent: &str) -> Result<u64> {
    let statistics = client.call("get_memory_statistics", &json!({"agent_id": agent}))?.result()?;
    statistics["structuredContent"]["memories"].as_u64().context("no count of memories")
}

/// Whether a search for a memory of the source finds it first.
fn is_found(client: &mut Client, agent: &str, number: usize) -> Result<bool> {
    let query = json!({"agent_id": agent, "query": content(agent, number), "limit": 1});
    let found = client.call("search_memories", &query)?.result()?;
    Ok(found["structuredContent"]["memories"][0]["content"] == json!(content(agent, number)))
}

fn beside_clients() -> Result<()> {
    SOURCE.with(|source| {
        let server = Single::start("memory", "{}")?;
        let place = Place::of(&server.url())?;
        let over = AtomicBool::new(false);
        let (restored, known) = std::thread::scope(|scope| {
            let client = scope.spawn(|| store_and_search(&place, &over));
            let restored = take_in_and_refuse(&server, source);
            over.store(true, Ordering::SeqCst);
            (restored, client.join())
        });
        restored?;
        let acknowledged = known.map_err(|_| anyhow!("the client panicked"))??;
        ensure!(acknowledged.len() > 10, "only {} calls were answered beside the import", acknowledged.len());
        let mut client = Client::http(&place)?;
        for (agent, number) in [("ann", 0), ("ann", OF_EACH - 1), ("bob", OF_EACH / 2)] {
            ensure!(is_found(&mut client, agent, number)?, "memory {number} of {agent} is not found");
        }
        let held = held(&server)?;
        let imported = ids(&source.backup())?;
        same("what of the import is not held", &imported.difference(&held).count(), &0)?;
        same("what was acknowledged and is not held", &acknowledged.difference(&held).count(), &0)?;
        same("how much is held", &held.len(), &(imported.len() + acknowledged.len()))
    })
}

/// A restore is refused where a client has stored, a damaged import anywhere; then it is all imported.
fn take_in_and_refuse(server: &Single, source: &Source) -> Result<()> {
    let (data, backup) = (server.data(), source.backup());
    let mut client = Client::http(&Place::of(&server.url())?)?;
    until(|| Ok(count(&mut client, CLIENT)? > 0))?;
    let said = refused(&mut memory(&data, &["restore".as_ref(), &backup])?)?;
    ensure!(said.contains("not empty"), "{said}");
    let damaged = source.folder.path().join("damaged.jsonl");
    std::fs::write(&damaged, std::fs::read_to_string(&backup)?.replacen("crate 7 of", "crate 8 of", 1))?;
    let said = refused(&mut memory(&data, &["import".as_ref(), &damaged])?)?;
    ensure!(said.contains("checksum"), "{said}");
    same("what was taken in of a damaged backup", &count(&mut client, "ann")?, &0)?;
    // Standard input, as in a pod.
    let mut import = memory(&data, &["import".as_ref(), "-".as_ref()])?;
    let said = done(import.stdin(File::open(&backup)?))?;
    let new = format!("{} memories and messages, 2 sessions", AGENTS.len() * (OF_EACH + 1));
    ensure!(said.contains(&new), "{said}");
    let said = done(&mut memory(&data, &["import".as_ref(), &backup])?)?;
    ensure!(said.contains(": 0 memories and messages, 0 sessions"), "a repetition adds something: {said}");
    let left: Vec<_> = std::fs::read_dir(&data)?.filter_map(|file| Some(file.ok()?.file_name())).collect();
    ensure!(left.iter().all(|name| name.to_string_lossy().starts_with("memory.")), "left behind: {left:?}");
    Ok(())
}

/// The agent of the client that works meanwhile.
const CLIENT: &str = "cleo";

/// Answers the ids of what was acknowledged, each of which was found at once.
fn store_and_search(place: &Place, over: &AtomicBool) -> Result<BTreeSet<String>> {
    let mut client = Client::http(place)?;
    let mut acknowledged = BTreeSet::new();
    while !over.load(Ordering::SeqCst) {
        let number = acknowledged.len();
        let stored =
            client.call("store_memory", &json!({"agent_id": CLIENT, "content": content(CLIENT, number)}))?;
        let stored = stored.result()?;
        let id = stored["structuredContent"]["memory_id"].as_str().context("stored without an id")?;
        acknowledged.insert(id.to_owned());
        ensure!(is_found(&mut client, CLIENT, number)?, "what was stored beside the import is not found");
    }
    Ok(acknowledged)
}

/// A command that runs; it is killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.stderr(Stdio::piped()).spawn().context("cannot run mcp-system")?))
    }

    /// How it ended, and what it said.
    fn end(mut self) -> Result<(bool, String)> {
        let mut said = String::new();
        self.0.stderr.take().context("no standard error")?.read_to_string(&mut said)?;
        Ok((self.0.wait()?.success(), said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(mut it_is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !it_is_so()? {
        ensure!(started.elapsed() < PATIENCE, "it does not come to that within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn a_killed_server() -> Result<()> {
    SOURCE.with(|source| {
        let mut server = Single::start("memory", "{}")?;
        let (data, backup) = (server.data(), source.backup());
        let mut client = Client::http(&Place::of(&server.url())?)?;
        let import = Running::start(&mut memory(&data, &["restore".as_ref(), &backup])?)?;
        until(|| Ok(count(&mut client, "ann")? > 0))?;
        server.kill()?;
        let (succeeded, said) = import.end()?;
        ensure!(!succeeded && said.contains("the server ended"), "{said}");
        server.again()?;
        let before = held(&server)?;
        let all = ids(&backup)?;
        ensure!(!before.is_empty() && before.len() < all.len(), "it was not killed in the middle");
        let said = done(&mut memory(&data, &["import".as_ref(), &backup])?)?;
        let new = format!(": {} memories and messages", all.len() - before.len());
        ensure!(said.contains(&new), "not{new}, but {said}");
        same("whether all is held", &(held(&server)? == all), &true)?;
        let mut client = Client::http(&Place::of(&server.url())?)?;
        ensure!(is_found(&mut client, "bob", OF_EACH - 1)?, "the last memory is not found");
        Ok(())
    })
}

/// The same command, which the kernel ends (SIGXFSZ) when it writes more than so many bytes into a file.
fn up_to(bytes: u64, command: &Command) -> Command {
    // Shells do not agree whether a block has 512 bytes or twice as many.
    let script = r#"ulimit -f "$0" && exec "$@""#;
    let mut limited = Command::new("sh");
    limited.args(["-c", script]).arg((bytes / 512).to_string());
    limited.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    limited
}

fn a_killed_export() -> Result<()> {
    SOURCE.with(|source| {
        let folder = tempfile::tempdir()?;
        let whole = std::fs::metadata(source.backup())?.len();
        let file = folder.path().join("export.jsonl");
        for part in 1..4 {
            let words = ["export".as_ref(), "--resume".as_ref(), file.as_path()];
            let mut export = up_to(whole * part / 8, &memory(&source.server.data(), &words)?);
            refused(&mut export)?;
            let written = std::fs::metadata(&file)?.len();
            ensure!(0 < written && written < whole, "it was not ended in the middle: {written} of {whole}");
        }
        // Certainly in the middle of a line.
        let cut = std::fs::metadata(&file)?.len() - 20;
        File::options().write(true).open(&file)?.set_len(cut)?;
        let said = refused(&mut memory(folder.path(), &["verify".as_ref(), &file])?)?;
        ensure!(said.contains("line"), "{said}");
        done(&mut memory(&source.server.data(), &["export".as_ref(), "--resume".as_ref(), &file])?)?;
        done(&mut memory(folder.path(), &["verify".as_ref(), &file])?)?;
        let same_bytes = std::fs::read(&file)? == std::fs::read(source.backup())?;
        same("whether the same bytes came out", &same_bytes, &true)?;

        let server = Single::start("memory", "{}")?;
        let said = done(&mut memory(&server.data(), &["restore".as_ref(), &file])?)?;
        ensure!(said.contains("restored"), "{said}");
        same("whether the same is held", &(held(&server)? == ids(&source.backup())?), &true)
    })
}

/// The first block of commands of the docs' chapter on backups, one after the other, beside two servers.
fn the_docs() -> Result<()> {
    const DOCS: &str = include_str!("../../docs/MEMORY.md");
    let chapter =
        DOCS.split("\n## ").find(|chapter| chapter.starts_with("Backups\n")).context("no chapter")?;
    let block = chapter.split("```sh\n").nth(1).and_then(|block| block.split("```").next());
    let commands: Vec<&str> = block.context("no commands")?.lines().collect();
    ensure!(commands.len() > 5, "the block of commands is another one: {commands:?}");
    SOURCE.with(|source| {
        let (folder, new) = (tempfile::tempdir()?, Single::start("memory", "{}")?);
        for line in commands {
            let words = line.split('#').next().unwrap_or_default().split_whitespace();
            let words: Vec<PathBuf> = words
                .map(|word| match word {
                    "DIR" => source.server.data(),
                    "NEWDIR" => new.data(),
                    word => PathBuf::from(word),
                })
                .collect();
            let (program, words) = words.split_first().context("an empty line")?;
            same("the program", program.as_path(), Path::new("mcp-system"))?;
            let said = done(Command::new(binary()?).args(words).current_dir(folder.path()))?;
            ensure!(said.contains("memories and messages"), "{line}: {said}");
        }
        let all = ids(&source.backup())?;
        same("whether all was backed up", &(ids(&folder.path().join("backup.jsonl"))? == all), &true)?;
        same("whether all was exported", &(ids(&folder.path().join("export.jsonl"))? == all), &true)?;
        same("whether all was restored", &(held(&new)? == all), &true)
    })
}

/// As whoever goes back to the program before needs it.
fn tables_of_a_database() -> Result<()> {
    let database = databases::postgres(&[("fsync", "off")])?;
    let migrate = |to: &str| -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.args(["memory", "migrate", "--postgres", "--to", to]);
        command.env("MCP_POSTGRES_URL", database.url()).stdin(Stdio::null());
        Ok(command)
    };
    for to in ["5", "4", "5"] {
        done(&mut migrate(to)?)?;
        let version = databases::sql(database.url(), "SELECT version FROM mcp_memory.migration")?;
        same("the version of the tables", version.trim(), to)?;
    }
    let said = refused(&mut migrate("6")?)?;
    ensure!(said.contains("no version 6"), "{said}");
    Ok(())
}
