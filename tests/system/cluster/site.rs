//! What the scenarios of the cluster share: the cluster, the operator, the clients in its network.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use mcp_system_tests::clients::{Clients, everything_image};
use mcp_system_tests::cluster::{AuditEvent, Cluster, Stage};
use mcp_system_tests::laptop;
use serde_json::Value;
use tempfile::TempDir;

use crate::group::{Fixture, Shared, story};
use crate::parts::clients;

/// Where the operator runs, and the name of all that the chart makes.
pub(super) const OPERATOR: &str = "mcp-system";
/// Who the operator is to the API server.
pub(super) const OPERATOR_USER: &str = "system:serviceaccount:mcp-system:mcp-system";
/// The image that is built from this repository.
const IMAGE: (&str, &str) = ("mcp-system", "test");
/// What the chart leaves out where it is not asked for it.
const ALL_OF_THE_CHART: &str = "metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,\
    metrics.dashboards.enabled=true,podDisruptionBudget.enabled=true";
/// What of that needs the Prometheus Operator.
const WITHOUT_PROMETHEUS: &str = "metrics.serviceMonitor.enabled=false,metrics.prometheusRule.enabled=false";
/// How long anything may take that does not say otherwise.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

pub(super) static SITE: Shared<Site> = Shared::new(Site::make);

/// A cluster with the operator in it.
pub(super) struct Site {
    pub(super) cluster: Cluster,
    /// In the cluster's network, resolving names as a pod does.
    pub(super) clients: Clients,
    /// The address of Prometheus, once it was asked for.
    prometheus: OnceCell<Result<String, String>>,
    _files: TempDir,
}

/// Runs a scenario on the site, with Prometheus in it, and shows what the operator said when it fails.
pub(super) fn on_site(scenario: impl FnOnce(&Site) -> Result<()>) -> Result<()> {
    on_any_site(|site| {
        site.prometheus()?;
        scenario(site)
    })
}

/// The same without asking for Prometheus: before any other scenario, the cluster does not even know ServiceMonitors.
pub(super) fn on_any_site(scenario: impl FnOnce(&Site) -> Result<()>) -> Result<()> {
    SITE.with(|site| scenario(site).map_err(|error| anyhow!("{}\n{}", story(&error), site.evidence())))
}

impl Site {
    fn make() -> Result<Self> {
        // All that needs the world outside comes before the network is entered.
        let clients = clients()?;
        let everything = everything_image::archive(&clients.everything())?;
        let files = TempDir::new().context("no temporary folder")?;
        let archive = files.path().join("mcp-system.tar");
        let cluster = Cluster::for_tests(Stage::All)?;
        build_image(&archive)?;
        cluster.load_image(&archive)?;
        cluster.load_image(&everything)?;
        cluster.enter_network()?;

        let resolver = files.path().join("resolv.conf");
        fs::write(&resolver, resolver_settings(&cluster)?).context("cannot write the resolver's settings")?;
        let clients = clients.behind([
            "unshare".into(),
            "--mount".into(),
            "sh".into(),
            "-c".into(),
            format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", resolver.display()),
            "sh".into(),
        ]);
        let site = Self { cluster, clients, prometheus: OnceCell::new(), _files: files };
        site.install_operator(&chart(), &[WITHOUT_PROMETHEUS])?;
        Ok(site)
    }

    /// Installs or upgrades the operator by a chart, with the values of these tests and then these, each `NAME=VALUE`.
    pub(super) fn install_operator(&self, chart: &Path, values: &[&str]) -> Result<()> {
        let chart = chart.to_str().context("the path of the chart is not UTF-8")?;
        let (repository, tag) = IMAGE;
        let image = format!("image.repository={repository},image.tag={tag},replicas=2");
        let mut arguments = vec!["upgrade", "--install", OPERATOR, chart, "--create-namespace"];
        arguments.extend(["--namespace", OPERATOR, "--wait", "--timeout", "120s", "--set", &image, "--set"]);
        arguments.push(ALL_OF_THE_CHART);
        arguments.extend(values.iter().flat_map(|value| ["--set", *value]));
        self.cluster.helm(&arguments).map(drop)
    }

    /// Takes away what the chart brought.
    pub(super) fn uninstall_operator(&self) -> Result<()> {
        let arguments = ["uninstall", OPERATOR, "--namespace", OPERATOR, "--wait", "--timeout", "120s"];
        self.cluster.helm(&arguments).map(drop)
    }

    /// The address of Prometheus. Asked for the first time, it is installed, and the operator gets its ServiceMonitor.
    pub(super) fn prometheus(&self) -> Result<&str> {
        let made = self.prometheus.get_or_init(|| {
            let address = self.cluster.install_prometheus();
            let made = address.and_then(|address| self.install_operator(&chart(), &[]).map(|()| address));
            made.map_err(|error| story(&error))
        });
        made.as_deref().map_err(|error| anyhow!("Prometheus cannot be installed: {error}"))
    }

    /// Applies a manifest as a user would.
    pub(super) fn apply(&self, manifest: &str) -> Result<()> {
        self.cluster.kubectl_with_input(&["apply", "--filename=-"], manifest).map(drop)
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(arguments)
    }

    /// What `kubectl get` gives, as JSON.
    pub(super) fn get(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = vec!["get", "--output=json"];
        command.extend(arguments);
        serde_json::from_str(&self.kubectl(&command)?).context("kubectl gave no JSON")
    }

