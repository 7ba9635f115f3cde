//! What the operating system says of a server: the memory that it and its children hold, and the time that they used.

use std::collections::HashMap;

use nix::unistd::{SysconfVar, sysconf};

/// Of a process and all that it started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) cpu_seconds: f64,
}

impl Usage {
    /// Reads it; a process that ends meanwhile counts nothing.
    pub(crate) fn of(pid: i32) -> Self {
        let processes = processes();
        let mut usage = Self::default();
        let mut left = vec![pid];
        while let Some(pid) = left.pop() {
            left.extend(processes.iter().filter(|(_, process)| process.parent == pid).map(|(pid, _)| *pid));
            if let Some(process) = processes.get(&pid) {
                usage.resident_bytes += process.resident_bytes;
                usage.cpu_seconds += process.cpu_seconds;
            }
        }
        usage
    }

    pub(crate) fn mebibytes(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "sizes of processes are far below 2^52")]
        let bytes = self.resident_bytes as f64;
        bytes / f64::from(1 << 20)
    }
}

struct Process {
    parent: i32,
    resident_bytes: u64,
    cpu_seconds: f64,
}

fn processes() -> HashMap<i32, Process> {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parse(&stat, ticks, page)?))
        })
        .collect()
}

/// The line of `/proc/PID/stat`; its second field is a name that may hold anything.
fn parse(stat: &str, ticks: i64, page: i64) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    #[allow(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
    let cpu_seconds = (number(11)? + number(12)?) as f64 / ticks as f64;
    let resident_bytes = number(21)? * u64::try_from(page).ok()?;
    Some(Process { parent: fields.get(1)?.parse().ok()?, resident_bytes, cpu_seconds })
}
