//! Two operators, of which one writes.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::site::{OPERATOR, Site, eventually, on_site, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("leader::one_is_killed_and_the_other_takes_over", takes_over)]
}

/// The pod that holds the lease.
fn holder(site: &Site) -> Result<String> {
    let lease = site.get(&["lease", OPERATOR, "--namespace", OPERATOR])?;
    let identity = text(&lease["spec"]["holderIdentity"]).to_owned();
    let pods =
        site.get(&["pods", "--namespace", OPERATOR, "--selector=app.kubernetes.io/component=operator"])?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let names = pods.iter().map(|pod| text(&pod["metadata"]["name"]).to_owned());
    names
        .into_iter()
        .find(|name| identity.starts_with(name.as_str()))
        .with_context(|| format!("{identity:?} is no pod"))
}

/// The process of an operator's pod on this machine.
fn process_of(pod: &str) -> Result<Pid> {
    let wanted = format!("POD_NAME={pod}");
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if command.starts_with(b"/mcp-system\0operator")
            && environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        {
            let pid = entry.file_name().to_string_lossy().parse().context("a process without a number")?;
            return Ok(Pid::from_raw(pid));
        }
    }
    bail!("no process of {pod} was found")
}

fn takes_over() -> Result<()> {
    on_site(|site| {
        let start = site.audit_position()?;
        let first = holder(site)?;
        site.apply(&system("before", "{servers: {memory: {enabled: false}}}"))?;
        site.ready("before")?;
        kill(process_of(&first)?, Signal::SIGKILL).context("cannot kill the leader")?;
        // Written by nobody until the lease has run out.
        site.apply(&system("after", "{servers: {memory: {enabled: false}}}"))?;
        let second = eventually("the other one leads", || {
            let holder = holder(site)?;
            Ok((holder != first).then_some(holder))
        })?;
        site.ready("after")?;

        let writers: Vec<String> =
            site.writes_since(start)?.iter().filter_map(|event| event.pod().map(str::to_owned)).collect();
        ensure!(!writers.is_empty(), "the audit log names no pod");
        let mut turns = writers;
        turns.dedup();
        same("who wrote, in order", &turns, &vec![first, second])?;
        site.delete(&["before", "after"])
    })
}
