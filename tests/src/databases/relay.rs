//! A port of loopback that leads to a server, and whose connections can be cut.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

/// Where a relay leads.
#[derive(Debug, Clone)]
pub enum Target {
    /// A port, mostly of loopback.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Passes bytes on, both ways, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Target>,
    /// Whether connections are refused.
    is_cut: AtomicBool,
    ended: AtomicBool,
    /// Those that are open, or were.
    open: Mutex<Vec<Open>>,
}

/// A connection.
#[derive(Debug)]
struct Open {
    /// The client's end.
    client: TcpStream,
    /// Whether nothing passes any more, though nobody ended it.
    is_silent: Arc<AtomicBool>,
}

impl Relay {
    /// One that leads there.
    pub fn to(target: Target) -> Result<Self> {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST), target)
    }

    /// One on this address of the machine.
    pub fn at(address: IpAddr, target: Target) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).context("no port for a relay")?;
        let address = listener.local_addr().context("a relay has no address")?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            is_cut: AtomicBool::default(),
            ended: AtomicBool::default(),
            open: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { address, shared })
    }

    /// One before the server of this URL.
    pub fn before(url: &str) -> Result<Self> {
        Self::to(target(url)?)
    }

    /// The same on this address of the machine.
    pub fn before_at(address: IpAddr, url: &str) -> Result<Self> {
        Self::at(address, target(url)?)
    }

    /// Leads new connections to the server of this URL; those that are open stay where they are.
    pub fn lead_to(&self, url: &str) -> Result<()> {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = target(url)?;
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a server, with the relay's address instead of the server's own.
    pub fn in_url(&self, url: &str) -> Result<String> {
        let authority = authority(url).with_context(|| format!("{url} names no host and port"))?;
        Ok(url.replacen(authority, &self.address.to_string(), 1))
    }

    /// Cuts every connection and refuses new ones.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        self.cut_open();
    }

    /// Cuts every connection; new ones are let through.
    pub fn cut_open(&self) {
        for open in self.shared.open().drain(..) {
            let _ = open.client.shutdown(Shutdown::Both);
        }
    }

    /// Has nothing pass any more on the connections that are open, and ends none, as when a machine has lost its power. New
    /// ones are let through.
    pub fn silence_open(&self) {
        for open in self.shared.open().iter() {
            open.is_silent.store(true, Ordering::SeqCst);
        }
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts, so that it sees its end.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn target(url: &str) -> Result<Target> {
    let authority = authority(url).with_context(|| format!("{url} names no host and port"))?;
    Ok(Target::Tcp(authority.parse().with_context(|| format!("{authority} is no address"))?))
}

/// The host and port in a URL.
pub(super) fn authority(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split('/').next()?;
    Some(authority.rsplit('@').next().unwrap_or(authority))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
        // A connection that leads nowhere is dropped: the client sees it closed.
        let target = shared.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _ = join(client, &target, shared);
    }
}

fn join(client: TcpStream, target: &Target, shared: &Shared) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    match target {
        Target::Tcp(address) => {
            let server = TcpStream::connect(address)?;
            server.set_nodelay(true)?;
            let (from, to) = (server.try_clone()?, server);
            pass_both(client, from, to, shared, |server| server.shutdown(Shutdown::Both))
        }
        Target::Unix(path) => {
            let server = UnixStream::connect(path)?;
            let (from, to) = (server.try_clone()?, server);
            pass_both(client, from, to, shared, |server| server.shutdown(Shutdown::Both))
        }
    }
}

fn pass_both<S: Read + Write + Send + 'static>(
    client: TcpStream,
    mut from: S,
    mut to: S,
    shared: &Shared,
    shut: fn(&S) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let (mut reads, mut writes) = (client.try_clone()?, client.try_clone()?);
    let is_silent = Arc::new(AtomicBool::default());
    {
        // Under the lock: whoever cuts sees this connection, or this sees the cut.
        let mut open = shared.open();
        if shared.is_cut.load(Ordering::SeqCst) {
            let _ = shut(&to);
            return client.shutdown(Shutdown::Both);
        }
        open.push(Open { client, is_silent: is_silent.clone() });
    }
    let silent = is_silent.clone();
    std::thread::spawn(move || {
        let _ = pass(&mut reads, &mut to, &silent);
        let _ = shut(&to);
    });
    std::thread::spawn(move || {
        let _ = pass(&mut from, &mut writes, &is_silent);
        let _ = writes.shutdown(Shutdown::Both);
        let _ = shut(&from);
    });
    Ok(())
}

/// Passes on what comes until nothing does; once the connection is silent, nothing arrives.
fn pass(from: &mut impl Read, to: &mut impl Write, is_silent: &AtomicBool) -> std::io::Result<()> {
    let mut bytes = [0; 8 << 10];
    loop {
        let count = match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if !is_silent.load(Ordering::SeqCst) {
            to.write_all(&bytes[..count])?;
        }
    }
}
