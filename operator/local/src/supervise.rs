//! Carries a plan out on this machine: starts what is missing, replaces what changed, ends what is too
//! much, and keeps it running. Must not know terminals or commands.

mod backoff;
mod child;
mod journal;
mod rotate;
mod server;
mod watch;

use crate::directories::Directories;
use crate::facts::{Board, Phase, observed};
use crate::observe::Observer;
use crate::order::{Documents, Order};
use crate::pids;
use crate::ports::{self, Busy};
use crate::render::{Place, ProcessSpec, Rendered, render};
use crate::report::{Report, report};
use crate::secrets::make_keys;
use crate::settings::Settings;
use anyhow::{Context, bail};
use journal::Journal;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use mcp_system_crds::{McpSystemStatus, Reason};
use mcp_system_plan::{Failure, Plan};
use serde::{Deserialize, Serialize};
use server::{Command, Life, Shared};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{MutexGuard, mpsc, watch as channel};
use tokio::task::JoinHandle;

/// How long processes of an earlier supervisor get to end.
pub(crate) const ORPHANS_GRACE: Duration = Duration::from_secs(15);
const ROTATE_EVERY: Duration = Duration::from_secs(5);
const ASK_REMOTES_EVERY: Duration = Duration::from_secs(30);

/// What an order changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    pub(crate) started: Vec<String>,
    pub(crate) replaced: Vec<String>,
    pub(crate) reloaded: Vec<String>,
    pub(crate) stopped: Vec<String>,
}

/// One system on this machine.
#[derive(Debug)]
pub(crate) struct Supervisor {
    program: PathBuf,
    directories: Directories,
    shared: Arc<Shared>,
    hurry: channel::Sender<bool>,
    /// Held for as long as this lives, so that there is one supervisor a system.
    _lock: File,
    state: tokio::sync::Mutex<BTreeMap<String, Server>>,
    /// Set under the lock of `state`, for good.
    is_ending: AtomicBool,
    told: Mutex<Told>,
}

/// A server of the system and the task that lives for it.
#[derive(Debug)]
struct Server {
    spec: ProcessSpec,
    commands: mpsc::Sender<Command>,
    life: JoinHandle<()>,
}

/// What reports are made from.
#[derive(Debug, Default)]
struct Told {
    order: Option<Order>,
    plan: Option<Plan>,
    specs: BTreeMap<String, ProcessSpec>,
    previous: Option<McpSystemStatus>,
    remotes: Vec<JoinHandle<()>>,
}

