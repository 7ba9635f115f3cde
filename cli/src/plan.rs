//! What would run, printed.

use crate::arguments::{Output, PlanTarget};
use mcp_system_crds::McpSystem;
use mcp_system_local as local;
use mcp_system_plan::{Observed, Plan, Target, validate};
use serde::Serialize;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// One file on either side.
#[derive(Debug, Serialize)]
struct Plans {
    #[serde(skip_serializing_if = "Option::is_none")]
    laptop: Option<Side<local::LaptopPlan>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Side<ClusterPlan>>,
}

/// What one side would do, or why it cannot.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Side<T> {
    Planned(Box<T>),
    Refused { findings: Vec<String> },
}

/// The plan for a cluster and the objects that would carry it out.
#[derive(Debug, Serialize)]
struct ClusterPlan {
    plan: Plan,
    objects: Vec<Value>,
}

pub(crate) fn plan(
    file: Option<&Path>,
    target: PlanTarget,
    image: String,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let (system, file) = local::system(file)?;
    let plans = Plans {
        cluster: (target != PlanTarget::Laptop).then(|| cluster(&system, image)),
        laptop: (target != PlanTarget::Cluster).then(|| match local::plan(system, file) {
            Ok(plan) => Side::Planned(Box::new(plan)),
            Err(error) => Side::Refused { findings: vec![format!("{error:#}")] },
        }),
    };
    let text = match output {
        // By way of JSON, which shows enums as objects; YAML would show them as tags.
        Output::Yaml => serde_yaml::to_string(&serde_json::to_value(&plans)?)?,
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&plans)?),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let is_refused = matches!(plans.cluster, Some(Side::Refused { .. }))
        || matches!(plans.laptop, Some(Side::Refused { .. }));
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn cluster(system: &McpSystem, image: String) -> Side<ClusterPlan> {
    // As for a system that is not there yet.
    match validate(system, &Target::Cluster { image }, &Observed::default()) {
        Ok(validated) => {
            let plan = mcp_system_plan::plan(&validated);
            let objects = mcp_system_kubernetes::render_yaml(&plan, true);
            Side::Planned(Box::new(ClusterPlan { plan, objects }))
        }
        Err(findings) => {
            Side::Refused { findings: findings.into_iter().map(|finding| finding.message).collect() }
        }
    }
}
