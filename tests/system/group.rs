//! A group of scenarios, and what they share.

use std::sync::{Mutex, PoisonError};

use anyhow::{Error, Result, anyhow, bail};

/// Scenarios of one kind.
pub(crate) struct Group {
    /// Stands before the names of its scenarios.
    pub(crate) name: &'static str,
    /// In the order in which they run.
    pub(crate) scenarios: Vec<Scenario>,
    /// What they share, ended in the opposite order.
    pub(crate) shared: Vec<&'static dyn Ending>,
}

/// One test.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) run: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl Scenario {
    pub(crate) fn new(name: impl Into<String>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// What several scenarios use, made when the first of them needs it.
pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
    make: fn() -> Result<T>,
}

enum State<T> {
    NotMade,
    Made(T),
    /// Making it failed, which no scenario tries again.
    Failed(String),
    Ended,
}

impl<T> Shared<T> {
    pub(crate) const fn new(make: fn() -> Result<T>) -> Self {
        Self { state: Mutex::new(State::NotMade), make }
    }

    /// Uses it.
    pub(crate) fn with<R>(&self, using: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        // A scenario that panicked leaves it as it is.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::NotMade) {
            *state = match (self.make)() {
                Ok(made) => State::Made(made),
                Err(error) => State::Failed(story(&error)),
            };
        }
        match &*state {
            State::Made(made) => using(made),
            State::Failed(error) => Err(anyhow!("what the scenarios share cannot be made: {error}")),
            State::NotMade | State::Ended => bail!("what the scenarios share has ended"),
        }
    }
}

/// Something that a scenario may have made and that must not stay behind.
pub(crate) trait Ending {
    /// Ends it, if it was made.
    fn end(&self) -> Result<()>;
}

/// What can be shared.
pub(crate) trait Fixture {
    /// Ends it, and says what went wrong with that.
    fn end(self) -> Result<()>;
}

impl<T: Fixture> Ending for Shared<T> {
    fn end(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Ended) {
            State::Made(made) => made.end(),
            State::NotMade | State::Failed(_) | State::Ended => Ok(()),
        }
    }
}

/// An error and what caused it, a line each. (The error's own way of showing itself may add a backtrace.)
pub(crate) fn story(error: &Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join("\n  because: ")
}

/// Compares, and shows both where they differ.
pub(crate) fn same<A, B>(what: &str, seen: &A, expected: &B) -> Result<()>
where
    A: PartialEq<B> + std::fmt::Debug + ?Sized,
    B: std::fmt::Debug + ?Sized,
{
    if seen == expected {
        return Ok(());
    }
    bail!("{what}\n    seen: {seen:?}\nexpected: {expected:?}")
}
