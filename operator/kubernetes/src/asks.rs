//! Asks every server, in the background, whether it answers MCP requests, or has answered its own.
//!
//! A server is asked when its pods change and then about once a minute. The last answer is kept; only one
//! that differs has its system looked at again. A server counts as silent after three failures in a row.
//! Must not know Kubernetes.

use crate::kind::SystemKey;
use crate::metrics::Metrics;
use crate::queue::Queue;
use mcp_system_probe::{Answer, Endpoint};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// Failures in a row after which a server counts as silent.
const FAILURES: u32 = 3;
/// How many are asked at a time.
const AT_A_TIME: usize = 16;
/// How long one may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a server told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Whether it answered; none until that is known.
    pub(crate) answered: Option<bool>,
    pub(crate) version: Option<String>,
    pub(crate) tools: Option<u32>,
    /// What of its settings it cannot use.
    pub(crate) warnings: Vec<String>,
}

/// A server to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) server: String,
    pub(crate) endpoint: Endpoint,
    /// Changes when whatever answers there is replaced; none while nothing can answer.
    pub(crate) incarnation: Option<u64>,
    /// What it told before this operator started.
    pub(crate) before: Told,
}

/// All servers and what they told.
#[derive(Debug)]
pub(crate) struct Asks {
    inner: Mutex<Inner>,
    changed: Notify,
    interval: Duration,
    random: RandomState,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<SystemKey, BTreeMap<String, Entry>>,
    due: BinaryHeap<Reverse<(Instant, SystemKey, String)>>,
}

#[derive(Clone, Debug)]
struct Entry {
    endpoint: Endpoint,
    incarnation: Option<u64>,
    told: Told,
    failures: u32,
    /// When it is to be asked next; none while it is being asked or cannot answer.
    due: Option<Instant>,
}

impl Asks {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { inner: Mutex::default(), changed: Notify::new(), interval, random: RandomState::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets which servers of a system are to be asked, and tells what is known of them.
    pub(crate) fn set(&self, key: &SystemKey, questions: Vec<Question>) -> BTreeMap<String, Told> {
        let now = Instant::now();
        let mut inner = self.inner();
        let mut known = inner.entries.remove(key).unwrap_or_default();
        let mut entries = BTreeMap::new();
        let mut is_new = false;
        for question in questions {
            let entry = updated(known.remove(&question.server), &question, now);
            if let Some(due) = entry.due {
                // Superfluous entries of the heap are passed over when they come up.
                if due <= now {
                    inner.due.push(Reverse((due, key.clone(), question.server.clone())));
                    is_new = true;
                }
            }
            entries.insert(question.server, entry);
        }
        let told = entries.iter().map(|(server, entry)| (server.clone(), entry.told.clone())).collect();
        if !entries.is_empty() {
            inner.entries.insert(key.clone(), entries);
        }
        drop(inner);
        if is_new {
            self.changed.notify_one();
        }
        told
    }

    /// Forgets a system.
    pub(crate) fn forget(&self, key: &SystemKey) {
        self.inner().entries.remove(key);
    }

    /// Asks for ever.
    pub(crate) async fn run(
        self: Arc<Self>,
        client: reqwest::Client,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
    ) {
        let permits = Arc::new(Semaphore::new(AT_A_TIME));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let (key, server, entry) = self.next().await;
            let (this, client, queue, metrics) =
                (self.clone(), client.clone(), queue.clone(), metrics.clone());
            tokio::spawn(async move {
                let answer = mcp_system_probe::ask(&client, &entry.endpoint, DEADLINE).await;
                drop(permit);
                let result = if answer.answered.is_ok() { "answered" } else { "silent" };
                metrics.asks.with_label_values(&[result]).inc();
                if let Err(error) = &answer.answered {
                    tracing::debug!(system = %key, server, url = entry.endpoint.url(), error, "no answer");
                }
                if this.record(&key, &server, &entry, answer) {
                    queue.add(key);
                }
            });
        }
    }

