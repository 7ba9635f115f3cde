//! A circuit breaker as a pure state machine: the clock is handed in, nothing is awaited, nothing is logged. [`Breaker`]
//! is one that several tasks share, on the real clock, with its state in metrics and its changes in logs.
//!
//! Closed lets calls through and counts failures in a row. Open refuses them until a while has passed.
//! Half-open lets one call through to see; its outcome closes or opens the breaker again.

use crate::metrics::Metrics;
use mcp_system_config::Resilience;
use prometheus::IntGauge;
use serde::Serialize;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Whether calls are let through. Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Calls are let through.
    Closed,
    /// One call is let through to see whether the others may follow.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl State {
    /// The name that health and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }

    /// The number that metrics show.
    const fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// When a breaker opens and when it looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row that open it; at least one.
    pub failures: u32,
    /// How long it stays open.
    pub recovery: Duration,
}

impl From<&Resilience> for Limits {
    fn from(settings: &Resilience) -> Self {
        Self {
            failures: settings.failure_threshold.max(1),
            recovery: Duration::from_secs(settings.recovery_seconds.into()),
        }
    }
}

/// The state machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    limits: Limits,
    inner: Inner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inner {
    Closed {
        failures: u32,
    },
    Open {
        since: Instant,
    },
    /// `trial` is when the one under way began, if there is one: one that never reports must not block the next for
    /// ever.
    HalfOpen {
        trial: Option<Instant>,
    },
}

impl Machine {
    /// A closed breaker.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, inner: Inner::Closed { failures: 0 } }
    }

    /// Puts other limits into force; what was counted so far stays counted.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether a call may go through now; otherwise how long to wait. Leave is given for one trial at a time.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        if let Some(wait) = self.refuses(now) {
            return Err(wait);
        }
        if self.inner.state() != State::Closed {
            self.inner = Inner::HalfOpen { trial: Some(now) };
        }
        Ok(())
    }

    /// For how long a call would not be let through now; none when it would be.
    pub fn refuses(&self, now: Instant) -> Option<Duration> {
        let (Inner::Open { since } | Inner::HalfOpen { trial: Some(since) }) = self.inner else {
            return None;
        };
        let wait = self.limits.recovery.saturating_sub(now.saturating_duration_since(since));
        (!wait.is_zero()).then_some(wait)
    }

    /// Whether the call that was let through last is a trial, which has to report.
    pub const fn on_trial(&self) -> bool {
        matches!(self.inner, Inner::HalfOpen { trial: Some(_) })
    }

    /// The trial was given up by its caller and tells nothing: the next call is one.
    pub const fn give_up(&mut self) {
        if let Inner::HalfOpen { trial } = &mut self.inner {
            *trial = None;
        }
    }

    /// A call was answered: whatever was thought of the other side, it works.
    pub const fn succeed(&mut self) {
        self.inner = Inner::Closed { failures: 0 };
    }

    /// A call was not answered. One that began before the breaker opened tells nothing new.
    pub fn fail(&mut self, now: Instant) {
        match self.inner {
            Inner::Closed { failures } if failures.saturating_add(1) < self.limits.failures => {
                self.inner = Inner::Closed { failures: failures + 1 };
            }
            Inner::Closed { .. } | Inner::HalfOpen { .. } => self.inner = Inner::Open { since: now },
            Inner::Open { .. } => {}
        }
    }

    /// What it would do with a call now.
    pub fn state(&self, now: Instant) -> State {
        match self.inner {
            Inner::Closed { .. } => State::Closed,
            Inner::HalfOpen { .. } => State::HalfOpen,
            Inner::Open { since } if now.saturating_duration_since(since) >= self.limits.recovery => {
                State::HalfOpen
            }
            Inner::Open { .. } => State::Open,
        }
    }
}

impl Inner {
    const fn state(self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::HalfOpen { .. } => State::HalfOpen,
            Self::Open { .. } => State::Open,
        }
    }
}

