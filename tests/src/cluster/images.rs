//! Container images: made from static programs, and brought to the node, without any registry.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{layout, node, parts, process};

/// An image to be made: some files in one layer, and nothing else.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Its whole name, with a tag.
    pub name: String,
    /// Static programs and other files: where they lie, and their absolute path in the image.
    pub files: Vec<(PathBuf, String)>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    /// `KEY=value`.
    pub environment: Vec<String>,
    /// `uid:gid`; empty for root.
    pub user: String,
}

impl Image {
    /// An image of static programs, each in `/bin`, run as an ordinary user; the first is what it runs.
    pub fn of_programs(name: &str, programs: &[PathBuf]) -> Result<Self> {
        let files: Vec<(PathBuf, String)> = programs
            .iter()
            .filter_map(|path| Some((path.clone(), format!("/bin/{}", path.file_name()?.to_str()?))))
            .collect();
        let (_, first) = files.first().context("an image needs a program")?;
        Ok(Self {
            name: name.to_owned(),
            entrypoint: vec![first.clone()],
            files,
            user: "65532:65532".to_owned(),
            ..Self::default()
        })
    }

    /// Writes the image as an OCI archive, the same bytes for the same files.
    pub fn write(&self, archive: &Path) -> Result<()> {
        let layer = self.layer()?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "Env": self.environment,
                "User": self.user,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string();
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
        // containerd reads the name from its own annotation, other tools from the standard one.
        entry["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();

        if let Some(folder) = archive.parent() {
            layout::create_dir(folder)?;
        }
        let file = File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        let mut tar = tar::Builder::new(file);
        append(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
        append(&mut tar, "index.json", index.as_bytes(), 0o644)?;
        for blob in [config.as_bytes(), manifest.as_bytes(), &layer] {
            append(&mut tar, &format!("blobs/{}", digest(blob).replace(':', "/")), blob, 0o644)?;
        }
        let mut file = tar.into_inner().with_context(|| format!("cannot finish {}", archive.display()))?;
        file.flush().with_context(|| format!("cannot finish {}", archive.display()))
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (from, to) in &self.files {
            let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            append(&mut tar, to.trim_start_matches('/'), &bytes, 0o755)?;
        }
        tar.into_inner().context("cannot finish the image's layer")
    }
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    // A fixed time makes equal archives of equal files.
    header.set_mtime(0);
    tar.append_data(&mut header, path, bytes).with_context(|| format!("cannot put {path} into an image"))
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

/// The archive of an image of some of our programs, each in `/bin`; the first is what it runs. Made once and kept
/// beside the programs.
pub(crate) fn program_image(name: &str, programs: &[&str]) -> Result<PathBuf> {
    let paths: Vec<PathBuf> =
        programs.iter().map(|program| parts::program(program)).collect::<Result<_>>()?;
    let first = paths.first().context("an image needs a program")?;
    // The image's name is part of the archive's, so that a changed name makes a new archive.
    let archive = first.with_file_name(format!("{}.tar", name.replace(['/', ':'], "_")));
    if archive.exists() {
        return Ok(archive);
    }
    let image = Image::of_programs(name, &paths)?;
    let draft = archive.with_extension("draft");
    image.write(&draft)?;
    std::fs::rename(&draft, &archive).with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(archive)
}

/// Gives an archive's images to the node, under the names that the archive states.
pub(crate) fn import(archive: &Path) -> Result<()> {
    let mut command = node::ctr()?;
    command.args(["images", "import"]).arg(archive);
    process::run(command, None).with_context(|| format!("cannot import {}", archive.display())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_same_bytes_each_time_and_states_its_name() {
        let folder = std::env::temp_dir().join(format!("mcp-system-tests-{}", std::process::id()));
        let program = folder.join("program");
        layout::write(&program, "static").expect("written");
        let write = |name: &str| {
            let archive = folder.join(name);
            Image::of_programs("test/image:1", std::slice::from_ref(&program))
                .and_then(|image| image.write(&archive))
                .expect("written");
            std::fs::read(archive).expect("read")
        };
        let (one, two) = (write("one.tar"), write("two.tar"));
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(digest(&one), digest(&two));

        let mut archive = tar::Archive::new(one.as_slice());
        let mut index = archive
            .entries()
            .expect("entries")
            .flatten()
            .find(|entry| entry.path().is_ok_and(|path| path == Path::new("index.json")))
            .expect("an index");
        let index: Value = serde_json::from_reader(&mut index).expect("JSON");
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "test/image:1");
    }
}
