//! The ConfigMap that holds a server's file.

use crate::render::{Owner, metadata};
use k8s_openapi::api::core::v1::ConfigMap;
use mcp_system_plan::{ConfigFile, Workload};
use std::collections::BTreeMap;

/// The key, and so the file's name where it is mounted.
pub(super) const FILE: &str = "config.yaml";

pub(super) fn render(workload: &Workload, config: &ConfigFile, owner: &Owner) -> ConfigMap {
    ConfigMap {
        metadata: metadata(workload, owner),
        data: Some(BTreeMap::from([(FILE.to_owned(), config.text.clone())])),
        ..ConfigMap::default()
    }
}
