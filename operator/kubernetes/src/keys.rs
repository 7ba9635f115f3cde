//! The Secret with the keys of a system: made, and never read.
//!
//! This operator may create Secrets and do nothing else with them, so it cannot see whether one is there. It
//! goes by its pods: the Secret is there where those that mount it have their volumes. Where they have not, creating it
//! is tried once, and again, later each time, only while a pod waits to start and nothing else tells why. That it
//! exists already is no failure; where the API goes on saying so, those pods wait for something else, a Secret of the
//! user's perhaps, and it is let be until others wait. So a system at rest, ready or not, causes no write, nor does
//! another leader.

use crate::apply::{Applied, Change, Tools, What};
use crate::cache::Family;
use crate::child::{Facts, stable};
use crate::error::Error;
use crate::kind::{Kind, SystemKey};
use crate::pod::Pod;
use crate::render::{Owner, caller_keys};
use mcp_system_crds::Reason;
use mcp_system_plan::{CallerKeys, Finding, Plan, SecretSource, Workload};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A pod that mounts a Secret which is there starts within this.
const STARTING: Duration = Duration::from_secs(30);
/// What stands under the name may be that of an earlier system, on its way out.
const LEAVING: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(10);

/// What is known of the Secrets of all systems.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<HashMap<SystemKey, Known>>);

/// What is known of one.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Of the system; another one of that name has a Secret of its own.
    uid: String,
    /// Whether creating it was tried, or needs no try: its pods told that it is there.
    was_tried: bool,
    wait: Option<Wait>,
    /// The pods that wait for something else, since it is there for certain: for them it is not tried again.
    in_vain: Option<u64>,
    /// Why the API refuses it.
    refused: Option<Finding>,
}

/// When creating it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    until: Instant,
    pause: Duration,
}

impl Wait {
    fn new(pause: Duration, now: Instant) -> Self {
        Self { until: now + pause, pause }
    }

    fn longer(self, now: Instant) -> Self {
        Self::new((self.pause * 2).min(LONGEST), now)
    }
}

/// What the pods that mount it tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// Some pod has mounted it and none waits to, or no copy is to run.
    There,
    /// Pods wait to start, and nothing tells why. The number is another one where other pods do.
    Starting(u64),
    /// No pod has mounted it, for another reason or because there are no pods yet.
    Lacking,
}

/// What to do about it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    /// Look again after this.
    Wait(Duration),
    Rest,
}

impl Keys {
    fn inner(&self) -> MutexGuard<'_, HashMap<SystemKey, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a system.
    pub(crate) fn forget(&self, key: &SystemKey) {
        self.inner().remove(key);
    }
}

/// Creates the Secret of a system where it is needed and may be missing.
pub(crate) async fn ensure(
    keys: &Keys,
    tools: Tools<'_>,
    key: &SystemKey,
    owner: &Owner,
    plan: &Plan,
    applied: &mut Applied,
) {
    let Some(name) = made(plan) else { return keys.forget(key) };
    let sign = sign(plan, owner, &tools.cache.family(key));
    let mut known = keys.inner().get(key).filter(|known| known.uid == owner.uid).cloned().unwrap_or_default();
    known.uid.clone_from(&owner.uid);
    match known.step(sign, Instant::now()) {
        Step::Create => {
            let secret = caller_keys(&name, &random_keys(), owner);
            let result = tools.door.create(Kind::Secret, &owner.namespace, &name, &secret).await;
            known.tried(&name, result, Instant::now(), applied);
        }
        Step::Wait(rest) => applied.again(rest),
        Step::Rest => {}
    }
    applied.problems.extend(known.refused.clone());
    keys.inner().insert(key.clone(), known);
}

