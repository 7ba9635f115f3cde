//! `ps` and `lsof`, as macOS and the BSDs have them.

use super::Holder;
use std::process::{Command, Stdio};

pub(super) fn identity(pid: u32) -> Option<String> {
    let text = output("ps", &["-o", "stat=", "-o", "lstart=", "-p", &pid.to_string()])?;
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.split_whitespace().collect::<Vec<_>>().join(" "))
}

pub(super) fn memory(pid: u32) -> Option<u64> {
    let kibibytes: u64 = output("ps", &["-o", "rss=", "-p", &pid.to_string()])?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

pub(super) fn group_memory(group: u32) -> Option<u64> {
    let group = group.to_string();
    output("ps", &["-axo", "pgid=,rss="])?
        .lines()
        .filter_map(|line| {
            let (id, kibibytes) = line.trim().split_once(char::is_whitespace)?;
            (id == group).then(|| kibibytes.trim().parse::<u64>().ok()).flatten()
        })
        .reduce(|sum, kibibytes| sum + kibibytes)
        .map(|kibibytes| kibibytes * 1024)
}

#[cfg_attr(target_os = "linux", allow(dead_code, reason = "lsof is not on every Linux that runs the tests"))]
pub(super) fn listener(port: u16) -> Option<Holder> {
    let text = output("lsof", &["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-Fp"])?;
    let pid: u32 = text.lines().find_map(|line| line.strip_prefix('p'))?.parse().ok()?;
    let command = output("ps", &["-o", "command=", "-p", &pid.to_string()]).unwrap_or_default();
    Some(Holder { pid, command: command.trim().to_owned() })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    // The C locale, so that a start time is written the same way each time.
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok().filter(|text| !text.trim().is_empty())
}
