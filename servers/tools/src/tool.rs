//! What a tool is.
//!
//! A tool knows its own input and output types and nothing of MCP: the registry makes schemas of the
//! types, and calls the tool with arguments that fit them.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Something that can be called with arguments.
pub trait Tool: Send + Sync + 'static {
    /// What it takes. The doc comments of its fields are what a model reads before it calls.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// What it gives back.
    type Output: Serialize + JsonSchema + 'static;

    /// What it is, for those who choose among tools.
    fn about(&self) -> About;

    /// Does it.
    fn execute(
        &self,
        input: Self::Input,
        call: &Call,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// What a tool may know of the call besides its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose things the call may touch.
    pub tenant: Arc<str>,
}

impl Default for Call {
    fn default() -> Self {
        Self { tenant: "default".into() }
    }
}

/// What a tool is, for those who choose among tools.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name in the registry; clients call `execute_<name>`.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Where it belongs.
    pub category: Category,
    /// What it does and when to use it.
    pub description: &'static str,
    /// Further words by which it is searched for.
    pub keywords: &'static [&'static str],
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it reaches beyond this server.
    pub open_world: bool,
}

/// A group of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Category {
    /// Its name.
    pub name: &'static str,
    /// What its tools have in common.
    pub description: &'static str,
}

/// What a tool does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only looks.
    Reads,
    /// It changes something.
    Writes {
        /// What was there before may be lost.
        destructive: bool,
        /// Once more changes nothing more.
        idempotent: bool,
    },
}

/// What any tool says of itself, one that was declared at run time among them.
#[derive(Clone, Debug)]
pub struct Card {
    /// Its name in the registry.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The name of its category.
    pub category: String,
    /// What it does and when to use it.
    pub description: String,
    /// Further words by which it is searched for.
    pub keywords: Vec<String>,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether it reaches beyond this server.
    pub open_world: bool,
}

impl From<About> for Card {
    fn from(about: About) -> Self {
        Self {
            name: about.name.to_owned(),
            title: about.title.to_owned(),
            category: about.category.name.to_owned(),
            description: about.description.to_owned(),
            keywords: about.keywords.iter().map(|keyword| (*keyword).to_owned()).collect(),
            effect: about.effect,
            open_world: about.open_world,
        }
    }
}

/// Why a tool did not do what it was asked for, in words that help the model that called it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);
