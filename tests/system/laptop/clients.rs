//! The official SDKs against a whole system: what a user's own program meets.

use anyhow::Result;
use mcp_system_tests::clients::{Era, Sdk};
use mcp_system_tests::laptop::Laptop;
use serde_json::Value;

use super::using;
use crate::conversation::{check, conversation, same_steps, seen};
use crate::group::{Scenario, Shared};
use crate::parts::clients;

/// The smallest system, the same file that an example shows.
pub(super) static SYSTEM: Shared<Laptop> =
    Shared::new(|| Laptop::up(include_str!("../../../examples/minimal.yaml")));

pub(super) fn scenarios() -> Vec<Scenario> {
    let pairs = Sdk::ALL.into_iter().flat_map(|sdk| Era::ALL.map(|era| (sdk, era)));
    let mut scenarios: Vec<Scenario> = pairs
        .map(|(sdk, era)| {
            Scenario::new(format!("clients::{sdk}_{era}"), move || lists_stores_and_finds(sdk, era))
        })
        .collect();
    scenarios.push(Scenario::new("clients::all_see_the_same", all_see_the_same));
    scenarios
}

fn lists_stores_and_finds(sdk: Sdk, era: Era) -> Result<()> {
    let clients = clients()?;
    SYSTEM.with(|system| {
        using(system, |system| {
            let agent = format!("{sdk}-{era}");
            let answers = clients.run(sdk, era, system.status()?.url()?, &conversation(&agent))?;
            check(&answers)
        })
    })
}

/// The SDKs and revisions differ in how they speak, not in what they hear.
fn all_see_the_same() -> Result<()> {
    let clients = clients()?;
    SYSTEM.with(|system| {
        using(system, |system| {
            let url = system.status()?.url()?.to_owned();
            let mut first: Option<(String, Value)> = None;
            for (sdk, era) in Sdk::ALL.into_iter().flat_map(|sdk| Era::ALL.map(|era| (sdk, era))) {
                let who = format!("{sdk} {era}");
                let agent = format!("same-{sdk}-{era}");
                let answers = clients.run(sdk, era, &url, &conversation(&agent))?;
                let seen = seen(&answers, &agent)?;
                match &first {
                    None => first = Some((who, seen)),
                    Some((other, expected)) => same_steps(other, expected, &who, &seen)?,
                }
            }
            Ok(())
        })
    })
}
