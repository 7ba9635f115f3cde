//! The programs of the cluster, and of a database beside it, built from Go modules once and kept.
//!
//! Each tool has a `go.mod` of its own under `tests/tools`; those whose dependencies do not clash share one. What it
//! builds lies in a folder whose name holds a hash of its files and the build flags: a changed version is built anew,
//! an unchanged one costs nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::progress::Ticker;
use super::{layout, network, process};

/// Programs that one Go module builds.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// Go packages and what we call their programs. `./` begins one of our own, which is its `main.go` alone.
    programs: &'static [(&'static str, &'static str)],
    tags: &'static str,
    ldflags: &'static str,
    /// A module and a folder of it, whose YAML files are kept beside the programs.
    manifests: Option<(&'static str, &'static str)>,
}

const STRIPPED: &str = "-s -w";

/// All that is made with Kubernetes' libraries stands in one module: they are half of what there is to compile, and with
/// one version of them that is done once. The tags leave the clouds' service discoveries out of Prometheus.
const KUBERNETES: Tool = Tool {
    name: "kubernetes",
    programs: &[
        ("go.etcd.io/etcd/server/v3", "etcd"),
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
        ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ("helm.sh/helm/v4/cmd/helm", "helm"),
        ("./coredns", "coredns"),
        ("./pause", "pause"),
        ("github.com/prometheus-operator/prometheus-operator/cmd/operator", "prometheus-operator"),
        (
            "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader",
            "prometheus-config-reloader",
        ),
        ("github.com/prometheus/prometheus/cmd/prometheus", "prometheus"),
    ],
    tags: "remove_all_sd,enable_kubernetes_sd",
    // Without these the API server reports no version. They follow the version in go.mod.
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
              -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
    manifests: Some((
        "github.com/prometheus-operator/prometheus-operator",
        "example/prometheus-operator-crd",
    )),
};

const CONTAINERD: Tool = Tool {
    name: "containerd",
    programs: &[
        ("github.com/containerd/containerd/v2/cmd/containerd", "containerd"),
        ("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
        ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
    ],
    tags: "no_btrfs,no_zfs,no_devmapper",
    ldflags: STRIPPED,
    manifests: None,
};

const WEAVIATE: Tool = Tool {
    name: "weaviate",
    programs: &[("github.com/weaviate/weaviate/cmd/weaviate-server", "weaviate-server")],
    tags: "",
    ldflags: STRIPPED,
    manifests: None,
};

/// What an API server that answers needs, the clients, and what runs as pods.
pub(crate) const FOR_CONTROL_PLANE: &[Tool] = &[KUBERNETES];
/// What running pods takes.
pub(crate) const FOR_NODE: &[Tool] = &[CONTAINERD];
/// What the servers of this project talk to, beside the cluster.
pub(crate) const FOR_DATABASES: &[Tool] = &[WEAVIATE];

fn all() -> impl Iterator<Item = &'static Tool> {
    [FOR_CONTROL_PLANE, FOR_NODE, FOR_DATABASES].into_iter().flatten()
}

/// Builds everything that is not built yet.
pub(crate) fn ensure_all() -> Result<()> {
    super::debian::ensure(super::debian::FOR_CLUSTER)?;
    all().try_for_each(ensure_one)
}

/// Builds those of the tools that are not built yet.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    tools.iter().try_for_each(ensure_one)
}

/// Where a program lies. It need not be built yet.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let owner = all()
        .find(|tool| tool.programs.iter().any(|(_, program)| *program == name))
        .with_context(|| format!("no tool builds a program called {name}"))?;
    Ok(folder(owner)?.join(name))
}

/// The folder of YAML files that came with a tool.
pub(crate) fn manifests(tool: &str) -> Result<PathBuf> {
    let owner = all().find(|one| one.name == tool).with_context(|| format!("no tool is called {tool}"))?;
    Ok(folder(owner)?.join("manifests"))
}

/// A tool, whether it is built, and its folder: for people.
pub(crate) fn report() -> Result<Vec<(&'static str, bool, PathBuf)>> {
    all().map(|tool| folder(tool).map(|path| (tool.name, path.exists(), path))).collect()
}

