//! Redis 7, which syncs each write to its log before it answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Database, Program, Ready, folder};
use crate::cluster::debian;
use crate::ports::free_port;

/// A Redis of a test's own, empty.
pub fn redis() -> Result<Database> {
    debian::ensure(debian::FOR_DATABASES)?;
    let (folder, port) = (folder("redis")?, free_port()?);
    // The program is a server when it is called by this name.
    let server = folder.path().join("redis-server");
    let program = debian::find("redis-check-rdb").context("redis-check-rdb is not installed")?;
    std::os::unix::fs::symlink(program, &server).context("cannot link redis-server")?;
    let mut command = Command::new(&server);
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "no", "--dir"]).arg(folder.path());
    let program = Program {
        name: "redis",
        command,
        stop: Signal::SIGTERM,
        end: Signal::SIGTERM,
        is_ready: Ready(Box::new(move || pongs(port).is_some())),
    };
    Database::new(format!("redis://127.0.0.1:{port}"), program, None, folder)
}

fn pongs(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).ok()?;
    // While it loads its log it answers with an error.
    (&answer == b"+PONG").then_some(())
}
