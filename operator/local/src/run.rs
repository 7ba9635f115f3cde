//! A supervisor in a process: its control socket, the signals that end it, and its end in order.

use crate::control;
use crate::directories::Directories;
use crate::order::Order;
use crate::supervise::{Changes, Supervisor};
use anyhow::Context;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A supervisor with everything around it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) supervisor: Arc<Supervisor>,
    directories: Directories,
    signals: Signals,
    stop: Arc<Notify>,
    stopped: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
}

/// The signals that end a supervisor. A closed terminal is one of them: servers must not outlive it.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

impl Run {
    /// Takes charge of a system and carries the order out. `None` when another supervisor is in charge.
    pub(crate) async fn start(
        directories: Directories,
        program: PathBuf,
        order: Order,
    ) -> anyhow::Result<Option<(Self, Changes)>> {
        let signals = Signals::new().context("signals cannot be taken")?;
        let Some(supervisor) = Supervisor::new(order.name(), directories.clone(), program)? else {
            return Ok(None);
        };
        let begun = async {
            let changes = supervisor.apply(order).await?;
            anyhow::Ok((changes, control::listen(&directories)?))
        };
        let (changes, listener) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                supervisor.stop().await;
                return Err(error);
            }
        };
        let (stop, stopped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let answering = control::answer(listener, supervisor.clone(), stop.clone(), stopped.clone());
        let keeping = supervisor.clone();
        let tasks = vec![tokio::spawn(answering), tokio::spawn(async move { keeping.keep().await })];
        Ok(Some((Self { supervisor, directories, signals, stop, stopped, tasks }, changes)))
    }

    /// Resolves when the system is to end: by a signal, or because somebody asked for it.
    pub(crate) async fn until_stop(&mut self) {
        tokio::select! {
            () = self.signals.next() => {}
            () = self.stop.notified() => {}
        }
    }

    /// Ends everything. A second signal ends it at once.
    pub(crate) async fn end(mut self) {
        let supervisor = self.supervisor.clone();
        let ending = supervisor.stop();
        tokio::pin!(ending);
        loop {
            tokio::select! {
                () = &mut ending => break,
                () = self.signals.next() => self.supervisor.hurry(),
            }
        }
        let _ = std::fs::remove_file(&self.directories.socket);
        self.stopped.notify_waiters();
        // Lets the answers to those who asked for the end get out.
        tokio::task::yield_now().await;
        for task in self.tasks {
            task.abort();
        }
    }
}
