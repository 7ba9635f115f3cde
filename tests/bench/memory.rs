//! Time and space, at each size, of one server after the other.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use mcp_system_tests::wire::Client;
use serde::Serialize;

use crate::clock::{Bound, Spread, milliseconds};
use crate::corpus::{Corpus, Entry};
use crate::report;
use crate::servers::{Call, KINDS, Kind, Means, Server};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many memories our server holds when it is measured
    #[arg(long, value_delimiter = ',', default_value = "10000,100000")]
    sizes: Vec<usize>,
    /// The same for peers
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    peer_sizes: Vec<usize>,
    /// Which peers, of mcp-memory-service, server-memory and mcp-memory; their programs stand on the PATH
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// The most seconds of one measured loop
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The most seconds of filling a peer up to one size; after them it is measured as far as it got
    #[arg(long, default_value_t = 300)]
    fill_seconds: u64,
    /// A home for peers that keep the weights of a model there
    #[arg(long)]
    home: Option<PathBuf>,
    /// Our program; else the release build beside this one
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where to write all figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// All figures of one server.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) server: &'static str,
    pub(crate) note: &'static str,
    pub(crate) start_ms: f64,
    pub(crate) empty_mib: f64,
    pub(crate) sizes: Vec<AtSize>,
}

/// Those at one size.
#[derive(Debug, Serialize)]
pub(crate) struct AtSize {
    pub(crate) memories: usize,
    /// Stores a second while it was filled to this size.
    pub(crate) filled_per_second: f64,
    pub(crate) search_ms: Option<Spread>,
    pub(crate) cached_ms: Option<Spread>,
    pub(crate) store_ms: Option<Spread>,
    /// A thousand memories in one call.
    pub(crate) batch_ms: Option<f64>,
    pub(crate) searches_per_second: Option<f64>,
    pub(crate) search_cpu_us: Option<f64>,
    pub(crate) store_cpu_us: Option<f64>,
    pub(crate) resident_mib: f64,
    /// From the start of the process to the first answered search, with these memories there.
    pub(crate) restart_ms: f64,
    pub(crate) restarted_mib: f64,
}

/// Callers at once, for throughput.
const CALLERS: usize = 32;
/// Questions of each of them that are made beforehand: enough for 12 seconds of 10,000 searches a second. A caller that
/// gets further makes the others as it goes.
const PREPARED: usize = 4000;
/// Callers at once while a server without batches is filled.
const FILLERS: usize = 8;
const BATCH: usize = 1000;

pub(crate) fn run(options: &Options) -> Result<()> {
    let corpus = Corpus::new();
    let binary = options.binary.clone().map_or_else(mcp_system_tests::laptop::binary, Ok)?;
    let mut all = Vec::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        let ours = number == 0;
        if !ours && !options.peers.iter().any(|peer| peer == kind.name) {
            continue;
        }
        let sizes = if ours { &options.sizes } else { &options.peer_sizes };
        let measure = Measure {
            corpus: &corpus,
            loops: Duration::from_secs(options.seconds),
            filling: Duration::from_secs(if ours { 3600 } else { options.fill_seconds }),
            means: Means { program: ours.then_some(binary.as_path()), home: options.home.as_deref() },
        };
        // At the peers' sizes too, so that there are ratios.
        let mut sizes: Vec<usize> = sizes.iter().chain(&options.peer_sizes).copied().collect();
        sizes.sort_unstable();
        sizes.dedup();
        let figures = measure.server(kind, &sizes);
        let figures = figures.with_context(|| format!("{} cannot be measured", kind.name))?;
        print!("{}", report::rows(&figures));
        all.push(figures);
    }
    if let Some(unknown) = options.peers.iter().find(|peer| KINDS.iter().all(|kind| kind.name != **peer)) {
        bail!("there is no peer {unknown:?} in the table");
    }
    print!("{}", report::table(&all));
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&all).context("figures are JSON")?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// After so long without a request, a server takes what it takes at rest.
const AT_REST: Duration = Duration::from_secs(10);

/// How one server is measured.
struct Measure<'a> {
    corpus: &'a Corpus,
    /// The most time of a measured loop, and of filling.
    loops: Duration,
    filling: Duration,
    means: Means<'a>,
}

