//! `system_processes`: what runs on the machine. Names only: arguments often hold secrets.

use super::SYSTEM;
use crate::tool::{About, Call, Effect, Failure, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

const DEFAULT_LIMIT: u32 = 20;

#[derive(Debug)]
pub(super) struct SystemProcesses;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those whose name holds this.
    #[serde(default)]
    #[schemars(length(max = 256))]
    name: Option<String>,
    /// What the list is sorted by, most first.
    #[serde(default)]
    sort_by: SortBy,
    /// The most processes to return.
    #[serde(default)]
    #[schemars(range(min = 1, max = 200), extend("default" = 20))]
    limit: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum SortBy {
    #[default]
    Memory,
    Cpu,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Processes {
    #[serde(rename = "processes")]
    found: Vec<Process>,
    /// How many there are here.
    count: usize,
    /// How many there are in all.
    total: usize,
}

/// One process.
#[derive(Debug, Serialize, JsonSchema)]
struct Process {
    pid: u32,
    name: String,
    /// Bytes of memory that only it uses, and its part of what is shared.
    memory_bytes: u64,
    /// Percent of one CPU, over the last moments.
    cpu_percent: f32,
    /// For example "Runnable" or "Sleeping".
    status: String,
    /// Seconds since it started.
    run_seconds: u64,
}

impl Tool for SystemProcesses {
    type Input = Which;
    type Output = Processes;

    fn about(&self) -> About {
        About {
            name: "system_processes",
            title: "Look at the processes",
            category: SYSTEM,
            description: "Tell which processes this server can see on its machine, and which use the most \
                          memory or CPU.",
            keywords: &["process", "programs", "running", "top", "ps", "cpu", "memory", "busy", "tasks"],
            effect: Effect::Reads,
            open_world: false,
        }
    }

    async fn execute(&self, input: Which, _: &Call) -> Result<Processes, Failure> {
        let look = move || look(&input);
        tokio::task::spawn_blocking(look).await.map_err(|error| Failure(error.to_string()))?
    }
}

fn look(input: &Which) -> Result<Processes, Failure> {
    let mut system = System::new().map_err(|error| Failure(error.to_string()))?;
    let kind = ProcessRefreshKind::nothing().with_cpu().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    if matches!(input.sort_by, SortBy::Cpu) {
        // How busy a process is shows only between two looks.
        std::thread::sleep(Duration::from_millis(200).max(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL));
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    }
    let total = system.processes().len();
    let mut processes: Vec<Process> = system
        .processes()
        .values()
        .map(|process| Process {
            pid: process.pid().as_u32(),
            name: process.name().to_string_lossy().into_owned(),
            memory_bytes: process.memory(),
            cpu_percent: process.cpu_usage(),
            status: format!("{:?}", process.status()),
            run_seconds: process.run_time(),
        })
        .filter(|process| input.name.as_deref().is_none_or(|name| process.name.contains(name)))
        .collect();
    match input.sort_by {
        SortBy::Memory => {
            processes.sort_by_key(|process| (std::cmp::Reverse(process.memory_bytes), process.pid));
        }
        SortBy::Cpu => {
            processes.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent).then(a.pid.cmp(&b.pid)));
        }
    }
    processes.truncate(input.limit.unwrap_or(DEFAULT_LIMIT) as usize);
    Ok(Processes { count: processes.len(), found: processes, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_and_the_list_is_sorted() {
        let all = Which { name: None, sort_by: SortBy::Memory, limit: Some(200) };
        let found = look(&all).expect("looked");
        assert!(found.found.is_sorted_by(|a, b| a.memory_bytes >= b.memory_bytes));
        assert!(found.total >= found.count && found.count > 0);
        let one = look(&Which { limit: Some(1), sort_by: SortBy::Cpu, name: None }).expect("looked");
        assert_eq!(one.count, 1);
        let none = Which { name: Some("no process is called this".into()), ..all };
        assert_eq!(look(&none).expect("looked").count, 0);
    }
}
