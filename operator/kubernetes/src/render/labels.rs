//! Labels and annotations that objects carry.

use crate::render::Owner;
use mcp_system_plan::Workload;
use std::collections::BTreeMap;

/// The system.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// The server.
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";
/// Who writes the object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub(crate) const MANAGER: &str = "mcp-system-operator";
/// Selects everything that this operator writes.
pub(crate) const SELECTOR: &str = "app.kubernetes.io/managed-by=mcp-system-operator";
/// An annotation: the hash of the object as it was applied, so that a field that is no longer wanted is
/// noticed after a restart as well.
pub(crate) const APPLIED: &str = "mcpsystem.io/applied";
/// An annotation of pods: the hash of those settings that a running server cannot take over.
pub(crate) const CONFIG_HASH: &str = "mcpsystem.io/config-hash";
/// An annotation of a volume claim: when all that lies on it was moved into PostgreSQL. People may remove it, and the
/// claim is as if that had never been.
pub(crate) const MOVED: &str = "mcpsystem.io/moved";

/// Labels that never change for a server of a system: selectors hold only these.
pub(crate) fn selector(workload: &Workload, owner: &Owner) -> BTreeMap<String, String> {
    BTreeMap::from([(INSTANCE.to_owned(), owner.name.clone()), (COMPONENT.to_owned(), workload.name.clone())])
}

/// Labels of every object of a server.
pub(crate) fn of(workload: &Workload, owner: &Owner) -> BTreeMap<String, String> {
    let mut labels = selector(workload, owner);
    for (name, value) in [
        ("app.kubernetes.io/name", "mcp-server"),
        ("app.kubernetes.io/part-of", "mcp-system"),
        (MANAGED_BY, MANAGER),
    ] {
        labels.insert(name.to_owned(), value.to_owned());
    }
    labels
}
