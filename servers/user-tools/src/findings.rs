//! All declarations of a server's settings: the tools that they make, and everything that is wrong with them.

use crate::database::Location;
use crate::declaration::{Around, Declared, declare};
use crate::hosts::AllowedHosts;
use crate::http::RequestTemplate;
use crate::request::base;
use crate::{Arguments, sql::Dialect};
use mcp_system_config::{ToolsSettings, WebSearchSettings};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The names of the tools that come with the server, which no other may have.
pub const BUILT_IN: [&str; 14] = [
    "ai_complete",
    "ai_embed",
    "cache_delete",
    "cache_get",
    "cache_set",
    "describe_table",
    "http_fetch",
    "list_tables",
    "query_database",
    "search_files",
    "system_disks",
    "system_info",
    "system_processes",
    "web_search",
];

/// Something that is wrong in the settings of the tools server. What it is about is left out; the rest works.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where it stands in the settings, as `userTools[weather]`.
    pub path: String,
    /// The tool that is left out; a setting that is not a tool's own leaves out several.
    pub tool: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.tool {
            Some(tool) if !self.path.contains(tool.as_str()) => {
                write!(f, "{}: the tool {tool}: {}", self.path, self.message)
            }
            _ => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// How the text of a file is read; `None` where files cannot be looked at, which leaves them unjudged.
pub type Files<'a> = dyn Fn(&str) -> Option<Result<String, String>> + 'a;

/// The texts of OpenAPI documents that are files, by the name of the declaration and the path of the file.
pub type Texts = BTreeMap<(String, String), String>;

/// The tools that settings declare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Those that can run, by name.
    pub tools: Vec<Declared>,
    /// The databases that can be asked, by name.
    pub databases: BTreeMap<String, Location>,
    /// The files that tools were made of.
    pub documents: Texts,
    /// The environment variables that the settings name, each behind the place that names it.
    pub variables: BTreeSet<(String, String)>,
    /// How the web is searched, when it can be.
    pub web_search: Option<RequestTemplate>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Everything that is wrong in these settings, for a server whose environment has the variables that `is_set` knows.
/// Files are judged as far as `file` can read them.
pub fn findings(settings: &ToolsSettings, file: &Files<'_>, is_set: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let Compiled { mut findings, variables, .. } = compile(settings, file, &Texts::new());
    findings.extend(variables.into_iter().filter(|(_, name)| !is_set(name)).map(|(path, name)| Finding {
        path,
        tool: None,
        message: format!("the environment variable {name} is not set; set it with servers.tools.env"),
    }));
    findings
}

/// Makes tools of all declarations. What those were made of before stays in force where its file has become unusable.
pub fn compile(settings: &ToolsSettings, file: &Files<'_>, before: &Texts) -> Compiled {
    let mut findings = Vec::new();
    let mut finding = |path: String, tool: Option<&str>, message: String| {
        findings.push(Finding { path, tool: tool.map(str::to_owned), message });
    };
    let hosts = settings.http_fetch.allowed_hosts.iter().map(String::as_str);
    if let Err(error) = AllowedHosts::new(hosts, false) {
        finding("httpFetch.allowedHosts".into(), Some("http_fetch"), error);
    }
    let mut variables = BTreeSet::new();
    let mut engine = None;
    match settings.web_search.as_ref().map(web_search) {
        Some(Ok(template)) => {
            variables.extend(template.variables().into_iter().map(|name| ("webSearch".to_owned(), name)));
            engine = Some(template);
        }
        Some(Err(error)) => finding("webSearch".into(), Some("web_search"), error),
        None => {}
    }
    let ai = &settings.ai;
    match &ai.base_url {
        Some(url) => {
            variables.extend(ai.api_key_env.clone().map(|name| ("ai.apiKeyEnv".to_owned(), name)));
            if let Err(error) = base(url) {
                finding("ai.baseUrl".into(), None, error);
            }
        }
        None if ai.embedding_model.is_some() || ai.completion_model.is_some() => {
            finding("ai.baseUrl".into(), None, "it is missing, so the models cannot be reached".into());
        }
        None => {}
    }
    if let Some(redis) = &settings.cache.redis {
        variables.extend(redis.password_env.clone().map(|name| ("cache.redis.passwordEnv".to_owned(), name)));
        if let Err(error) = check_redis(&redis.url) {
            finding("cache.redis.url".into(), None, error);
        }
    }

    let mut databases = BTreeMap::new();
    for database in &settings.databases {
        let path = || format!("databases[{}]", database.name);
        match Location::of(database) {
            Ok(_) if databases.contains_key(&database.name) => {
                finding(path(), None, "there is another database of this name".into());
            }
            Ok(location) => {
                let named = database.password_env.clone();
                variables.extend(named.map(|name| (format!("{}.passwordEnv", path()), name)));
                databases.insert(database.name.clone(), location);
            }
            Err(error) => finding(path(), None, error),
        }
    }

    let dialect = |name: &str| dialect(settings, &databases, name);
    let around = Around { dialect: &dialect, file, before };
    let mut documents = Texts::new();
    let mut tools: Vec<Declared> = Vec::new();
    let mut names: BTreeSet<String> = BUILT_IN.map(str::to_owned).into();
    for user in &settings.user_tools {
        let path = || format!("userTools[{}]", user.name);
        let given = declare(user, &around);
        let needed = given.tools.iter().flat_map(|tool| tool.action.variables());
        variables.extend(needed.map(|name| (path(), name)));
        for (tool, problem) in given.problems {
            finding(path(), Some(&tool), problem);
        }
        if let Some((file, text)) = given.document {
            documents.insert((user.name.clone(), file), text);
        }
        for tool in given.tools {
            if names.insert(tool.name.clone()) {
                tools.push(tool);
            } else {
                let message = "there is another tool of this name; give it a name of its own".to_owned();
                finding(path(), Some(&tool.name), message);
            }
        }
    }
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    Compiled { tools, databases, documents, variables, web_search: engine, findings }
}

fn dialect(
    settings: &ToolsSettings,
    databases: &BTreeMap<String, Location>,
    name: &str,
) -> Result<Dialect, String> {
    if let Some(location) = databases.get(name) {
        return Ok(location.dialect());
    }
    if settings.databases.iter().any(|database| database.name == name) {
        return Err(format!("the database {name:?} cannot be used; see databases[{name}]"));
    }
    let known: Vec<&str> = databases.keys().map(String::as_str).collect();
    Err(match known.as_slice() {
        [] => format!("there is no database {name:?}; name it under databases"),
        known => format!("there is no database {name:?}; there are {}", known.join(", ")),
    })
}

/// The template by which the web is searched.
fn web_search(settings: &WebSearchSettings) -> Result<RequestTemplate, String> {
    if !settings.results.is_empty() && !settings.results.starts_with('/') {
        return Err(format!("results: {:?} is no JSON pointer; write /results", settings.results));
    }
    let names = |names: &[&str]| {
        let properties: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
        Arguments::new(json!({"properties": properties, "required": names}).as_object())
    };
    // The limit need not be used: some engines have none.
    RequestTemplate::new(&settings.request, &names(&["query", "limit"])?)
        .or_else(|error| {
            match names(&["query"]).map(|names| RequestTemplate::new(&settings.request, &names)) {
                Ok(Ok(template)) => Ok(template),
                _ => Err(error),
            }
        })
        .map_err(|error| format!("request: {error}"))
}

fn check_redis(url: &str) -> Result<(), String> {
    let url = url::Url::parse(url).map_err(|error| format!("{error}; write redis://host:6379/0"))?;
    if !matches!(url.scheme(), "redis" | "rediss") || url.host_str().is_none_or(str::is_empty) {
        return Err("write redis://host:6379/0, or rediss:// for TLS".into());
    }
    if url.password().is_some() {
        return Err(
            "it holds a password; keep that in a Secret, and name its variable with passwordEnv".into()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> ToolsSettings {
        serde_yaml::from_str(yaml).expect("settings")
    }

    fn compiled(yaml: &str, file: &Files<'_>) -> Compiled {
        compile(&settings(yaml), file, &Texts::new())
    }

    const GOOD: &str = "
databases:
- {name: shop, url: 'postgres://reader@db/shop'}
userTools:
- name: weather
  description: Tells the weather of a city.
  inputSchema: {properties: {city: {type: string}}, required: [city]}
  http: {url: 'https://api.example.com/weather/{{city}}'}
- name: orders
  description: Lists the orders of a customer.
  category: shop
  inputSchema: {properties: {customer: {type: integer}}, required: [customer]}
  sql: {database: shop, statement: 'SELECT * FROM orders WHERE customer = {{customer}}'}
";

    #[test]
    fn good_declarations_become_tools() {
        let compiled = compiled(GOOD, &|_| None);
        assert_eq!(compiled.findings, []);
        let names: Vec<_> =
            compiled.tools.iter().map(|tool| (tool.name.as_str(), tool.category.as_str())).collect();
        assert_eq!(names, [("orders", "shop"), ("weather", "user")]);
        assert!(compiled.tools.iter().all(|tool| tool.effect.read_only));
    }

    #[test]
    fn nothing_declared_is_nothing_wrong() {
        assert_eq!(compiled("{}", &|_| None), Compiled::default());
    }

    #[test]
    fn a_bad_one_is_named_with_the_reason_and_the_others_stay() {
        let bad = "
- {name: http_fetch, description: x, http: {url: 'https://a.test'}}
- {name: Bad, description: x, http: {url: 'https://a.test'}}
- {name: silent, http: {url: 'https://a.test'}}
- {name: both, description: x, http: {url: 'https://a.test'}, sql: {database: shop, statement: SELECT 1}}
- {name: neither, description: x}
- {name: nowhere, description: x, sql: {database: shops, statement: SELECT 1}}
- {name: writes, description: x, sql: {database: shop, statement: DELETE FROM orders}}
- {name: weather, description: x, http: {url: 'https://a.test'}}
- {name: api, openApi: {}}
- {name: file, openApi: {file: api.yaml}}
";
        let compiled = compiled(&format!("{GOOD}{}", bad.trim_start()), &|path| {
            Some(Err(format!("{path} is not there")))
        });
        let told: Vec<String> = compiled.findings.iter().map(ToString::to_string).collect();
        for (told, expected) in told.iter().zip([
            "userTools[http_fetch]: there is another tool of this name",
            "userTools[Bad]: name: \"Bad\" should be",
            "userTools[silent]: description: say what it does",
            "userTools[both]: keep exactly one of http, sql and openApi",
            "userTools[neither]: keep exactly one of http, sql and openApi",
            "userTools[nowhere]: sql.database: there is no database \"shops\"; there are shop",
            "userTools[writes]: sql.statement: DELETE is not allowed here",
            "userTools[weather]: there is another tool of this name",
            "userTools[api]: openApi: either document or file is needed",
            "userTools[file]: openApi.file: api.yaml: api.yaml is not there",
        ]) {
            assert!(told.starts_with(expected), "{told}\n{expected}");
        }
        assert_eq!(told.len(), 10, "{told:#?}");
        assert_eq!(compiled.tools.len(), 2);
    }

    #[test]
    fn a_document_that_becomes_unusable_leaves_the_tools_of_the_one_before() {
        let document = |operation: &str| {
            Some(Ok(format!(
                "{{openapi: 3.1.0, servers: [{{url: 'http://a.test'}}], paths: {{/x: {{get: {{operationId: {operation}}}}}}}}}"
            )))
        };
        let tools = |compiled: &Compiled| {
            compiled.tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>().join(" ")
        };
        let declared = "userTools: [{name: api, openApi: {file: api.yaml}}]";
        let first = compiled(declared, &|_| document("one"));
        assert_eq!((tools(&first).as_str(), first.findings.len()), ("api_one", 0));
        for bad in ["{", "paths: {}"] {
            let read = |_: &str| Some(Ok(bad.to_owned()));
            let after = compile(&settings(declared), &read, &first.documents);
            assert_eq!((tools(&after).as_str(), &after.documents), ("api_one", &first.documents));
            let told = after.findings[0].to_string();
            assert!(told.starts_with("userTools[api]: openApi: "), "{told}");
            assert!(told.ends_with("; its tools stay as they were"), "{told}");
            // It is another file's then, or nobody's.
            let elsewhere = declared.replace("api.yaml", "other.yaml");
            assert_eq!(tools(&compile(&settings(&elsewhere), &read, &first.documents)), "");
        }
        let after = compile(&settings(declared), &|_| document("two"), &first.documents);
        assert_eq!((tools(&after).as_str(), after.findings.len()), ("api_two", 0));
        assert_ne!(after.documents, first.documents);
    }

    #[test]
    fn variables_that_are_not_set_are_told_where_they_are_named() {
        let settings = settings(
            "
cache: {redis: {url: 'redis://host', passwordEnv: REDIS}}
ai: {baseUrl: 'https://a.test', apiKeyEnv: AI}
databases: [{name: shop, url: 'postgres://u@h/d', passwordEnv: SHOP}]
webSearch: {request: {url: 'https://a.test/?q={{query}}', headers: [{name: X-Key, value: '{{env.WEB}}'}]}}
userTools:
- {name: t, description: x, http: {url: 'https://a.test', headers: [{name: A, value: '{{env.T}}'}, {name: B, value: '{{env.T}}'}]}}
",
        );
        let told: Vec<String> =
            findings(&settings, &|_| None, &|name| name == "AI").iter().map(ToString::to_string).collect();
        let unset = |path: &str, name: &str| {
            format!("{path}: the environment variable {name} is not set; set it with servers.tools.env")
        };
        assert_eq!(
            told,
            [
                unset("cache.redis.passwordEnv", "REDIS"),
                unset("databases[shop].passwordEnv", "SHOP"),
                unset("userTools[t]", "T"),
                unset("webSearch", "WEB"),
            ]
        );
        assert_eq!(findings(&settings, &|_| None, &|_| true), []);
    }

    #[test]
    fn other_settings_are_judged_too() {
        let settings = settings(
            "
httpFetch: {allowedHosts: ['http://x']}
cache: {redis: {url: 'redis://:pw@host'}}
ai: {completionModel: m}
databases: [{name: a, url: 'mysql://x'}, {name: b, url: 'sqlite:/b'}, {name: b, url: 'sqlite:/c'}]
webSearch: {request: {url: 'https://a.test/?q={{text}}'}}
userTools: [{name: t, description: x, sql: {database: a, statement: SELECT 1}}]
",
        );
        let found = findings(&settings, &|_| None, &|_| true);
        let paths: Vec<_> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "httpFetch.allowedHosts",
                "webSearch",
                "ai.baseUrl",
                "cache.redis.url",
                "databases[a]",
                "databases[b]",
                "userTools[t]"
            ]
        );
        assert!(found.iter().all(|finding| !finding.message.contains("pw")), "{found:?}");
    }

    #[test]
    fn search_engines_with_and_without_a_limit_are_taken() {
        for url in ["https://a.test/?q={{query}}", "https://a.test/?q={{query}}&n={{limit}}"] {
            let web = serde_yaml::from_str(&format!("request: {{url: '{url}'}}")).expect("settings");
            web_search(&web).expect(url);
        }
    }
}
