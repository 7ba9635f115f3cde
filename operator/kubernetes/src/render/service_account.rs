//! The ServiceAccount that a server's pods run as. It may do nothing, and no token of it is mounted.

use crate::render::{Owner, metadata};
use k8s_openapi::api::core::v1::ServiceAccount;
use mcp_system_plan::Workload;

pub(super) fn render(workload: &Workload, owner: &Owner) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(workload, owner),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
