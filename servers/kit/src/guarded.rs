//! Calls to what a server depends on. One [`Guarded`] stands before one dependency and puts together what such a
//! call needs: places for a bounded number at a time, a circuit breaker, repetition where that is safe, and a deadline
//! over all tries. State and outcomes are in metrics, changes of state in logs; health shows it through
//! [`Dependency::circuit_breaker`](crate::Dependency::circuit_breaker).
//!
//! It must not know what is called: whoever calls judges the errors.

use crate::breaker::{Breaker, Limits, State};
use crate::metrics::{Calls, Metrics};
use crate::retry::retry;
use arc_swap::ArcSwap;
use mcp_system_config::Resilience;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// What an error says about the dependency and about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The dependency works and did not want this call, such as for a wrong argument.
    Answered,
    /// The dependency failed, and the call may have been carried out.
    Failed,
    /// The dependency failed, and the call was not carried out or can safely be carried out twice.
    Repeatable,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble<E> {
    /// The breaker is open; nothing was sent.
    Open {
        /// How long it stays so.
        wait: Duration,
    },
    /// All places are taken; nothing was sent.
    Exhausted {
        /// How many there are.
        places: u32,
    },
    /// The deadline came first. The call may have been carried out.
    Late {
        /// The deadline.
        after: Duration,
    },
    /// What the last try brought.
    Failed(E),
}

impl<E: fmt::Display> fmt::Display for Trouble<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { wait } => write!(
                f,
                "it failed several times in a row and is left alone for up to {} s more; nothing was sent, try again \
                 later",
                wait.as_secs() + 1
            ),
            Self::Exhausted { places } => write!(
                f,
                "it is busy with {places} calls, which is the limit (resilience.bulkhead.maxConcurrentCalls), and \
                 none of them ended in time; nothing was sent, try again in a moment"
            ),
            Self::Late { after } => write!(
                f,
                "it gave no answer within {} s; the call was given up and may or may not have been carried out",
                after.as_secs_f32()
            ),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Trouble<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Failed(error) = self { Some(error) } else { None }
    }
}

/// The guard of one dependency.
pub struct Guarded {
    name: String,
    breaker: Breaker,
    rules: ArcSwap<Rules>,
    calls: Calls,
}