impl Known {
    fn step(&mut self, sign: Sign, now: Instant) -> Step {
        match (sign, self.wait) {
            (Sign::There, _) => {
                *self = Self { was_tried: true, uid: std::mem::take(&mut self.uid), ..Self::default() };
                Step::Rest
            }
            _ if !self.was_tried => Step::Create,
            (Sign::Starting(pods), None) if self.in_vain == Some(pods) => Step::Rest,
            // That it is there was told for so long that nothing else of its name can be on its way out.
            (Sign::Starting(pods), Some(wait)) if wait.pause == LONGEST && self.refused.is_none() => {
                (self.wait, self.in_vain) = (None, Some(pods));
                Step::Rest
            }
            (_, Some(wait)) if matches!(sign, Sign::Starting(_)) || self.refused.is_some() => {
                if wait.until <= now { Step::Create } else { Step::Wait(wait.until - now) }
            }
            (Sign::Starting(_), _) => {
                self.wait = Some(Wait::new(STARTING, now));
                Step::Wait(STARTING)
            }
            (Sign::Lacking, wait) => {
                // A pod that seems to wait again later has its own time.
                self.wait = wait.filter(|wait| wait.until > now);
                Step::Rest
            }
        }
    }

    /// Notes what came of creating it.
    fn tried(&mut self, name: &str, result: Result<bool, Error>, now: Instant, applied: &mut Applied) {
        let is_first = !self.was_tried;
        let longer = |first| self.wait.map_or(Wait::new(first, now), |wait| wait.longer(now));
        let (wait, refused) = match result {
            Ok(true) => {
                applied.changes.push(Change {
                    kind: Kind::Secret,
                    name: name.to_owned(),
                    what: What::Created,
                });
                (Wait::new(STARTING, now), None)
            }
            Ok(false) => (longer(if is_first { LEAVING } else { STARTING }), None),
            Err(error @ Error::Refused { .. }) => {
                let message = match &error {
                    Error::Refused { message, .. } => stable(message),
                    _ => String::new(),
                };
                let finding = Finding::new(
                    Reason::ApplyFailed,
                    format!(
                        "the API refuses Secret {name}, without which no server of the system starts: {message}"
                    ),
                );
                applied.refused.push(error);
                (longer(LEAVING), Some(finding))
            }
            Err(error) => return applied.errors.push(error),
        };
        applied.again(wait.pause);
        let uid = std::mem::take(&mut self.uid);
        *self = Self { uid, was_tried: true, wait: Some(wait), in_vain: None, refused };
    }
}

/// The name of the Secret that a plan needs made.
fn made(plan: &Plan) -> Option<String> {
    plan.workloads.iter().find_map(|workload| made_for(workload).map(str::to_owned))
}

fn made_for(workload: &Workload) -> Option<&str> {
    workload.secrets.iter().find_map(|file| match &file.source {
        SecretSource::Made { secret, .. } => Some(secret.as_str()),
        SecretSource::Given { .. } => None,
    })
}

fn sign(plan: &Plan, owner: &Owner, family: &Family) -> Sign {
    let mounting = || plan.workloads.iter().filter(|it| it.replicas > 0 && made_for(it).is_some());
    let pods = || {
        let is_mounting = |pod: &&Pod| mounting().any(|workload| workload.name == pod.server);
        family.pods.values().filter(|pod| !pod.over).filter(is_mounting)
    };
    let mut waiting = pods().filter(|pod| !pod.mounted && pod.trouble.is_none()).peekable();
    if waiting.peek().is_some() {
        let mut hasher = DefaultHasher::new();
        waiting.for_each(|pod| pod.uid.hash(&mut hasher));
        return Sign::Starting(hasher.finish());
    }
    if pods().any(|pod| pod.mounted) {
        return Sign::There;
    }
    let is_ready = |workload: &Workload| {
        let name = (Kind::Deployment, format!("{}-{}", owner.name, workload.name));
        family.objects.get(&name).is_some_and(|child| match &child.facts {
            Facts::Deployment(progress) => {
                u32::try_from(progress.ready).is_ok_and(|ready| ready >= workload.replicas)
            }
            Facts::Claim(_) | Facts::Autoscaler(_) | Facts::None => false,
        })
    };
    if mounting().all(is_ready) { Sign::There } else { Sign::Lacking }
}

