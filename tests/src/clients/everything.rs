//! A server that others made: npm's `@modelcontextprotocol/server-everything`, which shows all that the protocol has.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::install;
use crate::ports::free_port;
use crate::tied::Tied;

/// The server, installed.
#[derive(Debug, Clone)]
pub struct Everything {
    folder: PathBuf,
}

/// The server at work. Dropped, it ends.
#[derive(Debug)]
pub struct Serving {
    /// Its MCP endpoint.
    pub url: String,
    /// Its process.
    pub process: Tied,
}

impl Everything {
    pub(super) fn installed_in(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The packages: `npx` in a folder with such a `node_modules` fetches nothing.
    pub fn node_modules(&self) -> PathBuf {
        self.folder.join("node_modules")
    }

    /// What tells this installation from others.
    pub(super) fn key(&self) -> &[u8] {
        self.folder.file_name().unwrap_or_default().as_encoded_bytes()
    }

    /// The arguments with which `node` becomes the server. It learns its port from PORT.
    pub fn arguments(&self) -> [String; 2] {
        let program = self.node_modules().join(PROGRAM);
        [program.display().to_string(), "streamableHttp".to_owned()]
    }

    /// A variable that keeps it, and every other Node program, on loopback: by itself it binds all addresses.
    pub fn on_loopback(&self) -> Result<(&'static str, String)> {
        Ok(("NODE_OPTIONS", format!("--import=file://{}", install::loopback(&self.folder)?.display())))
    }

    /// Starts it on a free port.
    pub fn start(&self) -> Result<Serving> {
        self.start_on(free_port()?)
    }

    /// Starts it on this port.
    pub fn start_on(&self, port: u16) -> Result<Serving> {
        let (name, value) = self.on_loopback()?;
        let process = Tied::until_dropped(
            Command::new("node").args(self.arguments()).env("PORT", port.to_string()).env(name, value),
        )?;
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if started.elapsed() > Duration::from_secs(20) {
                bail!("server-everything does not listen on port {port} within 20 s");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Serving { url: format!("http://127.0.0.1:{port}/mcp"), process })
    }
}

/// The server's program within `node_modules`.
pub(super) const PROGRAM: &str = "@modelcontextprotocol/server-everything/dist/index.js";
