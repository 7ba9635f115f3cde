//! The lines of a backup, one after the other, and whether each may stand where it stands.

use super::{Counts, FORMAT, Line, PAGE, VERSION};
use crate::hex::hex;
use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use std::io::{BufRead, Read};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// The longest line, in bytes: several times what the largest memory takes that a server can be set to keep.
const LONGEST: usize = 64 << 20;

/// How far a backup was read, or written.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    lines: u64,
    /// Of the lines before the last one.
    sum: Sha256,
    counts: Counts,
    place: Place,
}

/// What was read last, as far as it decides what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Start,
    Header,
    Scope,
    End,
}

impl Reading {
    /// Takes in the next line, its line break among it.
    ///
    /// # Errors
    /// Says which line is wrong, and how.
    pub(super) fn line(&mut self, text: &[u8]) -> anyhow::Result<Line> {
        let number = self.lines + 1;
        fits(number, text)?;
        if self.place == Place::End {
            bail!("line {number}: something follows after the end of the backup");
        }
        let line =
            serde_json::from_slice(text).with_context(|| format!("line {number} is no line of a backup"))?;
        self.note(&line, text)?;
        Ok(line)
    }

    /// The same with a line that is at hand: whoever writes a backup sums and counts as its readers will.
    pub(super) fn note(&mut self, line: &Line, text: &[u8]) -> anyhow::Result<()> {
        self.lines += 1;
        let number = self.lines;
        fits(number, text)?;
        match (line, self.place) {
            (Line::Header { format, version }, Place::Start) => {
                if format != FORMAT || *version != VERSION {
                    bail!(
                        "this is a backup of format {format:?} version {version}; this program reads {FORMAT:?} version {VERSION}"
                    );
                }
                self.place = Place::Header;
            }
            (_, Place::Start) => bail!("the first line is no header: this is no backup of a memory"),
            (Line::Header { .. }, _) => bail!("line {number}: a second header"),
            (Line::Scope { .. }, _) => self.place = Place::Scope,
            (Line::Session(_) | Line::Entry { .. }, Place::Header) => {
                bail!("line {number}: it belongs to no scope")
            }
            (Line::Session(_), _) => self.counts.sessions += 1,
            (Line::Entry { .. }, _) => self.counts.entries += 1,
            (Line::End { sessions, entries, sha256 }, _) => {
                let told = Counts { sessions: *sessions, entries: *entries };
                if told != self.counts {
                    bail!("the backup tells of {told:?} and holds {:?}", self.counts);
                }
                if self.sum() != *sha256 {
                    bail!("the backup was changed or damaged: its checksum is wrong");
                }
                self.place = Place::End;
            }
        }
        self.sum.update(text);
        Ok(())
    }

    /// What was read, when nothing follows.
    ///
    /// # Errors
    /// Where the backup has no end.
    pub(super) fn end(&self) -> anyhow::Result<Counts> {
        match self.place {
            Place::Start => bail!("the backup is empty"),
            Place::End => Ok(self.counts),
            Place::Header | Place::Scope => {
                bail!("the backup breaks off after line {}: it has no end", self.lines)
            }
        }
    }

    /// Whether its end was read.
    pub(super) fn is_whole(&self) -> bool {
        self.place == Place::End
    }

    /// Whether nothing was read.
    pub(super) fn is_empty(&self) -> bool {
        self.place == Place::Start
    }

    /// What was read so far.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it is time to tell how far it is.
    pub(super) const fn is_at_page(&self) -> bool {
        self.lines.is_multiple_of(PAGE as u64)
    }

    /// The checksum of what was read.
    pub(super) fn sum(&self) -> String {
        hex(&self.sum.clone().finalize())
    }
}

fn fits(number: u64, text: &[u8]) -> anyhow::Result<()> {
    if text.len() > LONGEST {
        bail!("line {number} is longer than a line of a backup can be, {} MiB", LONGEST >> 20);
    }
    Ok(())
}

/// Puts the next line in place of `text`; `false` where there is none. No more is read than one byte over the longest.
pub(super) fn next(input: &mut impl BufRead, text: &mut Vec<u8>) -> anyhow::Result<bool> {
    text.clear();
    let read = input.take(LONGEST as u64 + 1).read_until(b'\n', text);
    Ok(read.context("the backup cannot be read")? > 0)
}

/// The same from where lines may have to be waited for.
pub(super) async fn next_of(
    input: &mut (impl AsyncBufRead + Unpin),
    text: &mut Vec<u8>,
) -> anyhow::Result<bool> {
    text.clear();
    let read = input.take(LONGEST as u64 + 1).read_until(b'\n', text).await;
    Ok(read.context("the backup cannot be read")? > 0)
}
