//! Carries out a plan: what is missing is created, what differs is applied, what is not wanted any more is
//! deleted, and what is not ours is left alone.
//!
//! [`decide`] is pure; the rest does what it says. Must not know how a system is doing.

mod claim;
mod contests;
mod decide;
mod refusals;
mod repair;
mod scale;

#[cfg(test)]
mod tests;

pub(crate) use contests::Contests;
pub(crate) use refusals::Refusals;

use crate::apply::decide::{Step, Why, decide};
use crate::apply::repair::repair;
use crate::cache::{Cache, Family};
use crate::child::Child;
use crate::differ::differs;
use crate::door::{Apply, Door};
use crate::error::Error;
use crate::kind::{Kind, SystemKey};
use crate::render::{Desired, MOVED, Owner};
use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use mcp_system_plan::Finding;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

/// An object that is not ours is not watched either: after this it is looked for again.
const FOREIGN: Duration = Duration::from_mins(1);
/// The same for one that is on its way out without our labels.
const LEAVING: Duration = Duration::from_secs(5);

/// What was done, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// What keeps the plan from being carried out.
    pub(crate) problems: Vec<Finding>,
    /// What was asked for and cannot be given, though the system works without.
    pub(crate) shortfalls: Vec<Finding>,
    /// What was written or deleted.
    pub(crate) changes: Vec<Change>,
    /// When to look again, though nothing is told of.
    pub(crate) again: Option<Duration>,
    /// What failed, to be tried again.
    pub(crate) errors: Vec<Error>,
    /// What was refused just now; it stands among the problems.
    pub(crate) refused: Vec<Error>,
}

/// One write that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) what: What,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Created,
    /// The plan had changed.
    Changed,
    /// Somebody had changed the object.
    Corrected,
    Deleted,
}

impl Applied {
    /// Asks for another look after this, at the latest.
    pub(crate) fn again(&mut self, delay: Duration) {
        self.again = Some(self.again.map_or(delay, |known| known.min(delay)));
    }
}

/// What applying needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tools<'a> {
    pub(crate) door: &'a Door,
    pub(crate) cache: &'a Cache,
    pub(crate) refusals: &'a Refusals,
    pub(crate) contests: &'a Contests,
}

/// Writes what has to be written.
pub(crate) async fn apply(
    tools: Tools<'_>,
    key: &SystemKey,
    owner: &Owner,
    desired: &[Desired],
    applied: &mut Applied,
) {
    let Tools { door, cache, contests, .. } = tools;
    let family = cache.family(key);
    // Servers whose pods must not start: what they would mount or run as is somebody else's.
    let mut blocked: HashSet<&str> = HashSet::new();
    for object in desired {
        if object.kind == Kind::Deployment && blocked.contains(object.server.as_str()) {
            continue;
        }
        let worker = Worker { tools, key, owner };
        let is_there = worker.put(object, &family, applied).await;
        if !is_there {
            blocked.insert(&object.server);
        }
    }
    for child in unwanted(&family, owner, desired) {
        match door.delete(child.kind, &owner.namespace, &child.name, &child.uid).await {
            Ok(()) => {
                // Where it lingers, its watch brings it back, marked as on its way out.
                cache.remove_named(child.kind, &owner.namespace, &child.name, &child.uid);
                applied.changes.push(Change {
                    kind: child.kind,
                    name: child.name.clone(),
                    what: What::Deleted,
                });
            }
            Err(error) => applied.errors.push(error),
        }
    }
    let (contested, again) = contests.told(key);
    applied.shortfalls.extend(contested);
    if let Some(again) = again {
        applied.again(again);
    }
}

/// Lets go of the claims of servers that do not run now: no plan names them, yet they must not go with a
/// system that was told to retain them.
pub(crate) async fn retain_claims(
    tools: Tools<'_>,
    key: &SystemKey,
    owner: &Owner,
    desired: &[Desired],
    applied: &mut Applied,
) {
    let family = tools.cache.family(key);
    let is_planned =
        |child: &Child| desired.iter().any(|object| object.kind == child.kind && object.name == child.name);
    let claims = family.objects.values().filter(|child| child.kind == Kind::VolumeClaim && !child.deleting);
    for child in claims.filter(|child| child.is_controlled_by(&owner.uid) && !is_planned(child)) {
        let patch = json!({"metadata": {
            "uid": child.uid,
            "ownerReferences": [{"$patch": "delete", "uid": owner.uid}],
        }});
        match tools.door.patch(child.kind, &owner.namespace, &child.name, &patch).await {
            Ok(_) => {
                applied.changes.push(Change {
                    kind: child.kind,
                    name: child.name.clone(),
                    what: What::Changed,
                });
            }
            Err(error) => applied.errors.push(error),
        }
    }
}

/// Notes on a server's claim that all that lies on it was moved. Tells whether that is new.
pub(crate) async fn note_moved(
    tools: Tools<'_>,
    owner: &Owner,
    claim: &str,
    family: &Family,
    now: Timestamp,
    applied: &mut Applied,
) -> bool {
    let Some(child) = family.objects.get(&(Kind::VolumeClaim, claim.to_owned())) else { return false };
    let patch = json!({"metadata": {"uid": child.uid, "annotations": {MOVED: now.to_string()}}});
    match tools.door.patch(child.kind, &owner.namespace, claim, &patch).await {
        Ok(written) => {
            // Taken at once, so that it is told once; what follows from it is for the next look.
            tools.cache.put(child.kind, written);
            applied.again(Duration::ZERO);
            true
        }
        Err(error) => {
            applied.errors.push(error);
            false
        }
    }
}

