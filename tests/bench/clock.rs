//! From many durations to a few figures.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Where a loop stops: after so many turns, or after so long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    pub(crate) turns: usize,
    pub(crate) time: Duration,
}

impl Bound {
    /// The numbers of the turns, until the bound.
    pub(crate) fn turns(self) -> impl Iterator<Item = usize> {
        let end = Instant::now() + self.time;
        (0..self.turns).take_while(move |_| Instant::now() < end)
    }
}

/// Percentiles in milliseconds, and from how many.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) count: usize,
}

impl Spread {
    /// None of no durations at all.
    pub(crate) fn of(mut taken: Vec<Duration>) -> Option<Self> {
        taken.sort_unstable();
        let at = |percent: usize| {
            let index = (taken.len() * percent / 100).min(taken.len().checked_sub(1)?);
            Some(milliseconds(taken[index]))
        };
        Some(Self { p50: at(50)?, p95: at(95)?, p99: at(99)?, count: taken.len() })
    }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
