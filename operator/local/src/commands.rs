//! What a person asks for, one file a command. Each reads what it needs, does it, and prints what came of
//! it; the exit code says whether it was done.

mod down;
mod logs;
mod plan;
mod restart;
mod status;
mod up;
mod wait;

pub use down::down;
pub use logs::{LogOptions, logs};
pub use plan::{LaptopPlan, plan, system};
pub use restart::restart;
pub use status::status;
pub use up::{supervise, up};

use crate::directories;
use std::path::PathBuf;

/// Where this user's systems are kept.
fn home() -> anyhow::Result<PathBuf> {
    directories::home(&environment)
}

/// A variable of this process's environment.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