fn folder(tool: &Tool) -> Result<PathBuf> {
    let own = tool.programs.iter().filter(|(package, _)| package.starts_with("./"));
    let files = ["go.mod".into(), "go.sum".into()]
        .into_iter()
        .chain(own.map(|(package, _)| format!("{package}/main.go")));
    let mut hash = Sha256::new();
    for file in files {
        let path = layout::tools().join(tool.name).join(file);
        hash.update(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    hash.update(arguments(tool).join(" "));
    let hash = hash.finalize();
    let key = hash.iter().take(6).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    Ok(crate::cache::folder()?.join("bin").join(format!("{}-{key}", tool.name)))
}

fn arguments(tool: &Tool) -> Vec<&'static str> {
    // Nobody debugs these: without what debuggers read, an eighth less is to be done.
    let mut arguments = vec!["build", "-v", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false"];
    arguments.extend(["-tags", tool.tags, "-ldflags", tool.ldflags]);
    arguments.extend(tool.programs.iter().map(|(package, _)| *package));
    arguments
}

fn ensure_one(tool: &Tool) -> Result<()> {
    let target = folder(tool)?;
    if target.exists() {
        return Ok(());
    }
    let bin = crate::cache::folder()?.join("bin");
    layout::create_dir(&bin)?;
    // Two processes that want the same tool: the second waits, then finds it built.
    let lock = File::create(bin.join("lock")).context("cannot create the lock of the program cache")?;
    lock.lock().context("cannot lock the program cache")?;
    if target.exists() {
        return Ok(());
    }
    let draft = bin.join(format!("{}.draft", tool.name));
    if draft.exists() {
        std::fs::remove_dir_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    layout::create_dir(&draft)?;
    build(tool, &draft)?;
    for (package, name) in tool.programs {
        rename_program(&draft, package, name)?;
    }
    if let Some((module, inside)) = tool.manifests {
        copy_manifests(tool, module, inside, &draft.join("manifests"))?;
    }
    std::fs::rename(&draft, &target)
        .with_context(|| format!("cannot move {} to {}", draft.display(), target.display()))
}

fn go(tool: &Tool) -> Command {
    let mut command = network::outside("go");
    command
        .current_dir(layout::tools().join(tool.name))
        .stdin(Stdio::null())
        // Static programs: their images hold nothing else.
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly");
    command
}

fn build(tool: &Tool, into: &Path) -> Result<()> {
    let log = crate::cache::folder()?.join("logs").join(format!("build-{}.log", tool.name));
    layout::write(&log, "")?;
    let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let arguments = arguments(tool);
    let mut child = go(tool)
        .arg(arguments[0])
        .arg("-o")
        // The slash makes go write every program into the folder.
        .arg(format!("{}/", into.display()))
        .args(&arguments[1..])
        .stdout(output.try_clone().context("cannot share the build log")?)
        .stderr(output)
        .spawn()
        .context("cannot run go: the programs that tests need are built with it, install Go 1.26 or newer")?;
    let mut ticker = Ticker::new(format!("building {}", tool.name));
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for go")? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(250));
        // `go build -v` prints each package that it compiles.
        let packages = std::fs::read_to_string(&log).map_or(0, |text| text.lines().count());
        ticker.tick(&format!("{packages} packages compiled"));
    };
    if !status.success() {
        ticker.done("failed");
        bail!("go could not build {}; from {}:\n{}", tool.name, log.display(), process::tail(&log));
    }
    ticker.done("built");
    Ok(())
}

/// go names a program after the last part of its package that is no version.
fn rename_program(folder: &Path, package: &str, name: &str) -> Result<()> {
    let built = package
        .rsplit('/')
        .find(|part| {
            !part.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .unwrap_or(name);
    if built == name {
        return Ok(());
    }
    std::fs::rename(folder.join(built), folder.join(name))
        .with_context(|| format!("go built no {built} from {package}"))
}

fn copy_manifests(tool: &Tool, module: &str, inside: &str, into: &Path) -> Result<()> {
    let output =
        go(tool).args(["list", "-m", "-f", "{{.Dir}}", module]).output().context("cannot run go list")?;
    if !output.status.success() {
        bail!("go list {module} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let from = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(inside);
    layout::create_dir(into)?;
    let entries = std::fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", from.display()))?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "yaml")) {
            // Not `copy`: files of the module cache are read-only, and copy keeps that.
            let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            layout::write(&into.join(name), text)?;
        }
    }
    Ok(())
}
