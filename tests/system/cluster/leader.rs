//! Two operators, of which one writes.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use mcp_system_tests::cluster::without_the_lead;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::site::{OPERATOR, Site, eventually, on_site, system, text};
use crate::group::{Scenario, same};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("leader::one_is_killed_and_never_do_two_write", killed),
        Scenario::new("leader::one_hangs_the_other_takes_over_and_the_first_writes_no_more", hangs),
    ]
}

const SMALL: &str = "{servers: {memory: {enabled: false}}}";
const OPERATORS: &str = "--selector=app.kubernetes.io/component=operator";

/// Who holds the lease.
#[derive(Debug, PartialEq)]
struct Leader {
    /// Of one process: another one in the same pod has another.
    identity: String,
    pod: String,
}

impl Leader {
    fn of(site: &Site) -> Result<Self> {
        let lease = site.get(&["lease", OPERATOR, "--namespace", OPERATOR])?;
        let identity = text(&lease["spec"]["holderIdentity"]).to_owned();
        let pods = site.get(&["pods", "--namespace", OPERATOR, OPERATORS])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let names = pods.iter().map(|pod| text(&pod["metadata"]["name"]).to_owned());
        let pod = names
            .into_iter()
            .find(|name| identity.starts_with(name.as_str()))
            .with_context(|| format!("{identity:?} is no pod"))?;
        Ok(Self { identity, pod })
    }

    /// The next one to hold it, once it does.
    fn after(site: &Site, first: &Self) -> Result<Self> {
        eventually("another process leads", || {
            let holder = Self::of(site)?;
            Ok((holder != *first).then_some(holder))
        })
    }
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
    bail!("no process of {pod} is on this machine, on which the cluster's nodes have to be")
}

fn container(site: &Site, pod: &str) -> Result<Value> {
    Ok(site.get(&["pod", pod, "--namespace", OPERATOR])?["status"]["containerStatuses"][0].clone())
}

fn restarts(site: &Site, pod: &str) -> Result<u64> {
    container(site, pod)?["restartCount"].as_u64().context("its restarts are not counted")
}

/// What the audit log says since then: nobody wrote who did not hold the lease, and this one wrote.
fn one_wrote_at_a_time(site: &Site, position: u64, leader: &str, last: &str) -> Result<()> {
    let events = site.events_since(position)?;
    let written: Vec<String> = without_the_lead(&events, leader)
        .iter()
        .map(|event| format!("{:?}: {} {}", event.pod(), event.verb, event.request_uri))
        .collect();
    ensure!(written.is_empty(), "written without the lease, which {leader:?} had first: {written:#?}");
    let has_last_written = events
        .iter()
        .any(|event| event.is_write() && event.object_ref.resource != "leases" && event.pod() == Some(last));
    ensure!(has_last_written, "the audit log shows no write of {last}: is it read at all?");
    Ok(())
}

fn killed() -> Result<()> {
    on_site(|site| {
        site.apply(&system("before", SMALL))?;
        site.ready("before")?;
        let first = Leader::of(site)?;
        let before = restarts(site, &first.pod)?;
        kill(process_of(&first.pod)?, Signal::SIGKILL).context("cannot kill the leader")?;
        eventually("its container runs again", || Ok((restarts(site, &first.pod)? > before).then_some(())))?;
        // What the killed one had sent is written down by now. The lease is its own still, unless that took long, but
        // the process that is in its place has no right to write by that.
        let start = site.audit_position()?;
        let now = Leader::of(site)?;
        let leads = if now == first { "" } else { now.pod.as_str() };
        // Written by nobody until the lease has run out.
        site.apply(&system("after", SMALL))?;
        let second = Leader::after(site, &first)?;
        site.ready("after")?;
        one_wrote_at_a_time(site, start, leads, &second.pod)?;
        eventually("both are ready again", || {
            Ok((container(site, &first.pod)?["ready"] == true).then_some(()))
        })?;
        site.delete(&["before", "after"])
    })
}

fn hangs() -> Result<()> {
    on_site(|site| {
        site.apply(&system("before", SMALL))?;
        site.ready("before")?;
        let first = Leader::of(site)?;
        let before = restarts(site, &first.pod)?;
        let start = site.audit_position()?;
        // Not killed: it believes that it leads when it wakes up.
        let process = Halted::new(process_of(&first.pod)?)?;
        site.apply(&system("after", SMALL))?;
        let second = Leader::after(site, &first)?;
        site.ready("after")?;
        drop(process);
        eventually("the first one sees that it leads no more, and begins anew", || {
            let container = container(site, &first.pod)?;
            let is_new = container["restartCount"].as_u64() > Some(before);
            Ok((is_new && container["ready"] == true).then_some(()))
        })?;
        one_wrote_at_a_time(site, start, &first.pod, &second.pod)?;
        same("who leads", &Leader::of(site)?, &second)?;
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