/// Keys that nobody can guess: 244 of these bits are random.
fn random_keys() -> CallerKeys {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    CallerKeys::of_random(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One pod waits.
    const WAITING: Sign = Sign::Starting(1);

    fn tried(known: &mut Known, result: Result<bool, Error>, now: Instant) -> Applied {
        let mut applied = Applied::default();
        known.tried("demo-callers", result, now, &mut applied);
        applied
    }

    fn refusal() -> Error {
        Error::Refused {
            verb: "create",
            kind: "Secret",
            name: "demo-callers".to_owned(),
            message: "secrets \"demo-callers\" is forbidden: exceeded quota: few, requested: secrets=1"
                .to_owned(),
        }
    }

    #[test]
    fn it_is_created_once_and_then_left_alone() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(known.step(Sign::Lacking, now), Step::Create);
        assert_eq!(tried(&mut known, Ok(true), now).changes.len(), 1);
        assert_eq!(known.step(WAITING, now), Step::Wait(STARTING));
        assert_eq!(known.step(Sign::There, now), Step::Rest);
        // A roll-out later on: its pods start in time.
        let later = now + Duration::from_hours(1);
        assert_eq!(known.step(WAITING, later), Step::Wait(STARTING));
        assert_eq!(known.step(Sign::There, later), Step::Rest);
    }

    #[test]
    fn where_its_pods_run_it_is_there() {
        let (mut known, now) = (Known::default(), Instant::now());
        assert_eq!(known.step(Sign::There, now), Step::Rest);
        assert_eq!(
            known.step(Sign::Lacking, now),
            Step::Rest,
            "an image that cannot be pulled tells nothing of it"
        );
    }

    #[test]
    fn pods_that_go_on_waiting_have_it_tried_again_later_each_time_until_it_is_sure() {
        let (mut known, mut now) = (Known::default(), Instant::now());
        known.step(Sign::Lacking, now);
        let applied = tried(&mut known, Ok(false), now);
        assert_eq!((applied.again, applied.changes.len()), (Some(LEAVING), 0));
        let mut pauses = Vec::new();
        while let Step::Wait(rest) = known.step(WAITING, now) {
            pauses.push(rest.as_secs());
            now += rest;
            assert_eq!(known.step(WAITING, now), Step::Create);
            tried(&mut known, Ok(false), now);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320]);
        now += LONGEST;
        assert_eq!(known.step(WAITING, now), Step::Rest, "it is there: they wait for something else");
        assert_eq!(known.step(Sign::Starting(2), now), Step::Wait(STARTING), "others may wait for it");
        assert_eq!(known.step(Sign::Starting(2), now + STARTING), Step::Create);
        assert_eq!(known.step(Sign::Lacking, now + STARTING), Step::Rest, "nobody waits for it any more");
    }

    #[test]
    fn a_pod_that_waits_for_moments_only_tells_nothing() {
        let (mut known, mut now) = (Known::default(), Instant::now());
        known.step(Sign::Lacking, now);
        tried(&mut known, Ok(true), now);
        for _ in 0..5 {
            assert_eq!(known.step(WAITING, now), Step::Wait(STARTING));
            now += STARTING;
            assert_eq!(known.step(Sign::Lacking, now), Step::Rest);
            now += LONGEST;
        }
    }

    #[test]
    fn a_refusal_is_told_until_it_is_taken() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.step(Sign::Lacking, now);
        let applied = tried(&mut known, Err(refusal()), now);
        assert_eq!((applied.refused.len(), applied.again), (1, Some(LEAVING)));
        let told = known.refused.clone().expect("told");
        assert!(told.message.ends_with("exceeded quota: few"), "{}", told.message);
        assert_eq!(known.step(Sign::Lacking, now), Step::Wait(LEAVING));
        assert_eq!(known.step(Sign::Lacking, now + LEAVING), Step::Create);
        tried(&mut known, Ok(true), now);
        assert_eq!(known.refused, None);
    }

    #[test]
    fn what_could_not_be_sent_was_not_tried() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.step(Sign::Lacking, now);
        assert_eq!(tried(&mut known, Err(Error::NotLeading), now).errors.len(), 1);
        assert_eq!(known.step(Sign::Lacking, now), Step::Create);
    }
}
