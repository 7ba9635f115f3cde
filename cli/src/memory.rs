//! The memory's data, beside a server or without one: taken out, taken in, checked, moved.

use crate::arguments::{Memory, MemoryCommand};
use crate::progress::Progress;
use anyhow::{Context, bail, ensure};
use mcp_system_config::{MemorySettings, PostgresSettings, ServerConfig};
use mcp_system_kit::{Overrides, Reloaded, end_on_signal};
use mcp_system_memory::backup::{self, Counts, Start};
use mcp_system_memory::store::sqlite::{Options, SqliteStore, migrate};
use mcp_system_memory::store::{Onto, Store};
use mcp_system_memory::{intake, migrate_postgres, move_to_postgres, open_postgres};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Config = ServerConfig<MemorySettings>;

/// Stands for standard input.
const STDIN: &str = "-";

pub(crate) async fn memory(arguments: Memory) -> anyhow::Result<ExitCode> {
    // A pod that goes must not wait for a move: what is half done is gone on with.
    end_on_signal();
    let config = settings(&arguments)?;
    let data = &arguments.data;
    let in_postgres = config.settings.postgres.is_some();
    match arguments.command {
        MemoryCommand::Export { file, resume } => {
            write_out(&config, data, Destination::Export(file, start(resume))).await
        }
        MemoryCommand::Backup { file, resume } => {
            write_out(&config, data, Destination::Backup(file, start(resume))).await
        }
        MemoryCommand::Verify { file } => tell("verified", verified(&file)?),
        MemoryCommand::Import { file } => {
            let (_, new) = take_in(&config, data, &file, Onto::Anything).await?;
            tell("imported what was not there", new)
        }
        MemoryCommand::Restore { file } => {
            let (held, new) = take_in(&config, data, &file, Onto::Nothing).await?;
            ensure!(
                held == new,
                "{} holds {}, but only {} were restored: the rest was there by its id, from somebody else meanwhile",
                file.display(),
                told(held),
                told(new)
            );
            tell("restored", new)
        }
        MemoryCommand::Move { .. } if !in_postgres => {
            bail!(
                "name the database: --config with the server's settings, or --postgres with MCP_POSTGRES_URL set"
            )
        }
        MemoryCommand::Move { report } => {
            let moved = move_to_postgres(&config, data).await?;
            let text = format!("moved: {}, of which {} were new there", told(moved.held), moved.new.entries);
            if let Some(file) = report {
                std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
            }
            tell_line(&text)
        }
        MemoryCommand::Migrate { to } => {
            if in_postgres {
                migrate_postgres(&config, i32::try_from(to).unwrap_or(i32::MAX)).await?;
            } else {
                migrate(data, to).await?;
            }
            tell_line(&format!("the tables are at version {to}"))
        }
    }
}

/// The settings that say which store is meant.
fn settings(arguments: &Memory) -> anyhow::Result<Config> {
    if arguments.postgres {
        let mut config = Config::of_kind();
        config.settings.postgres = Some(PostgresSettings::default());
        return Ok(config);
    }
    let environment = |name: &str| std::env::var(name).ok();
    let overrides = Overrides { host: None, port: None };
    let settings = Reloaded::load(arguments.config.as_deref(), environment, overrides)?;
    Ok(Config::clone(&settings.current()))
}

fn start(resume: bool) -> Start {
    if resume { Start::Resumed } else { Start::Anew }
}

/// Where a backup goes.
enum Destination {
    /// Into a file, or to standard output.
    Export(Option<PathBuf>, Start),
    /// Into a file that is there verified or not at all.
    Backup(PathBuf, Start),
}

async fn write_out(config: &Config, data: &Path, to: Destination) -> anyhow::Result<ExitCode> {
    if config.settings.postgres.is_some() {
        let store = open_postgres(config).await?;
        let done = write_from(&store, to).await;
        store.close().await;
        done
    } else {
        // Beside a server that may serve.
        let store = SqliteStore::open_beside(data, &Options::default()).await?;
        let done = write_from(&store, to).await;
        store.close().await;
        done
    }
}

async fn write_from<S: Store>(store: &S, to: Destination) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new("exporting", None);
    let show = |counts| progress.show(counts);
    let (what, counts) = match to {
        Destination::Export(None, _) => {
            ("exported", backup::export(store, BufWriter::new(std::io::stdout()), show).await?)
        }
        Destination::Export(Some(file), start) => {
            ("exported", backup::export_into(store, &file, start, show).await?)
        }
        Destination::Backup(file, start) => {
            ("backed up and verified", backup::backup(store, &file, start, show).await?)
        }
    };
    drop(progress);
    tell(what, counts)
}

/// Takes a backup in once it is verified; answers what it holds, and what of that was new.
async fn take_in(config: &Config, data: &Path, file: &Path, onto: Onto) -> anyhow::Result<(Counts, Counts)> {
    let nothing = || format!("nothing was taken in from {}", file.display());
    let mut backup = incoming(file, data)?;
    let mut progress = Progress::new("verifying", None);
    let held = backup::verify(&backup, |counts| progress.show(counts)).with_context(nothing)?;
    backup
        .rewind()
        .context("it cannot be read a second time: `-` takes standard input")
        .with_context(nothing)?;
    drop(progress);

    let mut progress = Progress::new("taking in", Some(held));
    let show = |counts| progress.show(counts);
    let backup = tokio::fs::File::from_std(backup);
    let new = if config.settings.postgres.is_some() {
        let store = open_postgres(config).await?;
        let backup = tokio::io::BufReader::new(backup);
        let new = backup::import(&store, backup, onto, show).await;
        store.close().await;
        new?
    } else {
        intake::take_in(data, backup, onto, show).await?
    };
    Ok((held, new))
}

/// A backup, which will be read twice. What comes from standard input is kept meanwhile in a file without a name: in the data
/// folder, which may be the only place where a container can write.
fn incoming(file: &Path, data: &Path) -> anyhow::Result<File> {
    if file != Path::new(STDIN) {
        return open(file);
    }
    let folder = if data.is_dir() { data.to_owned() } else { std::env::temp_dir() };
    let path = folder.join(format!("incoming.{}.jsonl", std::process::id()));
    let cannot = || format!("cannot keep standard input in {}", path.display());
    let mut kept = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(cannot)?;
    std::fs::remove_file(&path).with_context(cannot)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut kept).with_context(cannot)?;
    kept.rewind().with_context(cannot)?;
    Ok(kept)
}

fn verified(file: &Path) -> anyhow::Result<Counts> {
    let input: Box<dyn Read> =
        if file == Path::new(STDIN) { Box::new(std::io::stdin().lock()) } else { Box::new(open(file)?) };
    let mut progress = Progress::new("verifying", None);
    backup::verify(input, |counts| progress.show(counts))
}

fn open(file: &Path) -> anyhow::Result<File> {
    File::open(file).with_context(|| format!("cannot read {}", file.display()))
}

fn tell(what: &str, counts: Counts) -> anyhow::Result<ExitCode> {
    tell_line(&format!("{what}: {}", told(counts)))
}

fn told(counts: Counts) -> String {
    format!("{} memories and messages, {} sessions", counts.entries, counts.sessions)
}

/// On standard error: standard output may be the backup.
fn tell_line(text: &str) -> anyhow::Result<ExitCode> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