    /// Waits until a system is ready, and gives it.
    pub(super) fn ready(&self, system: &str) -> Result<Value> {
        let wait = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", "--for=condition=Ready", &format!("mcps/{system}"), &wait])
            .with_context(|| format!("{system} is not ready: {}", self.conditions(system)))?;
        self.get(&["mcps", system])
    }

    /// Waits until a condition of a system has this status and reason.
    pub(super) fn condition(&self, system: &str, type_: &str, status: &str, reason: &str) -> Result<String> {
        eventually(&format!("{system} gets {type_}={status} {reason}"), || {
            let object = self.get(&["mcps", system])?;
            let condition = condition(&object, type_);
            Ok((condition["status"] == status && condition["reason"] == reason)
                .then(|| condition["message"].as_str().unwrap_or_default().to_owned()))
        })
        .with_context(|| self.conditions(system))
    }

    /// Deletes systems, and waits until all that they owned is gone.
    pub(super) fn delete(&self, systems: &[&str]) -> Result<()> {
        let mut command = vec!["delete", "mcps", "--ignore-not-found", "--wait"];
        command.extend(systems);
        self.kubectl(&command)?;
        for system in systems {
            eventually(&format!("all of {system} goes"), || {
                Ok(self.owned(system)?.is_empty().then_some(()))
            })?;
        }
        Ok(())
    }

    /// The objects of a system but its volume claims, as `kind/name`.
    pub(super) fn owned(&self, system: &str) -> Result<Vec<String>> {
        let kinds =
            "deployments,hpa,replicasets,pods,services,configmaps,secrets,serviceaccounts,servicemonitors";
        let objects = self.get(&[kinds, "--selector", &format!("app.kubernetes.io/instance={system}")])?;
        let items = objects["items"].as_array().cloned().unwrap_or_default();
        Ok(items
            .iter()
            .map(|item| format!("{}/{}", text(&item["kind"]), text(&item["metadata"]["name"])))
            .collect())
    }

    /// The size of the audit log, from which later reads start.
    pub(super) fn audit_position(&self) -> Result<u64> {
        let log = self.cluster.audit_log()?;
        Ok(fs::metadata(&log).with_context(|| format!("cannot see {}", log.display()))?.len())
    }

    /// What the operators asked for since then.
    pub(super) fn events_since(&self, position: u64) -> Result<Vec<AuditEvent>> {
        Ok(self.cluster.audit_events(position, OPERATOR_USER)?.0)
    }

    /// What they wrote since then, the lease aside.
    pub(super) fn writes_since(&self, position: u64) -> Result<Vec<AuditEvent>> {
        Ok(self
            .events_since(position)?
            .into_iter()
            .filter(|event| event.is_write() && event.object_ref.resource != "leases")
            .collect())
    }

    fn conditions(&self, system: &str) -> String {
        match self.get(&["mcps", system]) {
            Ok(object) => format!("its status is {}", object["status"]),
            Err(error) => format!("{error:#}"),
        }
    }

    fn evidence(&self) -> String {
        let told = |arguments: &[&str]| self.kubectl(arguments).unwrap_or_else(|error| format!("{error:#}"));
        format!(
            "--- pods\n{}\n--- the operator\n{}",
            told(&["get", "pods", "--all-namespaces", "--output=wide"]),
            told(&[
                "logs",
                "--namespace",
                OPERATOR,
                "--selector=app.kubernetes.io/component=operator",
                "--tail=25"
            ]),
        )
    }
}

impl Fixture for Site {
    fn end(self) -> Result<()> {
        self.cluster.teardown()
    }
}

/// Waits until this gives something.
pub(super) fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        let seen = look();
        match seen {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if start.elapsed() > PATIENCE => {
                bail!("{what}: not within {} s", PATIENCE.as_secs())
            }
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error.context(format!("{what}: not within {} s", PATIENCE.as_secs())));
            }
            Ok(None) | Err(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

/// A condition of a system; null where it has none of that type.
pub(super) fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == type_).cloned().unwrap_or_default()
}

/// What a status says of one server; null where it says nothing.
pub(super) fn server(object: &Value, name: &str) -> Value {
    let servers = object["status"]["servers"].as_array();
    servers.into_iter().flatten().find(|server| server["name"] == name).cloned().unwrap_or_default()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A system of this name with this spec, in YAML's flow style.
pub(super) fn system(name: &str, spec: &str) -> String {
    format!("apiVersion: mcpsystem.io/v1alpha1\nkind: McpSystem\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// The chart of this repository.
pub(super) fn chart() -> PathBuf {
    repository().join("charts/mcp-system")
}

pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// How pods of the default namespace find names.
fn resolver_settings(cluster: &Cluster) -> Result<String> {
    let search = "default.svc.cluster.local svc.cluster.local cluster.local";
    Ok(format!("nameserver {}\nsearch {search}\noptions ndots:5\n", cluster.dns()?))
}

fn build_image(archive: &Path) -> Result<()> {
    let (repository_name, tag) = IMAGE;
    let output = Command::new(repository().join("image"))
        .arg(format!("{repository_name}:{tag}"))
        .arg(archive)
        .env("MCP_SYSTEM_BINARY", laptop::binary()?)
        .output()
        .context("cannot run ./image")?;
    ensure!(
        output.status.success(),
        "./image failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
