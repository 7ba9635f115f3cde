//! One operation: its arguments, and the request that they make.

use super::Found;
use super::document::Document;
use super::parameter::{Parameter, Place, Style};
use super::schema::Definitions;
use crate::arguments::Arguments;
use crate::escape::{Kind, percent};
use crate::http::{Fixed, append};
use crate::request::{Bounds, Header, Request, base, check_header_name, check_header_value, check_path};
use crate::template::{Template, given, plain};
use mcp_system_config::{Method, OpenApiTools};
use serde_json::{Map, Value, json};

/// An operation that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    method: Method,
    /// The server's address with the path behind it, `{name}` for parameters.
    url: String,
    parameters: Vec<Parameter>,
    body: Option<(String, Kind)>,
    fixed: Fixed,
    /// The bounds of the exchange.
    pub bounds: Bounds,
}

/// The argument that holds a body.
const BODY: &str = "body";
const MAX_BYTES: u32 = 1 << 20;
const TIMEOUT_SECONDS: u32 = 30;

/// Reads an operation, and the schema of its arguments.
pub(super) fn read(
    document: &Document,
    found: &Found<'_>,
    settings: &OpenApiTools,
    fixed: &Fixed,
) -> Result<(Operation, Map<String, Value>), String> {
    let mut definitions = Definitions::new(document);
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let mut parameters: Vec<Parameter> = Vec::new();
    let body = body(document, found)?;
    for (declared, place) in declared(document, found)? {
        let name = declared.get("name").and_then(Value::as_str).unwrap_or_default();
        let in_message = |error: String| format!("the parameter {name}: {error}");
        if place == Place::Header {
            if ["accept", "authorization", "content-type"].contains(&name.to_ascii_lowercase().as_str()) {
                // Parameters of these names are to be ignored, says OpenAPI.
                continue;
            }
            check_header_name(name)?;
        }
        let style = Style::of(declared, place).map_err(in_message)?;
        let mut schema = match content_schema(declared).or_else(|| declared.get("schema")) {
            Some(schema) => definitions.convert(schema).map_err(in_message)?,
            None => json!({}),
        };
        describe(&mut schema, declared.get("description"));
        let argument = argument(name, place, &properties, body.is_some());
        if place == Place::Path || declared.get("required") == Some(&Value::Bool(true)) {
            required.push(Value::from(argument.clone()));
        }
        properties.insert(argument.clone(), schema);
        parameters.push(Parameter { argument, name: name.to_owned(), place, style });
    }
    if let Some(body) = &body {
        let mut schema = definitions.convert(body.schema).map_err(|error| format!("the body: {error}"))?;
        describe(&mut schema, body.description);
        properties.insert(BODY.to_owned(), schema);
        if body.required {
            required.push(BODY.into());
        }
    }
    let server = server(document, found, settings)?;
    let url = format!("{}{}", server.trim_end_matches('/'), found.path);
    for name in names_in(&url)? {
        if !parameters.iter().any(|parameter| parameter.place == Place::Path && parameter.name == name) {
            return Err(format!("the path has {{{name}}}, but there is no parameter of that name"));
        }
    }
    let sample =
        base(&url.replace(['{', '}'], "")).map_err(|error| format!("the server's address: {error}"))?;
    let bounds = Bounds::new(
        &sample,
        &settings.allowed_hosts,
        settings.allow_private_addresses,
        settings.max_bytes.unwrap_or(MAX_BYTES),
        settings.timeout_seconds.unwrap_or(TIMEOUT_SECONDS),
    )?;
    let mut schema = Map::new();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), Value::Array(required));
    }
    let definitions = definitions.into_inner();
    if !definitions.is_empty() {
        schema.insert("$defs".into(), Value::Object(definitions));
    }
    let arguments = Arguments::new(Some(&schema))?;
    let operation = Operation {
        method: found.method,
        url,
        parameters,
        body: body.map(|body| (body.content_type.to_owned(), body.kind)),
        fixed: fixed.clone(),
        bounds,
    };
    Ok((operation, arguments.schema().clone()))
}

