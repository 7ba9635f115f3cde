//! Objects that somebody else changes back each time: they are put right later each time, and it is told.
//!
//! Without this two controllers that both want to have their way would write as fast as they can, for ever.

use crate::kind::{Kind, SystemKey};
use crate::render::Desired;
use mcp_system_crds::Reason;
use mcp_system_plan::Finding;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// An object is put right so often, in quick succession, before it counts as contested.
const FREE: u32 = 5;
/// What comes later than this after the last write is not in quick succession.
const QUICK: Duration = Duration::from_mins(2);
/// How long a contested object is let be; each further time twice as long.
const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_mins(5);
/// An object that nobody touched for so long is contested no more.
const OVER: Duration = Duration::from_mins(15);

/// What was written lately, and how often the same was written again.
#[derive(Debug, Default)]
pub(crate) struct Contests(Mutex<HashMap<SystemKey, Written>>);

type Written = BTreeMap<(Kind, String), Contest>;

#[derive(Clone, Debug)]
struct Contest {
    hash: String,
    corrections: u32,
    last: Instant,
}

impl Contest {
    fn is_on(&self) -> bool {
        self.corrections >= FREE
    }

    /// How long it is remembered yet; none when that is over.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let until = self.last + if self.is_on() { OVER } else { QUICK };
        until.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }

    fn pause(&self) -> Duration {
        match self.corrections.checked_sub(FREE) {
            Some(more) => FIRST.saturating_mul(1 << more.min(16)).min(LAST),
            None => Duration::ZERO,
        }
    }
}

impl Contests {
    fn inner(&self) -> MutexGuard<'_, HashMap<SystemKey, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long an object is let be yet, since the same was written too often.
    pub(crate) fn pause(&self, key: &SystemKey, object: &Desired) -> Option<Duration> {
        let inner = self.inner();
        let contest = inner.get(key)?.get(&(object.kind, object.name.clone()))?;
        let rest = (contest.last + contest.pause()).saturating_duration_since(Instant::now());
        (contest.hash == object.hash && !rest.is_zero()).then_some(rest)
    }

    /// Notes that an object was written. Tells whether it counts as contested from now on.
    pub(crate) fn note(&self, key: &SystemKey, object: &Desired) -> bool {
        let now = Instant::now();
        let mut inner = self.inner();
        let written = inner.entry(key.clone()).or_default();
        let place = (object.kind, object.name.clone());
        let is_same = |known: &&Contest| known.hash == object.hash && known.rest(now).is_some();
        let known = written.get(&place).filter(is_same);
        let corrections = known.map_or(0, |known| known.corrections.saturating_add(1));
        written.insert(place, Contest { hash: object.hash.clone(), corrections, last: now });
        corrections == FREE
    }

    /// What is to be told of a system, and when that will be another thing though nothing happens.
    pub(crate) fn told(&self, key: &SystemKey) -> (Vec<Finding>, Option<Duration>) {
        let now = Instant::now();
        let mut inner = self.inner();
        let Some(written) = inner.get_mut(key) else { return (Vec::new(), None) };
        written.retain(|_, contest| contest.rest(now).is_some());
        let mut findings = Vec::new();
        let mut again: Option<Duration> = None;
        for ((kind, name), contest) in written.iter().filter(|(_, contest)| contest.is_on()) {
            findings.push(finding(*kind, name));
            again = again.into_iter().chain(contest.rest(now)).min();
        }
        if written.is_empty() {
            inner.remove(key);
        }
        (findings, again)
    }

    /// Forgets a system.
    pub(crate) fn forget(&self, key: &SystemKey) {
        self.inner().remove(key);
    }
}

fn finding(kind: Kind, name: &str) -> Finding {
    let message = format!(
        "{} {name} is changed or deleted by somebody else again and again, and put back later each time: its \
         managedFields or the audit log tell by whom",
        kind.name()
    );
    Finding::new(Reason::Contested, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn service(hash: &str) -> Desired {
        Desired {
            kind: Kind::Service,
            name: "demo-tools".to_owned(),
            server: "tools".to_owned(),
            body: Value::Null,
            hash: hash.to_owned(),
            copies: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_from_the_fifth_correction_on_and_end_with_peace() {
        let (contests, key, object) = (Contests::default(), SystemKey::new("test", "demo"), service("a"));
        assert!(!contests.note(&key, &object), "it is created");
        for _ in 1..FREE {
            assert!(!contests.note(&key, &object));
            assert_eq!(contests.pause(&key, &object), None);
        }
        assert_eq!(contests.told(&key), (Vec::new(), None));
        assert!(contests.note(&key, &object), "that was once too often");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let pause = contests.pause(&key, &object).expect("a pause");
            pauses.push(pause.as_secs());
            tokio::time::advance(pause).await;
            assert_eq!(contests.pause(&key, &object), None);
            assert!(!contests.note(&key, &object), "it is told once");
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        let (findings, again) = contests.told(&key);
        assert_eq!((findings.len(), again), (1, Some(OVER)));
        assert_eq!(contests.pause(&key, &service("b")), None, "the plan wants another one now");
        tokio::time::advance(OVER).await;
        assert_eq!(contests.told(&key), (Vec::new(), None));
        assert!(contests.inner().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hand_that_changes_something_now_and_then_is_no_contest() {
        let (contests, key, object) = (Contests::default(), SystemKey::new("test", "demo"), service("a"));
        for _ in 0..20 {
            assert!(!contests.note(&key, &object));
            tokio::time::advance(QUICK).await;
        }
    }
}
