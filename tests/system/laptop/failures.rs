//! What happens when a part fails: a server that hangs, one that is killed, one that is asked to end.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcp_system_tests::clients::answers::Event;
use mcp_system_tests::clients::{Answers, Era, Sdk, Step};
use mcp_system_tests::laptop::{Laptop, is_alive, send};
use nix::sys::signal::Signal;
use serde_json::json;

use super::extra::{HEAD, process};
use super::{until_offered, with, with_system};
use crate::group::{Scenario, same};
use crate::parts::{OWN_TOOLS, clients};

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("failures::a_hung_server_holds_up_no_other", a_hung_server_holds_up_no_other),
        Scenario::new("failures::a_killed_memory_forgets_nothing", a_killed_memory_forgets_nothing),
        Scenario::new("failures::a_call_survives_sigterm", a_call_survives_sigterm),
        Scenario::new("failures::a_call_survives_down", a_call_survives_down),
    ]
}

/// A system with the third-party server as a process.
fn with_extra(name: &str) -> Result<Laptop> {
    // Long enough for the start of another client.
    let head = HEAD.replace("callTimeoutSeconds: 5", "callTimeoutSeconds: 10");
    let system = Laptop::up(&format!("{head}\n  - {}\n", process(name, &clients()?)?))?;
    until_offered(&system, "echo")?;
    Ok(system)
}

/// Statistics are a quick call; a middle value is not moved by one slow call among them.
fn typical(answers: &Answers, steps: &[String]) -> Result<Duration> {
    let mut times = Vec::new();
    for step in steps {
        answers.of(step)?.value()?;
        times.push(answers.of(step)?.seconds);
    }
    times.sort_by(f64::total_cmp);
    Ok(Duration::from_secs_f64(times[times.len() / 2]))
}

fn quick_calls(prefix: &str) -> (Vec<String>, Vec<Step>) {
    let names: Vec<String> = (0..30).map(|number| format!("{prefix}{number}")).collect();
    let steps = names.iter().map(|name| Step::call(name, "get_memory_statistics", json!({}))).collect();
    (names, steps)
}

fn a_hung_server_holds_up_no_other() -> Result<()> {
    let clients = clients()?;
    with(with_extra("sleepy")?, |system| {
        let status = system.status()?;
        let (url, pid) = (status.url()?, status.server("sleepy")?.pid()?);
        let echo = |name: &str| Step::call(name, "echo", json!({"message": "awake"}));

        let (names, mut steps) = quick_calls("before");
        steps.insert(0, echo("awake"));
        let before = clients.run(Sdk::Python, Era::Modern, url, &steps)?;
        same("echo", &before.of("awake")?.text()?, "Echo: awake")?;
        let usual = typical(&before, &names)?;

        let stuck = [Step::call("begun", "get_memory_statistics", json!({})), echo("stuck")];
        send(pid, Signal::SIGSTOP)?;
        let mut hung = clients.start(Sdk::TypeScript, Era::Modern, url, &stuck)?;
        hung.wait_for(|event| matches!(event, Event::Done(done) if done.step == "begun"))?;
        let pending_since = Instant::now();
        let (names, mut steps) = quick_calls("during");
        steps.insert(0, Step::list_tools("tools"));
        let during = clients.run(Sdk::Python, Era::Modern, url, &steps);
        let others_took = pending_since.elapsed();
        let stuck = hung.finish();
        send(pid, Signal::SIGCONT)?;

        let (during, stuck) = (during?, stuck?);
        let held_up = typical(&during, &names)?;
        ensure!(
            held_up < usual * 2 + Duration::from_millis(50),
            "calls to others take {held_up:?} while one server hangs, and {usual:?} usually"
        );
        ensure!(during.tool_names("tools")?.contains(&"store_memory"), "the tools of others are gone");
        let pending = stuck.of("stuck")?;
        ensure!(
            others_took.as_secs_f64() < pending.seconds,
            "the others took {others_took:?}, the call to the server that hangs {} s: it was not pending",
            pending.seconds
        );
        let complaint = pending.complaint()?;
        ensure!(complaint.contains("sleepy"), "the error does not name the server that hangs: {complaint}");

        // It is asked again by itself.
        system.wait_until("the server to be back", Duration::from_secs(30), |status| status.ready)?;
        let again = clients.run(Sdk::Python, Era::Legacy, url, &[echo("again")])?;
        same("echo after the hang", &again.of("again")?.text()?, "Echo: awake")
    })
}

