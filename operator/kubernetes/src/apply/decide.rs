//! What to do about an object that exists.
//!
//! Pure: what it should be, what it is, and whose it is go in; one step comes out.

use crate::apply::{claim, scale};
use crate::child::{Child, Facts};
use crate::differ::differs;
use crate::kind::Kind;
use crate::render::{Desired, INSTANCE, MANAGED_BY, MANAGER, Owner};
use mcp_system_crds::Reason;
use mcp_system_plan::Finding;
use serde_json::{Value, json};

/// What to do about an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// It is known to be as it should be.
    Keep,
    /// It was found to be as it should be.
    Settle,
    /// It is on its way out: wait until it is gone.
    Wait,
    /// It is not ours.
    Refuse(Finding),
    /// It has to be written.
    Write(Value, Why),
}

/// Why an object has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The plan changed.
    Plan,
    /// The object did.
    Drift,
}

/// A step, and what has to be told beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decided {
    pub(crate) step: Step,
    pub(crate) shortfalls: Vec<Finding>,
}

impl From<Step> for Decided {
    fn from(step: Step) -> Self {
        Self { step, shortfalls: Vec::new() }
    }
}

/// Decides about an object that exists.
pub(crate) fn decide(object: &Desired, child: &Child, owner: &Owner) -> Decided {
    if child.is_left_over(&owner.name, &owner.uid) {
        return Step::Wait.into();
    }
    if !is_ours(child, owner) {
        return Step::Refuse(foreign(child, owner)).into();
    }
    if child.deleting {
        return Step::Wait.into();
    }
    let (mut body, shortfalls) = match &child.facts {
        Facts::Claim(claim) => claim::fit(object, claim),
        Facts::Deployment(progress) => (scale::fit(object, Some(progress)), Vec::new()),
        Facts::Autoscaler(_) | Facts::None => (object.body.clone(), Vec::new()),
    };
    let step = step(object, child, &body);
    if let Step::Write(..) = step {
        // An object that took this one's place meanwhile is not written to.
        body["metadata"]["uid"] = json!(child.uid);
    }
    let step = match step {
        Step::Write(_, why) => Step::Write(body, why),
        other => other,
    };
    Decided { step, shortfalls }
}

fn step(object: &Desired, child: &Child, body: &Value) -> Step {
    if child.settled.as_deref() == Some(object.hash.as_str()) {
        return Step::Keep;
    }
    let is_applied = child.applied.as_deref() == Some(object.hash.as_str());
    match child.comparable() {
        Some(live) if is_applied && !differs(body, &live) => Step::Settle,
        Some(_) if is_applied => Step::Write(Value::Null, Why::Drift),
        // It was as an earlier plan wanted it, or somebody changed the note of what was applied.
        _ => Step::Write(Value::Null, Why::Plan),
    }
}

/// A claim outlives its system, so it is known by its labels; everything else by who controls it.
fn is_ours(child: &Child, owner: &Owner) -> bool {
    match child.kind {
        Kind::VolumeClaim => {
            child.instance.as_deref() == Some(owner.name.as_str())
                && child.owner.as_ref().is_none_or(|controller| controller.uid == owner.uid)
        }
        _ => child.is_controlled_by(&owner.uid),
    }
}

fn foreign(child: &Child, owner: &Owner) -> Finding {
    let kind = child.kind.name();
    let place = format!("{}/{}", owner.namespace, child.name);
    let advice = match child.kind {
        Kind::VolumeClaim => format!(
            "delete it, give the McpSystem another name, or hand the claim over by the labels \
             {MANAGED_BY}={MANAGER} and {INSTANCE}={}",
            owner.name
        ),
        _ => "delete it or give the McpSystem another name".to_owned(),
    };
    Finding::new(Reason::ObjectNotOurs, format!("{kind} {place} exists and is not this system's: {advice}"))
}
