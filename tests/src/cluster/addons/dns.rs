//! Names inside the cluster: `CoreDNS` behind the address that kubelet tells to every pod.

use anyhow::Result;

use crate::cluster::{access, images, network};

const IMAGE: &str = "mcp-system.test/coredns:1";

/// Installs it; `wait` tells when it answers.
pub(crate) fn install() -> Result<()> {
    images::import(&images::program_image(IMAGE, &["coredns"])?)?;
    let values = [("DNS_IMAGE", IMAGE), ("DNS_IP", network::DNS_IP)];
    access::apply(&super::fill(include_str!("../manifests/dns.yaml"), &values))
}

pub(crate) fn wait() -> Result<()> {
    super::wait_rollout(access::admin_kubectl, "kube-system", "deployment/coredns")
}
