//! How commands reach the supervisor: a Unix socket that only its owner can open, one JSON line there and
//! one back. Must not know what commands print.

use crate::directories::Directories;
use crate::order::Order;
use crate::report::Report;
use crate::supervise::{Changes, Supervisor};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// A request larger than this is none.
const MAX_BYTES: u64 = 16 << 20;

/// What a supervisor is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// How the system is.
    Status,
    /// To start a server anew.
    Restart(String),
    /// To make what runs what this says.
    Apply(Box<Order>),
    /// To end every server, and itself.
    Stop,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    Status(Box<Report>),
    Applied(Changes),
    Done,
    Error(String),
}

/// Opens the socket. The caller holds the system's lock, so a socket that is there is left over.
pub(crate) fn listen(directories: &Directories) -> anyhow::Result<UnixListener> {
    let _ = std::fs::remove_file(&directories.socket);
    UnixListener::bind(&directories.socket)
        .with_context(|| format!("the socket {} cannot be made", directories.socket.display()))
}

/// Answers requests for as long as it is polled. A request to stop is handed on; `stopped` says when it is
/// carried out.
pub(crate) async fn answer(
    listener: UnixListener,
    supervisor: Arc<Supervisor>,
    stop: Arc<Notify>,
    stopped: Arc<Notify>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let (supervisor, stop, stopped) = (supervisor.clone(), stop.clone(), stopped.clone());
        tokio::spawn(async move {
            // Whoever asked may be gone before the answer; that is nobody's error.
            let _ = serve(stream, &supervisor, &stop, &stopped).await;
        });
    }
}

async fn serve(
    mut stream: UnixStream,
    supervisor: &Supervisor,
    stop: &Notify,
    stopped: &Notify,
) -> anyhow::Result<()> {
    let mut line = String::new();
    let (reading, mut writing) = stream.split();
    BufReader::new(reading.take(MAX_BYTES)).read_line(&mut line).await?;
    let response = match serde_json::from_str(&line) {
        Err(error) => Response::Error(format!(
            "the supervisor does not understand this request: {error}; it may be of another version, \
             so run `mcp-system down` and `mcp-system up` again"
        )),
        Ok(Request::Status) => Response::Status(Box::new(supervisor.report())),
        Ok(Request::Restart(server)) => match supervisor.restart(&server).await {
            Ok(()) => Response::Done,
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Ok(Request::Apply(order)) => match supervisor.apply(*order).await {
            Ok(changes) => Response::Applied(changes),
            Err(error) => Response::Error(format!("{error:#}")),
        },
        Ok(Request::Stop) => {
            let is_stopped = stopped.notified();
            tokio::pin!(is_stopped);
            // Listens before it asks, so that a quick end is not missed.
            is_stopped.as_mut().enable();
            stop.notify_one();
            is_stopped.await;
            Response::Done
        }
    };
    writing.write_all(line_of(&response)?.as_bytes()).await?;
    writing.shutdown().await?;
    Ok(())
}

/// Asks the supervisor of a system. `None` when there is none.
pub(crate) async fn ask(socket: &Path, request: &Request) -> anyhow::Result<Option<Response>> {
    let Ok(mut stream) = UnixStream::connect(socket).await else { return Ok(None) };
    let (reading, mut writing) = stream.split();
    let mut line = String::new();
    let exchanged = async {
        writing.write_all(line_of(request)?.as_bytes()).await?;
        BufReader::new(reading).read_line(&mut line).await?;
        anyhow::Ok(())
    };
    // One that ends in the middle of an answer is none any more.
    if exchanged.await.is_err() || line.is_empty() {
        return Ok(None);
    }
    match serde_json::from_str(&line)
        .context("the supervisor answered something else; is it of another version?")?
    {
        Response::Error(message) => bail!("{message}"),
        response => Ok(Some(response)),
    }
}

/// The report of a running supervisor. `None` when there is none.
pub(crate) async fn status(socket: &Path) -> anyhow::Result<Option<Report>> {
    match ask(socket, &Request::Status).await? {
        Some(Response::Status(report)) => Ok(Some(*report)),
        _ => Ok(None),
    }
}

/// One JSON line.
pub(crate) fn line_of(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(value)?))
}
