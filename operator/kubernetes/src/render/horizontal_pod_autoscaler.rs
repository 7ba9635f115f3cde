//! The HorizontalPodAutoscaler that decides how many copies of a server run.

use crate::kind::Kind;
use crate::render::{Owner, metadata};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use mcp_system_plan::{HorizontalAutoscaler, Workload};

pub(super) fn render(
    workload: &Workload,
    autoscaler: &HorizontalAutoscaler,
    owner: &Owner,
) -> HorizontalPodAutoscaler {
    let deployment = Kind::Deployment.resource();
    // The API may keep CPU apart from the others, and then gives it back as the last.
    let targets = [("memory", autoscaler.memory_percent), ("cpu", autoscaler.cpu_percent)];
    let metrics = targets.into_iter().filter_map(|(resource, percent)| Some(metric(resource, percent?)));
    HorizontalPodAutoscaler {
        metadata: metadata(workload, owner),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some(deployment.api_version),
                kind: deployment.kind,
                name: owner.object_name(&workload.name),
            },
            min_replicas: Some(i32::try_from(workload.replicas).unwrap_or(i32::MAX)),
            max_replicas: autoscaler.max_replicas,
            metrics: Some(metrics.collect()),
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    }
}

/// How much of what is set aside for them copies are to use on average.
fn metric(resource: &str, percent: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: resource.to_owned(),
            target: MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
