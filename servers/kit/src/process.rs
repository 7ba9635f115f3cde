//! What the operating system says of this process.

/// Memory held, in bytes; on systems without `/proc` the most that was ever held.
pub(crate) fn memory_bytes() -> Option<u64> {
    resident().or_else(peak)
}

#[cfg(target_os = "linux")]
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(not(target_os = "linux"))]
fn resident() -> Option<u64> {
    None
}

fn peak() -> Option<u64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
    let maximum = u64::try_from(usage.max_rss()).ok()?;
    // macOS counts bytes, the others kibibytes.
    Some(if cfg!(target_os = "macos") { maximum } else { maximum * 1024 })
}

/// Seconds of processor time used so far.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).ok()?;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// Files and sockets that are open.
pub(crate) fn open_files() -> Option<u64> {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    // One of them is the directory that is being read.
    u64::try_from(std::fs::read_dir(directory).ok()?.count().saturating_sub(1)).ok()
}

#[allow(clippy::cast_precision_loss, reason = "seconds of processor time are far below 2^52")]
fn seconds(time: nix::sys::time::TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_time_and_files() {
        assert!(memory_bytes().expect("known") > 1 << 20);
        assert!(peak().expect("known") > 1 << 20);
        assert!(cpu_seconds().expect("known") >= 0.0);
        assert!(open_files().expect("known") >= 3);
    }
}
