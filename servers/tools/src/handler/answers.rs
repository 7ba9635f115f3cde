//! What the tools about tools take and give back.

use crate::registry::Entry;
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchTools {
    /// What you want to do, in a few words, for example "keep a value for later". Empty lists all tools.
    pub query: String,
    /// Only tools of this category; list_tool_categories names them.
    pub category: Option<String>,
    /// The most tools to return.
    #[schemars(range(min = 1, max = 100), extend("default" = 10))]
    pub limit: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GetToolDetails {
    /// The tool's name as search_tools gives it, with or without execute_ before it.
    pub tool_name: String,
}

/// One tool of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    name: String,
    /// The name to call it by.
    execute: String,
    title: String,
    category: String,
    description: String,
    /// Whether it can be called.
    enabled: bool,
    /// Why it cannot be called.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<String>,
}

impl Summary {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            name: entry.about.name.clone(),
            execute: entry.call_name(),
            title: entry.about.title.clone(),
            category: entry.about.category.clone(),
            description: entry.about.description.clone(),
            enabled: entry.disabled().is_none(),
            disabled_reason: entry.disabled().map(str::to_owned),
        }
    }
}

/// A tool that was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Match {
    #[serde(flatten)]
    pub tool: Summary,
    /// How well it fits; higher is better. Only scores of one search compare.
    pub score: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Matches {
    /// Best first.
    tools: Vec<Match>,
    /// How many there are here.
    count: usize,
}

impl Matches {
    pub(super) fn of(tools: Vec<Match>) -> Self {
        Self { count: tools.len(), tools }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Details {
    #[serde(flatten)]
    tool: Summary,
    /// The JSON Schema of its arguments.
    input_schema: JsonObject,
    /// The JSON Schema of its result.
    output_schema: JsonObject,
}

impl Details {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            tool: Summary::of(entry),
            input_schema: entry.input_schema.as_ref().clone(),
            output_schema: entry.output_schema.as_ref().clone(),
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Categories {
    categories: Vec<Group>,
    /// How many there are.
    count: usize,
}

impl Categories {
    pub(super) fn of(categories: Vec<Group>) -> Self {
        Self { count: categories.len(), categories }
    }
}

/// One category.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Group {
    name: String,
    description: String,
    /// The names of its tools.
    tools: Vec<String>,
}

impl Group {
    pub(super) fn of<'a>(name: &str, description: &str, entries: impl Iterator<Item = &'a Entry>) -> Self {
        let tools = entries.filter(|entry| entry.about.category == name);
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            tools: tools.map(|entry| entry.about.name.clone()).collect(),
        }
    }
}