#[derive(Debug)]
struct Rules {
    resilience: Resilience,
    /// The most calls that the dependency itself takes.
    own: u32,
    /// How many there may be: the smaller of both limits.
    places: u32,
    semaphore: Arc<Semaphore>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("name", &self.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Guarded {
    /// A guard that measures under this name. The name is a label: it must come from the settings, not from calls.
    pub fn new(name: &str, resilience: &Resilience, metrics: &Metrics) -> Self {
        let breaker = Breaker::new(Limits::from(resilience));
        breaker.show(name, metrics);
        Self {
            name: name.to_owned(),
            breaker,
            rules: ArcSwap::from_pointee(Rules::new(resilience, u32::MAX, None)),
            calls: metrics.calls(name),
        }
    }

    /// A guard whose measures are shown nowhere, for who has no metrics at hand.
    pub fn unmeasured(name: &str, resilience: &Resilience) -> Self {
        Self::new(name, resilience, &Metrics::new("unmeasured"))
    }

    /// Puts other limits into force. Calls under way go on under the old ones.
    pub fn set(&self, resilience: &Resilience) {
        self.breaker.set_limits(Limits::from(resilience));
        self.rules.rcu(|before| Rules::new(resilience, before.own, Some(before)));
    }

    /// Lets no more calls through at a time from now on than the dependency itself takes, such as one for each
    /// connection to it. The settings may allow fewer; at first they alone count.
    pub fn at_most(&self, calls: u32) {
        self.rules.rcu(|before| Rules::new(&before.resilience, calls, Some(before)));
    }

    /// The breaker's state.
    pub fn state(&self) -> State {
        self.breaker.state()
    }

    /// The dependency was heard of by another way than a call: whatever was thought of it, it works.
    pub fn heard(&self) {
        self.breaker.succeed();
    }

    /// Calls. The deadline holds for all tries and the pauses between them together. Before that a call waits for a
    /// place, for as long as the settings allow (`bulkhead`). A call that gets none, or is dropped, says nothing
    /// about the dependency.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use mcp_system_config::Resilience;
    /// use mcp_system_kit::guarded::{Guarded, Trouble, Verdict};
    /// use mcp_system_kit::Metrics;
    /// use std::time::Duration;
    ///
    /// let guarded = Guarded::new("store", &Resilience::default(), &Metrics::new("demo"));
    /// let deadline = Duration::from_secs(5);
    /// // A write that may have been carried out is not repeated; a bad argument is no failure of the store.
    /// let judge = |error: &String| if error == "no such table" { Verdict::Answered } else { Verdict::Failed };
    /// let found = guarded.call(deadline, judge, || async { Ok::<_, String>(7) }).await;
    /// assert_eq!(found, Ok(7));
    /// let failed = guarded.call(deadline, judge, || async { Err::<u8, _>("gone".to_owned()) }).await;
    /// assert_eq!(failed, Err(Trouble::Failed("gone".to_owned())));
    /// # });
    /// ```
    pub async fn call<T, E, F, Fut>(
        &self,
        deadline: Duration,
        judge: impl Fn(&E) -> Verdict,
        operation: F,
    ) -> Result<T, Trouble<E>>
    where
        E: fmt::Display,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let rules = self.rules.load_full();
        let mut measure = self.calls.begin();
        // Who is refused anyway should not wait for a place first.
        if let Some(wait) = self.breaker.refuses() {
            measure.outcome = "refused";
            return Err(Trouble::Open { wait });
        }
        let Some(_place) = rules.place().await else {
            measure.outcome = "exhausted";
            return Err(Trouble::Exhausted { places: rules.places });
        };
        let end = Instant::now() + deadline;
        let admitted = self.breaker.step("", |machine, now| machine.admit(now).map(|()| machine.on_trial()));
        let on_trial = match admitted {
            Ok(on_trial) => on_trial,
            Err(wait) => {
                measure.outcome = "refused";
                return Err(Trouble::Open { wait });
            }
        };
        let _trial = on_trial.then(|| Trial(&self.breaker));
        let tries = AtomicU32::new(0);
        let counted = || {
            tries.fetch_add(1, Ordering::Relaxed);
            operation()
        };
        let may_repeat = |error: &E| judge(error) == Verdict::Repeatable;
        let result = tokio::time::timeout_at(end, retry(&rules.resilience.retry, may_repeat, counted)).await;
        self.calls.repeated(tries.into_inner().saturating_sub(1));
        match result {
            Ok(Ok(value)) => {
                measure.outcome = "ok";
                self.heard();
                Ok(value)
            }
            Ok(Err(error)) if judge(&error) == Verdict::Answered => {
                measure.outcome = "error";
                self.heard();
                Err(Trouble::Failed(error))
            }
            Ok(Err(error)) => {
                measure.outcome = "failed";
                self.breaker.fail_for(&error.to_string());
                Err(Trouble::Failed(error))
            }
            Err(_) => {
                measure.outcome = "timeout";
                self.breaker.fail_for("it gave no answer in time");
                Err(Trouble::Late { after: deadline })
            }
        }
    }
}

/// The one call that a half-open breaker lets through. When it is dropped without having reported, the next one may try.
struct Trial<'a>(&'a Breaker);

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // After a report the breaker is open or closed, and this does nothing.
        self.0.step("", |machine, _| machine.give_up());
    }
}

impl Rules {
    fn new(resilience: &Resilience, own: u32, before: Option<&Self>) -> Self {
        let places = resilience.bulkhead.max_concurrent_calls.min(own).max(1);
        let same = before.filter(|before| before.places == places).map(|before| before.semaphore.clone());
        Self {
            resilience: resilience.clone(),
            own,
            places,
            semaphore: same.unwrap_or_else(|| Arc::new(Semaphore::new(places as usize))),
        }
    }

    /// A place, as soon as there is one, but before too long.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.semaphore.clone().try_acquire_owned() {
            return Some(place);
        }
        let wait = Duration::from_millis(self.resilience.bulkhead.max_wait_milliseconds.into());
        // The semaphore is never closed.
        tokio::time::timeout(wait, self.semaphore.clone().acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;
