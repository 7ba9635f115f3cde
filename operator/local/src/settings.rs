//! The environment variables of laptop mode: those that say how it starts and watches servers, and those
//! that override the file.

use mcp_system_crds::McpSystem;
use mcp_system_crds::config::{
    EnvironmentError, Lookup, MemorySettings, OrchestratorSettings, ServerConfig, ServerKind, ToolsSettings,
    WeaviateDirectSettings,
};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// How servers are started and watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The address that servers bind (`MCP_BIND_HOST`).
    pub(crate) bind: IpAddr,
    /// Whether all start at once (`MCP_PARALLEL_STARTUP`).
    pub(crate) parallel_startup: bool,
    /// How long a server may take to become ready (`MCP_MAX_STARTUP_TIME`).
    pub(crate) max_startup: Duration,
    /// How often a ready server is asked for its health (`MCP_HEALTH_CHECK_INTERVAL`).
    pub(crate) health_interval: Duration,
    /// Whether a server that ended is started again (`MCP_AUTO_RESTART`).
    pub(crate) auto_restart: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            parallel_startup: true,
            max_startup: Duration::from_mins(1),
            health_interval: Duration::from_secs(2),
            auto_restart: true,
        }
    }
}

impl Settings {
    /// Reads them.
    pub(crate) fn read(lookup: &Lookup<'_>) -> Result<Self, EnvironmentError> {
        let mut settings = Self::default();
        let address = "127.0.0.1 for this machine alone, or 0.0.0.0 for others too";
        set(lookup, "MCP_BIND_HOST", address, &mut settings.bind, |text| {
            let host: IpAddr = text.parse().ok()?;
            // Servers reach each other over loopback, so it must be among what they bind.
            (host == Ipv4Addr::LOCALHOST || host == Ipv4Addr::UNSPECIFIED).then_some(host)
        })?;
        set(lookup, "MCP_PARALLEL_STARTUP", "true or false", &mut settings.parallel_startup, flag)?;
        set(lookup, "MCP_MAX_STARTUP_TIME", "a number of seconds", &mut settings.max_startup, seconds)?;
        set(
            lookup,
            "MCP_HEALTH_CHECK_INTERVAL",
            "a number of seconds",
            &mut settings.health_interval,
            seconds,
        )?;
        set(lookup, "MCP_AUTO_RESTART", "true or false", &mut settings.auto_restart, flag)?;
        Ok(settings)
    }
}

/// Lets the environment override what a file says: ports, log level, limits.
pub(crate) fn override_system(system: &mut McpSystem, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
    let spec = &mut system.spec;
    let servers = &mut spec.servers;
    for kind in ServerKind::ALL {
        let port = match kind {
            ServerKind::Orchestrator => &mut servers.orchestrator.port,
            ServerKind::Memory => &mut servers.memory.port,
            ServerKind::Tools => &mut servers.tools.port,
            ServerKind::WeaviateDirect => match &mut servers.weaviate_direct {
                Some(server) => &mut server.port,
                None => continue,
            },
        };
        set(lookup, &kind.port_variable(), "a port from 1 to 65535", port, |text| {
            text.parse().ok().filter(|port| *port > 0)
        })?;
    }
    set(lookup, "MCP_LOG_LEVEL", "error, warn, info, debug or trace", &mut spec.log_level, |text| {
        text.parse().ok()
    })?;

    let mut limits = [("memory", None), ("cpu", None)];
    set(lookup, "MCP_MEMORY_LIMIT", "an amount of memory such as 1G or 512Mi", &mut limits[0].1, |text| {
        memory_quantity(text).map(Some)
    })?;
    set(lookup, "MCP_CPU_QUOTA", "a share of one core such as 80%, or 800m", &mut limits[1].1, |text| {
        cpu_quantity(text).map(Some)
    })?;
    for (resource, quantity) in limits {
        let Some(quantity) = quantity else { continue };
        let own =
            [&mut servers.orchestrator.workload, &mut servers.memory.workload, &mut servers.tools.workload];
        let weaviate = servers.weaviate_direct.iter_mut().map(|server| &mut server.workload);
        let extra = spec.extra_servers.iter_mut().map(|extra| &mut extra.workload);
        for workload in own.into_iter().chain(weaviate).chain(extra) {
            workload.resources.limits.insert(resource.to_owned(), quantity.clone());
        }
    }
    Ok(())
}

