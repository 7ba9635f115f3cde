//! The supervisor's own log: what happened to which server, a line each.

use k8s_openapi::jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// An open log.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<File>);

impl Journal {
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        open_log(path).map(|file| Self(Mutex::new(file)))
    }

    /// Adds a line. A full disk is no reason to stop servers, so a failure is passed over.
    pub(crate) fn note(&self, server: &str, event: &str) {
        let line = format!("{:.3} {server}: {event}\n", Timestamp::now());
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// Opens a log for appending, readable by its owner alone.
pub(super) fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
