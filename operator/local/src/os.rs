//! What the operating system tells of processes and ports: `/proc` on Linux, `ps` and `lsof` elsewhere.
//! Nothing here knows servers or systems.

#[cfg(any(target_os = "linux", test))]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod others;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use others as system;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// A process as a person knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its id.
    pub(crate) pid: u32,
    /// Its command line.
    pub(crate) command: String,
}

/// What tells a process from a later one with the same id: when it started. `None` when there is none,
/// or only what is left of one that ended.
pub(crate) fn identity(pid: u32) -> Option<String> {
    system::identity(pid)
}

/// Memory that a process holds, in bytes.
pub(crate) fn memory(pid: u32) -> Option<u64> {
    system::memory(pid)
}

/// Memory that a process and all others of its group hold, in bytes.
pub(crate) fn group_memory(group: u32) -> Option<u64> {
    system::group_memory(group)
}

/// The process that listens on a TCP port of this machine, where that can be seen.
pub(crate) fn listener(port: u16) -> Option<Holder> {
    system::listener(port)
}

/// Signals a process group. `false` when there is no process in it any more.
pub(crate) fn signal_group(group: u32, signal: Signal) -> bool {
    pid(group).is_some_and(|group| killpg(group, signal) != Err(Errno::ESRCH))
}

/// Signals one process. `false` when it is gone.
pub(crate) fn signal_process(process: u32, signal: Signal) -> bool {
    pid(process).is_some_and(|process| kill(process, signal) != Err(Errno::ESRCH))
}

/// An id that a signal may be sent to: 0 and 1 would reach processes that are not ours.
fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().filter(|id| *id > 1).map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    struct Ends(Child);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_has_an_identity_until_it_ends() {
        for identity in [linux::identity as fn(u32) -> Option<String>, others::identity] {
            let mut child = Ends(Command::new("sleep").arg("60").spawn().unwrap());
            let pid = child.0.id();
            let first = identity(pid);
            assert!(first.is_some());
            assert_eq!(identity(pid), first);
            assert_ne!(identity(std::process::id()), None);
            child.0.kill().unwrap();
            // Not yet waited for: what is left of it is no process that runs.
            let gone = || {
                (0..200).any(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    identity(pid).is_none()
                })
            };
            assert!(gone());
        }
    }

    #[test]
    fn a_group_holds_memory() {
        use std::os::unix::process::CommandExt;
        let child = Ends(Command::new("sleep").arg("60").process_group(0).spawn().unwrap());
        for memory in [linux::group_memory as fn(u32) -> Option<u64>, others::group_memory] {
            assert!(memory(child.0.id()).is_some());
        }
        for memory in [linux::memory as fn(u32) -> Option<u64>, others::memory] {
            assert!(memory(std::process::id()).unwrap() > 1 << 20);
            assert_eq!(memory(u32::MAX), None);
        }
        assert_eq!(linux::group_memory(u32::MAX), None);
    }

    #[test]
    fn no_signal_reaches_what_is_not_ours() {
        assert!(!signal_group(0, Signal::SIGKILL));
        assert!(!signal_group(1, Signal::SIGKILL));
        assert!(!signal_process(0, Signal::SIGKILL));
        assert!(!signal_process(u32::MAX, Signal::SIGKILL));
    }

    #[test]
    fn the_process_behind_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let holder = linux::listener(port).unwrap();
        assert_eq!(holder.pid, std::process::id());
        assert!(!holder.command.is_empty());
        drop(listener);
        assert_eq!(linux::listener(port), None);
    }
}
