//! Laptop mode: a plan into processes on this machine, watched by a supervisor, told about in a terminal.
//!
//! This crate must not know Kubernetes, nor what a server does: it starts programs, asks for their health
//! and whether they answer MCP requests, and leaves every decision about what should run to the plan.
//!
//! - `order` reads the file and the environment; `render` turns the plan into process specs (pure);
//! - `supervise` carries them out: one task a server; `observe` asks; `facts` holds what is known;
//! - `report` is the status as a cluster would have it, plus the processes; `view` makes text of it (pure);
//! - `control` is the socket between a command and the supervisor; `commands` are what a person types;
//! - `directories`, `secrets`, `pids`, `ports`, `containers`, `os` are this machine's files, processes and sockets.

mod choose;
mod commands;
mod containers;
mod control;
mod directories;
mod expand;
mod facts;
mod observe;
mod order;
mod os;
mod pids;
mod ports;
mod render;
mod report;
mod run;
mod secrets;
mod settings;
mod supervise;
mod tail;
mod terminal;
mod view;

pub use choose::Choice;
pub use commands::{LaptopPlan, LogOptions, down, logs, plan, restart, status, supervise, system, up};
pub use order::{BUILT_IN, DEFAULT_FILE};
pub use report::{Report, ServerReport, State};
