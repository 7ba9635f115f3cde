//! All tools of a server, by name, with their schemas compiled once.

use crate::tool::{About, Call, Card, Category, Failure, Tool};
use anyhow::{Context, ensure};
use futures::future::BoxFuture;
use jsonschema::Validator;
use mcp_system_user_tools::with_defaults;
use rmcp::handler::server::tool::{schema_for_input, schema_for_output};
use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is put before a tool's name to call it.
pub const PREFIX: &str = "execute_";

/// The most faults of one call's arguments that are told.
const MAX_FAULTS: usize = 10;
/// The longest description of one fault: it quotes the value, which may be long.
const MAX_FAULT_CHARS: usize = 300;
/// How alike two names must be for one to be suggested for the other; 1 is equal.
const ALIKE: f64 = 0.7;

/// One tool of a registry.
pub struct Entry {
    /// What it is.
    pub about: Card,
    /// The schema of its arguments.
    pub input_schema: Arc<JsonObject>,
    /// The schema of its results.
    pub output_schema: Arc<JsonObject>,
    validator: Validator,
    run: Result<Run, String>,
}

/// What runs a tool, with arguments that fit its schema.
pub type Run = Box<dyn Fn(Value, Call) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Entry {
    fn new(
        about: Card,
        input_schema: Arc<JsonObject>,
        output_schema: Arc<JsonObject>,
        run: Result<Run, String>,
    ) -> anyhow::Result<Self> {
        let validator = jsonschema::validator_for(&Value::Object(input_schema.as_ref().clone()))?;
        Ok(Self { about, input_schema, output_schema, validator, run })
    }

    /// The name that clients call.
    pub fn call_name(&self) -> String {
        format!("{PREFIX}{}", self.about.name)
    }

    /// Why it cannot be called, when it cannot.
    pub fn disabled(&self) -> Option<&str> {
        self.run.as_ref().err().map(String::as_str)
    }

    /// Calls the tool with arguments that fit its schema; with others, says what is wrong with them.
    pub async fn execute(&self, mut arguments: JsonObject, call: Call) -> Result<Value, Failure> {
        let run = self
            .run
            .as_ref()
            .map_err(|reason| Failure(format!("{} is disabled: {reason}", self.about.name)))?;
        with_defaults(&self.input_schema, &mut arguments);
        let arguments = Value::Object(arguments);
        self.check(&arguments)?;
        run(arguments, call).await
    }

    fn check(&self, arguments: &Value) -> Result<(), Failure> {
        let mut faults = self.validator.iter_errors(arguments).map(|error| {
            let path = error.instance_path().to_string();
            let path = if path.is_empty() { "arguments" } else { &path };
            shortened(&format!("{path}: {error}"))
        });
        let told: Vec<String> = faults.by_ref().take(MAX_FAULTS).collect();
        if told.is_empty() {
            return Ok(());
        }
        let more = match faults.count() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Err(Failure(format!(
            "the arguments of {} cannot be used: {}{more}",
            self.about.name,
            told.join("; ")
        )))
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_FAULT_CHARS {
        return text.to_owned();
    }
    // What is expected stands at the end, so the middle is what goes.
    let chars: Vec<char> = text.chars().collect();
    let (head, tail) = (&chars[..MAX_FAULT_CHARS / 2], &chars[chars.len() - MAX_FAULT_CHARS / 2..]);
    format!("{} ... {}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

/// All tools of a server, in the order of their names.
#[derive(Debug, Default)]
pub struct Registry {
    entries: BTreeMap<String, Entry>,
    /// What the tools of a category have in common, by its name.
    categories: BTreeMap<String, String>,
}

impl Registry {
    /// Adds a tool.
    pub fn add<T: Tool>(&mut self, tool: T) -> anyhow::Result<()> {
        let about = tool.about();
        let tool = Arc::new(tool);
        let run: Run = Box::new(move |arguments, call| {
            let tool = tool.clone();
            Box::pin(async move {
                let input = serde_json::from_value(arguments).map_err(|error| Failure(error.to_string()))?;
                let output = tool.execute(input, &call).await?;
                serde_json::to_value(output).map_err(|error| Failure(error.to_string()))
            })
        });
        self.insert_typed::<T>(about, Ok(run))
    }

    /// Adds a tool that is known, but not to be called for this reason.
    pub fn add_disabled<T: Tool>(&mut self, about: About, reason: &str) -> anyhow::Result<()> {
        self.insert_typed::<T>(about, Err(reason.to_owned()))
    }

    /// Adds a tool that was declared at run time.
    pub fn add_declared<Output: JsonSchema + 'static>(
        &mut self,
        about: Card,
        input_schema: JsonObject,
        run: Run,
    ) -> anyhow::Result<()> {
        let common = format!("Tools that the operator of this server declared under {}.", about.category);
        self.categories.entry(about.category.clone()).or_insert(common);
        self.insert(about, Arc::new(input_schema), schema_for_output::<Output>(), Ok(run))
    }

    fn insert_typed<T: Tool>(&mut self, about: About, run: Result<Run, String>) -> anyhow::Result<()> {
        let Category { name, description } = about.category;
        self.categories.insert(name.to_owned(), description.to_owned());
        let input_schema = schema_for_input::<T::Input>().map_err(anyhow::Error::msg)?;
        self.insert(about.into(), input_schema, schema_for_output::<T::Output>(), run)
    }

    fn insert(
        &mut self,
        about: Card,
        input_schema: Arc<JsonObject>,
        output_schema: Arc<JsonObject>,
        run: Result<Run, String>,
    ) -> anyhow::Result<()> {
        let name = about.name.clone();
        let entry = Entry::new(about, input_schema, output_schema, run)
            .with_context(|| format!("the tool {name}"))?;
        ensure!(!self.entries.contains_key(&name), "there are two tools called {name}");
        self.entries.insert(name, entry);
        Ok(())
    }

    /// A tool by its name, or by the name that clients call.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name).or_else(|| self.entries.get(name.strip_prefix(PREFIX)?))
    }

    /// All tools, the disabled ones among them.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// All categories that have a tool, each with what its tools have in common.
    pub fn categories(&self) -> impl Iterator<Item = (&str, &str)> {
        self.categories.iter().map(|(name, description)| (name.as_str(), description.as_str()))
    }

    /// Says that there is no such tool, and which names are near.
    pub fn unknown_tool(&self, name: &str) -> Failure {
        let bare = name.strip_prefix(PREFIX).unwrap_or(name);
        let near = nearest(bare, self.entries.keys().map(String::as_str));
        unknown("tool", name, &near, "search_tools finds tools by words")
    }

    /// Says that there is no such category, and which there are.
    pub fn unknown_category(&self, name: &str) -> Failure {
        let all: Vec<&str> = self.categories().map(|(name, _)| name).collect();
        unknown(
            "category",
            name,
            &nearest(name, all.iter().copied()),
            &format!("there are {}", all.join(", ")),
        )
    }
}

fn unknown(what: &str, name: &str, near: &[&str], otherwise: &str) -> Failure {
    let name: String = name.chars().take(100).collect();
    let near = match near {
        [] => String::new(),
        near => format!("did you mean {}? ", near.join(" or ")),
    };
    Failure(format!("there is no {what} {name:?}; {near}{otherwise}"))
}

/// The names that are most like this one, at most three, the most alike first.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let name: String = name.to_lowercase().chars().take(100).collect();
    let mut near: Vec<(f64, &str)> = names
        .map(|other| (strsim::jaro_winkler(&name, other), other))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.truncate(3);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::Effect;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    struct Repeat;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Input {
        word: String,
        #[schemars(range(min = 1, max = 3))]
        times: u32,
    }

    #[derive(Serialize, JsonSchema)]
    struct Output {
        text: String,
    }

    const ABOUT: About = About {
        name: "repeat",
        title: "Repeat",
        category: Category { name: "words", description: "Words." },
        description: "Repeats a word.",
        keywords: &[],
        effect: Effect::Reads,
        open_world: false,
    };

    impl Tool for Repeat {
        type Input = Input;
        type Output = Output;

        fn about(&self) -> About {
            ABOUT
        }

        async fn execute(&self, input: Input, _: &Call) -> Result<Output, Failure> {
            Ok(Output { text: input.word.repeat(input.times as usize) })
        }
    }

    fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.add(Repeat).expect("added");
        registry.add_disabled::<Repeat>(About { name: "reset", ..ABOUT }, "not today").expect("added");
        registry
    }

    async fn execute(name: &str, arguments: Value) -> Result<Value, String> {
        let Value::Object(arguments) = arguments else { panic!("{arguments} is no object") };
        registry()
            .get(name)
            .expect("known")
            .execute(arguments, Call::default())
            .await
            .map_err(|failure| failure.0)
    }

    #[tokio::test]
    async fn a_tool_is_called_by_either_of_its_names() {
        let text = Ok(json!({"text": "haha"}));
        assert_eq!(execute("repeat", json!({"word": "ha", "times": 2})).await, text);
        assert_eq!(execute("execute_repeat", json!({"word": "ha", "times": 2})).await, text);
    }

    #[tokio::test]
    async fn arguments_that_do_not_fit_are_named_with_what_was_expected() {
        for (arguments, expected) in [
            (json!({"word": "x", "times": 4}), "/times: 4 is greater than the maximum of 3"),
            (json!({"times": 1}), "arguments: \"word\" is a required property"),
            (json!({"word": 1, "times": 1}), "/word: 1 is not of type \"string\""),
            (json!({"word": "x", "times": 1, "more": 1}), "('more' was unexpected)"),
        ] {
            let error = execute("repeat", arguments).await.expect_err(expected);
            assert!(error.starts_with("the arguments of repeat cannot be used: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let long =
            execute("repeat", json!({"word": ["x".repeat(10_000)], "times": 9})).await.expect_err("both");
        assert!(long.contains("is not of type \"string\"") && long.contains("maximum of 3"), "{long}");
        assert!(long.len() < 1000, "{long}");
    }

    #[tokio::test]
    async fn a_disabled_tool_says_why() {
        let error = execute("reset", json!({})).await.expect_err("disabled");
        assert_eq!(error, "reset is disabled: not today");
    }

    #[test]
    fn two_tools_of_one_name_are_refused() {
        assert!(registry().add(Repeat).is_err());
    }

    #[test]
    fn near_names_are_suggested() {
        let registry = registry();
        assert_eq!(
            registry.unknown_tool("execute_repaet").0,
            "there is no tool \"execute_repaet\"; did you mean repeat or reset? search_tools finds tools by words"
        );
        assert_eq!(
            registry.unknown_tool("xyzzy").0,
            "there is no tool \"xyzzy\"; search_tools finds tools by words"
        );
        assert_eq!(
            registry.unknown_category("word").0,
            "there is no category \"word\"; did you mean words? there are words"
        );
    }
}
