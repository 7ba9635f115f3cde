//! What keeps looks from being finished, told once it has lasted.
//!
//! A step that fails is tried again, and mostly that is the end of it. One that goes on failing has to be told, or the
//! status of better days would stand. Must not know what the steps are.

use crate::error::Error;
use crate::kind::SystemKey;
use mcp_system_crds::Reason;
use mcp_system_plan::{Finding, Observed};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is over within this is not told.
const PASSING: Duration = Duration::from_secs(10);
/// As many failures are told: where nothing works, the first ones say why.
const MOST: usize = 5;

/// Since when the looks at each system cannot be finished.
#[derive(Debug, Default)]
pub(crate) struct Setbacks(Mutex<HashMap<SystemKey, Instant>>);

impl Setbacks {
    fn inner(&self) -> MutexGuard<'_, HashMap<SystemKey, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes whether a look failed. Tells whether all have for so long that it has to be said.
    pub(crate) fn note(&self, key: &SystemKey, failed: bool) -> bool {
        let mut inner = self.inner();
        if !failed {
            inner.remove(key);
            return false;
        }
        inner.entry(key.clone()).or_insert_with(Instant::now).elapsed() >= PASSING
    }

    /// Forgets a system.
    pub(crate) fn forget(&self, key: &SystemKey) {
        self.inner().remove(key);
    }
}

/// Adds what failed to what was observed. A refusal is for a person to mend; anything else may pass.
pub(crate) fn tell(errors: &[Error], observed: &mut Observed) {
    for error in errors.iter().take(MOST) {
        let finding = Finding::new(Reason::ApplyFailed, error.sentence());
        match error {
            Error::Refused { .. } => observed.problems.push(finding),
            _ => observed.setbacks.push(finding),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_lasts_is_told() {
        let (setbacks, key) = (Setbacks::default(), SystemKey::new("test", "demo"));
        assert!(!setbacks.note(&key, true));
        tokio::time::advance(PASSING / 2).await;
        assert!(!setbacks.note(&key, true));
        tokio::time::advance(PASSING / 2).await;
        assert!(setbacks.note(&key, true));
        assert!(!setbacks.note(&key, false));
        assert!(!setbacks.note(&key, true), "it begins anew");
    }

    #[test]
    fn words_stay_the_same_from_one_try_to_the_next() {
        let refused = |used: u32| Error::Refused {
            verb: "get",
            kind: "Service",
            name: "demo-tools".to_owned(),
            message: format!("services is forbidden: exceeded quota: small, used: services={used}"),
        };
        assert_eq!(refused(1).sentence(), refused(2).sentence());
        let mut observed = Observed::default();
        let slow = || Error::TooSlow { verb: "apply", kind: "Service", name: "demo-tools".to_owned() };
        tell(&[refused(1), slow()], &mut observed);
        assert_eq!(
            observed.problems[0].message,
            "the API refuses get of Service demo-tools: exceeded quota: small"
        );
        assert_eq!(observed.setbacks[0].message, "apply of Service demo-tools took too long");
        let many: Vec<Error> = (0..20).map(|_| slow()).collect();
        let mut observed = Observed::default();
        tell(&many, &mut observed);
        assert_eq!(observed.setbacks.len(), MOST);
    }
}
