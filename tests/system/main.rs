//! Every test that needs a whole system, in one process, one after the other: it owns the ports and processes of the
//! laptop and the one cluster of the machine.
//!
//! Takes the arguments of `cargo test`: `cargo test --workspace --profile bench --test system -- laptop` runs one group.
//! What a scenario needs and does not find fails it and says what to install; no scenario is skipped.
//!
//! A group is a file with a function `group()`, named in the list below. What its scenarios share is made when the
//! first of them needs it and ended after the last of all, even when one panics ([`group::Shared`]). Scenarios run on
//! the main thread and in this order, so a group that enters the network of the cluster comes after those that do not.

mod clients;
mod cluster;
mod conformance;
mod conversation;
mod crashes;
mod every_tool;
mod group;
mod laptop;
mod models;
mod parts;
mod replicas;
mod signals;
mod transfer;

use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use group::{Group, story};

/// How long the end of all that the groups share may take; the cluster's takes some seconds.
const PATIENCE: Duration = Duration::from_mins(5);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let groups = vec![
        clients::group(),
        conformance::group(),
        every_tool::group(),
        crashes::group(),
        signals::group(),
        transfer::group(),
        replicas::group(),
        models::group(),
        laptop::group(),
        cluster::group(),
    ];

    let mut trials = Vec::new();
    let mut endings = Vec::new();
    for Group { name, scenarios, shared } in groups {
        trials.extend(scenarios.into_iter().map(|scenario| {
            Trial::test(format!("{name}::{}", scenario.name), || {
                (scenario.run)().map_err(|error| story(&error).into())
            })
        }));
        endings.extend(shared.into_iter().map(|ending| (name, ending)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);

    // A run that never ends says less than one that fails.
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("what the groups share does not end within {PATIENCE:?}");
        std::process::exit(1);
    });
    let mut code = conclusion.exit_code();
    for (name, ending) in endings.into_iter().rev() {
        if let Err(error) = ending.end() {
            eprintln!("what the group {name} shared did not end in order: {}", story(&error));
            code = ExitCode::FAILURE;
        }
    }
    code
}
