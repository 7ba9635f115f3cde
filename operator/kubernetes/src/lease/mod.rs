//! Who leads: one of several operators, by a Lease of the coordination API.
//!
//! [`decide`] is pure; [`keeper`] does what it says. Neither knows what a leader does.
//!
//! A leader acts only until [`valid_for`] has passed since it *asked* for what it was then granted; everybody
//! else waits for the whole duration since they *saw* the last change. The first ends before the second,
//! whatever the clocks of the two say, as long as they run at the same speed to within a tenth.

pub(crate) mod keeper;

#[cfg(test)]
mod tests;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Clocks of two machines of a cluster differ by no more than this; who starts and finds a lease that is
/// older by as much again need not watch it expire.
pub(crate) const MAX_SKEW: Duration = Duration::from_mins(1);

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is none: create it.
    Create,
    /// It is free or has expired: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// Somebody else holds it.
    Wait,
}

/// Decides from the lease as it was read, and from how long this process has seen it unchanged.
pub(crate) fn decide(
    lease: Option<&LeaseSpec>,
    unchanged_for: Duration,
    me: &str,
    now: Timestamp,
) -> Decision {
    let Some(lease) = lease else { return Decision::Create };
    match lease.holder_identity.as_deref() {
        None | Some("") => Decision::Take,
        Some(holder) if holder == me => Decision::Renew,
        Some(_) if has_expired(lease, unchanged_for, now) => Decision::Take,
        Some(_) => Decision::Wait,
    }
}

fn has_expired(lease: &LeaseSpec, unchanged_for: Duration, now: Timestamp) -> bool {
    let duration = duration(lease);
    let has_long_expired = lease.renew_time.as_ref().is_some_and(|renewed| {
        let old = SignedDuration::try_from(duration.saturating_add(MAX_SKEW)).unwrap_or(SignedDuration::MAX);
        now.duration_since(renewed.0) > old
    });
    unchanged_for >= duration || has_long_expired
}

fn duration(lease: &LeaseSpec) -> Duration {
    Duration::from_secs(
        lease.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(15),
    )
}

/// How long a holder may act after it asked for the lease.
pub(crate) fn valid_for(duration: Duration) -> Duration {
    duration.mul_f64(0.8)
}

/// The lease as it is when `me` takes or renews it.
pub(crate) fn held(lease: Option<&LeaseSpec>, me: &str, duration: Duration, now: Timestamp) -> LeaseSpec {
    let previous = lease.cloned().unwrap_or_default();
    let is_mine = previous.holder_identity.as_deref() == Some(me);
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime(now)),
        acquire_time: if is_mine { previous.acquire_time } else { Some(MicroTime(now)) },
        lease_transitions: Some(
            previous.lease_transitions.unwrap_or_default() + i32::from(!is_mine && lease.is_some()),
        ),
        ..previous
    }
}

/// The lease as it is when its holder lets go of it: whoever sees it takes it at once.
pub(crate) fn released(lease: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..lease.clone()
    }
}
