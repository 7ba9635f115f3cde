//! Ends the cluster so that nothing of it stays behind, whatever state it is in: up, half up, or left over from a run
//! that was killed.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::{layout, network, node, process};

/// A signal may come while a test run ends by itself: one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Ends every process, and removes every file but the logs.
pub(crate) fn everything() -> Result<()> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if process::INTERRUPTED.load(Ordering::SeqCst) {
        drop(turn);
        process::halt_if_interrupted();
    }
    everything_now()
}

/// The same for the one thread that acts on a signal.
pub(crate) fn everything_interrupted() -> Result<()> {
    process::INTERRUPTED.store(true, Ordering::SeqCst);
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    everything_now()
}

fn everything_now() -> Result<()> {
    end_processes().and_then(|()| clean_up())
}

/// No part is asked politely: what they would save is deleted anyway, and killed all at once, none of them has the
/// time to restart what another has lost.
fn end_processes() -> Result<()> {
    let started = Instant::now();
    let own = own_line();
    loop {
        let daemons: Vec<i32> =
            process::marked().into_iter().map(|found| found.pid).filter(|pid| !own.contains(pid)).collect();
        let pods = pod_processes();
        if daemons.is_empty() && pods.is_empty() {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(20) {
            bail!(
                "processes of the cluster do not end, even when killed: {daemons:?} and, in pods, {pods:?}"
            );
        }
        for pid in daemons.into_iter().chain(pods) {
            process::send(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// This process and its ancestors: `cargo cluster run bash` is marked too, and may be where `down` is called.
fn own_line() -> Vec<i32> {
    let mut line = Vec::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0) {
        line.push(pid);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        next = status.lines().find_map(|entry| entry.strip_prefix("PPid:")?.trim().parse().ok());
    }
    line
}

/// Every process in our cgroups, in which only pods are.
fn pod_processes() -> Vec<i32> {
    let mut found = Vec::new();
    for root in node::cgroup_roots() {
        for folder in folders_inside_out(&root.join(node::CGROUP)) {
            let list = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(list.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A folder and all below it, innermost first.
fn folders_inside_out(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(folders_inside_out(&entry.path()));
        }
    }
    if folder.exists() {
        found.push(folder.to_owned());
    }
    found
}

fn clean_up() -> Result<()> {
    node::restore_kernel_settings();
    network::remove_created_folders();
    for root in node::cgroup_roots() {
        for folder in folders_inside_out(&root.join(node::CGROUP)) {
            remove_cgroup(&folder)?;
        }
    }
    for entry in std::fs::read_dir(layout::run_root()).into_iter().flatten().flatten() {
        if entry.file_name() == "logs" || entry.file_name() == "lock" {
            continue;
        }
        remove(&entry.path())?;
    }
    Ok(())
}

/// The kernel lets go of a cgroup a moment after its last process has ended.
fn remove_cgroup(folder: &Path) -> Result<()> {
    let started = Instant::now();
    while let Err(error) = std::fs::remove_dir(folder) {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(5) {
            bail!("cannot remove the cgroup {}: {error}", folder.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The mounts below went with the last process of their namespace; the kernel may still be at it.
fn remove(path: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let result = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        match result {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if started.elapsed() > Duration::from_secs(10) => {
                bail!("cannot remove {}: {error}; is something mounted below it?", path.display())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
