//! Limits, read where they bind: in the control groups of the pods' processes.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::site::{Site, on_site, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("limits::stand_in_the_control_groups", limits_stand_in_the_control_groups)]
}

fn limits_stand_in_the_control_groups() -> Result<()> {
    on_site(|site| {
        for server in ["memory", "orchestrator", "tools"] {
            let group = process_of(site, &format!("minimal-{server}"))?;
            same(&format!("the memory limit of {server}"), &group.memory()?, &(1 << 30))?;
            same(&format!("the CPU limit of {server}"), &group.millicores()?, &800)?;
        }
        Ok(())
    })
}

/// The control groups of one process, by controller; the empty name is that of version 2.
struct Groups(Vec<(String, PathBuf)>);

/// Finds the server's process by the pod's UID, which its control groups carry.
fn process_of(site: &Site, deployment: &str) -> Result<Groups> {
    let (system, component) = deployment.split_once('-').context("system-server")?;
    let selector = format!("app.kubernetes.io/instance={system},app.kubernetes.io/component={component}");
    let pods = site.get(&["pods", "--selector", &selector])?;
    let uid = text(&pods["items"][0]["metadata"]["uid"]).to_owned();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !command.starts_with(b"/mcp-system\0serve") {
            continue;
        }
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.contains(&uid) || groups.contains(&uid.replace('-', "_")) {
            return Ok(Groups(groups.lines().filter_map(group).collect()));
        }
    }
    bail!("no process of {deployment} is on this machine, on which the cluster's nodes have to be")
}

/// `4:cpu,cpuacct:/kubepods/…` for each controller.
fn group(line: &str) -> Option<(String, PathBuf)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let controllers = parts.next()?.to_owned();
    Some((controllers, parts.next()?.trim_start_matches('/').into()))
}

impl Groups {
    fn read(&self, controller: &str, old: &str, new: &str) -> Result<String> {
        for (controllers, path) in &self.0 {
            let root = PathBuf::from("/sys/fs/cgroup");
            let file = if controllers.split(',').any(|name| name == controller) {
                root.join(controller).join(path).join(old)
            } else if controllers.is_empty() && self.0.len() == 1 {
                root.join(path).join(new)
            } else {
                continue;
            };
            return fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()));
        }
        bail!("no control group for {controller} in {:?}", self.0)
    }

    /// In bytes.
    fn memory(&self) -> Result<u64> {
        let limit = self.read("memory", "memory.limit_in_bytes", "memory.max")?;
        limit.trim().parse().with_context(|| format!("the memory limit is {limit}"))
    }

    /// In thousandths of a core.
    fn millicores(&self) -> Result<u64> {
        let quota = self.read("cpu", "cpu.cfs_quota_us", "cpu.max")?;
        let mut numbers = quota.split_whitespace();
        let quota: u64 =
            numbers.next().unwrap_or_default().parse().with_context(|| format!("the quota is {quota}"))?;
        let period: u64 = match numbers.next() {
            Some(period) => period.parse()?,
            None => self.read("cpu", "cpu.cfs_period_us", "cpu.max")?.trim().parse()?,
        };
        Ok(quota * 1000 / period)
    }
}
