//! Taking a backup into embedded storage, while a server uses it or while none does.
//!
//! Only one process may write to a store. So a server listens on a Unix socket in its data folder, and whoever finds the
//! folder in use sends the backup there: it goes through the same writer as all else, and searches find it at once. Who may
//! write to that file may do this; a caller of MCP cannot. The first line says what may be there already ([`Onto`]), then
//! comes the backup as it is, then the end. The answers are JSON Lines: how much was read, and what came of it.

use crate::backup::{self, Counts};
use crate::engine::Engine;
use crate::store::sqlite::{InUse, Options, SqliteStore};
use crate::store::{Onto, Store};
use anyhow::{Context, anyhow, bail};
use futures::future::{Either, select};
use serde::{Deserialize, Serialize};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;

const SOCKET: &str = "memory.sock";
/// The longest path of a socket, in bytes, that every system takes.
const LONGEST_PATH: usize = 100;
/// The longest first line.
const LONGEST_ORDER: u64 = 1000;
/// Backups that are taken in at once; each holds a page of rows in memory.
const AT_ONCE: usize = 2;
/// How long a server may take from locking its folder to listening, or from its last answer to letting go of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a sender may send nothing, or hear nothing of what it is told: after that its place is another's.
pub(crate) const SILENCE: Duration = Duration::from_mins(5);
/// Bytes that are read from a file at once.
const CHUNK: usize = 256 << 10;

/// What a server says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// How much was read so far.
    Read(Counts),
    /// All of it was taken in; this was new.
    Done(Counts),
    /// Why it was not, or not all of it.
    Failed(String),
}

/// Takes a backup, which should have been verified, into the store of a folder: by itself, or through the server that has it
/// open. Answers what was new; `progress` learns now and then how much was read.
///
/// # Errors
/// Where the store, or the server, does not take it. What was taken in before stays.
pub async fn take_in(
    directory: &Path,
    backup: impl AsyncRead + Unpin,
    onto: Onto,
    progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    let backup = BufReader::with_capacity(CHUNK, backup);
    let started = Instant::now();
    loop {
        let in_use = match SqliteStore::open(directory, &Options::default()).await {
            Ok(store) => {
                let taken_in = backup::import(&store, backup, onto, progress).await;
                store.close().await;
                return taken_in;
            }
            Err(error) if error.is::<InUse>() => error,
            Err(error) => return Err(error),
        };
        match connect(directory) {
            Ok(stream) => return send(stream, backup, onto, progress).await,
            Err(error) if is_passing(&error) && started.elapsed() < PATIENCE => {
                tokio::time::sleep(PATIENCE / 100).await;
            }
            Err(error) => {
                return Err(anyhow!(error)
                    .context(format!("it takes in no backup through {SOCKET}"))
                    .context(in_use));
            }
        }
    }
}

/// Whether a server that starts or ends may be the cause.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

/// Has a server take a backup in.
async fn send(
    stream: UnixStream,
    mut backup: impl AsyncRead + Unpin,
    onto: Onto,
    progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    let (input, mut output) = stream.into_split();
    // Dropped at its end, however that comes, the half that writes tells the server that nothing follows.
    let sending = async move {
        output.write_all(format!("{}\n", serde_json::to_string(&onto)?).as_bytes()).await?;
        tokio::io::copy(&mut backup, &mut output).await.map(drop)
    };
    let (sent, heard) = match select(pin!(sending), pin!(hear(input, progress))).await {
        Either::Left((sent, hearing)) => (sent, hearing.await),
        Either::Right((heard, _)) => (Ok(()), heard),
    };
    match (sent, heard) {
        (Err(cause), Err(error)) if !is_hung_up(&cause) => {
            Err(error.context(format!("not all was sent: {cause}")))
        }
        // A server that refuses hears no more. What it said counts, not that the rest could not be sent.
        (_, heard) => heard,
    }
}