/// A parameter as it stands in a document.
type DeclaredParameter<'a> = (&'a Map<String, Value>, Place);

/// The parameters of the operation and of its path; the operation's own win.
fn declared<'a>(document: &'a Document, found: &Found<'a>) -> Result<Vec<DeclaredParameter<'a>>, String> {
    let mut all: Vec<DeclaredParameter<'_>> = Vec::new();
    let lists = [found.operation, found.item].map(|of| of.get("parameters").and_then(Value::as_array));
    for parameter in lists.into_iter().flatten().flatten() {
        let parameter = document.resolve(parameter)?.as_object().ok_or("a parameter is no object")?;
        let name = parameter.get("name").and_then(Value::as_str).ok_or("a parameter has no name")?;
        let place = match parameter.get("in").and_then(Value::as_str) {
            Some("path") => Place::Path,
            Some("query") => Place::Query,
            Some("header") => Place::Header,
            Some("cookie") if parameter.get("required") != Some(&Value::Bool(true)) => continue,
            other => {
                let other = other.unwrap_or_default();
                return Err(format!(
                    "the parameter {name} is in {other:?}; path, query and header are offered"
                ));
            }
        };
        let known = all.iter().any(|(other, its_place)| {
            *its_place == place && other.get("name").and_then(Value::as_str) == Some(name)
        });
        if !known {
            all.push((parameter, place));
        }
    }
    Ok(all)
}

/// The schema of a parameter that is written as JSON.
fn content_schema(parameter: &Map<String, Value>) -> Option<&Value> {
    parameter.get("content")?.as_object()?.values().next()?.get("schema")
}

/// The name of a parameter's argument: its own, unless that is taken or no name for an argument.
fn argument(name: &str, place: Place, taken: &Map<String, Value>, has_body: bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
    let mut argument: String = name.chars().map(plain).take(64).collect();
    let taken = |name: &str| taken.contains_key(name) || (has_body && name == BODY);
    if taken(&argument) {
        argument.push_str(match place {
            Place::Path => "_in_path",
            Place::Query => "_in_query",
            Place::Header => "_in_header",
        });
    }
    while taken(&argument) {
        argument.push('_');
    }
    argument
}

fn describe(schema: &mut Value, description: Option<&Value>) {
    if let (Value::Object(schema), Some(Value::String(text))) = (schema, description)
        && !schema.contains_key("description")
    {
        schema.insert("description".into(), text.trim().into());
    }
}

struct BodyOf<'a> {
    content_type: &'a str,
    kind: Kind,
    schema: &'a Value,
    description: Option<&'a Value>,
    required: bool,
}

static ANY: Value = Value::Bool(true);

fn body<'a>(document: &'a Document, found: &Found<'a>) -> Result<Option<BodyOf<'a>>, String> {
    let Some(body) = found.operation.get("requestBody") else { return Ok(None) };
    let body = document.resolve(body)?;
    let required = body.get("required") == Some(&Value::Bool(true));
    let content = body.get("content").and_then(Value::as_object).ok_or("the body has no content")?;
    // JSON is the most exact, so it comes first.
    let chosen = [Kind::Json, Kind::Form, Kind::Plain].into_iter().find_map(|kind| {
        let (content_type, media) = content.iter().find(|(name, _)| Kind::of(name) == Some(kind))?;
        Some((kind, content_type.as_str(), media))
    });
    match chosen {
        Some((kind, content_type, media)) => {
            let schema = media.get("schema").unwrap_or(&ANY);
            let description = body.get("description");
            Ok(Some(BodyOf { content_type, kind, schema, description, required }))
        }
        None if !required => Ok(None),
        None => {
            let names: Vec<&str> = content.keys().map(String::as_str).collect();
            Err(format!(
                "the body is {}; application/json, application/x-www-form-urlencoded and text/plain are offered",
                names.join(" or ")
            ))
        }
    }
}

