//! `plan`: what would run on this machine, without running it.

use super::{environment, home};
use crate::directories::Directories;
use crate::order::{Order, read_system};
use crate::render::{Place, Rendered, render};
use anyhow::Context;
use mcp_system_crds::McpSystem;
use mcp_system_plan::Plan;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The plan for this machine and the processes that would carry it out.
#[derive(Debug, Serialize)]
pub struct LaptopPlan {
    /// The plan.
    pub plan: Plan,
    #[serde(flatten)]
    rendered: Rendered,
}

/// The system that `up` would start, as its file says it, and the file. `-` is standard input.
pub fn system(file: Option<&Path>) -> anyhow::Result<(McpSystem, Option<PathBuf>)> {
    read_system(file)
}

/// Plans a system for this machine and its environment.
pub fn plan(system: McpSystem, file: Option<PathBuf>) -> anyhow::Result<LaptopPlan> {
    let order = Order::new(system, file)?;
    let program = std::env::current_exe().context("this program's own path cannot be told")?;
    let directories = Directories::new(&home()?, order.name(), &environment)?;
    let runtime = order.runtime()?;
    let plan = order.plan(&directories, runtime, order.documents(&directories))?;
    let settings = order.settings()?;
    let place = Place {
        program: &program,
        directories: &directories,
        base: &order.base,
        bind: settings.bind,
        runtime,
        variables: &order.variables,
    };
    Ok(LaptopPlan { rendered: render(&plan, &place), plan })
}
