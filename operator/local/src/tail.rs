//! The end of logs, and what is added to them.

use crate::view::{Style, log_prefix};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// One log that is followed.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    prefix: String,
    offset: u64,
    /// The beginning of a line whose end is not written yet.
    part: Vec<u8>,
}

/// Several logs, each line with the name of its server before it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    logs: Vec<Log>,
}

impl Tail {
    /// Follows these logs from their ends on. A single one gets no prefix.
    pub(crate) fn new(logs: &[(String, PathBuf)], style: Style) -> Self {
        let width = logs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let with_prefix = |(index, (name, path)): (usize, &(String, PathBuf))| Log {
            path: path.clone(),
            prefix: match logs {
                [_] => String::new(),
                _ => format!("{} ", log_prefix(name, index, width, style)),
            },
            offset: length(path),
            part: Vec::new(),
        };
        Self { logs: logs.iter().enumerate().map(with_prefix).collect() }
    }

    /// The last lines of each log.
    pub(crate) fn last(&self, count: usize) -> io::Result<String> {
        let mut text = String::new();
        for log in &self.logs {
            for line in last_lines(&log.path, count)? {
                let _ = writeln!(text, "{}{line}", log.prefix);
            }
        }
        Ok(text)
    }

    /// What was added since the last call.
    pub(crate) fn news(&mut self) -> io::Result<String> {
        let mut text = String::new();
        for log in &mut self.logs {
            log.read()?;
            while let Some(end) = log.part.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = log.part.drain(..=end).collect();
                text.push_str(&log.prefix);
                text.push_str(&String::from_utf8_lossy(&line));
            }
        }
        Ok(text)
    }
}

impl Log {
    fn read(&mut self) -> io::Result<()> {
        let length = length(&self.path);
        if length < self.offset {
            // It was put aside and begins anew.
            self.offset = 0;
        }
        if length > self.offset {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            let read = file.read_to_end(&mut self.part)?;
            self.offset += read as u64;
        }
        Ok(())
    }
}

/// The last lines of a log, with those of the one that was put aside before it where it is short.
pub(crate) fn last_lines(path: &Path, count: usize) -> io::Result<Vec<String>> {
    let mut lines = lines(path)?;
    if lines.len() < count {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        let mut all = self::lines(Path::new(&older))?;
        all.append(&mut lines);
        lines = all;
    }
    let from = lines.len().saturating_sub(count);
    Ok(lines.split_off(from))
}

fn lines(path: &Path) -> io::Result<Vec<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const PLAIN: Style = Style { colour: false };

    #[test]
    fn whole_lines_are_told_once_even_when_the_log_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one.log"), directory.path().join("two.log"));
        std::fs::write(&one, "old\n").unwrap();
        let mut tail = Tail::new(&[("one".to_owned(), one.clone()), ("two".to_owned(), two.clone())], PLAIN);
        let mut file = std::fs::OpenOptions::new().append(true).open(&one).unwrap();
        file.write_all(b"new\npa").unwrap();
        std::fs::write(&two, "first\n").unwrap();
        assert_eq!(tail.news().unwrap(), "one | new\ntwo | first\n");
        assert_eq!(tail.news().unwrap(), "");
        file.write_all(b"rt\n").unwrap();
        assert_eq!(tail.news().unwrap(), "one | part\n");
        file.set_len(0).unwrap();
        file.write_all(b"again\n").unwrap();
        assert_eq!(tail.news().unwrap(), "one | again\n");
    }

    #[test]
    fn the_last_lines_reach_back_into_the_log_before() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("one.log");
        assert!(last_lines(&log, 3).unwrap().is_empty());
        std::fs::write(directory.path().join("one.log.1"), "1\n2\n3\n").unwrap();
        std::fs::write(&log, "4\n5\n").unwrap();
        assert_eq!(last_lines(&log, 1).unwrap(), ["5"]);
        assert_eq!(last_lines(&log, 3).unwrap(), ["3", "4", "5"]);
        let tail = Tail::new(&[("one".to_owned(), log)], PLAIN);
        assert_eq!(tail.last(2).unwrap(), "4\n5\n");
    }
}
