//! The node: containerd with runc, kubelet, kube-proxy, and the network plugins between them.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::certificates::{self, Authority, Use};
use super::process::{self, Daemon};
use super::{access, control_plane, debian, images, layout, network, parts};

/// The only node.
pub(crate) const NAME: &str = "node-0";
/// Below this, in every hierarchy, lie the cgroups of all pods and of nothing else.
pub(crate) const CGROUP: &str = "mcp-system-tests";
const PAUSE_IMAGE: &str = "mcp-system.test/pause:1";

/// Starts what runs pods, and waits until the node is ready for them.
pub(crate) fn start() -> Result<()> {
    prepare()?;
    process::start(Daemon::Containerd, &arguments(Daemon::Containerd))?;
    process::start(Daemon::Scheduler, &control_plane::arguments(Daemon::Scheduler))?;
    process::start(Daemon::KubeProxy, &arguments(Daemon::KubeProxy))?;
    wait_containerd()?;
    images::import(&images::program_image(PAUSE_IMAGE, &["pause"])?)?;
    process::start(Daemon::Kubelet, &arguments(Daemon::Kubelet))?;
    wait_ready()
}

/// Waits until containerd takes connections.
pub(crate) fn wait_containerd() -> Result<()> {
    process::wait_until("containerd", Duration::from_secs(30), &[Daemon::Containerd], || {
        UnixStream::connect(layout::containerd_socket()).context("its socket refuses").map(|_| true)
    })
}

/// Waits until the node says that it is ready.
pub(crate) fn wait_ready() -> Result<()> {
    let query = "--output=jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    process::wait_until(
        "the node to become ready",
        Duration::from_mins(2),
        &[Daemon::ApiServer, Daemon::Containerd, Daemon::Kubelet],
        || access::admin_kubectl(&["get", "node", NAME, query]).map(|status| status == "True"),
    )
}

/// Arguments of one of the three.
pub(crate) fn arguments(daemon: Daemon) -> Vec<String> {
    let file = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
    match daemon {
        Daemon::Containerd => vec![file("config", layout::run("containerd/config.toml"))],
        Daemon::Kubelet => vec![
            file("config", layout::run("kubelet.json")),
            file("kubeconfig", layout::kubeconfig("kubelet")),
            file("root-dir", layout::run("kubelet")),
            format!("--hostname-override={NAME}"),
            format!("--node-ip={}", network::NODE_IP),
        ],
        _ => vec![
            file("kubeconfig", layout::kubeconfig("kube-proxy")),
            "--proxy-mode=iptables".to_owned(),
            format!("--cluster-cidr={}", network::POD_RANGE),
            format!("--hostname-override={NAME}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--healthz-bind-address=127.0.0.1:10256".to_owned(),
            // The limit belongs to the machine; the namespace may not change it.
            "--conntrack-max-per-core=0".to_owned(),
        ],
    }
}

fn prepare() -> Result<()> {
    if layout::run("kubelet.json").exists() {
        return Ok(());
    }
    let authority = Authority::open()?;
    authority.issue_files("kubelet", NAME, None, &Use::Server(&[NAME, network::NODE_IP]))?;
    authority.kubeconfig("kubelet", &format!("system:node:{NAME}"), Some("system:nodes"))?;
    authority.kubeconfig("kube-proxy", "system:kube-proxy", None)?;
    layout::write(&layout::run("containerd/config.toml"), containerd_config())?;
    layout::write(&layout::run("cni/10-cluster.conflist"), format!("{:#}", network_plugins()))?;
    // Nothing outside answers names, so a pod that asks gets its refusal at once.
    layout::write(&layout::run("resolv.conf"), format!("nameserver {}\n", network::NODE_IP))?;
    layout::create_dir(&layout::logs().join("pods"))?;
    save_kernel_settings()?;
    create_cgroups()?;
    // The last: its presence says that all of this is done.
    layout::write(&layout::run("kubelet.json"), format!("{:#}", kubelet_config()))
}

fn containerd_config() -> String {
    let folder = layout::run("containerd");
    let folder = folder.display();
    format!(
        r#"version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
# Root may lack the capability that a negative adjustment takes; every sandbox would fail.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_apparmor = true
enable_cdi = false

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{plugins}"]
conf_dir = "{conf}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        socket = layout::containerd_socket().display(),
        plugins = debian::CNI_PLUGINS,
        conf = layout::run("cni").display(),
    )
}

fn network_plugins() -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "cluster",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                // A pod may reach itself through its own Service.
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": network::POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": layout::run("cni-addresses"),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet_config() -> serde_json::Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network::NODE_IP,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": certificates::authority_file()},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout::pki().join("kubelet.crt"),
        "tlsPrivateKeyFile": layout::pki().join("kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout::containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{CGROUP}"),
        // Machines with the first version of cgroups, and with swap, are welcome.
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "clusterDomain": "cluster.local",
        "clusterDNS": [network::DNS_IP],
        "resolvConf": layout::run("resolv.conf"),
        "podLogsDir": layout::logs().join("pods"),
        "volumePluginDir": layout::run("kubelet/volume-plugins"),
        // A changed ConfigMap reaches the pods that mount it after this time, a minute by default.
        "syncFrequency": "3s",
        // Images come from archives alone, so none is ever thrown away, and a full disk evicts nobody.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%",
            "nodefs.inodesFree": "1%", "imagefs.inodesFree": "1%"},
        "serializeImagePulls": false,
    })
}

