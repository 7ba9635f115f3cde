//! One process from its start to its end. Must not know why it is started or ended.

use super::journal::open_log;
use crate::containers;
use crate::directories::{create_private, write_whole};
use crate::os;
use crate::pids::Recorded;
use crate::render::{Container, Move, ProcessSpec, Value};
use crate::secrets;
use anyhow::{Context, bail};
use mcp_system_crds::config::MOVED_FILE;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The environment of whoever started the system.
type Variables = BTreeMap<String, String>;

/// A process that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pub(super) pid: u32,
    grace: Duration,
    container: Option<Container>,
    /// The environment in which the container was started, and in which its runtime finds it again.
    variables: Arc<Variables>,
    pid_file: PathBuf,
}

impl Running {
    /// Starts it in a process group of its own, so that a Ctrl-C in the terminal reaches the supervisor
    /// alone and a signal reaches whatever the process starts.
    pub(super) async fn start(spec: &ProcessSpec, variables: &Arc<Variables>) -> anyhow::Result<Self> {
        put_files(spec)?;
        if let Some(data) = &spec.data {
            create_private(data)?;
        }
        if !spec.directory.is_dir() {
            bail!("the folder {} in which it is to run does not exist", spec.directory.display());
        }
        if let Some(container) = &spec.container {
            // One of this name that is left over would keep the new one from starting.
            remove(container, variables).await;
        }
        let log = open_log(&spec.log).with_context(|| format!("{} cannot be written", spec.log.display()))?;
        let mut child = Command::new(&spec.program)
            .args(spec.args.iter().map(Value::text))
            .env_clear()
            .envs(&**variables)
            .envs(spec.env.iter().map(|(name, value)| (name, value.text())))
            .current_dir(&spec.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("the program {} cannot be started", spec.program.display()))?;
        let pid = child.id().context("the process ended at once")?;
        let container = spec.container.clone();
        let recorded = Recorded::running(pid, container.clone().map(|it| (it.runtime, it.name)));
        if let Some(Err(error)) = recorded.map(|recorded| recorded.write(&spec.pid_file)) {
            // What stands nowhere is found by nobody: not by `down`, nor by the next supervisor.
            os::signal_group(pid, Signal::SIGKILL);
            let _ = child.wait().await;
            return Err(error);
        }
        Ok(Self {
            child,
            pid,
            grace: Duration::from_secs(spec.grace_seconds.into()),
            container,
            variables: variables.clone(),
            pid_file: spec.pid_file.clone(),
        })
    }

    /// Waits until it ends by itself and tells how it did.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        self.clean_up();
        status.map_or_else(|error| format!("cannot be waited for: {error}"), how)
    }

    /// Ends it: asked first, by force when the grace period is over or nobody wants to wait any more.
    pub(super) async fn end(mut self, hurry: &mut watch::Receiver<bool>) {
        os::signal_group(self.pid, Signal::SIGTERM);
        let is_over = async {
            tokio::select! {
                () = tokio::time::sleep(self.grace) => {}
                // Without a sender nobody can be in a hurry.
                Ok(_) = hurry.wait_for(|is_hurried| *is_hurried) => {}
            }
        };
        let is_ended = async {
            if let Some(container) = &self.container {
                let seconds = self.grace.as_secs().to_string();
                command(container, &["stop", "--time", &seconds, &container.name], &self.variables).await;
            }
            self.child.wait().await
        };
        let has_ended = tokio::select! {
            _ = is_ended => true,
            () = is_over => false,
        };
        if !has_ended {
            if let Some(container) = &self.container {
                remove(container, &self.variables).await;
            }
            os::signal_group(self.pid, Signal::SIGKILL);
            let _ = self.child.wait().await;
        }
        self.clean_up();
    }

    /// What the process itself started and left behind ends with it.
    fn clean_up(&self) {
        os::signal_group(self.pid, Signal::SIGKILL);
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// What has to be done once before the first start, if it was not; tells what was done.
pub(super) async fn prepare(spec: &ProcessSpec, variables: &Variables) -> anyhow::Result<Option<String>> {
    let Some(Move { from, args }) = spec.moves.as_ref().filter(|moves| !moves.from.join(MOVED_FILE).exists())
    else {
        return Ok(None);
    };
    put_files(spec)?;
    let output = Command::new(&spec.program)
        .args(args)
        .env_clear()
        .envs(variables)
        .envs(spec.env.iter().map(|(name, value)| (name, value.text())))
        .current_dir(&spec.directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("the program {} cannot be started", spec.program.display()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    if !output.status.success() {
        let why = told.trim_start_matches("error: ");
        bail!("what {} holds cannot be moved to PostgreSQL: {why}", from.display());
    }
    Ok(Some(told.to_owned()))
}

/// Puts what a server reads where it reads it.
fn put_files(spec: &ProcessSpec) -> anyhow::Result<()> {
    if let Some(config) = &spec.config {
        write_whole(&config.path, &config.text)?;
    }
    spec.secrets.iter().try_for_each(secrets::put)
}

/// Ends a container by force. A runtime that hangs is not waited for.
async fn remove(container: &Container, variables: &Variables) {
    let arguments = ["rm", "--force", &container.name];
    let _ =
        tokio::time::timeout(containers::REMOVE_DEADLINE, command(container, &arguments, variables)).await;
}

async fn command(container: &Container, arguments: &[&str], variables: &Variables) {
    let _ = Command::new(&container.runtime)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(Ok(signal))) => format!("was ended by {signal}"),
        (None, _) => format!("ended: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(how(ExitStatus::from_raw(2 << 8)), "ended with exit code 2");
        assert_eq!(how(ExitStatus::from_raw(9)), "was ended by SIGKILL");
    }
}