/// The clock of the runtime, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A [`Machine`] that several tasks share, on the real clock.
#[derive(Debug)]
pub struct Breaker {
    machine: Mutex<Machine>,
    shown: OnceLock<Shown>,
}

/// Where people see a breaker.
#[derive(Debug)]
struct Shown {
    dependency: String,
    state: IntGauge,
}

impl Breaker {
    /// A closed breaker, which is shown nowhere.
    pub const fn new(limits: Limits) -> Self {
        Self { machine: Mutex::new(Machine::new(limits)), shown: OnceLock::new() }
    }

    /// Shows its state in these measures and logs its changes from now on, under the dependency's name. The name is a
    /// label: it must come from the settings. A breaker is shown once.
    pub fn show(&self, dependency: &str, metrics: &Metrics) {
        let shown = Shown { dependency: dependency.to_owned(), state: metrics.breaker(dependency) };
        let machine = self.machine();
        shown.state.set(machine.inner.state().number());
        // An error says only that it is shown already.
        let _ = self.shown.set(shown);
    }

    /// Puts other limits into force; what was counted so far stays counted.
    pub fn set_limits(&self, limits: Limits) {
        self.machine().set_limits(limits);
    }

    /// Whether a call may go through now; otherwise how long to wait.
    pub fn admit(&self) -> Result<(), Duration> {
        self.step("", Machine::admit)
    }

    /// For how long a call would not be let through now; none when it would be.
    pub(crate) fn refuses(&self) -> Option<Duration> {
        self.machine().refuses(now())
    }

    /// Reports a call that was answered.
    pub fn succeed(&self) {
        self.step("", |machine, _| machine.succeed());
    }

    /// Reports a call that was not answered.
    pub fn fail(&self) {
        self.fail_for("it did not answer");
    }

    /// Reports a call that was not answered, for this reason.
    pub(crate) fn fail_for(&self, why: &str) {
        self.step(why, Machine::fail);
    }

    /// What it would do with a call now.
    pub fn state(&self) -> State {
        self.machine().state(now())
    }

