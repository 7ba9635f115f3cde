//! Watches one process: whether it becomes ready, answers, is alive, and keeps its memory limit. Says when
//! it has to be replaced, and does nothing about it itself.

use super::server::Shared;
use crate::os;
use crate::render::ProcessSpec;
use crate::settings::Settings;
use std::time::{Duration, Instant};

/// The first pause between two questions to a server that is not ready, and the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How often a server that answers MCP requests is sent one. In between its health is enough.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// How often a server that does not answer them is sent one.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// How long it may take to fetch the image of a container, besides the time for its start.
const FETCH: Duration = Duration::from_mins(10);

/// Why a process has to be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) why: String,
    /// Whether it never became ready.
    pub(super) is_startup: bool,
}

/// Watches until the process has to be replaced.
pub(super) async fn watch(
    spec: &ProcessSpec,
    pid: u32,
    started: Instant,
    settings: &Settings,
    shared: &Shared,
) -> Verdict {
    // The image of a container may have to be fetched first.
    let max_startup =
        if spec.container.is_some() { FETCH + settings.max_startup } else { settings.max_startup };
    let mut watch =
        Watch { spec, pid, settings, shared, asked: None, last_live: Instant::now(), not_live: 0 };
    let mut pause = SHORTEST_PAUSE;
    while !watch.look().await {
        if started.elapsed() >= max_startup {
            let seconds = max_startup.as_secs_f32();
            let note = shared.board.get(&spec.name).note.unwrap_or_default();
            let why = format!("was not ready within {seconds} s (MCP_MAX_STARTUP_TIME): {note}");
            return Verdict { why, is_startup: true };
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LONGEST_PAUSE);
    }
    let took = started.elapsed();
    shared.board.update(&spec.name, |facts| {
        facts.ready_after = Some(took);
        facts.failure = None;
    });
    shared.journal.note(&spec.name, &format!("ready after {:.3} s", took.as_secs_f32()));
    watch.last_live = Instant::now();
    loop {
        if let Some(why) = watch.measure().or(watch.replace_dead().await) {
            return Verdict { why, is_startup: false };
        }
        tokio::time::sleep(settings.health_interval).await;
        watch.look().await;
    }
}

struct Watch<'a> {
    spec: &'a ProcessSpec,
    pid: u32,
    settings: &'a Settings,
    shared: &'a Shared,
    /// When it was last sent an MCP request.
    asked: Option<Instant>,
    last_live: Instant,
    not_live: u32,
}

impl Watch<'_> {
    /// Looks once and tells whether the server is ready.
    async fn look(&mut self) -> bool {
        let (name, board) = (&self.spec.name, &self.shared.board);
        if let Err(why) = self.shared.observer.is_healthy(self.spec).await {
            // Whatever is healthy again is asked again.
            self.asked = None;
            board.update(name, |facts| {
                facts.healthy = false;
                facts.note = Some(why);
            });
            return false;
        }
        let before = board.get(name);
        let is_answering = before.answered == Some(true);
        let is_starting = before.ready_after.is_none();
        let every = if is_answering { ASK_EVERY } else { ASK_AGAIN.min(self.settings.health_interval) };
        if is_starting || self.asked.is_none_or(|asked| asked.elapsed() >= every) {
            let answer = self.shared.observer.ask(&self.spec.question()).await;
            self.asked = Some(Instant::now());
            board.update(name, |facts| {
                facts.healthy = true;
                match answer.answered {
                    Ok(()) => {
                        facts.answered = Some(true);
                        facts.version = answer.version;
                        facts.tools = answer.tools;
                        facts.warnings = answer.warnings;
                        facts.note = None;
                    }
                    Err(why) => {
                        facts.answered = Some(false);
                        facts.note = Some(format!("does not answer an MCP request: {why}"));
                    }
                }
            });
        } else {
            board.update(name, |facts| facts.healthy = true);
        }
        board.get(name).is_ready()
    }

    /// Measures its memory, and tells when that is more than it may have.
    fn measure(&self) -> Option<String> {
        if self.spec.container.is_some() {
            return None;
        }
        // The project's own servers are one process each, which is quicker to measure than a group.
        let measure = if self.spec.kind.is_some() { os::memory } else { os::group_memory };
        let memory = measure(self.pid);
        self.shared.board.update(&self.spec.name, |facts| facts.memory = memory);
        let (memory, limit) = (memory?, self.spec.memory_limit?);
        (memory > limit).then(|| {
            format!(
                "holds {} MiB, more than its memory limit of {} MiB; raise resources.limits.memory in the \
                 file, or MCP_MEMORY_LIMIT",
                memory >> 20,
                limit >> 20
            )
        })
    }

    /// Tells when its process has not been alive for as long as a cluster would let it be.
    async fn replace_dead(&mut self) -> Option<String> {
        let liveness = self.spec.liveness;
        if self.last_live.elapsed() < Duration::from_secs(liveness.period_seconds.into()) {
            return None;
        }
        self.last_live = Instant::now();
        self.not_live = if self.shared.observer.is_alive(self.spec).await { 0 } else { self.not_live + 1 };
        (self.not_live >= liveness.failures)
            .then(|| format!("did not tell that it is alive {} times in a row", self.not_live))
    }
}
