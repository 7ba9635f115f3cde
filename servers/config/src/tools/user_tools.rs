//! Tools that users declare: data only. Whether a declaration can work is judged by the crate
//! `mcp-system-user-tools`, for the plan and for the server alike.
//!
//! Templates hold placeholders: `{{name}}` stands for an argument, `{{env.NAME}}` (in headers) for an
//! environment variable.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A tool declared without code. It is exactly one of http, sql and openApi.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserTool {
    /// Its name, called as `execute_<name>`. The tools of an OpenAPI document are called
    /// `<name>_<operationId>`.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z]([_a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Its name for people. Default the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub title: Option<String>,
    /// What it does and when to use it: what a model chooses by. Needed except with openApi.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub description: String,
    /// The category that it is listed in. Default user
    #[serde(default = "default_category")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-_a-z0-9]*[a-z0-9])?$"))]
    pub category: String,
    /// Further words by which it is searched for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 64)))]
    pub keywords: Vec<String>,
    /// The JSON Schema of its arguments, of type object. Default no arguments. Not with openApi, which brings
    /// its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub input_schema: Option<Map<String, Value>>,
    /// Whether it only looks. Default what the HTTP method says, or for SQL whether it may write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// An HTTP request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRequest>,
    /// An SQL statement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlStatement>,
    /// An OpenAPI document, each of whose operations becomes a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_api: Option<OpenApiTools>,
}

fn default_category() -> String {
    "user".to_owned()
}

/// An object whose fields no schema of ours knows.
fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A template of an HTTP request. Arguments are escaped for the place in which they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequest {
    /// The method. Default GET.
    #[serde(default)]
    pub method: Method,
    /// The address. Placeholders may stand in its path and its query, not in its host.
    #[schemars(length(min = 1, max = 8192))]
    pub url: String,
    /// Further parameters of the query. One whose placeholder has no argument is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub query: Vec<NamedValue>,
    /// Headers. One whose placeholder has no argument is left out. A secret stands in an environment variable,
    /// as in `Bearer {{env.API_TOKEN}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub headers: Vec<NamedValue>,
    /// The body. In JSON a placeholder within quotes becomes text, one without quotes the JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// What the body is: JSON, XML, a form (application/x-www-form-urlencoded) or text/plain. Default
    /// application/json
    #[serde(default = "default_content_type")]
    #[schemars(length(min = 1, max = 128))]
    pub content_type: String,
    /// Further hosts to which redirects may lead: `example.com`, or `*.example.com` for all names below it.
    /// Default none besides the address' own. Headers with secrets are not sent there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub allowed_hosts: Vec<String>,
    /// Whether names may lead to private addresses, such as those of a cluster's Services. Addresses of this
    /// machine must be named themselves, and those of a cloud's metadata stay forbidden. Default false.
    #[serde(default)]
    pub allow_private_addresses: bool,
    /// The largest answer, in bytes. Default 1 MiB.
    #[serde(default = "default_max_bytes")]
    #[schemars(range(min = 1, max = 104_857_600))]
    pub max_bytes: u32,
    /// Seconds after which a request is given up. Default 30.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: u32,
}

fn default_content_type() -> String {
    "application/json".to_owned()
}

const fn default_max_bytes() -> u32 {
    1 << 20
}

const fn default_timeout_seconds() -> u32 {
    30
}

/// The method of an HTTP request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// The name that HTTP uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A header, or a parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedValue {
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Its value, a template.
    #[schemars(length(max = 8192))]
    pub value: String,
}

/// An SQL statement. `{{name}}` becomes a bound parameter, never a part of the text: integers are bound as
/// bigint, numbers as double precision, booleans as boolean, lists as arrays, anything else as text; write
/// `{{since}}::timestamptz` where PostgreSQL needs another type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SqlStatement {
    /// The name of one of `databases`.
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// One statement.
    #[schemars(length(min = 1, max = 65536))]
    pub statement: String,
    /// Whether it may write. Default false, which runs it where nothing can be written.
    #[serde(default)]
    pub write: bool,
}

/// An OpenAPI 3 document, each of whose operations becomes a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenApiTools {
    /// The document itself, YAML or JSON. Either this or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 524_288))]
    pub document: Option<String>,
    /// The document's file, by an absolute path on the machine or in the container that runs the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub file: Option<String>,
    /// Where the API is reached. Default the first of the document's servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub server: Option<String>,
    /// The operations that become tools, by operationId. Default all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500), inner(length(min = 1, max = 256)))]
    pub operations: Vec<String>,
    /// Only operations with one of these tags become tools. Default all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)))]
    pub tags: Vec<String>,
    /// Headers of every request, such as `Authorization: Bearer {{env.API_TOKEN}}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub headers: Vec<NamedValue>,
    /// Parameters of every request's query, such as a key. `{{env.NAME}}` may stand here as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub query: Vec<NamedValue>,
    /// Further hosts to which redirects may lead. Default none besides the server's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)))]
    pub allowed_hosts: Vec<String>,
    /// Whether names may lead to private addresses, such as those of a cluster's Services. Default false.
    pub allow_private_addresses: bool,
    /// The largest answer, in bytes. Default 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 104_857_600))]
    pub max_bytes: Option<u32>,
    /// Seconds after which a request is given up. Default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub timeout_seconds: Option<u32>,
}
