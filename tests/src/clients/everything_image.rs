//! The third-party server as a container image, made without any registry: this machine's Node, the libraries that
//! it loads, and the packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::everything::{Everything, PROGRAM};
use super::install;
use crate::cluster::Image;

/// What examples call it.
pub const NAME: &str = "example.com/mcp/everything:1";

/// Where the packages lie in the image.
const PACKAGES: &str = "/app/node_modules";

/// Gives the image's archive, made once: `node index.js streamableHttp` in it is the server, on PORT.
pub fn archive(everything: &Everything) -> Result<PathBuf> {
    let version = crate::cache::printed(std::process::Command::new("node").arg("--version"))?;
    let folder = install::once("everything-image", &[everything.key(), version.as_bytes()], |folder| {
        let start = folder.join("index.js");
        std::fs::write(&start, format!("import(\"{PACKAGES}/{PROGRAM}\");\n"))
            .with_context(|| format!("cannot write {}", start.display()))?;
        let mut files = node()?;
        files.insert("/index.js".to_owned(), start);
        add_folder(&everything.node_modules(), PACKAGES, &mut files)?;
        Image {
            name: NAME.to_owned(),
            files: files.into_iter().map(|(to, from)| (from, to)).collect(),
            command: ["node", "index.js", "streamableHttp"].map(str::to_owned).to_vec(),
            environment: vec!["PATH=/usr/local/bin".to_owned()],
            user: "65532:65532".to_owned(),
            ..Image::default()
        }
        .write(&folder.join("image.tar"))
    })?;
    Ok(folder.join("image.tar"))
}

/// Node and its libraries, by their path in the image.
fn node() -> Result<BTreeMap<String, PathBuf>> {
    let program =
        crate::cache::printed(std::process::Command::new("node").args(["--print", "process.execPath"]))?;
    let libraries = crate::cache::printed(std::process::Command::new("ldd").arg(&program))
        .context("cannot tell which libraries node loads")?;
    let mut files: BTreeMap<String, PathBuf> =
        libraries_of(&libraries).map(|path| (path.to_owned(), path.into())).collect();
    files.insert("/usr/local/bin/node".to_owned(), program.into());
    Ok(files)
}

/// The paths in what `ldd` prints: `libm.so.6 => /lib/libm.so.6 (0x…)`, or the loader's alone.
fn libraries_of(printed: &str) -> impl Iterator<Item = &str> {
    printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// Adds the files of a folder, and of those within it, as they are behind links.
fn add_folder(from: &Path, to: &str, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", from.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("{to}/{name}");
        if path.is_dir() {
            add_folder(&path, &inside, files)?;
        } else {
            files.insert(inside, path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_prints() {
        let printed = "\tlinux-vdso.so.1 (0x00007fff)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(libraries_of(printed).collect::<Vec<_>>(), ["/lib/x/libm.so.6", "/lib64/ld.so.2"]);
    }
}
