//! The kinds of objects that a system consists of.
//!
//! Must not know what stands in any of them.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind of object that belongs to a system. The order is that in which objects are written: what a pod
/// mounts is there before the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    ServiceAccount,
    ConfigMap,
    VolumeClaim,
    Service,
    Deployment,
    Autoscaler,
    ServiceMonitor,
    /// Only watched: the Deployment's controller makes them.
    Pod,
    /// Only created, and never read.
    Secret,
}

impl Kind {
    /// Every kind that is watched on every cluster.
    pub(crate) const BUILT_IN: [Self; 7] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::VolumeClaim,
        Self::Service,
        Self::Deployment,
        Self::Autoscaler,
        Self::Pod,
    ];

    /// The name that the API uses.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ServiceAccount => "ServiceAccount",
            Self::ConfigMap => "ConfigMap",
            Self::VolumeClaim => "PersistentVolumeClaim",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::Autoscaler => "HorizontalPodAutoscaler",
            Self::ServiceMonitor => "ServiceMonitor",
            Self::Pod => "Pod",
            Self::Secret => "Secret",
        }
    }

    const fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceAccount
            | Self::ConfigMap
            | Self::VolumeClaim
            | Self::Service
            | Self::Pod
            | Self::Secret => ("", "v1"),
            Self::Deployment => ("apps", "v1"),
            Self::Autoscaler => ("autoscaling", "v2"),
            Self::ServiceMonitor => ("monitoring.coreos.com", "v1"),
        }
    }

    /// Where the API serves it.
    pub(crate) fn resource(self) -> ApiResource {
        let (group, version) = self.group_version();
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, self.name()))
    }
}

/// Names one system in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SystemKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl SystemKey {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for SystemKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
