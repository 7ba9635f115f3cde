//! Which files may be searched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Files that may be searched. Off until a folder is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FileSearchSettings {
    /// The folder whose text files are searched, at any depth. Hidden files, those that a .gitignore leaves
    /// out and symbolic links are passed over. Default none, which leaves out `execute_search_files`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(min = 1, max = 4096))]
    pub folder: Option<PathBuf>,
    /// The largest file that is read, in bytes. Default 1 MiB.
    #[schemars(range(min = 1, max = 67_108_864))]
    pub max_file_bytes: u32,
    /// The most bytes that are read of all files together. Default 256 MiB.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub max_total_bytes: u32,
    /// Seconds for which a look at the folder counts as fresh: a search after that looks for changes first.
    /// Default 2.
    #[schemars(range(min = 0, max = 86400))]
    pub refresh_seconds: u32,
}

impl Default for FileSearchSettings {
    fn default() -> Self {
        Self { folder: None, max_file_bytes: 1 << 20, max_total_bytes: 256 << 20, refresh_seconds: 2 }
    }
}