fn is_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Hears the server out.
async fn hear(input: OwnedReadHalf, mut progress: impl FnMut(Counts)) -> anyhow::Result<Counts> {
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line).with_context(|| format!("the server says {line:?}"))? {
            Answer::Read(counts) => progress(counts),
            Answer::Done(new) => return Ok(new),
            Answer::Failed(why) => bail!(why),
        }
    }
    bail!(
        "the server ended before it had taken in all of it; import goes on where it runs again, or without it"
    )
}

/// Listens in a data folder, which this process must have locked: a socket that is there was left by one that was killed.
pub(crate) fn listen(directory: &Path) -> anyhow::Result<UnixListener> {
    let path = directory.join(SOCKET);
    let cannot = || format!("cannot listen on {}", path.display());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(cannot),
        _ => {}
    }
    let listener = by_short_path(directory, |path| net::UnixListener::bind(path)).with_context(cannot)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).with_context(cannot)?;
    listener.set_nonblocking(true).with_context(cannot)?;
    UnixListener::from_std(listener).with_context(cannot)
}

fn connect(directory: &Path) -> io::Result<UnixStream> {
    let stream = by_short_path(directory, |path| net::UnixStream::connect(path))?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Uses a socket by a path that is short enough: where its own is not, Linux knows the folder, once it is open, by a number.
fn by_short_path<T>(directory: &Path, using: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = directory.join(SOCKET);
    if path.as_os_str().len() <= LONGEST_PATH || !cfg!(target_os = "linux") {
        return using(&path);
    }
    let open = File::open(directory)?;
    using(&PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())).join(SOCKET))
}

/// Takes in what is sent, by senders that are not silent for so long, until it is dropped.
pub(crate) async fn serve<S: Store>(listener: UnixListener, engine: Arc<Engine<S>>, silence: Duration) {
    let mut taking = JoinSet::new();
    loop {
        if taking.len() >= AT_ONCE {
            taking.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(taking.spawn(answer(stream, engine.clone(), silence))),
            Err(error) => {
                tracing::warn!(%error, "a backup that was sent cannot be taken in");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer<S: Store>(stream: UnixStream, engine: Arc<Engine<S>>, silence: Duration) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(silence));
    stream.set_write_timeout(Some(silence));
    let (input, mut output) = tokio::io::split(Box::pin(stream));
    let (progress, mut news) = watch::channel(Counts::default());
    let taking = receive(&engine, input, move |counts| {
        progress.send_replace(counts);
    });
    let telling = async {
        while news.changed().await.is_ok() {
            let counts = *news.borrow_and_update();
            if tell(&mut output, &Answer::Read(counts)).await.is_err() {
                return;
            }
        }
    };
    let (taken_in, ()) = tokio::join!(taking, telling);
    // Whether it was all or not.
    engine.took_in();
    let answer = match taken_in {
        Ok(new) => {
            tracing::info!(entries = new.entries, sessions = new.sessions, "took in a backup");
            Answer::Done(new)
        }
        Err(mut error) => {
            if error.chain().any(is_silence) {
                error = error.context(format!("nothing was sent for {} s", silence.as_secs()));
            }
            tracing::warn!("did not take in all of a backup: {error:#}");
            Answer::Failed(format!("{error:#}"))
        }
    };
    // Whoever sent it may be gone.
    let _ = tell(&mut output, &answer).await;
}

fn is_silence(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == ErrorKind::TimedOut)
}

async fn receive<S: Store>(
    engine: &Engine<S>,
    input: impl AsyncRead + Unpin,
    progress: impl FnMut(Counts),
) -> anyhow::Result<Counts> {
    let mut input = BufReader::with_capacity(CHUNK, input);
    let mut order = Vec::new();
    (&mut input).take(LONGEST_ORDER).read_until(b'\n', &mut order).await.context("nothing can be read")?;
    let onto = serde_json::from_slice(&order).context("the first line does not say what is to be done")?;
    backup::import(&**engine.store(), input, onto, progress).await
}

async fn tell(output: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    output.write_all(format!("{}\n", serde_json::to_string(answer)?).as_bytes()).await
}

#[cfg(test)]
mod tests;
