//! A server that is spoken to through its standard input and output, a message a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The process and both ends. Dropped, it is ended.
#[derive(Debug)]
pub struct Pipe {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Pipe {
    /// Starts the process.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the server has no output")?;
        Ok(Self { child, input, output: BufReader::with_capacity(64 << 10, output) })
    }

    /// Its process.
    pub fn pid(&self) -> Option<i32> {
        i32::try_from(self.child.id()).ok()
    }

    /// Sends one message.
    pub fn send(&mut self, message: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("the server's input is closed")?;
        input.write_all(message).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush())?;
        Ok(())
    }

    /// The next line that answers something: notices and requests of the server's own are passed over.
    pub fn receive(&mut self) -> Result<Vec<u8>> {
        loop {
            let mut line = Vec::new();
            let read = self.output.read_until(b'\n', &mut line).context("the server does not answer")?;
            ensure!(read > 0, "the server ended");
            let message: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
            if message.get("id").is_some() && message.get("method").is_none() {
                return Ok(line);
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // The end of its input is what such a server ends at; not all do.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
