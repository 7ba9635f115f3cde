//! How long a server that ended waits for its next start. Pure: knows no clock.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// A server that was ready for this long starts from the first delay again.
const STEADY: Duration = Duration::from_secs(30);
/// After so many ends of processes that were never ready, and of processes that were not so for a steady
/// time, the next one is not expected to do better.
const NEVER_READY: u32 = 2;
const NEVER_STEADY: u32 = 4;

/// The memory of how a server ended so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    ends: u32,
    never_ready: u32,
}

impl Backoff {
    /// A process ended by itself, `ready_for` after it had become ready. Gives the wait for the next one.
    pub(super) fn ended(&mut self, ready_for: Option<Duration>) -> Duration {
        if ready_for.is_some_and(|time| time >= STEADY) {
            self.ends = 0;
        }
        self.never_ready = if ready_for.is_some() { 0 } else { self.never_ready.saturating_add(1) };
        let delay = FIRST.saturating_mul(2_u32.saturating_pow(self.ends)).min(LONGEST);
        self.ends = self.ends.saturating_add(1);
        delay
    }

    /// Whether the server ends again and again.
    pub(super) fn is_hopeless(&self) -> bool {
        self.never_ready >= NEVER_READY || self.ends >= NEVER_STEADY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn delays_double_up_to_the_longest_and_start_again_after_a_steady_time() {
        let mut backoff = Backoff::default();
        let delays: Vec<f64> = (0..8).map(|_| backoff.ended(None).as_secs_f64()).collect();
        assert_eq!(delays, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert!(backoff.is_hopeless());
        assert_eq!(backoff.ended(Some(STEADY)), FIRST);
        assert!(!backoff.is_hopeless());
    }

    proptest! {
        #[test]
        fn no_history_gives_a_delay_out_of_bounds(
            history in prop::collection::vec(prop::option::of(0_u64..120), 0..200),
        ) {
            let mut backoff = Backoff::default();
            let mut last = Duration::ZERO;
            for ready_for in history {
                let ready_for = ready_for.map(Duration::from_secs);
                let delay = backoff.ended(ready_for);
                prop_assert!((FIRST..=LONGEST).contains(&delay));
                let is_steady = ready_for.is_some_and(|time| time >= STEADY);
                prop_assert!(is_steady || delay >= last, "a delay shrinks only after a steady time");
                prop_assert!(!(backoff.is_hopeless() && is_steady));
                last = delay;
            }
        }
    }
}
