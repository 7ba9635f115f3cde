//! etcd, the API server, the controller manager and the scheduler.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::certificates::{self, Authority, Use};
use super::process::{self, Daemon};
use super::{layout, network};

/// The kubeconfig of the cluster's administrator.
pub(crate) const ADMIN: &str = "admin";
/// The group that may do everything.
pub(crate) const ADMIN_GROUP: &str = "system:masters";

/// Requests once, when they are answered, by whom and for what, without their content: tests count writes by user.
/// What the cluster's own parts read, most of all requests, is left out.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users:
  - system:apiserver
  - system:kube-controller-manager
  - system:kube-scheduler
  - system:kube-proxy
  verbs: [get, list, watch]
- level: None
  userGroups: [system:nodes, system:serviceaccounts:kube-system]
  verbs: [get, list, watch]
- level: None
  userGroups: [system:nodes]
  resources:
  - group: coordination.k8s.io
    resources: [leases]
- level: None
  nonResourceURLs: [/readyz*, /livez*, /healthz*]
- level: Metadata
";

/// Writes certificates, kubeconfigs and configuration files.
pub(crate) fn prepare() -> Result<()> {
    let authority = Authority::open()?;
    certificates::service_account_keys()?;
    if layout::kubeconfig("kube-scheduler").exists() {
        return Ok(());
    }
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        network::NODE_IP,
        network::API_SERVICE_IP,
    ];
    authority.issue_files("apiserver", "kube-apiserver", None, &Use::Server(&names))?;
    authority.issue_files("apiserver-to-kubelet", "kube-apiserver", Some(ADMIN_GROUP), &Use::Client)?;
    authority.kubeconfig(ADMIN, "admin", Some(ADMIN_GROUP))?;
    authority.kubeconfig("kube-controller-manager", "system:kube-controller-manager", None)?;
    authority.kubeconfig("kube-scheduler", "system:kube-scheduler", None)?;
    layout::write(&layout::run("audit-policy.yaml"), AUDIT_POLICY)
}

/// Arguments of one of the four.
pub(crate) fn arguments(daemon: Daemon) -> Vec<String> {
    match daemon {
        Daemon::Etcd => etcd(),
        Daemon::ApiServer => api_server(),
        Daemon::ControllerManager => controller_manager(),
        _ => scheduler(),
    }
}

/// Starts the part that stores and answers, and waits until it does. The scheduler comes with the node.
pub(crate) fn start() -> Result<()> {
    for daemon in [Daemon::Etcd, Daemon::ApiServer] {
        process::start(daemon, &arguments(daemon))?;
    }
    wait_ready()?;
    process::start(Daemon::ControllerManager, &controller_manager())?;
    // Pods, and much else, cannot be created before the controller manager has made this.
    process::wait_until(
        "the default service account",
        Duration::from_mins(1),
        &[Daemon::ApiServer, Daemon::ControllerManager],
        || super::access::admin_kubectl(&["get", "serviceaccount", "default", "--output=name"]).map(|_| true),
    )
}

/// Waits until the API server answers.
pub(crate) fn wait_ready() -> Result<()> {
    process::wait_until("the API server", Duration::from_mins(1), &[Daemon::Etcd, Daemon::ApiServer], || {
        super::access::admin_kubectl(&["get", "--raw=/readyz"]).map(|answer| answer == "ok")
    })
}

fn option(name: &str, value: impl AsRef<Path>) -> String {
    format!("--{name}={}", value.as_ref().display())
}

fn etcd() -> Vec<String> {
    vec![
        option("data-dir", layout::run("etcd")),
        "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
        "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        // Nothing here has to survive a power cut.
        "--unsafe-no-fsync".to_owned(),
    ]
}

fn api_server() -> Vec<String> {
    let pki = layout::pki();
    vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={}", network::NODE_IP),
        "--secure-port=6443".to_owned(),
        format!("--service-cluster-ip-range={}", network::SERVICE_RANGE),
        "--authorization-mode=Node,RBAC".to_owned(),
        // Beside the default ones, PodSecurity among them.
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        option("client-ca-file", certificates::authority_file()),
        option("tls-cert-file", pki.join("apiserver.crt")),
        option("tls-private-key-file", pki.join("apiserver.key")),
        option("kubelet-certificate-authority", certificates::authority_file()),
        option("kubelet-client-certificate", pki.join("apiserver-to-kubelet.crt")),
        option("kubelet-client-key", pki.join("apiserver-to-kubelet.key")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        option("service-account-key-file", pki.join("service-accounts.pub")),
        option("service-account-signing-key-file", pki.join("service-accounts.key")),
        option("audit-policy-file", layout::run("audit-policy.yaml")),
        option("audit-log-path", layout::audit_log()),
        // A test that was answered finds its request in the log.
        "--audit-log-mode=blocking".to_owned(),
        // Megabytes; far more than a test run writes, whose place in the file a rotation would lose.
        "--audit-log-maxsize=1000".to_owned(),
        "--audit-log-maxbackup=1".to_owned(),
    ]
}

fn controller_manager() -> Vec<String> {
    vec![
        option("kubeconfig", layout::kubeconfig("kube-controller-manager")),
        option("authentication-kubeconfig", layout::kubeconfig("kube-controller-manager")),
        option("authorization-kubeconfig", layout::kubeconfig("kube-controller-manager")),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        option("service-account-private-key-file", layout::pki().join("service-accounts.key")),
        option("root-ca-file", certificates::authority_file()),
        option("cluster-signing-cert-file", certificates::authority_file()),
        option("cluster-signing-key-file", certificates::authority_key_file()),
        "--use-service-account-credentials".to_owned(),
        // The default of 20 requests a second is what most of its start would wait for.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

fn scheduler() -> Vec<String> {
    vec![
        option("kubeconfig", layout::kubeconfig("kube-scheduler")),
        option("authentication-kubeconfig", layout::kubeconfig("kube-scheduler")),
        option("authorization-kubeconfig", layout::kubeconfig("kube-scheduler")),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ]
}
