//! The program `mcp-system`: arguments in, the right room called, an exit code out. What the commands do
//! stands in the crates that they call; nothing here must know more than their names.

mod arguments;
mod memory;
mod operator;
mod plan;
mod progress;
mod serve;

use arguments::{Arguments, Command};
use clap::Parser;
use mcp_system_local as local;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mcp_system_kit::install_crypto();
    match dispatch(arguments.command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // One message with its causes; nothing can be done where standard error is closed as well.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up { file, detach } => here(local::up(file.as_deref(), detach)),
        Command::Down { choice } => here(local::down(&choice.into())),
        Command::Status { choice, json } => here(local::status(&choice.into(), json)),
        Command::Logs { name, server, follow, lines } => {
            let choice = local::Choice { name, file: None };
            here(local::logs(&choice, &local::LogOptions { server, follow, lines }))
        }
        Command::Restart { choice, server } => here(local::restart(&choice.into(), &server)),
        Command::Supervise { name } => here(async {
            tokio::spawn(mcp_system_kit::give_back_what_starting_took());
            local::supervise(&name).await
        }),
        Command::Plan { file, target, image, output } => plan::plan(file.as_deref(), target, image, output),
        Command::Crd => print(&mcp_system_crds::crd_yaml()),
        Command::Operator(options) => operator::operator(options),
        Command::Serve(options) => serve::serve(&options),
        Command::Memory(arguments) => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?
            .block_on(memory::memory(arguments)),
        Command::Version => print(&format!("mcp-system {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

/// Runs a command of laptop mode. It waits far more than it works, so one thread is enough.
fn here(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Whether whoever reads the output has enough of it, such as `head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.into_iter().any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
