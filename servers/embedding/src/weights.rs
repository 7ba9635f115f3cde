//! Files of weights: what was read of them, and whether they hold that still.

use mcp_system_config::EmbeddingSettings;
use sha2::{Digest, Sha256};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is most likely another once a file holds something else: its length, and when it, its name or its rights were last
/// changed.
type Stamp = (u64, i64, i64);

/// A file as it was when it was read.
#[derive(Debug)]
pub(crate) struct Weights {
    path: PathBuf,
    stamp: Option<Stamp>,
    digest: String,
}

impl Weights {
    /// Reads a file; answers with its bytes, too.
    pub(crate) fn read(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        // Before its bytes: what changes under way counts as a change.
        let stamp = stamp(path);
        let bytes = std::fs::read(path)?;
        let digest = digest(&bytes);
        Ok((Self { path: path.to_owned(), stamp, digest }, bytes))
    }

    /// Tells these weights from others.
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether the file holds them still. One that is gone counts as if it did: what was read works without it.
    pub(crate) fn are_current(&self) -> bool {
        let now = stamp(&self.path);
        now.is_none()
            || now == self.stamp
            || std::fs::read(&self.path).is_ok_and(|bytes| digest(&bytes) == self.digest)
    }
}

/// What is most likely another once a file of weights that the settings name holds something else. They are not read for it.
pub fn stamps(settings: &EmbeddingSettings) -> String {
    let onnx = settings.onnx.as_ref().map(|onnx| onnx.path.as_str());
    let rerank = settings.rerank.as_ref().map(|rerank| rerank.path.as_str());
    format!("{:?}", [onnx, rerank].map(|path| path.map(|path| stamp(Path::new(path)))))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_system_config::OnnxEmbeddings;

    #[test]
    fn weights_are_others_when_their_content_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.onnx");
        let write = |content: &str| {
            // In the place of the one before, as whoever changes weights should do it.
            let new = folder.path().join("new");
            std::fs::write(&new, content).expect("written");
            std::fs::rename(new, &path).expect("renamed");
        };
        let onnx = OnnxEmbeddings { path: path.to_str().expect("UTF-8").to_owned() };
        let settings = EmbeddingSettings { onnx: Some(onnx), ..Default::default() };
        let nothing = stamps(&settings);
        write("one");
        let (weights, bytes) = Weights::read(&path).expect("reads");
        assert_eq!((bytes.as_slice(), weights.are_current()), (b"one".as_slice(), true));
        let one = stamps(&settings);
        assert_ne!(one, nothing);
        assert_eq!(one, stamps(&settings));
        write("other");
        assert_ne!(stamps(&settings), one);
        assert!(!weights.are_current());
        assert_ne!(Weights::read(&path).expect("reads").0.digest(), weights.digest());
        write("one");
        assert!(weights.are_current(), "whenever it was written");
        std::fs::remove_file(&path).expect("removed");
        assert!(weights.are_current(), "it is not needed any more");
        std::fs::create_dir(&path).expect("a folder");
        assert!(!weights.are_current(), "it cannot be read");
    }
}