/// What is ours and not in the plan. A claim is never among it: what is stored stays until the system goes.
fn unwanted<'a>(
    family: &'a Family,
    owner: &'a Owner,
    desired: &'a [Desired],
) -> impl Iterator<Item = &'a Child> {
    family.objects.values().filter(|child| {
        child.kind != Kind::VolumeClaim
            && !child.deleting
            && child.is_controlled_by(&owner.uid)
            && !desired.iter().any(|object| object.kind == child.kind && object.name == child.name)
    })
}

struct Worker<'a> {
    tools: Tools<'a>,
    key: &'a SystemKey,
    owner: &'a Owner,
}

impl Worker<'_> {
    /// Tells whether the object is there and ours, as it should be or not.
    async fn put(&self, object: &Desired, family: &Family, applied: &mut Applied) -> bool {
        let known = family.objects.get(&(object.kind, object.name.clone()));
        let result = match known {
            Some(child) => self.update(object, child, true, applied).await,
            None => self.look_and_put(object, applied).await,
        };
        match result {
            Ok(is_ours) => return is_ours,
            Err(error) => applied.errors.push(error),
        }
        known.is_some()
    }

    /// The watches know only what carries our labels, so the place is looked at before anything is put there.
    async fn look_and_put(&self, object: &Desired, applied: &mut Applied) -> Result<bool, Error> {
        if let Some(found) = self.tools.door.get(object.kind, &self.owner.namespace, &object.name).await? {
            let child = Child::read(object.kind, found);
            return self.update(object, &child, false, applied).await;
        }
        self.write(object, None, &scale::fit(object, None), What::Created, applied).await
    }

    /// Tells whether the object is ours.
    async fn update(
        &self,
        object: &Desired,
        child: &Child,
        is_watched: bool,
        applied: &mut Applied,
    ) -> Result<bool, Error> {
        let decided = decide(object, child, self.owner);
        applied.shortfalls.extend(decided.shortfalls);
        match decided.step {
            Step::Keep => {}
            Step::Settle => self.tools.cache.settle(self.key, child, &object.hash),
            Step::Wait => {
                if !is_watched {
                    applied.again(LEAVING);
                }
                return Ok(false);
            }
            Step::Refuse(finding) => {
                applied.problems.push(finding);
                applied.again(FOREIGN);
                return Ok(false);
            }
            Step::Write(body, why) => {
                let what = match why {
                    Why::Plan => What::Changed,
                    Why::Drift => What::Corrected,
                };
                return self.write(object, Some(child), &body, what, applied).await;
            }
        }
        Ok(true)
    }

    /// Tells whether the object is there afterwards.
    async fn write(
        &self,
        object: &Desired,
        child: Option<&Child>,
        body: &Value,
        what: What,
        applied: &mut Applied,
    ) -> Result<bool, Error> {
        let refusals = self.tools.refusals;
        if let Some((finding, delay)) = refusals.stands(self.key, object, child) {
            applied.problems.push(finding);
            applied.again(delay);
            return Ok(child.is_some());
        }
        if let Some(rest) = self.tools.contests.pause(self.key, object) {
            applied.again(rest);
            return Ok(child.is_some());
        }
        match self.send(object, child, body).await {
            Ok(written) => {
                refusals.lift(self.key, object);
                self.note(object, body, written);
                if self.tools.contests.note(self.key, object) {
                    let (kind, name) = (object.kind.name(), &object.name);
                    tracing::warn!(system = %self.key, kind, name, "somebody else changes it back each time");
                }
                applied.changes.push(Change { kind: object.kind, name: object.name.clone(), what });
                Ok(true)
            }
            Err(error @ Error::Refused { .. }) => {
                let (finding, delay) = refusals.add(self.key, object, child, &error);
                applied.problems.push(finding);
                applied.again(delay);
                applied.refused.push(error);
                Ok(child.is_some())
            }
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        object: &Desired,
        child: Option<&Child>,
        body: &Value,
    ) -> Result<DynamicObject, Error> {
        let (namespace, door) = (&self.owner.namespace, self.tools.door);
        let how = if child.is_some() { Apply::Ours } else { Apply::New };
        let refused = match door.apply(object.kind, namespace, &object.name, body, how).await {
            Err(error @ Error::Refused { .. }) if how == Apply::Ours => error,
            result => return result,
        };
        let live = door
            .get(object.kind, namespace, &object.name)
            .await?
            .and_then(|live| serde_json::to_value(live).ok());
        let Some(patch) = live.and_then(|live| repair(body, &live)) else { return Err(refused) };
        door.patch(object.kind, namespace, &object.name, &patch).await?;
        door.apply(object.kind, namespace, &object.name, body, how).await
    }

    fn note(&self, object: &Desired, body: &Value, written: DynamicObject) {
        let (kind, name) = (object.kind.name(), &object.name);
        tracing::info!(system = %self.key, kind, name, "applied");
        let child = Child::read(object.kind, written.clone());
        self.tools.cache.put(object.kind, written);
        if child.comparable().is_some_and(|live| differs(body, &live)) {
            // Writing it again would change nothing, so it is let be.
            tracing::warn!(
                system = %self.key, kind, name,
                "the API keeps something else than what was applied; is there a webhook that changes it?"
            );
        }
        self.tools.cache.settle(self.key, &child, &object.hash);
    }
}
