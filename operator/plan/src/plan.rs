//! A validated system into the servers that are to run.

use crate::mounts::{mounts, need_handover, not_mounted};
use crate::own::own;
use crate::validate::extra_image;
use crate::workload::{
    Autoscaling, Env, EnvValue, Health, HorizontalAutoscaler, Run, Scheduling, Strategy, Workload,
};
use crate::{Finding, Target, Validated, ValidatedServer};
use mcp_system_crds::config::ServerKind;
use mcp_system_crds::{AutoscalerType, EnvVar, ExtraServer, Workload as WorkloadSpec};
use serde::Serialize;
use std::collections::BTreeMap;

/// The CPU that copies are to use on average, where nothing is told: what Kubernetes itself takes.
const CPU_PERCENT: i32 = 80;

/// Everything that is to run, in start order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The system's name.
    pub system: String,
    /// Its namespace.
    pub namespace: String,
    /// Whether everything is to stop.
    pub suspended: bool,
    /// Where clients connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Whether clients have to show a key there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub needs_key: bool,
    /// The servers that run here.
    pub workloads: Vec<Workload>,
    /// Servers that run elsewhere and are called from here.
    pub remotes: Vec<Remote>,
    /// What the file names and this place does not run.
    pub left_out: Vec<LeftOut>,
    /// What is read instead of mounts, where nothing is mounted; a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_mounted: Vec<String>,
    /// What of the file cannot work, though the rest does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<Finding>,
    /// How Prometheus finds the servers; none where it is not to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

/// A server that runs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remote {
    /// Its name in the system.
    pub name: String,
    /// Its MCP endpoint.
    pub url: String,
}

/// A server that this place does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name in the system.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
}

impl LeftOut {
    pub(crate) fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

/// How Prometheus finds the servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Monitoring {
    /// The time from one scrape to the next.
    pub interval: String,
    /// Labels of the ServiceMonitors.
    pub labels: BTreeMap<String, String>,
}

/// Plans a system. The same input gives the same plan, byte for byte.
pub fn plan(system: &Validated) -> Plan {
    let workloads: Vec<Workload> = system
        .servers
        .iter()
        .filter_map(|server| match server {
            ValidatedServer::Own { kind, port, workload } => Some(own(system, *kind, *port, workload)),
            ValidatedServer::Extra { server, port } => Some(extra(system, server, *port)),
            ValidatedServer::Remote { .. } => None,
        })
        .collect();
    let remotes = system
        .servers
        .iter()
        .filter_map(|server| match server {
            ValidatedServer::Remote { name, url } => Some(Remote { name: name.clone(), url: url.clone() }),
            _ => None,
        })
        .collect();
    let monitoring = &system.spec.monitoring;
    Plan {
        system: system.name.clone(),
        namespace: system.namespace.clone(),
        suspended: system.spec.suspend,
        url: workloads
            .iter()
            .find(|workload| workload.kind() == Some(ServerKind::Orchestrator))
            .map(|orchestrator| orchestrator.endpoint.clone()),
        needs_key: system.spec.callers.is_some(),
        remotes,
        shortfalls: system.shortfalls.clone(),
        left_out: system.left_out.clone(),
        not_mounted: not_mounted(&system.target, &workloads),
        monitoring: monitoring
            .enabled
            .then(|| Monitoring { interval: monitoring.interval.clone(), labels: monitoring.labels.clone() }),
        workloads,
    }
}

fn extra(system: &Validated, server: &ExtraServer, port: u16) -> Workload {
    let run = match (&server.image, &server.process) {
        (Some(image), _) => Run::Image {
            image: extra_image(image, server.image_pull_policy, &system.spec),
            args: server.args.clone(),
        },
        (None, process) => {
            let process = process.clone().unwrap_or_default();
            Run::Process {
                command: process.command,
                args: server.args.clone(),
                working_directory: process.working_directory,
            }
        }
    };
    let mut workload = Workload {
        run,
        health: match &server.health_path {
            Some(path) => Health::Http { ready: path.clone(), live: path.clone() },
            None => Health::Port,
        },
        callers: vec![ServerKind::Orchestrator.name().to_owned()],
        ..workload(system, &server.name, port, &server.path, &server.workload)
    };
    if !workload.env.iter().any(|env| env.name == "PORT") {
        workload.env.insert(0, Env { name: "PORT".to_owned(), value: EnvValue::Literal(port.to_string()) });
    }
    workload
}

/// What own and extra servers share.
pub(crate) fn workload(
    system: &Validated,
    name: &str,
    port: u16,
    path: &str,
    spec: &WorkloadSpec,
) -> Workload {
    let replicas = if system.spec.suspend { 0 } else { u32::try_from(spec.fewest()).unwrap_or(1) };
    let mounts = mounts(spec);
    Workload {
        name: name.to_owned(),
        run: Run::Process { command: String::new(), args: Vec::new(), working_directory: None },
        replicas: match system.target {
            Target::Cluster { .. } => replicas,
            Target::Laptop { .. } => replicas.min(1),
        },
        autoscaling: match system.target {
            Target::Cluster { .. } if !system.spec.suspend => autoscaling(spec),
            Target::Cluster { .. } | Target::Laptop { .. } => None,
        },
        strategy: if need_handover(&mounts, spec.most()) {
            Strategy::Recreate
        } else {
            Strategy::RollingUpdate
        },
        port,
        endpoint: endpoint(system, name, port, path),
        health: Health::Port,
        self_check: None,
        config: None,
        secrets: Vec::new(),
        mounts,
        env: spec.env.iter().map(env).collect(),
        resources: spec.resources.clone(),
        probes: spec.probes.clone(),
        volume: None,
        moves: false,
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        service: spec.service.clone(),
        scheduling: Scheduling {
            node_selector: spec.node_selector.clone(),
            tolerations: spec.tolerations.clone(),
            affinity: spec.affinity.clone(),
            topology_spread_constraints: spec.topology_spread_constraints.clone(),
            priority_class_name: spec.priority_class_name.clone(),
        },
        termination_seconds: 30,
        callers: Vec::new(),
    }
}

/// What decides how many copies there are, where there is anything to decide.
fn autoscaling(spec: &WorkloadSpec) -> Option<Autoscaling> {
    let told = spec.autoscaling.as_ref().filter(|_| spec.most() > spec.fewest())?;
    let (cpu, memory) = (told.target_cpu_utilization_percentage, told.target_memory_utilization_percentage);
    Some(match told.type_ {
        AutoscalerType::HorizontalPodAutoscaler => Autoscaling::Horizontal(HorizontalAutoscaler {
            max_replicas: told.max_replicas,
            cpu_percent: cpu.or(memory.is_none().then_some(CPU_PERCENT)),
            memory_percent: memory,
        }),
        AutoscalerType::External => Autoscaling::External { max_replicas: told.max_replicas },
    })
}

pub(crate) fn endpoint(system: &Validated, server: &str, port: u16, path: &str) -> String {
    format!("{}{path}", system.target.origin(&system.name, &system.namespace, server, port))
}

fn env(variable: &EnvVar) -> Env {
    let value = match (&variable.value, &variable.value_from) {
        (_, Some(source)) => EnvValue::of_secret(&source.secret_key_ref),
        (value, None) => EnvValue::Literal(value.clone().unwrap_or_default()),
    };
    Env { name: variable.name.clone(), value }
}