    /// The next one that is to be asked, once its time has come.
    async fn next(&self) -> (SystemKey, String, Entry) {
        loop {
            let changed = self.changed.notified();
            let next = {
                let mut inner = self.inner();
                match inner.take(Instant::now()) {
                    Ok(found) => return found,
                    Err(next) => next,
                }
            };
            match next {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Takes an answer. Tells whether it is a new one.
    fn record(&self, key: &SystemKey, server: &str, asked: &Entry, answer: Answer) -> bool {
        let interval = self.jittered(key, server);
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(key).and_then(|entries| entries.get_mut(server)) else {
            return false;
        };
        if entry.due.is_some() || entry.endpoint != asked.endpoint || entry.incarnation != asked.incarnation {
            // It was replaced meanwhile, and is asked again already.
            return false;
        }
        let is_new = entry.record(answer);
        let due = Instant::now() + entry.pause(interval);
        entry.due = Some(due);
        inner.due.push(Reverse((due, key.clone(), server.to_owned())));
        drop(inner);
        self.changed.notify_one();
        is_new
    }

    /// The interval, shorter or longer by up to a tenth, so that not all are asked at once.
    fn jittered(&self, key: &SystemKey, server: &str) -> Duration {
        let spread = self.random.hash_one((key, server, Instant::now())) % 201;
        let spread = u32::try_from(spread).unwrap_or_default();
        self.interval * (900 + spread) / 1000
    }
}

impl Inner {
    /// Takes the first that is due, or tells when one will be.
    fn take(&mut self, now: Instant) -> Result<(SystemKey, String, Entry), Option<Instant>> {
        while let Some(Reverse((due, _, _))) = self.due.peek() {
            if *due > now {
                return Err(Some(*due));
            }
            let Some(Reverse((due, key, server))) = self.due.pop() else { break };
            let entry = self.entries.get_mut(&key).and_then(|entries| entries.get_mut(&server));
            if let Some(entry) = entry.filter(|entry| entry.due == Some(due)) {
                entry.due = None;
                let entry = entry.clone();
                return Ok((key, server, entry));
            }
        }
        Err(None)
    }
}

/// What is known of a server, brought up to date with what is asked of it now.
fn updated(known: Option<Entry>, question: &Question, now: Instant) -> Entry {
    let fresh = |told: Told| Entry {
        endpoint: question.endpoint.clone(),
        incarnation: question.incarnation,
        told,
        failures: 0,
        due: question.incarnation.map(|_| now),
    };
    match known {
        _ if question.incarnation.is_none() => fresh(Told::default()),
        Some(entry) if entry.endpoint == question.endpoint && entry.incarnation == question.incarnation => {
            entry
        }
        // As long as something answers there, what was told last stands until it is asked again.
        Some(entry) if entry.endpoint == question.endpoint => fresh(entry.told),
        Some(_) => fresh(Told::default()),
        None => fresh(question.before.clone()),
    }
}

impl Entry {
    fn record(&mut self, answer: Answer) -> bool {
        let told = if answer.answered.is_ok() {
            self.failures = 0;
            let Answer { version, tools, warnings, .. } = answer;
            Told { answered: Some(true), version, tools, warnings }
        } else {
            self.failures = self.failures.saturating_add(1);
            if self.failures < FAILURES {
                return false;
            }
            Told { answered: Some(false), ..self.told.clone() }
        };
        let is_new = told != self.told;
        self.told = told;
        is_new
    }

    /// Soon after a failure, since a Service may take a moment to lead to its pods.
    fn pause(&self, interval: Duration) -> Duration {
        match self.failures {
            0 => interval,
            1 => Duration::from_millis(500).min(interval),
            2 => Duration::from_millis(1500).min(interval),
            more => Duration::from_secs(1 << more.min(10)).min(interval),
        }
    }
}

#[cfg(test)]
impl Asks {
    /// Has the next one that is to be asked answer this. Tells whether that is new.
    pub(crate) async fn answer(&self, answer: Answer) -> bool {
        let (key, server, entry) = self.next().await;
        self.record(&key, &server, &entry, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SystemKey {
        SystemKey::new("test", "demo")
    }

    fn question(incarnation: Option<u64>) -> Question {
        Question {
            server: "memory".to_owned(),
            endpoint: Endpoint::Mcp("http://memory/mcp".to_owned()),
            incarnation,
            before: Told::default(),
        }
    }

    fn good(tools: u32) -> Answer {
        let warnings = vec!["a setting".to_owned()];
        Answer {
            answered: Ok(()),
            version: Some("1".to_owned()),
            tools: Some(tools),
            protocol: None,
            warnings,
        }
    }

    fn bad() -> Answer {
        let answered = Err("refused".to_owned());
        Answer { answered, version: None, tools: None, protocol: None, warnings: Vec::new() }
    }

    fn told(asks: &Asks, incarnation: Option<u64>) -> Told {
        asks.set(&key(), vec![question(incarnation)])["memory"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_new_answer_is_news() {
        let asks = Asks::new(Duration::from_mins(1));
        assert_eq!(told(&asks, Some(1)), Told::default());
        assert!(asks.answer(good(7)).await);
        let start = Instant::now();
        assert!(!asks.answer(good(7)).await);
        assert!((54..=66).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        assert!(asks.answer(good(8)).await);
        assert_eq!(told(&asks, Some(1)).tools, Some(8));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_after_three_failures_in_a_row() {
        let asks = Asks::new(Duration::from_mins(1));
        told(&asks, Some(1));
        assert!(asks.answer(good(7)).await);
        assert!(!asks.answer(bad()).await);
        assert!(!asks.answer(good(7)).await, "one failure was none");
        let start = Instant::now();
        for is_news in [false, false, true, false] {
            assert_eq!(asks.answer(bad()).await, is_news);
        }
        assert!(start.elapsed() < Duration::from_secs(80));
        let told = told(&asks, Some(1));
        assert_eq!((told.answered, told.version.as_deref()), (Some(false), Some("1")));
        assert!(asks.answer(good(7)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn new_pods_are_asked_at_once_and_old_answers_stand_until_then() {
        let asks = Asks::new(Duration::from_mins(1));
        told(&asks, Some(1));
        asks.answer(good(7)).await;
        assert_eq!(told(&asks, Some(2)).answered, Some(true));
        let start = Instant::now();
        assert!(asks.answer(good(9)).await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(told(&asks, None), Told::default(), "nothing answers there");
        assert_eq!(told(&asks, Some(2)), Told::default(), "and what does now was not asked yet");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_pods_that_are_gone_does_not_count() {
        let asks = Asks::new(Duration::from_mins(1));
        told(&asks, Some(1));
        let (key, server, entry) = asks.next().await;
        told(&asks, Some(2));
        assert!(!asks.record(&key, &server, &entry, good(7)));
        assert!(asks.answer(good(8)).await);
        asks.forget(&key);
        assert!(tokio::time::timeout(Duration::from_mins(5), asks.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_told_before_a_restart_stands() {
        let asks = Asks::new(Duration::from_mins(1));
        let (version, warnings) = (Some("1".to_owned()), vec!["a setting".to_owned()]);
        let before = Told { answered: Some(true), version, tools: Some(7), warnings };
        let known = asks.set(&key(), vec![Question { before: before.clone(), ..question(Some(1)) }]);
        assert_eq!(known["memory"], before);
        assert!(!asks.answer(good(7)).await);
    }
}
