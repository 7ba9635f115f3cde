//! The laptop: systems that `up` runs on this machine.

mod clients;
mod examples;
mod extra;
mod failures;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use mcp_system_tests::laptop::Laptop;
use mcp_system_tests::wire::{Client, Place};

use crate::group::{Ending, Fixture, Group, story};

pub(crate) fn group() -> Group {
    let scenarios = [clients::scenarios(), extra::scenarios(), failures::scenarios(), examples::scenarios()];
    let shared: Vec<&'static dyn Ending> = vec![&clients::SYSTEM, &extra::BOTH];
    Group { name: "laptop", scenarios: scenarios.into_iter().flatten().collect(), shared }
}

impl Fixture for Laptop {
    fn end(self) -> Result<()> {
        self.down()
    }
}

/// Waits until a system offers a tool. A server that was slow to start is ready a little before the orchestrator looks at
/// it again.
fn until_offered(system: &Laptop, tool: &str) -> Result<()> {
    let place = Place::of(system.status()?.url()?)?;
    let started = Instant::now();
    while !Client::http(&place)?.tools()?.iter().any(|offered| offered == tool) {
        ensure!(started.elapsed() < Duration::from_secs(30), "{tool} is never offered");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Uses a system, and shows its logs when that fails.
fn using<T>(system: &Laptop, scenario: impl FnOnce(&Laptop) -> Result<T>) -> Result<T> {
    scenario(system).map_err(|error| anyhow!("{}\n{}", story(&error), system.logs()))
}

/// Starts a system for one scenario, and takes it down after it.
fn with_system<T>(system: &str, scenario: impl FnOnce(&Laptop) -> Result<T>) -> Result<T> {
    with(Laptop::up(system)?, scenario)
}

fn with<T>(system: Laptop, scenario: impl FnOnce(&Laptop) -> Result<T>) -> Result<T> {
    let outcome = using(&system, scenario)?;
    system.down()?;
    Ok(outcome)
}