/// Where the operation is reached: as the settings say, else the operation, its path, or the document.
fn server(document: &Document, found: &Found<'_>, settings: &OpenApiTools) -> Result<String, String> {
    if let Some(server) = &settings.server {
        return Ok(server.clone());
    }
    let servers = [found.operation.get("servers"), found.item.get("servers"), document.root.get("servers")];
    let server = servers.into_iter().flatten().find_map(|servers| servers.get(0));
    let url = server.and_then(|server| server.get("url")).and_then(Value::as_str).unwrap_or("/");
    let variables = server.and_then(|server| server.get("variables")).and_then(Value::as_object);
    let url = variables.into_iter().flatten().fold(url.to_owned(), |url, (name, variable)| {
        let default = variable.get("default").map(plain).unwrap_or_default();
        url.replace(&format!("{{{name}}}"), &default)
    });
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url);
    }
    Err(format!("the document's server is {url:?}, which has no host; name one with openApi.server"))
}

/// The names in braces.
fn names_in(url: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = url;
    while let Some(start) = rest.find('{') {
        let end = rest[start..].find('}').ok_or("a brace in the path is not closed")?;
        names.push(&rest[start + 1..start + end]);
        rest = &rest[start + end + 1..];
    }
    Ok(names)
}

impl Operation {
    /// The environment variables that it needs.
    pub fn variables(&self) -> Vec<String> {
        self.fixed.templates().flat_map(Template::variables).map(str::to_owned).collect()
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(move |parameter| parameter.place == place)
    }

    /// The request with these arguments, which must fit the schema.
    ///
    /// # Errors
    /// Says which argument or environment variable cannot be used.
    pub fn fill(
        &self,
        arguments: &Map<String, Value>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Request, String> {
        let mut text = String::new();
        let mut rest = self.url.as_str();
        // Piece by piece, so that a value that looks like a placeholder is not filled again.
        while let Some((before, (name, after))) =
            rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            text.push_str(before);
            let value = self
                .at(Place::Path)
                .find(|parameter| parameter.name == name)
                .and_then(|parameter| Some(parameter.in_path(given(arguments, &parameter.argument)?)))
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("{name} is empty, but it is a part of the address' path"))?;
            text.push_str(&value);
            rest = after;
        }
        text.push_str(rest);
        check_path(text.split_once("://").map_or("", |(_, rest)| rest))?;
        let mut url = base(&text)?;
        let query: Vec<String> = self
            .at(Place::Query)
            .filter_map(|parameter| Some(parameter.in_query(given(arguments, &parameter.argument)?)))
            .flatten()
            .collect();
        if !query.is_empty() {
            url.set_query(Some(&query.join("&")));
        }
        append(&mut url, &self.fixed.query(arguments, environment)?);
        let mut headers = self.fixed.headers(arguments, environment)?;
        for parameter in self.at(Place::Header) {
            if let Some(value) = given(arguments, &parameter.argument) {
                let value = parameter.in_header(value);
                check_header_value(&parameter.name, &value)?;
                headers.push(Header { name: parameter.name.clone(), value, secret: false });
            }
        }
        let body = self.body.as_ref().and_then(|(content_type, kind)| {
            let value = arguments.get(BODY)?;
            Some((content_type.clone(), written(value, *kind)))
        });
        Ok(Request { method: self.method, url, headers, body })
    }
}

fn written(value: &Value, kind: Kind) -> String {
    match (kind, value) {
        (Kind::Form, Value::Object(fields)) => {
            let pairs = fields.iter().flat_map(|(name, value)| match value {
                Value::Array(items) => items.iter().map(|item| (name, plain(item))).collect(),
                other => vec![(name, plain(other))],
            });
            let pairs: Vec<String> =
                pairs.map(|(name, value)| format!("{}={}", percent(name), percent(&value))).collect();
            pairs.join("&")
        }
        (Kind::Json, value) => value.to_string(),
        (_, value) => plain(value),
    }
}
