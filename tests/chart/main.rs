//! The files of the chart beside each other: no Helm and no cluster is needed. What Helm and a cluster make of them is told by
//! the scenarios `cluster::chart` and `cluster::monitoring`.

mod measures;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of this repository.
fn file(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
