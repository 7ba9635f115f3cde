//! What the API refused: it is not sent again until it, or the object, is another one, or a while has passed.
//!
//! Without this every change of a pod would send a refused object again.

use crate::child::{Child, stable};
use crate::error::Error;
use crate::kind::{Kind, SystemKey};
use crate::render::Desired;
use mcp_system_crds::Reason;
use mcp_system_plan::Finding;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(5);
const LAST: Duration = Duration::from_mins(5);

/// What the API refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BySystem>);

type BySystem = HashMap<SystemKey, HashMap<(Kind, String), Refusal>>;

#[derive(Clone, Debug)]
struct Refusal {
    hash: String,
    fingerprint: Option<u64>,
    finding: Finding,
    delay: Duration,
    until: Instant,
}

impl Refusals {
    fn inner(&self) -> MutexGuard<'_, BySystem> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal of the same, if it is not time to try again: with that time.
    pub(crate) fn stands(
        &self,
        key: &SystemKey,
        object: &Desired,
        child: Option<&Child>,
    ) -> Option<(Finding, Duration)> {
        let inner = self.inner();
        let refusal = inner.get(key)?.get(&(object.kind, object.name.clone()))?;
        let is_same =
            refusal.hash == object.hash && refusal.fingerprint == child.map(|child| child.fingerprint);
        let rest = refusal.until.saturating_duration_since(Instant::now());
        (is_same && !rest.is_zero()).then(|| (refusal.finding.clone(), rest))
    }

    /// Notes a refusal. Tells what to say of it, and when to try again.
    pub(crate) fn add(
        &self,
        key: &SystemKey,
        object: &Desired,
        child: Option<&Child>,
        error: &Error,
    ) -> (Finding, Duration) {
        let mut inner = self.inner();
        let place = (object.kind, object.name.clone());
        let refusals = inner.entry(key.clone()).or_default();
        let before = refusals.get(&place).filter(|refusal| refusal.hash == object.hash);
        let delay = before.map_or(FIRST, |refusal| (refusal.delay * 2).min(LAST));
        let finding = Finding::new(Reason::ApplyFailed, sentence(object, error));
        let refusal = Refusal {
            hash: object.hash.clone(),
            fingerprint: child.map(|child| child.fingerprint),
            finding: finding.clone(),
            delay,
            until: Instant::now() + delay,
        };
        refusals.insert(place, refusal);
        (finding, delay)
    }

    /// Notes that an object was taken.
    pub(crate) fn lift(&self, key: &SystemKey, object: &Desired) {
        let mut inner = self.inner();
        if let Some(refusals) = inner.get_mut(key) {
            refusals.remove(&(object.kind, object.name.clone()));
            if refusals.is_empty() {
                inner.remove(key);
            }
        }
    }

    /// Forgets a system.
    pub(crate) fn forget(&self, key: &SystemKey) {
        self.inner().remove(key);
    }
}

/// A refusal in one stable sentence.
fn sentence(object: &Desired, error: &Error) -> String {
    let message = match error {
        Error::Refused { message, .. } => stable(message),
        other => other.to_string(),
    };
    format!("the API refuses {} {}: {message}", object.kind.name(), object.name)
}