/// What kubelet and kube-proxy change in the kernel for the whole machine.
const KERNEL_SETTINGS: &[&str] = &[
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

fn save_kernel_settings() -> Result<()> {
    let lines: Vec<String> = KERNEL_SETTINGS
        .iter()
        .filter_map(|name| {
            // A kernel without the setting has nothing to restore.
            let value = std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
            Some(format!("{name}={}", value.trim()))
        })
        .collect();
    layout::write(&layout::run("kernel-settings"), lines.join("\n"))
}

/// Puts back what `save_kernel_settings` noted.
pub(crate) fn restore_kernel_settings() {
    let saved = std::fs::read_to_string(layout::run("kernel-settings")).unwrap_or_default();
    for (name, value) in saved.lines().filter_map(|line| line.split_once('=')) {
        let path = Path::new("/proc/sys").join(name);
        let now = std::fs::read_to_string(&path).unwrap_or_default();
        if now.trim() != value
            && let Err(error) = std::fs::write(&path, value)
        {
            eprintln!("cluster: cannot set {} back to {value}: {error}", path.display());
        }
    }
}

/// Every cgroup hierarchy's root.
pub(crate) fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            fields.next()?.starts_with("cgroup").then(|| place.into())
        })
        .collect()
}

fn create_cgroups() -> Result<()> {
    for root in cgroup_roots() {
        // In the second version of cgroups, controllers reach children only once they are passed on.
        for controller in
            std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default().split(' ')
        {
            let _ = std::fs::write(root.join("cgroup.subtree_control"), format!("+{}", controller.trim()));
        }
        layout::create_dir(&root.join(CGROUP))?;
        // In the first version of cgroups this one starts out empty and takes no process until it is filled.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (root.join(file), root.join(CGROUP).join(file));
            if let (Ok(value), true) = (std::fs::read(&from), to.exists()) {
                std::fs::write(&to, value).with_context(|| format!("cannot write {}", to.display()))?;
            }
        }
    }
    Ok(())
}

/// `ctr`, in the namespace where kubelet's images and containers are.
pub(crate) fn ctr() -> Result<Command> {
    let mut command = network::inside()?;
    command.arg("--").arg(parts::program("ctr")?);
    command.arg("--address").arg(layout::containerd_socket()).args(["--namespace", "k8s.io"]);
    Ok(command)
}
