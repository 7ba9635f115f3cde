//! Measures of calls to what a server depends on. The label is the dependency's name, which the settings bound.

use super::BUCKETS;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::time::Instant;

/// The families, registered with each server's measures and shown once there is a dependency.
#[derive(Clone, Debug)]
pub(super) struct Families {
    state: IntGaugeVec,
    calls: IntCounterVec,
    repeated: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGaugeVec,
}

impl Families {
    pub(super) fn new(prefix: &str, registry: &Registry) -> prometheus::Result<Self> {
        let options = |suffix: &str, help: &str| Opts::new(format!("{prefix}_dependency_{suffix}"), help);
        let dependency = &["dependency"];
        let seconds =
            options("call_duration_seconds", "Seconds that calls took, waiting and repetition included");
        let families = Self {
            state: IntGaugeVec::new(
                options("circuit_breaker_state", "0 closed, 1 half-open, 2 open"),
                dependency,
            )?,
            calls: IntCounterVec::new(
                options("calls_total", "Calls to what the server depends on, by how they ended"),
                &["dependency", "outcome"],
            )?,
            repeated: IntCounterVec::new(options("retries_total", "Repetitions of calls"), dependency)?,
            seconds: HistogramVec::new(HistogramOpts::from(seconds).buckets(BUCKETS.to_vec()), dependency)?,
            in_flight: IntGaugeVec::new(
                options("calls_in_flight", "Calls that run or wait now"),
                dependency,
            )?,
        };
        registry.register(Box::new(families.state.clone()))?;
        registry.register(Box::new(families.calls.clone()))?;
        registry.register(Box::new(families.repeated.clone()))?;
        registry.register(Box::new(families.seconds.clone()))?;
        registry.register(Box::new(families.in_flight.clone()))?;
        Ok(families)
    }

    /// Shows no state of what is not called any more. Counters stay: they must not run backwards.
    pub(super) fn forget(&self, dependency: &str) {
        // An error says only that it was never shown.
        let _ = self.state.remove_label_values(&[dependency]);
    }

    pub(super) fn breaker(&self, dependency: &str) -> IntGauge {
        self.state.with_label_values(&[dependency])
    }

    pub(super) fn of(&self, dependency: &str) -> Calls {
        Calls {
            in_flight: self.in_flight.with_label_values(&[dependency]),
            families: self.clone(),
            dependency: dependency.to_owned(),
        }
    }
}

/// The measures of one dependency.
#[derive(Debug)]
pub(crate) struct Calls {
    families: Families,
    dependency: String,
    in_flight: IntGauge,
}

impl Calls {
    pub(crate) fn repeated(&self, times: u32) {
        if times > 0 {
            self.families.repeated.with_label_values(&[&*self.dependency]).inc_by(times.into());
        }
    }

    /// Begins to measure a call; it is counted when the guard goes, as cancelled unless told otherwise.
    pub(crate) fn begin(&self) -> Call<'_> {
        self.in_flight.inc();
        Call { calls: self, started: Instant::now(), outcome: "cancelled" }
    }
}

/// One call.
pub(crate) struct Call<'a> {
    calls: &'a Calls,
    started: Instant,
    pub(crate) outcome: &'static str,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Calls { families, dependency, in_flight } = self.calls;
        in_flight.dec();
        families.calls.with_label_values(&[&**dependency, self.outcome]).inc();
        families.seconds.with_label_values(&[&**dependency]).observe(self.started.elapsed().as_secs_f64());
    }
}
