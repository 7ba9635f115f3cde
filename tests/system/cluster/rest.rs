//! A system at rest causes no write.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::site::{Site, eventually, on_site, system};
use crate::group::Scenario;

/// How long nothing may be written.
const REST: Duration = Duration::from_mins(2);
/// How long nothing may be written before that counts as the beginning of rest: longer than the minute after which servers
/// are asked again. On a busy machine an orchestrator may be ready before the tools behind it are, and what it offers
/// then is told with the next answer.
const QUIET: Duration = Duration::from_secs(75);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("rest::twenty_systems_cause_no_write_in_two_minutes", nothing_is_written)]
}

fn nothing_is_written() -> Result<()> {
    on_site(|site| {
        let ready: Vec<String> = (0..12).map(|number| format!("ready-{number}")).collect();
        let waiting: Vec<String> = (0..8).map(|number| format!("waiting-{number}")).collect();
        let small = "{servers: {memory: {enabled: false}}}";
        let hopeless = "{image: {repository: example.com/no-such-image, tag: '1'}}";
        let manifests: Vec<String> = ready
            .iter()
            .map(|name| system(name, small))
            .chain(waiting.iter().map(|name| system(name, hopeless)))
            .collect();
        site.apply(&manifests.join("---\n"))?;
        for name in &ready {
            site.ready(name)?;
        }
        for name in &waiting {
            site.condition(name, "Stalled", "True", "ServerFailing")?;
        }
        settle(site)?;

        let start = site.audit_position()?;
        std::thread::sleep(REST);
        let writes: Vec<String> = site
            .writes_since(start)?
            .iter()
            .map(|event| format!("{} {}", event.verb, event.request_uri))
            .collect();
        ensure!(writes.is_empty(), "{} writes in {} s of rest: {writes:#?}", writes.len(), REST.as_secs());
        let leases = site.events_since(start)?.iter().filter(|event| event.is_write()).count();
        ensure!(leases > 10, "the audit log shows only {leases} renewals of the lease: is it read at all?");

        let all: Vec<&str> = ready.iter().chain(&waiting).map(String::as_str).collect();
        site.delete(&all)
    })
}

/// Waits until the last write of making them is a while ago.
fn settle(site: &Site) -> Result<()> {
    eventually("nothing more is written", || {
        let position = site.audit_position()?;
        std::thread::sleep(QUIET);
        Ok(site.writes_since(position)?.is_empty().then_some(()))
    })
}
