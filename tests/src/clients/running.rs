//! A client while it runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::answers::{Answers, Event};
use super::script::Script;

/// A client at work. Dropped, it is ended.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
    deadline: Instant,
    seen: Answers,
}

impl Running {
    pub(super) fn start(mut command: Command, script: &Script<'_>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let output = child.stdout.take().context("the client has no output")?;
        let mut errors = child.stderr.take().context("the client has no error output")?;
        let mut input = child.stdin.take().context("the client has no input")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Ends with the client, or when nobody listens any more.
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let running = Self {
            child,
            lines,
            complaints: Some(complaints),
            deadline: Instant::now() + script.limit(),
            seen: Answers::default(),
        };
        // Clients read all of it before they do anything, so this cannot block for long.
        serde_json::to_writer(&mut input, script)
            .map_err(std::io::Error::from)
            .and_then(|()| input.flush())
            .context("the client does not read its script")?;
        Ok(running)
    }

    /// Waits for an event that fits, such as the first progress of a call.
    pub fn wait_for(&mut self, fits: impl Fn(&Event) -> bool) -> Result<&Answers> {
        while !self.seen.events().iter().any(&fits) {
            if !self.read_one()? {
                bail!("the client ended before it saw that; {}", self.story());
            }
        }
        Ok(&self.seen)
    }

    /// Waits for the end of the script.
    pub fn finish(mut self) -> Result<Answers> {
        while self.read_one()? {}
        let status = self.child.wait().context("cannot wait for the client")?;
        if !status.success() {
            bail!("the client failed ({status}); {}", self.story());
        }
        Ok(std::mem::take(&mut self.seen))
    }

    /// Reads the next event, if there is another one.
    fn read_one(&mut self) -> Result<bool> {
        let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.seen.push(Answers::parse_line(&line)?);
                Ok(true)
            }
            Err(RecvTimeoutError::Disconnected) => Ok(false),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                bail!("the client did not end in time; {}", self.story())
            }
        }
    }

    fn story(&mut self) -> String {
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        format!("it saw {:?}\nand complained:\n{}", self.seen.events(), complaints.trim())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended, usually.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
