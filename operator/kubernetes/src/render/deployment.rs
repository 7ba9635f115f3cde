//! The Deployment that runs a server.

use crate::render::{Owner, labels, metadata, pod};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_system_plan::{Strategy, Workload};

/// Old ReplicaSets that are kept for a look back.
const HISTORY: i32 = 3;
/// Seconds in which an image can be had and a pod placed, before the roll-out counts as stuck.
const PLACING: i32 = 180;

pub(super) fn render(workload: &Workload, owner: &Owner) -> Deployment {
    let startup = &workload.probes.startup;
    let starting = startup.initial_delay_seconds.saturating_add(
        startup.failure_threshold.saturating_mul(startup.period_seconds.max(startup.timeout_seconds)),
    );
    // Where something else decides, an apply without the field leaves it to that.
    let replicas = workload.autoscaling.is_none().then_some(workload.replicas);
    Deployment {
        metadata: metadata(workload, owner),
        spec: Some(DeploymentSpec {
            replicas: replicas.map(|replicas| i32::try_from(replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector {
                match_labels: Some(labels::selector(workload, owner)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy(workload.strategy)),
            revision_history_limit: Some(HISTORY),
            progress_deadline_seconds: Some(PLACING.saturating_add(starting)),
            template: pod::template(workload, owner),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn strategy(strategy: Strategy) -> DeploymentStrategy {
    match strategy {
        Strategy::Recreate => {
            DeploymentStrategy { type_: Some("Recreate".to_owned()), ..DeploymentStrategy::default() }
        }
        Strategy::RollingUpdate => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
    }
}
