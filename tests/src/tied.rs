//! Processes that do not outlive the test that started them, however it ends: a shell reads from a pipe whose other
//! end this process alone holds, and acts when that closes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

/// Runs a program until the pipe closes, then sends it a signal. The first line tells its process id.
const UNTIL: &str = r#"
signal=$1
shift
"$@" >&2 &
child=$!
echo "$child"
exec >&2
cat >/dev/null
kill "-$signal" "$child" 2>/dev/null
wait "$child"
"#;

/// Runs a program when the pipe closes.
const AFTER: &str = r#"
shift
echo
exec >&2
cat >/dev/null
exec "$@"
"#;

/// What ends, or happens, when this value is dropped, or when the process that holds it is gone.
#[derive(Debug)]
pub struct Tied {
    shell: Child,
    /// The program's process, while it runs.
    pub pid: Option<i32>,
}

impl Tied {
    /// Runs the program for as long as this value lives. Its output goes where the command's error output goes.
    pub fn until_dropped(command: &Command) -> Result<Self> {
        Self::until_signalled(command, Signal::SIGTERM)
    }

    /// The same, with the signal that ends this program at once.
    pub fn until_signalled(command: &Command, signal: Signal) -> Result<Self> {
        Self::start(UNTIL, signal, command)
    }

    /// Runs the program once this value is gone.
    pub fn after_drop(command: &Command) -> Result<Self> {
        Self::start(AFTER, Signal::SIGTERM, command)
    }

    fn start(script: &str, signal: Signal, command: &Command) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "sh", signal.as_str().trim_start_matches("SIG")])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            shell.current_dir(folder);
        }
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for the test: its end closes the pipe.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let mut line = String::new();
        let output = shell.stdout.take().context("the shell has no output")?;
        BufReader::new(output).read_line(&mut line).context("the shell says nothing")?;
        Ok(Self { shell, pid: line.trim().parse().ok() })
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_program_ends_with_its_value() {
        let tied = Tied::until_dropped(Command::new("sleep").arg("60")).unwrap();
        let process = format!("/proc/{}", tied.pid.unwrap());
        assert!(Path::new(&process).exists());
        drop(tied);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn a_program_runs_after_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made");
        let tied = Tied::after_drop(Command::new("touch").arg(&file)).unwrap();
        assert!(!file.exists());
        drop(tied);
        assert!(file.exists());
    }
}
