//! One declaration into the tools that it makes.

use crate::arguments::Arguments;
use crate::findings::{Files, Texts};
use crate::http::RequestTemplate;
use crate::openapi::{self, Operation};
use crate::request::{Bounds, Request};
use crate::sql::{Dialect, Statement};
use mcp_system_config::{Method, OpenApiTools, UserTool};
use serde_json::{Map, Value};

/// A tool that can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// What it does.
    pub description: String,
    /// Where it is listed.
    pub category: String,
    /// Further words by which it is searched for.
    pub keywords: Vec<String>,
    /// What it does to the world.
    pub effect: Effect,
    /// The JSON Schema of its arguments.
    pub input_schema: Map<String, Value>,
    /// What runs.
    pub action: Action,
}

/// What a tool does to the world, as MCP's annotations tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// It only looks.
    pub read_only: bool,
    /// What was there before may be lost.
    pub destructive: bool,
    /// Once more changes nothing more.
    pub idempotent: bool,
}

impl Effect {
    pub(crate) fn of(method: Method, read_only: Option<bool>) -> Self {
        Self {
            read_only: read_only.unwrap_or(matches!(method, Method::Get | Method::Head)),
            destructive: matches!(method, Method::Put | Method::Patch | Method::Delete),
            idempotent: matches!(method, Method::Get | Method::Head | Method::Put | Method::Delete),
        }
    }
}

/// What runs when a tool is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A request made of a template.
    Http(RequestTemplate),
    /// A request made of an operation of an OpenAPI document.
    Operation(Operation),
    /// A statement on a database.
    Sql {
        /// The database's name.
        database: String,
        /// The statement.
        statement: Statement,
    },
}

impl Action {
    /// The request with these arguments, and its bounds; none for SQL.
    pub fn request(
        &self,
        arguments: &Map<String, Value>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Option<(Result<Request, String>, &Bounds)> {
        match self {
            Self::Http(template) => Some((template.fill(arguments, environment), &template.bounds)),
            Self::Operation(operation) => Some((operation.fill(arguments, environment), &operation.bounds)),
            Self::Sql { .. } => None,
        }
    }

    /// The environment variables that it needs.
    pub fn variables(&self) -> Vec<String> {
        match self {
            Self::Http(template) => template.variables(),
            Self::Operation(operation) => operation.variables(),
            Self::Sql { .. } => Vec::new(),
        }
    }
}

/// What one declaration gives: its tools, and what is wrong with it or with one operation of it.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) tools: Vec<Declared>,
    /// The tool that is wrong and why.
    pub(crate) problems: Vec<(String, String)>,
    /// The file that the tools were made of, and its text.
    pub(crate) document: Option<(String, String)>,
}

/// What is known beyond the declaration itself.
pub(crate) struct Around<'a> {
    /// The dialect of a database, by its name.
    pub(crate) dialect: &'a dyn Fn(&str) -> Result<Dialect, String>,
    /// The text of a file; `None` where files cannot be read.
    pub(crate) file: &'a Files<'a>,
    /// What tools were made of before.
    pub(crate) before: &'a Texts,
}

/// Makes tools of a declaration.
pub(crate) fn declare(tool: &UserTool, around: &Around<'_>) -> Given {
    match made(tool, around) {
        Ok(given) => given,
        Err(problem) => Given { problems: vec![(tool.name.clone(), problem)], ..Given::default() },
    }
}

fn made(tool: &UserTool, around: &Around<'_>) -> Result<Given, String> {
    check_name("name", &tool.name, "_")?;
    check_name("category", &tool.category, "-_")?;
    if let Some(open_api) = &tool.open_api {
        if tool.http.is_some() || tool.sql.is_some() {
            return Err("keep exactly one of http, sql and openApi".into());
        }
        if tool.input_schema.is_some() {
            return Err("inputSchema: an OpenAPI document brings its own; leave it out".into());
        }
        return match (&open_api.document, &open_api.file) {
            (Some(text), None) => of_document(tool, open_api, text),
            (None, Some(path)) => of_file(tool, open_api, path, around),
            _ => Err("openApi: either document or file is needed, and not both".into()),
        };
    }
    if tool.description.trim().is_empty() {
        return Err("description: say what it does and when to use it; a model chooses by that".into());
    }
    let arguments = Arguments::new(tool.input_schema.as_ref())?;
    let (action, effect) = match (&tool.http, &tool.sql) {
        (Some(http), None) => {
            let template =
                RequestTemplate::new(http, &arguments).map_err(|error| format!("http: {error}"))?;
            (Action::Http(template), Effect::of(http.method, tool.read_only))
        }
        (None, Some(sql)) => {
            let dialect =
                (around.dialect)(&sql.database).map_err(|error| format!("sql.database: {error}"))?;
            let statement = Statement::new(&sql.statement, dialect, sql.write, &arguments)
                .map_err(|error| format!("sql.statement: {error}"))?;
            let read_only = tool.read_only.unwrap_or(!sql.write);
            let effect = Effect { read_only, destructive: sql.write, idempotent: !sql.write };
            (Action::Sql { database: sql.database.clone(), statement }, effect)
        }
        _ => return Err("keep exactly one of http, sql and openApi".into()),
    };
    let declared = Declared {
        name: tool.name.clone(),
        title: tool.title.clone().unwrap_or_else(|| tool.name.clone()),
        description: tool.description.clone(),
        category: tool.category.clone(),
        keywords: tool.keywords.clone(),
        effect,
        input_schema: arguments.schema().clone(),
        action,
    };
    Ok(Given { tools: vec![declared], ..Given::default() })
}

fn of_document(tool: &UserTool, settings: &OpenApiTools, text: &str) -> Result<Given, String> {
    openapi::tools(tool, settings, text).map_err(|error| format!("openApi: {error}"))
}

/// The tools of a document that is a file; of what it was before, when it has become unusable.
fn of_file(
    tool: &UserTool,
    settings: &OpenApiTools,
    path: &str,
    around: &Around<'_>,
) -> Result<Given, String> {
    let Some(text) = (around.file)(path) else { return Ok(Given::default()) };
    let of = |text: String| {
        let given = of_document(tool, settings, &text)?;
        Ok(Given { document: Some((path.to_owned(), text)), ..given })
    };
    text.map_err(|error| format!("openApi.file: {path}: {error}")).and_then(of).or_else(|problem: String| {
        let before = around.before.get(&(tool.name.clone(), path.to_owned())).cloned();
        let Some(Ok(mut given)) = before.map(of) else { return Err(problem) };
        given.problems.push((tool.name.clone(), format!("{problem}; its tools stay as they were")));
        Ok(given)
    })
}

fn check_name(what: &str, name: &str, signs: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let sound = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(plain)
        && name.chars().all(|c| plain(c) || signs.contains(c))
        && name.len() <= 64;
    if sound {
        return Ok(());
    }
    Err(format!(
        "{what}: {name:?} should be at most 64 lower-case letters, digits and {signs}, a letter first"
    ))
}
