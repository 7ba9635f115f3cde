//! PgBouncer, the pooler that stands before many a PostgreSQL, those of CloudNativePG among them.

use std::fmt::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::postgres::{PASSWORD, as_ordinary_user};
use super::relay::authority;
use super::{Database, Program, Ready, folder};
use crate::cache;
use crate::cluster::debian;
use crate::ports::free_port;

/// A PgBouncer of a test's own before the PostgreSQL of this URL, for all its databases, with these settings beside its
/// defaults (`[("pool_mode", "session")]`).
pub fn pgbouncer(server: &str, settings: &[(&str, &str)]) -> Result<Database> {
    let (program, folder, port) = (installed()?, folder("pgbouncer")?, free_port()?);
    let behind = authority(server).with_context(|| format!("{server} names no host and port"))?;
    let (host, its_port) = behind.split_once(':').with_context(|| format!("{server} names no port"))?;
    let (users, file) = (folder.path().join("users"), folder.path().join("pgbouncer.ini"));
    let mut text = format!(
        "[databases]\n* = host={host} port={its_port}\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {}\n",
        users.display()
    );
    for (name, value) in settings {
        writeln!(text, "{name} = {value}")?;
    }
    std::fs::write(&users, format!("\"postgres\" \"{PASSWORD}\"\n")).context("cannot write its users")?;
    std::fs::write(&file, text).context("cannot write its settings")?;
    // It refuses to be run by root, too.
    let mut command = as_ordinary_user(&program);
    command.arg(&file);
    let program = Program {
        name: "pgbouncer",
        command,
        stop: Signal::SIGTERM,
        end: Signal::SIGKILL,
        is_ready: Ready(Box::new(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())),
    };
    let url = server.replacen(behind, &format!("127.0.0.1:{port}"), 1);
    Database::new(url, program, None, folder)
}

/// Whether the one that is installed can follow what each of its clients has prepared, in whichever session of the database: it
/// does since version 1.21, by the setting `max_prepared_statements`. Debian 12 has 1.18.
pub fn pgbouncer_follows_statements() -> Result<bool> {
    let told = cache::printed(Command::new(installed()?).arg("--version"))?;
    let version = version(&told).with_context(|| format!("pgbouncer has no version: {told}"))?;
    Ok(version >= (1, 21))
}

/// Out of `PgBouncer 1.18.0` and what follows.
fn version(told: &str) -> Option<(u32, u32)> {
    let mut numbers = told.split_whitespace().nth(1)?.split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn installed() -> Result<PathBuf> {
    debian::ensure(debian::FOR_DATABASES)?;
    debian::find("pgbouncer").context("pgbouncer is not installed")
}