impl Measure<'_> {
    fn server(&self, kind: Kind, sizes: &[usize]) -> Result<Figures> {
        let mut server = Server::start(kind, self.means)?;
        let start_ms = milliseconds(server.start);
        std::thread::sleep(AT_REST);
        let empty_mib = server.usage().mebibytes();
        let mut figures =
            Figures { server: kind.name, note: kind.note, start_ms, empty_mib, sizes: Vec::new() };
        let mut held = 0;
        for size in sizes {
            eprintln!("bench: {} up to {size} memories", kind.name);
            let began = (Instant::now(), held);
            held = self.fill(&mut server, held, *size)?;
            #[allow(clippy::cast_precision_loss, reason = "counts are small")]
            let filled_per_second = (held - began.1) as f64 / began.0.elapsed().as_secs_f64();
            let mut at = self.at_size(&mut server, &mut held)?;
            server = server.restart(self.means)?;
            at.filled_per_second = filled_per_second;
            at.restart_ms = milliseconds(server.start);
            at.restarted_mib = server.usage().mebibytes();
            let full = held >= *size;
            figures.sizes.push(at);
            if !full {
                break;
            }
        }
        Ok(figures)
    }

    /// Stores what is missing up to this size, for as long as it may; tells how many there are.
    fn fill(&self, server: &mut Server, held: usize, size: usize) -> Result<usize> {
        let end = Instant::now() + self.filling;
        if let Some(batch) = server.kind.batch
            && server.has(batch(&[]).0)
        {
            let mut held = held;
            while held < size && Instant::now() < end {
                let next = (held + BATCH).min(size);
                let (tool, arguments) = batch(&self.entries(held, next));
                server.client.call(tool, &arguments)?;
                held = next;
            }
            return Ok(held);
        }
        let next = Mutex::new(held);
        let take = || {
            let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
            (*next < size && Instant::now() < end).then(|| {
                *next += 1;
                *next - 1
            })
        };
        let store = server.kind.store;
        at_once(server, FILLERS, |client, _| {
            while let Some(number) = take() {
                let (tool, arguments) = store(&self.corpus.entry(number), number);
                client.call(tool, &arguments)?;
            }
            Ok(())
        })?;
        Ok(next.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything that is measured while it holds so many.
    fn at_size(&self, server: &mut Server, held: &mut usize) -> Result<AtSize> {
        let memories = *held;
        let question = |number: usize| self.corpus.question(number, memories);
        let Kind { search, store, cached, batch, .. } = server.kind;
        self.timed(server, 200, |number| search(&question(usize::MAX / 2 + number)))?;
        let (search_ms, search_cpu_us) = self.timed(server, 2000, |number| search(&question(number)))?;

        let mut cached_ms = None;
        if let Some(cached) = cached.filter(|cached| server.has(cached("").0)) {
            // Few enough to stay cached, asked for once before.
            self.timed(server, 50, |number| cached(&question(number)))?;
            cached_ms = self.timed(server, 2000, |number| cached(&question(number % 50)))?.0;
        }
        let searches_per_second = match &server.place {
            Some(_) => Some(self.throughput(server, search, &question)?),
            None => None,
        };

        let first = *held;
        let (store_ms, store_cpu_us) =
            self.timed(server, 1000, |number| store(&self.corpus.entry(first + number), first + number))?;
        *held += store_ms.map_or(0, |spread| spread.count);
        let mut batch_ms = None;
        if let Some(batch) = batch.filter(|batch| server.has(batch(&[]).0)) {
            let (tool, arguments) = batch(&self.entries(*held, *held + BATCH));
            batch_ms = Some(milliseconds(server.client.call(tool, &arguments)?.took));
            *held += BATCH;
        }
        Ok(AtSize {
            memories,
            search_ms,
            cached_ms,
            store_ms,
            batch_ms,
            searches_per_second,
            search_cpu_us,
            store_cpu_us,
            resident_mib: server.usage().mebibytes(),
            filled_per_second: 0.0,
            restart_ms: 0.0,
            restarted_mib: 0.0,
        })
    }

    /// One caller, call after call: how long each took, and the server's processor time for each in microseconds.
    fn timed(
        &self,
        server: &mut Server,
        turns: usize,
        call: impl Fn(usize) -> Call,
    ) -> Result<(Option<Spread>, Option<f64>)> {
        // Some servers close a connection that nobody used for five seconds.
        if let Some(place) = &server.place {
            server.client = server.client.another(place)?;
        }
        let before = server.usage().cpu_seconds;
        let mut taken = Vec::new();
        for number in (Bound { turns, time: self.loops }).turns() {
            let (tool, arguments) = call(number);
            taken.push(server.client.call(tool, &arguments)?.took);
        }
        let used = server.usage().cpu_seconds - before;
        #[allow(clippy::cast_precision_loss, reason = "counts are small")]
        let each = (!taken.is_empty()).then(|| used * 1e6 / taken.len() as f64);
        Ok((Spread::of(taken), each))
    }

    /// Distinct searches a second, from many callers that each wait for their answer. What they ask is made before the
    /// clock starts: they share the processor with the server.
    fn throughput(
        &self,
        server: &mut Server,
        search: fn(&str) -> Call,
        question: &(impl Fn(usize) -> String + Sync),
    ) -> Result<f64> {
        let asked = |caller: usize, turn: usize| question((caller + 1) * 1_000_000 + turn);
        let prepared: Vec<Vec<String>> =
            (0..CALLERS).map(|caller| (0..PREPARED).map(|turn| asked(caller, turn)).collect()).collect();
        let done = AtomicUsize::new(0);
        let started = Instant::now();
        at_once(server, CALLERS, |client, caller| {
            for turn in (Bound { turns: 100_000, time: self.loops }).turns() {
                let ready = prepared[caller].get(turn).map(|ready| Cow::Borrowed(ready.as_str()));
                let question = ready.unwrap_or_else(|| Cow::Owned(asked(caller, turn)));
                let (tool, arguments) = search(&question);
                client.call(tool, &arguments)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?;
        #[allow(clippy::cast_precision_loss, reason = "counts are small")]
        let done = done.into_inner() as f64;
        Ok(done / started.elapsed().as_secs_f64())
    }

    fn entries(&self, from: usize, to: usize) -> Vec<(usize, Entry)> {
        (from..to).map(|number| (number, self.corpus.entry(number))).collect()
    }
}

/// So many callers at once, each with a connection of its own; one where the server takes but one.
fn at_once(
    server: &mut Server,
    callers: usize,
    work: impl Fn(&mut Client, usize) -> Result<()> + Sync,
) -> Result<()> {
    let Some(place) = &server.place else { return work(&mut server.client, 0) };
    let clients: Vec<Client> = (0..callers).map(|_| server.client.another(place)).collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, mut client)| scope.spawn(move || work(&mut client, number)))
            .collect();
        running.into_iter().try_for_each(|caller| caller.join().map_err(|_| anyhow!("a caller panicked"))?)
    })
}