fn a_killed_memory_forgets_nothing() -> Result<()> {
    let clients = clients()?;
    with_system(include_str!("../../../examples/minimal.yaml"), |system| {
        let status = system.status()?;
        let (url, pid) = (status.url()?, status.server("memory")?.pid()?);
        let store = |number: u32| {
            let arguments = json!({"agent_id": "a", "content": format!("memory number {number}")});
            Step::call(format!("store{number}"), "store_memory", arguments)
        };
        let steps: Vec<Step> = (0..120).map(store).collect();
        let mut storing = clients.start(Sdk::TypeScript, Era::Modern, url, &steps)?;
        storing.wait_for(|event| matches!(event, Event::Done(done) if done.step == "store40"))?;
        send(pid, Signal::SIGKILL)?;
        let mut acknowledged = ids(&storing.finish()?)?;
        ensure!(acknowledged.len() > 40, "only {} stores were acknowledged", acknowledged.len());

        let status = system.wait_until("memory to be restarted", Duration::from_secs(20), |status| {
            status.ready
                && status.server("memory").is_ok_and(|memory| memory.pid.is_some_and(|new| new != pid))
        })?;
        same("the restarts of memory", &status.server("memory")?.restarts, &1)?;
        for other in ["orchestrator", "tools"] {
            same("the restarts of the others", &status.server(other)?.restarts, &0)?;
        }

        let steps = [
            store(1000),
            Step::call("recent", "get_recent_memories", json!({"agent_id": "a", "limit": 200})),
            Step::call("statistics", "get_memory_statistics", json!({"agent_id": "a"})),
        ];
        let after = clients.run(Sdk::Python, Era::Modern, url, &steps)?;
        acknowledged.extend(ids(&after)?);
        let recent = after.of("recent")?.value()?;
        let found: BTreeSet<String> = recent["memories"]
            .as_array()
            .context("no memories")?
            .iter()
            .filter_map(|memory| memory["memory_id"].as_str().map(str::to_owned))
            .collect();
        let lost: Vec<&String> = acknowledged.difference(&found).collect();
        ensure!(lost.is_empty(), "{} acknowledged memories are lost: {lost:?}", lost.len());
        // One call can have been under way: stored, and not acknowledged.
        ensure!(
            found.len() <= acknowledged.len() + 1,
            "{} memories from {} stores",
            found.len(),
            acknowledged.len()
        );
        same("the memories counted", &after.of("statistics")?.value()?["memories"], &found.len())
    })
}

/// The ids of the memories whose storing was acknowledged.
fn ids(answers: &Answers) -> Result<BTreeSet<String>> {
    let stored = answers.ends().filter(|done| done.step.starts_with("store"));
    stored
        .filter_map(|done| done.value().ok())
        .map(|value| value["memory_id"].as_str().map(str::to_owned).context("a stored memory has no id"))
        .collect()
}

/// A call of two seconds, and the first notice of its progress.
fn long_call(system: &Laptop) -> Result<mcp_system_tests::clients::Running> {
    let arguments = json!({"duration": 2, "steps": 8});
    let steps = [Step::call("long", "trigger-long-running-operation", arguments).with_progress()];
    let mut running = clients()?.start(Sdk::TypeScript, Era::Modern, system.status()?.url()?, &steps)?;
    running.wait_for(|event| matches!(event, Event::Progress(_)))?;
    Ok(running)
}

const LONG_ANSWER: &str = "Long running operation completed. Duration: 2 seconds, Steps: 8.";

fn a_call_survives_sigterm() -> Result<()> {
    with(with_extra("patient")?, |system| {
        let pid = system.status()?.server("orchestrator")?.pid()?;
        let running = long_call(system)?;
        send(pid, Signal::SIGTERM)?;
        same("the answer of a call that ran", &running.finish()?.of("long")?.text()?, LONG_ANSWER)?;

        // Nobody asked the system to end: it is whole again.
        let status =
            system.wait_until("the orchestrator to be restarted", Duration::from_secs(40), |status| {
                status.ready
                    && status
                        .server("orchestrator")
                        .is_ok_and(|server| server.pid.is_some_and(|new| new != pid))
            })?;
        let answers =
            clients()?.run(Sdk::Python, Era::Modern, status.url()?, &[Step::list_tools("tools")])?;
        let tools = answers.tool_names("tools")?;
        ensure!(OWN_TOOLS.iter().all(|tool| tools.contains(tool)), "tools are missing: {tools:?}");
        Ok(())
    })
}

fn a_call_survives_down() -> Result<()> {
    let system = with_extra("patient")?;
    let servers: Vec<i32> = system.status()?.servers.iter().filter_map(|server| server.pid).collect();
    let running = long_call(&system)?;
    let down = std::thread::spawn(move || system.down());
    let answers = running.finish();
    down.join().map_err(|_| anyhow::anyhow!("down panicked"))??;
    same("the answer of a call that ran", &answers?.of("long")?.text()?, LONG_ANSWER)?;
    let left: Vec<i32> = servers.into_iter().filter(|pid| is_alive(*pid)).collect();
    same("the processes left behind", &left, &Vec::<i32>::new())
}
