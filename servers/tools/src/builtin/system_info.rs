//! `system_info`: what the machine is and how busy it is. What a platform cannot tell is left out.

use super::SYSTEM;
use crate::tool::{About, Call, Effect, Failure, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysinfo::System;

#[derive(Debug)]
pub(super) struct SystemInfo;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Info {
    hostname: Option<String>,
    os: Os,
    /// CPUs that this server may use: those of its container when that has a limit.
    cpus: usize,
    memory: Memory,
    /// Seconds since the machine started.
    uptime_seconds: Option<u64>,
    load_average: Option<Load>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Os {
    /// For example "Debian GNU/Linux" or "Darwin".
    name: Option<String>,
    version: Option<String>,
    kernel: Option<String>,
    /// For example "x86_64".
    architecture: String,
}

/// Bytes of the machine's memory.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(clippy::struct_field_names, reason = "clients see the names, and with them the unit")]
struct Memory {
    total_bytes: u64,
    used_bytes: u64,
    /// What new work can get, caches that can be dropped included.
    available_bytes: u64,
    /// The most that this server's container may use, when there is such a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
}

/// Processes that wanted to run, on average.
#[derive(Debug, Serialize, JsonSchema)]
struct Load {
    one_minute: f64,
    five_minutes: f64,
    fifteen_minutes: f64,
}

impl Tool for SystemInfo {
    type Input = Nothing;
    type Output = Info;

    fn about(&self) -> About {
        About {
            name: "system_info",
            title: "Look at the machine",
            category: SYSTEM,
            description: "Tell the host name, operating system, CPUs, memory, uptime and load of the machine \
                          on which this server runs.",
            keywords: &["hostname", "sysinfo", "ram", "free", "processor", "status", "kernel", "busy"],
            effect: Effect::Reads,
            open_world: false,
        }
    }

    async fn execute(&self, Nothing {}: Nothing, _: &Call) -> Result<Info, Failure> {
        let mut system = System::new().map_err(|error| Failure(error.to_string()))?;
        system.refresh_memory();
        let total_bytes = system.total_memory();
        Ok(Info {
            hostname: System::host_name().ok(),
            os: Os {
                name: System::name().ok(),
                version: System::os_version().ok(),
                kernel: System::kernel_version().ok(),
                architecture: System::cpu_arch(),
            },
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
            memory: Memory {
                total_bytes,
                used_bytes: system.used_memory(),
                available_bytes: system.available_memory(),
                limit_bytes: system
                    .cgroup_limits()
                    .map(|limits| limits.total_memory)
                    .filter(|limit| *limit > 0 && *limit < total_bytes),
            },
            uptime_seconds: System::uptime().ok(),
            load_average: System::load_average().ok().map(|load| Load {
                one_minute: load.one,
                five_minutes: load.five,
                fifteen_minutes: load.fifteen,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machine_is_described() {
        let info = SystemInfo.execute(Nothing {}, &Call::default()).await.expect("described");
        assert!(info.hostname.is_some_and(|name| !name.is_empty()));
        assert!(info.os.kernel.is_some() && !info.os.architecture.is_empty());
        assert!(info.cpus >= 1 && info.uptime_seconds.is_some() && info.load_average.is_some());
        assert!(info.memory.total_bytes >= info.memory.available_bytes && info.memory.available_bytes > 0);
    }
}
