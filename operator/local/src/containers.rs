//! Docker and podman as programs of this machine: whether one is of use, and how a container is ended. Every question
//! has a deadline, since a client waits for a daemon that hangs for ever. Must not know servers or systems.

use anyhow::bail;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a runtime may take to answer a question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to end a container by force.
pub(crate) const REMOVE_DEADLINE: Duration = Duration::from_secs(30);

/// What a runtime says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    /// It says no, or cannot be started.
    No,
    /// It did not answer in time.
    Silence,
}

/// The program of this PATH that runs images: the first that is of use. A client whose daemon does not run is none.
///
/// # Errors
/// Names one that does not answer, where no other is of use: what its containers do cannot be told then.
pub(crate) fn runtime(path: &str) -> anyhow::Result<Option<&'static str>> {
    choose(path, |program| ask(program, &["info"], ANSWER_DEADLINE))
}

fn choose(path: &str, is_of_use: impl Fn(&Path) -> Answer) -> anyhow::Result<Option<&'static str>> {
    let mut silent = None;
    for name in ["docker", "podman"] {
        let mut programs = std::env::split_paths(path).map(|folder| folder.join(name));
        let Some(program) = programs.find(|program| program.is_file()) else { continue };
        match is_of_use(&program) {
            Answer::Yes => return Ok(Some(name)),
            Answer::No => {}
            Answer::Silence => silent = silent.or(Some(name)),
        }
    }
    if let Some(name) = silent {
        let seconds = ANSWER_DEADLINE.as_secs();
        bail!(
            "this system has images, and `{name} info` does not answer within {seconds} s: start {name} anew, or end \
             it, which leaves the images out"
        );
    }
    Ok(None)
}

/// Whether a runtime has a container of this name.
pub(crate) fn has(runtime: &str, name: &str) -> Answer {
    ask(Path::new(runtime), &["container", "inspect", name], ANSWER_DEADLINE)
}

/// Ends the container of this name by force. `false` when it may be there still.
pub(crate) fn remove(runtime: &str, name: &str) -> bool {
    // Its answer tells less than a look: to end what is just ending by itself is an error to some.
    ask(Path::new(runtime), &["rm", "--force", name], REMOVE_DEADLINE);
    has(runtime, name) == Answer::No
}

/// Asks a runtime something that its exit code answers.
fn ask(program: &Path, arguments: &[&str], deadline: Duration) -> Answer {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return Answer::No };
    let until = Instant::now() + deadline;
    let mut pause = Duration::from_millis(2);
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Answer::Yes,
            Ok(Some(_)) | Err(_) => return Answer::No,
            Ok(None) if Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Answer::Silence;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_that_hangs_is_named_unless_another_is_of_use() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["docker", "podman"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let chosen =
            |docker, podman| {
                choose(folder.path().to_str().unwrap(), |program| {
                    if program.ends_with("docker") { docker } else { podman }
                })
            };
        assert_eq!(chosen(Answer::Yes, Answer::Yes).unwrap(), Some("docker"));
        assert_eq!(chosen(Answer::No, Answer::No).unwrap(), None);
        assert_eq!(chosen(Answer::Silence, Answer::Yes).unwrap(), Some("podman"));
        let error = chosen(Answer::Silence, Answer::No).unwrap_err().to_string();
        assert!(error.contains("`docker info` does not answer within 10 s"), "{error}");
    }

    #[test]
    fn an_answer_is_waited_for_until_the_deadline() {
        let ask = |program: &str, arguments: &[&str], deadline| ask(Path::new(program), arguments, deadline);
        let long = Duration::from_mins(1);
        assert_eq!(ask("true", &[], long), Answer::Yes);
        assert_eq!(ask("false", &[], long), Answer::No);
        assert_eq!(ask("/nowhere/docker", &["info"], long), Answer::No);
        assert_eq!(ask("sleep", &["600"], Duration::from_millis(20)), Answer::Silence);
    }
}