impl Supervisor {
    /// Takes charge of a system. Ends what an earlier supervisor left behind. `None` when another one is in
    /// charge already.
    pub(crate) fn new(
        system: &str,
        directories: Directories,
        program: PathBuf,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        directories.create()?;
        let path = directories.lock();
        let lock =
            File::create(&path).with_context(|| format!("the file {} cannot be written", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("the file {} cannot be locked", path.display()));
            }
        }
        let journal = Journal::open(&directories.log("supervisor"))?;
        // The earlier one may have had another MCP_PID_DIR.
        let earlier = directories.root.parent().and_then(|home| Directories::known(home, system));
        let pids: BTreeSet<_> = earlier.iter().chain([&directories]).map(|places| &places.pids).collect();
        for pids in pids {
            let ended = pids::end_orphans(pids, ORPHANS_GRACE);
            for orphan in &ended.names {
                journal.note(orphan, "was left behind by an earlier supervisor and was ended");
            }
            for problem in &ended.remaining {
                journal.note("supervisor", problem);
            }
        }
        directories.note()?;
        if let Some(own) = pids::Recorded::running(std::process::id(), None) {
            own.write(&directories.pid("supervisor"))?;
        }
        let shared = Shared { board: Board::new(), journal, observer: Observer::new()? };
        Ok(Some(Arc::new(Self {
            program,
            directories,
            shared: Arc::new(shared),
            hurry: channel::Sender::new(false),
            _lock: lock,
            state: tokio::sync::Mutex::default(),
            is_ending: AtomicBool::new(false),
            told: Mutex::default(),
        })))
    }

    /// The servers, unless they are ended for good: what was started then would outlive its supervisor.
    async fn servers(&self) -> anyhow::Result<MutexGuard<'_, BTreeMap<String, Server>>> {
        let servers = self.state.lock().await;
        if self.is_ending.load(Ordering::Relaxed) {
            bail!("the system is being stopped; start it again once it has ended");
        }
        Ok(servers)
    }

    /// Makes what runs what the order says. Nothing is touched when the order cannot be carried out.
    pub(crate) async fn apply(&self, order: Order) -> anyhow::Result<Changes> {
        // Asks a program, which may take its time.
        let looking = order.clone();
        let runtime = tokio::task::spawn_blocking(move || looking.runtime()).await??;
        // The documents may change while the system runs: the tools server follows them, and tells of them in its health.
        let plan = order.plan(&self.directories, runtime, Documents::new())?;
        let settings = order.settings()?;
        let rendered = self.render(&order, &plan, &settings, runtime);
        let mut servers = self.servers().await?;
        let busy = self.busy(&servers, &rendered, &settings);
        if !busy.is_empty() {
            let lines: Vec<String> = busy.iter().map(Busy::to_string).collect();
            bail!("{}", lines.join("\n"));
        }

        make_keys(&self.directories)?;
        let mut changes = Changes::default();
        let wanted: BTreeSet<&str> = rendered.processes.iter().map(|spec| spec.name.as_str()).collect();
        let mut ending = Vec::new();
        for name in servers.keys() {
            let new = rendered.processes.iter().find(|spec| &spec.name == name);
            let stays = new.is_some_and(|new| servers[name].spec.can_become(new));
            if !stays {
                ending.push(name.clone());
                let is_wanted = wanted.contains(name.as_str());
                if is_wanted { &mut changes.replaced } else { &mut changes.stopped }.push(name.clone());
            }
        }
        let ended = ending.into_iter().filter_map(|name| servers.remove_entry(&name)).collect();
        end_all(ended).await;
        for name in &changes.stopped {
            self.shared.board.remove(name);
        }

        let specs = rendered.processes.iter().map(|spec| (spec.name.clone(), spec.clone())).collect();
        let variables = Arc::new(order.variables.clone());
        self.remember(order, plan, specs, &rendered);
        let mut after = None;
        for spec in rendered.processes {
            let name = spec.name.clone();
            if let Some(server) = servers.get_mut(&name) {
                if !server.spec.reads_the_same(&spec) {
                    changes.reloaded.push(name);
                    server.spec = spec.clone();
                    let _ = server.commands.send(Command::Reload(Box::new(spec))).await;
                }
                continue;
            }
            if !changes.replaced.contains(&name) {
                changes.started.push(name.clone());
            }
            let before = if settings.parallel_startup { None } else { after.replace(name.clone()) };
            servers.insert(name, self.begin(spec, variables.clone(), settings.clone(), before));
        }
        Ok(changes)
    }

    /// Ends the process of a server and starts it again.
    pub(crate) async fn restart(&self, name: &str) -> anyhow::Result<()> {
        let servers = self.servers().await?;
        let Some(server) = servers.get(name) else {
            let names: Vec<&str> = servers.keys().map(String::as_str).collect();
            bail!("no server called {name:?} runs here; those that run are {}", names.join(", "));
        };
        server.commands.send(Command::Restart).await.context("the server has ended")
    }

    /// Ends every server and clears away what only a running system needs.
    pub(crate) async fn stop(&self) {
        let mut servers = self.state.lock().await;
        self.is_ending.store(true, Ordering::Relaxed);
        end_all(std::mem::take(&mut *servers).into_iter().collect()).await;
        for remote in self.told().remotes.drain(..) {
            remote.abort();
        }
        pids::forget(&self.directories.pids);
        self.shared.journal.note("supervisor", "ended");
    }

    /// Lets processes that are ending no more time.
    pub(crate) fn hurry(&self) {
        self.hurry.send_replace(true);
    }

    /// Hears of every change of what [`Self::report`] tells.
    pub(crate) fn changes(&self) -> channel::Receiver<u64> {
        self.shared.board.changes()
    }

    /// What is to be told of the system right now.
    pub(crate) fn report(&self) -> Report {
        let facts = self.shared.board.all();
        let mut told = self.told();
        let Some(plan) = &told.plan else { return Report::default() };
        let now = Time(Timestamp::now());
        let status = mcp_system_plan::status(plan, &observed(&facts), None, told.previous.as_ref(), &now);
        let (name, needs_key, not_mounted) = (plan.system.clone(), plan.needs_key, plan.not_mounted.clone());
        told.previous = Some(status.clone());
        Report {
            file: told.order.as_ref().and_then(|order| order.file.clone()),
            needs_key,
            not_mounted,
            supervisor: std::process::id(),
            logs: self.directories.logs.clone(),
            ..report(&name, status, &facts, &told.specs)
        }
    }

    /// Notes when conditions change, and keeps logs from growing without end. Never ends by itself.
    pub(crate) async fn keep(&self) {
        let mut changes = self.changes();
        let mut rotation = tokio::time::interval(ROTATE_EVERY);
        loop {
            tokio::select! {
                _ = changes.changed() => {
                    self.report();
                }
                _ = rotation.tick() => self.rotate_logs(),
            }
        }
    }

    fn rotate_logs(&self) {
        let logs: Vec<PathBuf> = self.told().specs.values().map(|spec| spec.log.clone()).collect();
        for log in logs.into_iter().chain([self.directories.log("supervisor")]) {
            if let Err(error) = rotate::rotate(&log, rotate::MAX_BYTES) {
                self.shared
                    .journal
                    .note("supervisor", &format!("{} cannot be rotated: {error}", log.display()));
            }
        }
    }

    fn render(&self, order: &Order, plan: &Plan, settings: &Settings, runtime: Option<&str>) -> Rendered {
        let place = Place {
            program: &self.program,
            directories: &self.directories,
            base: &order.base,
            bind: settings.bind,
            runtime,
            variables: &order.variables,
        };
        render(plan, &place)
    }

    /// The ports that are needed and not held by servers that run here already.
    fn busy(
        &self,
        servers: &BTreeMap<String, Server>,
        rendered: &Rendered,
        settings: &Settings,
    ) -> Vec<Busy> {
        let ours: BTreeSet<u16> = servers
            .iter()
            .filter(|(name, _)| self.shared.board.get(name).pid.is_some())
            .map(|(_, server)| server.spec.port)
            .collect();
        let wanted = rendered.processes.iter().filter(|spec| !ours.contains(&spec.port));
        ports::busy(settings.bind, wanted.map(|spec| (spec.name.as_str(), spec.port)))
    }

    /// Notes what reports are made from, and what is known of servers that have no process.
    fn remember(&self, order: Order, plan: Plan, specs: BTreeMap<String, ProcessSpec>, rendered: &Rendered) {
        let mut told = self.told();
        for remote in told.remotes.drain(..) {
            remote.abort();
        }
        let board = &self.shared.board;
        let planned = |name: &str| {
            plan.workloads.iter().any(|workload| workload.name == name)
                || plan.remotes.iter().any(|remote| remote.name == name)
        };
        for name in board.all().keys().filter(|name| !planned(name)) {
            board.remove(name);
        }
        for withheld in &rendered.withheld {
            self.shared.journal.note(&withheld.name, &withheld.message);
            board.update(&withheld.name, |facts| {
                facts.phase = Phase::Withheld;
                facts.failure =
                    Some(Failure { reason: Reason::ServerFailing, message: withheld.message.clone() });
            });
        }
        for remote in &plan.remotes {
            board.update(&remote.name, |facts| facts.phase = Phase::Elsewhere);
            let asking = ask_remote(self.shared.clone(), remote.name.clone(), remote.url.clone());
            told.remotes.push(tokio::spawn(asking));
        }
        told.order = Some(order);
        told.plan = Some(plan);
        told.specs = specs;
    }

    fn begin(
        &self,
        spec: ProcessSpec,
        variables: Arc<BTreeMap<String, String>>,
        settings: Settings,
        after: Option<String>,
    ) -> Server {
        self.shared.board.update(&spec.name, |facts| {
            facts.phase = Phase::Queued;
            facts.restarts = 0;
            facts.failure = None;
            facts.note = None;
        });
        let (commands, heard) = mpsc::channel(4);
        let life = Life {
            spec: spec.clone(),
            variables,
            settings,
            shared: self.shared.clone(),
            commands: heard,
            hurry: self.hurry.subscribe(),
            after,
        };
        Server { spec, commands, life: tokio::spawn(life.live()) }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends servers: the orchestrator first, so that its calls to the others are done, then the others at once.
async fn end_all(servers: Vec<(String, Server)>) {
    let (first, others): (Vec<_>, Vec<_>) = servers
        .into_iter()
        .partition(|(_, server)| server.spec.kind == Some(mcp_system_crds::config::ServerKind::Orchestrator));
    for group in [first, others] {
        for (_, server) in &group {
            let _ = server.commands.send(Command::Stop).await;
        }
        for (_, server) in group {
            let _ = server.life.await;
        }
    }
}

/// Asks a server that runs elsewhere whether it answers, again and again.
async fn ask_remote(shared: Arc<Shared>, name: String, url: String) {
    loop {
        let answer = shared.observer.ask_outside(&url).await;
        shared.board.update(&name, |facts| {
            facts.phase = Phase::Elsewhere;
            facts.healthy = answer.answered.is_ok();
            facts.answered = Some(answer.answered.is_ok());
            facts.version = answer.version;
            facts.tools = answer.tools;
            facts.note = answer.answered.err();
        });
        tokio::time::sleep(ASK_REMOTES_EVERY).await;
    }
}
