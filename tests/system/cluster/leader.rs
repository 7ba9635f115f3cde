//! Two operators, of which one writes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::site::{OPERATOR, Site, eventually, on_site, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("leader::one_hangs_the_other_takes_over_and_the_first_writes_no_more", takes_over)]
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
        site.apply(&system("before", "{servers: {memory: {enabled: false}}}"))?;
        site.ready("before")?;
        let first = holder(site)?;
        // Not killed: it would be back at once, and run for the lease itself.
        let process = Halted::new(process_of(&first)?)?;
        // What it had sent by then is written down by then.
        std::thread::sleep(Duration::from_secs(1));
        let start = site.audit_position()?;
        // Written by nobody until the lease has run out.
        site.apply(&system("after", "{servers: {memory: {enabled: false}}}"))?;
        let second = eventually("the other one leads", || {
            let holder = holder(site)?;
            Ok((holder != first).then_some(holder))
        })?;
        site.ready("after")?;
        drop(process);
        eventually("the first one sees that it leads no more, and begins anew", || {
            let pod = site.get(&["pod", &first, "--namespace", OPERATOR])?;
            let container = &pod["status"]["containerStatuses"][0];
            Ok((container["restartCount"].as_u64() > Some(0) && container["ready"] == true).then_some(()))
        })?;

        let mut writers: Vec<String> =
            site.writes_since(start)?.iter().filter_map(|event| event.pod().map(str::to_owned)).collect();
        writers.dedup();
        same("who wrote since the first one hung", &writers, &vec![second])?;
        site.delete(&["before", "after"])
    })
}

/// A process that does nothing until this is dropped.
struct Halted(Pid);

impl Halted {
    fn new(process: Pid) -> Result<Self> {
        kill(process, Signal::SIGSTOP).context("cannot halt the leader")?;
        Ok(Self(process))
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // It may have been ended for its silence, which is as good.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
