//! `search_files`: full text over the files of one folder.

use super::SEARCH;
use crate::files::{Files, Found};
use crate::tool::{About, Call, Effect, Failure, Tool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ABOUT: About = About {
    name: "search_files",
    title: "Search files",
    category: SEARCH,
    description: "Find passages in the text files that this server's operator chose, by words and by meaning, \
                  best first.",
    keywords: &["document", "documents", "full text", "grep", "find", "folder", "notes", "docs", "code"],
    effect: Effect::Reads,
    open_world: false,
};

/// Why it is off until the settings say otherwise.
pub(super) const DISABLED: &str =
    "no folder may be searched; the operator names one with the setting fileSearch.folder";

const DEFAULT_LIMIT: u32 = 10;

#[derive(Debug)]
pub(super) struct SearchFiles(pub(super) Arc<Files>);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// What is sought, in words, for example "how are backups restored".
    #[schemars(length(min = 1, max = 4096))]
    query: String,
    /// Only files below this folder, for example "guides/install".
    #[serde(default)]
    #[schemars(length(max = 4096))]
    below: Option<String>,
    /// The most passages to return.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 10))]
    limit: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Passages {
    /// Best first.
    #[serde(rename = "passages")]
    found: Vec<Passage>,
    /// How many there are here.
    count: usize,
    /// How many files were searched.
    files: usize,
    /// How many files were left out: too large, not text, or more than are held.
    files_left_out: usize,
}

/// Some lines of a file.
#[derive(Debug, Serialize, JsonSchema)]
struct Passage {
    /// The file, below the folder that is searched.
    path: String,
    first_line: usize,
    last_line: usize,
    text: String,
    /// How well it fits; higher is better. Only scores of one search compare.
    score: f32,
}

impl Tool for SearchFiles {
    type Input = Search;
    type Output = Passages;

    fn about(&self) -> About {
        ABOUT
    }

    async fn execute(&self, input: Search, _: &Call) -> Result<Passages, Failure> {
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT) as usize;
        let below = input.below.unwrap_or_default();
        let Found { passages, files, left_out } = self.0.search_in_turn(input.query, below, limit).await?;
        let passages: Vec<Passage> = passages
            .into_iter()
            .map(|(passage, score)| Passage {
                path: passage.path.to_string(),
                first_line: passage.lines.0,
                last_line: passage.lines.1,
                text: passage.text,
                score,
            })
            .collect();
        Ok(Passages { count: passages.len(), found: passages, files, files_left_out: left_out })
    }
}
