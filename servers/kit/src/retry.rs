//! Repetition of what can safely be repeated, with growing and scattered waits.

use backon::{BackoffBuilder, ExponentialBuilder, Retryable};
use mcp_system_config::Retry;
use std::time::Duration;

/// Runs `operation` until it succeeds, fails in a way that `may_repeat` refuses, or the tries are used up.
/// The last error is returned.
///
/// Only the caller knows what is safe: a call that may already have been carried out must not be repeated.
pub async fn retry<T, E, F, Fut>(
    settings: &Retry,
    may_repeat: impl FnMut(&E) -> bool,
    operation: F,
) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    operation.retry(builder(settings)).when(may_repeat).await
}

/// The waits between tries: doubled each time up to the longest, each with a random part of itself added, so
/// that callers who failed together do not return together.
pub fn waits(settings: &Retry) -> impl Iterator<Item = Duration> + use<> {
    builder(settings).build()
}

fn builder(settings: &Retry) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_factor(2.0)
        .with_min_delay(Duration::from_millis(settings.min_backoff_milliseconds.into()))
        .with_max_delay(Duration::from_millis(settings.max_backoff_milliseconds.into()))
        .with_max_times(settings.attempts.saturating_sub(1) as usize)
        .with_jitter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    fn quick(attempts: u32) -> Retry {
        Retry { attempts, min_backoff_milliseconds: 1, max_backoff_milliseconds: 2 }
    }

    #[tokio::test]
    async fn it_tries_as_often_as_it_was_told_and_no_more() {
        let tries = Cell::new(0);
        let result: Result<(), u32> = retry(
            &quick(3),
            |_| true,
            || {
                tries.set(tries.get() + 1);
                std::future::ready(Err(tries.get()))
            },
        )
        .await;
        assert_eq!(result, Err(3));
    }

    #[tokio::test]
    async fn what_must_not_be_repeated_is_not() {
        let tries = Cell::new(0);
        let result: Result<(), &str> = retry(
            &quick(9),
            |_| false,
            || {
                tries.set(tries.get() + 1);
                std::future::ready(Err("it may have run"))
            },
        )
        .await;
        assert_eq!((result, tries.get()), (Err("it may have run"), 1));
    }

    proptest! {
        #[test]
        fn waits_stay_between_their_bounds(attempts in 1u32..=10, min in 1u32..=60_000, max in 1u32..=60_000) {
            let settings = Retry { attempts, min_backoff_milliseconds: min, max_backoff_milliseconds: max };
            let waits: Vec<_> = waits(&settings).collect();
            prop_assert_eq!(waits.len(), attempts as usize - 1);
            // A random part of up to the wait itself comes on top.
            let longest = Duration::from_millis(u64::from(max.max(min)) * 2);
            prop_assert!(waits.iter().all(|wait| *wait <= longest));
        }
    }
}
