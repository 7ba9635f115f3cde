//! The life of one server: started, watched, started again, ended. One task a server; it must not know the
//! others.

use super::backoff::Backoff;
use super::child::{Running, prepare};
use super::journal::Journal;
use super::watch::{Verdict, watch};
use crate::directories::write_whole;
use crate::facts::{Board, Facts, Phase};
use crate::observe::Observer;
use crate::render::ProcessSpec;
use crate::secrets;
use crate::settings::Settings;
use mcp_system_crds::Reason;
use mcp_system_plan::Failure;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch as channel};

/// What a server is told.
#[derive(Debug)]
pub(super) enum Command {
    /// End the process and start it again.
    Restart,
    /// Take over another file, without a restart.
    Reload(Box<ProcessSpec>),
    /// End for good.
    Stop,
}

/// What the tasks of all servers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) board: Board,
    pub(super) journal: Journal,
    pub(super) observer: Observer,
}

/// Everything that the task of one server needs.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) spec: ProcessSpec,
    pub(super) variables: Arc<BTreeMap<String, String>>,
    pub(super) settings: Settings,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) hurry: channel::Receiver<bool>,
    /// The server that has to be settled before this one is started for the first time.
    pub(super) after: Option<String>,
}

/// Why a process is no more.
enum End {
    /// The server is to end for good.
    Stopped,
    /// It is to be started again at once.
    Asked,
    /// It ended by itself, or had to be ended.
    Fell { why: String, ready_for: Option<Duration>, is_hopeless: bool },
}

impl Life {
    pub(super) async fn live(mut self) {
        if self.wait_for_turn().await {
            let mut backoff = Backoff::default();
            loop {
                match self.process().await {
                    End::Stopped => break,
                    End::Asked => {
                        backoff = Backoff::default();
                        self.update(|facts| facts.failure = None);
                    }
                    End::Fell { why, ready_for, is_hopeless } => {
                        let delay = backoff.ended(ready_for);
                        if !self.fell(&why, delay, is_hopeless || backoff.is_hopeless()).await {
                            break;
                        }
                    }
                }
            }
        }
        self.update(|facts| {
            facts.forget_process();
            facts.phase = Phase::Ended;
        });
    }

    /// Waits for the server before this one. `false` when this one is told to end meanwhile.
    async fn wait_for_turn(&mut self) -> bool {
        let Some(before) = self.after.take() else { return true };
        let shared = self.shared.clone();
        let settled = shared.board.settled(&before);
        tokio::pin!(settled);
        loop {
            tokio::select! {
                () = &mut settled => return true,
                command = self.commands.recv() => match command {
                    Some(Command::Reload(spec)) => self.spec = *spec,
                    Some(Command::Restart) => return true,
                    Some(Command::Stop) | None => return false,
                },
            }
        }
    }

    /// One process, from its start to its end.
    async fn process(&mut self) -> End {
        self.update(|facts| {
            facts.forget_process();
            facts.phase = Phase::Running;
            facts.starts += 1;
        });
        if let Some(end) = self.prepared().await {
            return end;
        }
        let mut running = match Running::start(&self.spec, &self.variables).await {
            Ok(running) => running,
            Err(error) => {
                return End::Fell { why: format!("{error:#}"), ready_for: None, is_hopeless: true };
            }
        };
        let started = Instant::now();
        self.note(&format!("started as process {}", running.pid));
        self.update(|facts| {
            facts.pid = Some(running.pid);
            facts.started = Some(started);
        });
        let shared = self.shared.clone();
        let (spec, settings) = (self.spec.clone(), self.settings.clone());
        let watched = watch(&spec, running.pid, started, &settings, &shared);
        tokio::pin!(watched);
        let mut is_hopeless = false;
        let (end, has_ended) = loop {
            tokio::select! {
                why = running.ended() => break (self.fallen(why, started, false), true),
                verdict = &mut watched => {
                    let Verdict { why, is_startup } = verdict;
                    is_hopeless |= is_startup;
                    break (self.fallen(why, started, is_hopeless), false);
                }
                command = self.commands.recv() => match command {
                    Some(Command::Reload(spec)) => self.reload(*spec),
                    Some(Command::Restart) => break (End::Asked, false),
                    Some(Command::Stop) | None => break (End::Stopped, false),
                },
            }
        };
        if !has_ended {
            self.update(|facts| facts.phase = Phase::Stopping);
            running.end(&mut self.hurry).await;
            self.note(match end {
                End::Fell { .. } => "was ended",
                End::Asked => "ended; a restart was asked for",
                End::Stopped => "ended",
            });
        }
        end
    }

    /// Does what has to be done before the first start; tells how this server ends when that is not to be.
    async fn prepared(&mut self) -> Option<End> {
        let (spec, variables) = (self.spec.clone(), self.variables.clone());
        let preparing = prepare(&spec, &variables);
        tokio::pin!(preparing);
        loop {
            tokio::select! {
                done = &mut preparing => return match done {
                    Ok(report) => {
                        if let Some(report) = report {
                            self.note(&report);
                        }
                        None
                    }
                    Err(error) => {
                        Some(End::Fell { why: format!("{error:#}"), ready_for: None, is_hopeless: true })
                    }
                },
                command = self.commands.recv() => match command {
                    Some(Command::Reload(spec)) => self.spec = *spec,
                    Some(Command::Restart) => return Some(End::Asked),
                    Some(Command::Stop) | None => return Some(End::Stopped),
                },
            }
        }
    }

    fn fallen(&self, why: String, started: Instant, is_hopeless: bool) -> End {
        let ready_after = self.shared.board.get(&self.spec.name).ready_after;
        let ready_for = ready_after.map(|time| started.elapsed().saturating_sub(time));
        End::Fell { why, ready_for, is_hopeless }
    }

    /// Waits for the next start of a server that ended. `false` when there is to be none.
    async fn fell(&mut self, why: &str, delay: Duration, is_hopeless: bool) -> bool {
        let is_restarted = self.settings.auto_restart;
        self.note(&if is_restarted {
            format!("{why}; started again in {} s", delay.as_secs_f32())
        } else {
            format!("{why}; MCP_AUTO_RESTART is false, so it stays so")
        });
        self.update(|facts| {
            facts.forget_process();
            facts.phase = if is_restarted { Phase::Waiting } else { Phase::Ended };
            facts.note = Some(why.to_owned());
            if is_hopeless || !is_restarted {
                facts.failure = Some(Failure { reason: Reason::ServerFailing, message: why.to_owned() });
            }
        });
        let pause = async {
            if is_restarted {
                tokio::time::sleep(delay).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => {
                    self.update(|facts| facts.restarts += 1);
                    return true;
                }
                command = self.commands.recv() => match command {
                    Some(Command::Reload(spec)) => self.spec = *spec,
                    Some(Command::Restart) => {
                        self.update(|facts| facts.failure = None);
                        return true;
                    }
                    Some(Command::Stop) | None => return false,
                },
            }
        }
    }

    fn reload(&mut self, spec: ProcessSpec) {
        let write = || {
            spec.secrets.iter().try_for_each(secrets::put)?;
            spec.config.as_ref().map_or(Ok(()), |config| write_whole(&config.path, &config.text))
        };
        match write() {
            Ok(()) => self.note("has new settings to read"),
            Err(error) => self.note(&format!("cannot be given its new settings: {error:#}")),
        }
        self.spec = spec;
    }

    fn note(&self, event: &str) {
        self.shared.journal.note(&self.spec.name, event);
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        self.shared.board.update(&self.spec.name, change);
    }
}
