//! Programs and data out of Python wheels, whose Python is of no interest here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache;

/// The folder in which the wheels of `tests/tools/NAME/requirements.txt` are unpacked.
pub(crate) fn unpacked(room: &str, name: &str) -> Result<PathBuf> {
    let requirements =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name).join("requirements.txt");
    let bytes =
        std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    cache::once(room, name, &[&bytes], |folder| {
        let mut pip = crate::cluster::outside("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        // Any Python will do.
        pip.args([
            "--no-deps",
            "--only-binary=:all:",
            "--python-version=3.11",
            "--require-hashes",
            "--target",
        ]);
        pip.arg(folder).arg("--requirement").arg(&requirements);
        cache::run(&mut pip).context("is the Debian package python3-pip installed?")
    })
}
