//! The claim of the volume where a server keeps data.

use crate::render::{Owner, metadata};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mcp_system_crds::ReclaimPolicy;
use mcp_system_plan::{Volume, Workload};
use std::collections::BTreeMap;

pub(super) fn render(workload: &Workload, volume: &Volume, owner: &Owner) -> PersistentVolumeClaim {
    let mut metadata = metadata(workload, owner);
    // Without an owner the claim outlives its system, and a system of the same name finds it again.
    if volume.reclaim_policy == ReclaimPolicy::Retain {
        metadata.owner_references = None;
    }
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(volume.size.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: volume.storage_class_name.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