/// Whether the variables that a server itself reads can be used: it would only say so in its log.
pub(crate) fn check_server(kind: ServerKind, lookup: &Lookup<'_>) -> Result<(), EnvironmentError> {
    match kind {
        ServerKind::Orchestrator => ServerConfig::<OrchestratorSettings>::of_kind().apply_environment(lookup),
        ServerKind::Memory => ServerConfig::<MemorySettings>::of_kind().apply_environment(lookup),
        ServerKind::Tools => ServerConfig::<ToolsSettings>::of_kind().apply_environment(lookup),
        ServerKind::WeaviateDirect => {
            ServerConfig::<WeaviateDirectSettings>::of_kind().apply_environment(lookup)
        }
    }
}

fn set<T>(
    lookup: &Lookup<'_>,
    variable: &str,
    expected: &'static str,
    target: &mut T,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), EnvironmentError> {
    if let Some(value) = lookup(variable).filter(|value| !value.is_empty()) {
        *target = parse(value.trim()).ok_or_else(|| EnvironmentError {
            variable: variable.to_owned(),
            value,
            expected,
        })?;
    }
    Ok(())
}

fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    ((0.001..=86_400.0).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

/// `1G` as systemd writes it, which counts in 1024, or a Kubernetes quantity such as `512Mi`.
fn memory_quantity(text: &str) -> Option<String> {
    let quantity = match text.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(_) => format!("{text}i"),
        None => text.to_owned(),
    };
    mcp_system_plan::parse_memory(&quantity).filter(|bytes| *bytes > 0).map(|_| quantity)
}

/// `80%` as systemd writes it, or a Kubernetes quantity such as `800m`.
fn cpu_quantity(text: &str) -> Option<String> {
    let quantity = match text.strip_suffix('%') {
        Some(percent) => format!("{}m", percent.trim().parse::<u32>().ok()? * 10),
        None => text.to_owned(),
    };
    mcp_system_plan::parse_cpu(&quantity).filter(|thousandths| *thousandths > 0).map(|_| quantity)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        assert_eq!(Settings::read(&from(&[])).unwrap(), Settings::default());
        let mut system = McpSystem::default();
        override_system(&mut system, &from(&[])).unwrap();
        assert_eq!(system, McpSystem::default());
    }

    #[test]
    fn variables_override_the_file() {
        let lookup = from(&[
            ("MCP_MEMORY_PORT", "9003"),
            ("MCP_LOG_LEVEL", "debug"),
            ("MCP_MEMORY_LIMIT", "2G"),
            ("MCP_CPU_QUOTA", "80%"),
            ("MCP_MAX_STARTUP_TIME", "5"),
            ("MCP_AUTO_RESTART", "false"),
        ]);
        let mut system = McpSystem::default();
        override_system(&mut system, &lookup).unwrap();
        assert_eq!(system.spec.servers.memory.port, 9003);
        assert_eq!(system.spec.log_level.name(), "debug");
        let limits = &system.spec.servers.tools.workload.resources.limits;
        assert_eq!((limits["memory"].as_str(), limits["cpu"].as_str()), ("2Gi", "800m"));
        let settings = Settings::read(&lookup).unwrap();
        assert!(!settings.auto_restart);
        assert_eq!(settings.max_startup, Duration::from_secs(5));
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named() {
        for (pairs, name) in [
            (&[("MCP_TOOLS_PORT", "0")] as &'static [_], "MCP_TOOLS_PORT"),
            (&[("MCP_MEMORY_LIMIT", "much")], "MCP_MEMORY_LIMIT"),
            (&[("MCP_CPU_QUOTA", "-5%")], "MCP_CPU_QUOTA"),
        ] {
            let error = override_system(&mut McpSystem::default(), &from(pairs)).unwrap_err();
            assert_eq!(error.variable, name);
        }
        let error = Settings::read(&from(&[("MCP_BIND_HOST", "192.168.1.5")])).unwrap_err();
        assert!(error.to_string().contains("0.0.0.0"), "{error}");
        let lookup = from(&[("MCP_CACHE_SIZE", "big")]);
        assert!(check_server(ServerKind::Tools, &lookup).is_err());
        assert!(check_server(ServerKind::Memory, &lookup).is_err());
        assert!(check_server(ServerKind::Orchestrator, &lookup).is_ok());
    }
}
