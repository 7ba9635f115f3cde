//! `/proc`.

use super::Holder;
use std::fs;

pub(super) fn identity(pid: u32) -> Option<String> {
    let fields = stat(pid)?;
    if matches!(fields.first().map(String::as_str), Some("Z" | "X") | None) {
        return None;
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}/{}", fields.get(19)?, boot.trim()))
}

pub(super) fn group_memory(group: u32) -> Option<u64> {
    let group = group.to_string();
    let members = processes().filter(|pid| stat(*pid).is_some_and(|fields| fields.get(2) == Some(&group)));
    members.filter_map(memory).reduce(|sum, bytes| sum + bytes)
}

pub(super) fn listener(port: u16) -> Option<Holder> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| listening_inode(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    processes().find(|pid| holds(*pid, &inodes)).map(|pid| Holder { pid, command: command(pid) })
}

/// The fields of `/proc/PID/stat` behind the name, which may itself hold spaces and parentheses.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

pub(super) fn memory(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The inode of a line of `/proc/net/tcp` that tells of a listener (state 0A) on this port.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
    let is_it = *fields.get(3)? == "0A" && u16::from_str_radix(local_port, 16) == Ok(port);
    is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned())).flatten()
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(Result::ok).any(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })
}

fn command(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = words.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    match line.trim() {
        "" => fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned(),
        line => line.to_owned(),
    }
}
