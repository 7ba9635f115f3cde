//! What is to run: a system, the folder that it starts from, and the environment of whoever asked. Travels
//! from `up` to the supervisor, which never reads the file itself.

use crate::containers;
use crate::directories::Directories;
use crate::settings::{Settings, check_server, override_system};
use anyhow::{Context, bail};
use mcp_system_crds::McpSystem;
use mcp_system_crds::config::{MOVED_FILE, ServerKind};
use mcp_system_plan::{Embedded, Finding, Observed, Plan, Target, plan, validate};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The file that is read when none is named and it is there.
pub const DEFAULT_FILE: &str = "mcp-system.yaml";
/// The name of the system that needs no file.
pub const BUILT_IN: &str = "default";

/// OpenAPI documents by their paths: the text of each, or why it cannot be read.
pub(crate) type Documents = BTreeMap<String, Result<String, String>>;

/// What is to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The system, with the overrides of the environment in it.
    pub(crate) system: Box<McpSystem>,
    /// The file that describes it; none for the built-in one.
    pub(crate) file: Option<PathBuf>,
    /// The folder that relative paths of the file start from.
    pub(crate) base: PathBuf,
    /// The environment that servers get.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Order {
    /// Reads what is to run: the file that is named (`-` is standard input), else [`DEFAULT_FILE`] where
    /// there is one, else the built-in system.
    pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let (system, file) = read_system(file)?;
        Self::new(system, file)
    }

    /// What is to run of a system in the environment of this process.
    pub(crate) fn new(mut system: McpSystem, file: Option<PathBuf>) -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current folder cannot be told")?;
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let lookup = |name: &str| variables.get(name).cloned();
        override_system(&mut system, &lookup)?;
        Settings::read(&lookup)?;
        let file = file.map(std::path::absolute).transpose()?;
        let base = file.as_deref().and_then(Path::parent).unwrap_or(&here).to_owned();
        Ok(Self { system: Box::new(system), file, base, variables })
    }

    /// The system's name.
    pub(crate) fn name(&self) -> &str {
        self.system.metadata.name.as_deref().unwrap_or(BUILT_IN)
    }

    /// How servers are started and watched.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings::read(&|name: &str| self.variables.get(name).cloned())?)
    }

    /// The program that runs images, where there is one. Not looked for when no server is an image.
    pub(crate) fn runtime(&self) -> anyhow::Result<Option<&'static str>> {
        let has_images = self.system.spec.extra_servers.iter().any(|extra| extra.image.is_some());
        match self.variables.get("PATH").filter(|_| has_images) {
            Some(path) => containers::runtime(path),
            None => Ok(None),
        }
    }

    /// The OpenAPI documents that tools name as files, as they are now, with the paths that the tools server reads.
    pub(crate) fn documents(&self, directories: &Directories) -> Documents {
        let tools = &self.system.spec.servers.tools.config.user_tools;
        let files = tools.iter().filter_map(|tool| tool.open_api.as_ref()?.file.clone());
        let read = |file: String| {
            let text = std::fs::read_to_string(directories.root.join(&file));
            (file, text.map_err(|error| error.to_string()))
        };
        files.map(read).collect()
    }

    /// The plan for this machine, where this program runs images and these documents are read.
    pub(crate) fn plan(
        &self,
        directories: &Directories,
        runtime: Option<&str>,
        documents: Documents,
    ) -> anyhow::Result<Plan> {
        let target = Target::Laptop {
            container_runtime: runtime.map(str::to_owned),
            folder: directories.root.clone(),
        };
        let observed = Observed {
            embedded: embedded(directories),
            variables: self.variables.keys().cloned().collect(),
            documents,
            ..Observed::default()
        };
        let validated = validate(&self.system, &target, &observed).map_err(|findings| refused(&findings))?;
        let plan = plan(&validated);
        let lookup = |name: &str| self.variables.get(name).cloned();
        for kind in plan.workloads.iter().filter_map(mcp_system_plan::Workload::kind) {
            check_server(kind, &lookup)?;
        }
        Ok(plan)
    }
}

/// What is there of embedded storage.
fn embedded(directories: &Directories) -> Embedded {
    let data = directories.data(ServerKind::Memory.name());
    let has_any = std::fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
    match has_any {
        false => Embedded::Absent,
        true if data.join(MOVED_FILE).exists() => Embedded::Moved,
        true => Embedded::Present,
    }
}

/// The system of a file, and the file that it is from.
pub(crate) fn read_system(file: Option<&Path>) -> anyhow::Result<(McpSystem, Option<PathBuf>)> {
    let file = match file {
        Some(file) => file.to_owned(),
        None if Path::new(DEFAULT_FILE).is_file() => PathBuf::from(DEFAULT_FILE),
        None => return Ok((built_in(), None)),
    };
    let (text, path) = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        (text, None)
    } else {
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("the file {} cannot be read", file.display()))?;
        (text, Some(file.clone()))
    };
    match mcp_system_crds::read_one(&text) {
        Ok(system) => Ok((system, path)),
        Err(error) => {
            let problems: Vec<String> = error.0.iter().map(|problem| format!("\n  {problem}")).collect();
            bail!("{} is not a system that can run:{}", file.display(), problems.concat())
        }
    }
}

/// The system that runs without a file: orchestrator, memory and tools with their defaults.
fn built_in() -> McpSystem {
    let mut system = McpSystem::default();
    system.metadata.name = Some(BUILT_IN.to_owned());
    system
}

fn refused(findings: &[Finding]) -> anyhow::Error {
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    anyhow::anyhow!("this system cannot run:\n  {}", messages.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_system_has_the_three_servers() {
        let order = Order {
            system: Box::new(built_in()),
            file: None,
            base: PathBuf::from("/"),
            variables: BTreeMap::new(),
        };
        let directories = Directories::new(Path::new("/state"), BUILT_IN, &|_| None).unwrap();
        let plan = order.plan(&directories, None, Documents::new()).unwrap();
        let names: Vec<&str> = plan.workloads.iter().map(|workload| workload.name.as_str()).collect();
        assert_eq!(names, ["memory", "tools", "orchestrator"]);
        assert_eq!(plan.url.as_deref(), Some("http://127.0.0.1:8002/mcp"));
    }

    #[test]
    fn every_problem_of_a_file_is_told_with_its_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "apiVersion: mcpsystem.io/v1alpha1\nkind: McpSystem\nmetadata: {name: x}\n\
             spec: {servers: {memmory: {}, tools: {prot: 1}}}\n",
        )
        .unwrap();
        let message = read_system(Some(file.path())).unwrap_err().to_string();
        assert!(message.contains("spec.servers.memmory") && message.contains("\"memory\""), "{message}");
        assert!(message.contains("spec.servers.tools.prot") && message.contains("\"port\""), "{message}");
    }
}
