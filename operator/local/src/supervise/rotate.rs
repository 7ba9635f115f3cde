//! Logs that never fill the disk. Servers write straight into their files, so that they go on logging when
//! their supervisor is gone; a file that has grown too large is copied aside and emptied, which a writer
//! that appends does not notice.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The size above which a log is put aside.
pub(super) const MAX_BYTES: u64 = 10 << 20;
/// How many older ones are kept: `SERVER.log.1` is the youngest.
const KEPT: u32 = 3;

/// Puts a log aside when it is larger than `max_bytes`.
pub(super) fn rotate(log: &Path, max_bytes: u64) -> io::Result<()> {
    if std::fs::metadata(log).map_or(0, |metadata| metadata.len()) <= max_bytes {
        return Ok(());
    }
    for age in (1..KEPT).rev() {
        match std::fs::rename(older(log, age), older(log, age + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut from = File::open(log)?;
    let mut to = super::journal::open_log(&older(log, 1))?;
    // Reads to the end, wherever that is by now: what comes between this and the next line is lost.
    io::copy(&mut from, &mut to)?;
    OpenOptions::new().write(true).open(log)?.set_len(0)
}

fn older(log: &Path, age: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{age}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_large_log_is_put_aside_and_its_writer_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("memory.log");
        let mut writer = super::super::journal::open_log(&log).unwrap();
        for round in 0..6 {
            writeln!(writer, "round {round}").unwrap();
            rotate(&log, 3).unwrap();
            assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        }
        writeln!(writer, "now").unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "now\n");
        assert_eq!(std::fs::read_to_string(older(&log, 1)).unwrap(), "round 5\n");
        assert_eq!(std::fs::read_to_string(older(&log, 3)).unwrap(), "round 3\n");
        assert!(!older(&log, 4).exists());
    }

    #[test]
    fn a_small_log_and_a_missing_one_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("memory.log");
        rotate(&log, 100).unwrap();
        std::fs::write(&log, "few").unwrap();
        rotate(&log, 100).unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "few");
    }
}