    /// Does one step, and tells of the new state when that is another.
    pub(crate) fn step<T>(&self, why: &str, step: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let mut machine = self.machine();
        let before = machine.inner.state();
        let result = step(&mut machine, now());
        let after = machine.inner.state();
        let changed = self.shown.get().filter(|_| before != after);
        if let Some(shown) = changed {
            // Before anybody does the next step, so that what is shown is the last one.
            shown.state.set(after.number());
        }
        drop(machine);
        if let Some(shown) = changed {
            shown.log(after, why);
        }
        result
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // The machine is whole after each step, so a panic elsewhere cannot have left it half changed.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn log(&self, state: State, why: &str) {
        let dependency = &*self.dependency;
        match state {
            State::Open => {
                tracing::warn!(dependency, why, "its circuit breaker opened: it is left alone for a while");
            }
            State::HalfOpen => {
                tracing::info!(dependency, "its circuit breaker lets one call through to see");
            }
            State::Closed => tracing::info!(dependency, "its circuit breaker closed: it works again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { failures: 3, recovery: Duration::from_mins(1) };

    fn opened(at: Instant) -> Machine {
        let mut machine = Machine::new(LIMITS);
        (0..3).for_each(|_| machine.fail(at));
        machine
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let now = Instant::now();
        let mut machine = Machine::new(LIMITS);
        machine.fail(now);
        machine.fail(now);
        machine.succeed();
        machine.fail(now);
        machine.fail(now);
        assert_eq!(machine.state(now), State::Closed);
        machine.fail(now);
        assert_eq!(machine.state(now), State::Open);
        assert_eq!(machine.admit(now + Duration::from_secs(20)), Err(Duration::from_secs(40)));
    }

    #[test]
    fn after_a_while_one_call_decides() {
        let start = Instant::now();
        let later = start + Duration::from_mins(1);
        let mut machine = opened(start);
        assert_eq!(machine.admit(later), Ok(()));
        assert!(machine.admit(later).is_err(), "one trial at a time");
        let mut failed = machine;
        failed.fail(later);
        assert_eq!(failed.state(later), State::Open);
        machine.succeed();
        assert_eq!(machine.state(later), State::Closed);
        assert_eq!(machine.admit(later), Ok(()));
    }

    #[test]
    fn a_trial_that_never_reports_does_not_block_the_next_for_ever() {
        let start = Instant::now();
        let mut machine = opened(start);
        assert_eq!(machine.admit(start + Duration::from_mins(1)), Ok(()));
        assert_eq!(machine.admit(start + Duration::from_mins(2)), Ok(()));
    }

    #[test]
    fn a_trial_that_is_given_up_leaves_its_leave_to_the_next() {
        let start = Instant::now();
        let later = start + Duration::from_mins(1);
        let mut machine = opened(start);
        machine.give_up();
        assert!(!machine.on_trial(), "nothing was tried yet");
        assert_eq!(machine.admit(later), Ok(()));
        assert!(machine.on_trial() && machine.admit(later).is_err());
        machine.give_up();
        assert_eq!((machine.state(later), machine.on_trial()), (State::HalfOpen, false));
        assert_eq!(machine.admit(later), Ok(()));
        assert!(machine.admit(later).is_err(), "one trial at a time");
    }

    #[test]
    fn a_breaker_is_shown_in_metrics_from_when_it_should_be() {
        let metrics = Metrics::new("demo");
        let shows = |state: u8| {
            let text = String::from_utf8(metrics.text()).expect("text");
            let line = "mcp_demo_dependency_circuit_breaker_state{dependency=\"store\"}";
            text.lines().any(|found| found == format!("{line} {state}"))
        };
        let breaker = Breaker::new(LIMITS);
        (0..3).for_each(|_| breaker.fail());
        assert!(!shows(0) && !shows(2));
        breaker.show("store", &metrics);
        assert!(shows(2), "it is open already");
        breaker.succeed();
        assert!(shows(0));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wait(u16),
        Admit,
        GiveUp,
        Succeed,
        Fail,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u16..100).prop_map(Step::Wait),
            Just(Step::Admit),
            Just(Step::GiveUp),
            Just(Step::Succeed),
            Just(Step::Fail)
        ]
    }

    proptest! {
        /// Whatever happens: a call is refused only after failures and never for longer than the recovery
        /// time; state and admission agree; a success always closes.
        #[test]
        fn it_never_refuses_for_longer_than_the_recovery_time(steps in prop::collection::vec(step(), 0..200)) {
            let mut now = Instant::now();
            let mut machine = Machine::new(LIMITS);
            let mut since_success = 0;
            for step in steps {
                let before = machine.state(now);
                match step {
                    Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                    Step::Admit => match machine.admit(now) {
                        Ok(()) => prop_assert_ne!(before, State::Open),
                        Err(wait) => {
                            prop_assert_eq!(machine.refuses(now), Some(wait));
                            prop_assert_ne!(before, State::Closed);
                            prop_assert!(since_success >= LIMITS.failures);
                            prop_assert!(wait > Duration::ZERO && wait <= LIMITS.recovery);
                        }
                    },
                    Step::GiveUp => {
                        machine.give_up();
                        prop_assert_eq!(machine.state(now), before);
                    }
                    Step::Succeed => {
                        machine.succeed();
                        since_success = 0;
                        prop_assert_eq!(machine.state(now), State::Closed);
                    }
                    Step::Fail => {
                        machine.fail(now);
                        since_success += 1;
                        prop_assert_eq!(
                            machine.state(now) == State::Closed,
                            since_success < LIMITS.failures
                        );
                    }
                }
                let mut later = machine;
                prop_assert_eq!(later.admit(now + LIMITS.recovery), Ok(()));
            }
        }
    }
}
