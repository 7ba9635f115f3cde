//! The Service before a server's pods.

use crate::render::{Owner, labels, metadata};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mcp_system_plan::Workload;

/// The name of the one port, in Services and pods.
pub(super) const PORT: &str = "http";

pub(super) fn render(workload: &Workload, owner: &Owner) -> Service {
    let mut metadata = metadata(workload, owner);
    let annotations = &workload.service.annotations;
    metadata.annotations = (!annotations.is_empty()).then(|| annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(workload.service.type_.name().to_owned()),
            selector: Some(labels::selector(workload, owner)),
            ports: Some(vec![ServicePort {
                name: Some(PORT.to_owned()),
                port: i32::from(workload.port),
                target_port: Some(IntOrString::String(PORT.to_owned())),
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("http".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
