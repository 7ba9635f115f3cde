//! Templates of HTTP requests.

use crate::arguments::Arguments;
use crate::escape::{Body, Kind, percent};
use crate::request::{Bounds, Header, Request, base, check_header_name, check_header_value, check_path};
use crate::template::{Piece, Template, given, plain};
use mcp_system_config::{HttpRequest, Method, NamedValue};
use serde_json::{Map, Value};
use url::Url;

/// A checked template of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTemplate {
    method: Method,
    url: Template,
    fixed: Fixed,
    body: Option<(String, Body)>,
    /// The bounds of the exchange.
    pub bounds: Bounds,
}

/// Headers and parameters of a query as settings name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) query: Vec<(String, Template)>,
    pub(crate) headers: Vec<(String, Template)>,
}

impl Fixed {
    pub(crate) fn new(query: &[NamedValue], headers: &[NamedValue]) -> Result<Self, String> {
        let parse = |what: &str, list: &[NamedValue]| {
            list.iter()
                .map(|NamedValue { name, value }| {
                    let template =
                        Template::parse(value).map_err(|error| format!("{what} {name}: {error}"))?;
                    Ok((name.clone(), template))
                })
                .collect::<Result<Vec<_>, String>>()
        };
        let (query, headers) = (parse("query", query)?, parse("header", headers)?);
        for (name, template) in &headers {
            check_header_name(name)?;
            for piece in &template.0 {
                if let Piece::Text(text) = piece {
                    check_header_value(name, text)?;
                }
            }
        }
        Ok(Self { query, headers })
    }

    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.query.iter().chain(&self.headers).map(|(_, template)| template)
    }

    /// The query's parameters that have all their arguments.
    pub(crate) fn query(
        &self,
        arguments: &Map<String, Value>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<(String, String)>, String> {
        let mut filled = Vec::new();
        for (name, template) in &self.query {
            let only = template.only_argument().and_then(|only| given(arguments, only));
            if let Some(Value::Array(items)) = only {
                filled.extend(items.iter().map(|item| (name.clone(), plain(item))));
            } else if let Some(value) = template.fill(arguments, environment, plain)? {
                filled.push((name.clone(), value));
            }
        }
        Ok(filled)
    }

    /// The headers that have all their arguments.
    pub(crate) fn headers(
        &self,
        arguments: &Map<String, Value>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<Header>, String> {
        let mut filled = Vec::new();
        for (name, template) in &self.headers {
            if let Some(value) = template.fill(arguments, environment, plain)? {
                check_header_value(name, &value)?;
                let secret = template.variables().next().is_some();
                filled.push(Header { name: name.clone(), value: value.trim().to_owned(), secret });
            }
        }
        Ok(filled)
    }
}

impl RequestTemplate {
    /// Checks a template against the arguments that it may name.
    ///
    /// # Errors
    /// Says what cannot work.
    pub fn new(http: &HttpRequest, arguments: &Arguments) -> Result<Self, String> {
        let url = Template::parse(&http.url).map_err(|error| format!("url: {error}"))?;
        let literal = match url.0.first() {
            Some(Piece::Text(text)) => text.as_str(),
            _ => return Err("url: should begin with http:// or https:// and a host".into()),
        };
        let behind_scheme = literal.split_once("://").map_or("", |(_, rest)| rest);
        if url.0.len() > 1 && !behind_scheme.contains(['/', '?']) {
            return Err("url: a placeholder may stand in the path and the query only, not in the host".into());
        }
        if let Some(name) = url.variables().next() {
            return Err(format!("url: {{{{env.{name}}}}} may stand in headers and query only"));
        }
        let sample = url.fill(&samples(&url), &|_| None, |_| "x".to_owned())?.unwrap_or_default();
        let sample = base(&sample).map_err(|error| format!("url: {error}"))?;
        if sample.fragment().is_some() {
            return Err("url: what stands behind # is never sent; leave it out".into());
        }
        for name in path_arguments(&url) {
            arguments.needs(name).map_err(|error| format!("url: {error}"))?;
        }
        let fixed = Fixed::new(&http.query, &http.headers)?;
        let body = match &http.body {
            None => None,
            Some(_) if matches!(http.method, Method::Get | Method::Head) => {
                return Err(format!(
                    "body: {} carries none; use POST, or leave the body out",
                    http.method.name()
                ));
            }
            Some(text) => {
                let template = Template::parse(text).map_err(|error| format!("body: {error}"))?;
                let kind = match Kind::of(&http.content_type) {
                    Some(kind) => kind,
                    None if template.arguments().next().is_none() => Kind::Plain,
                    None => {
                        return Err(format!(
                            "contentType: arguments cannot be escaped for {:?}; use JSON, XML, \
                             application/x-www-form-urlencoded or text/plain",
                            http.content_type
                        ));
                    }
                };
                check_header_value("Content-Type", &http.content_type)?;
                for name in template.arguments() {
                    arguments.knows(name).map_err(|error| format!("body: {error}"))?;
                }
                let body = Body::new(&template, kind).map_err(|error| format!("body: {error}"))?;
                Some((http.content_type.clone(), body, template))
            }
        };
        for template in fixed.templates().chain([&url]) {
            for name in template.arguments() {
                arguments.knows(name)?;
            }
        }
        let in_body = body.iter().flat_map(|(_, _, template)| template.arguments());
        let used = fixed.templates().chain([&url]).flat_map(Template::arguments).chain(in_body);
        arguments.are_used(used)?;
        let bounds = Bounds::new(
            &sample,
            &http.allowed_hosts,
            http.allow_private_addresses,
            http.max_bytes,
            http.timeout_seconds,
        )?;
        let body = body.map(|(content_type, body, _)| (content_type, body));
        Ok(Self { method: http.method, url, fixed, body, bounds })
    }

    /// The method.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The environment variables that it needs.
    pub fn variables(&self) -> Vec<String> {
        self.fixed.templates().flat_map(Template::variables).map(str::to_owned).collect()
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
        for piece in &self.url.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Argument(name) | Piece::Environment(name) => {
                    let value = given(arguments, name).map(plain).unwrap_or_default();
                    if value.is_empty() && !text.contains('?') {
                        return Err(format!("{name} is empty, but it is a part of the address' path"));
                    }
                    text.push_str(&percent(&value));
                }
            }
        }
        let (path, _) = text.split_once('?').unwrap_or((&text, ""));
        check_path(path.split_once("://").map_or(path, |(_, rest)| rest))?;
        let mut url = base(&text)?;
        append(&mut url, &self.fixed.query(arguments, environment)?);
        Ok(Request {
            method: self.method,
            url,
            headers: self.fixed.headers(arguments, environment)?,
            body: self.body.as_ref().map(|(content_type, body)| (content_type.clone(), body.fill(arguments))),
        })
    }
}

/// Adds parameters to a query.
pub(crate) fn append(url: &mut Url, parameters: &[(String, String)]) {
    if parameters.is_empty() {
        return;
    }
    let added: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", percent(name), percent(value))).collect();
    let query = match url.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{query}&{}", added.join("&")),
        None => added.join("&"),
    };
    url.set_query(Some(&query));
}

/// A value for every argument of a template.
fn samples(template: &Template) -> Map<String, Value> {
    template.arguments().map(|name| (name.to_owned(), "x".into())).collect()
}

/// The arguments that stand in the path of an address.
fn path_arguments(url: &Template) -> Vec<&str> {
    let mut names = Vec::new();
    for piece in &url.0 {
        match piece {
            Piece::Text(text) if text.contains('?') => break,
            Piece::Argument(name) => names.push(name.as_str()),
            Piece::Text(_) | Piece::Environment(_) => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn http(url: &str) -> HttpRequest {
        serde_json::from_value(json!({"url": url})).expect("a request")
    }

    fn named(name: &str, value: &str) -> NamedValue {
        NamedValue { name: name.into(), value: value.into() }
    }

    fn arguments() -> Arguments {
        let schema = json!({
            "type": "object",
            "properties": {"id": {"type": "string"}, "tags": {"type": "array"}, "q": {"type": "string"}},
            "required": ["id"],
        });
        Arguments::new(schema.as_object()).expect("a schema")
    }

    fn only(names: &[&str]) -> Arguments {
        let properties: Map<String, Value> = names.iter().map(|name| ((*name).into(), json!({}))).collect();
        let schema = json!({"properties": properties, "required": names});
        Arguments::new(schema.as_object()).expect("a schema")
    }

    #[allow(clippy::needless_pass_by_value, reason = "json! makes values")]
    fn fill(template: &RequestTemplate, given: Value) -> Result<Request, String> {
        let environment = |name: &str| (name == "KEY").then(|| "s3cret".to_owned());
        template.fill(given.as_object().expect("an object"), &environment)
    }

    #[test]
    fn arguments_go_to_their_places() {
        let mut http = http("https://api.example.com/v1/items/{{id}}.json?fixed=1");
        http.method = Method::Post;
        http.query = vec![named("tag", "{{tags}}"), named("q", "about {{q}}"), named("key", "{{env.KEY}}")];
        http.headers = vec![named("Authorization", "Bearer {{env.KEY}}"), named("X-Q", "{{q}}")];
        http.body = Some(r#"{"id": {{id}}, "tags": {{tags}}}"#.into());
        let template = RequestTemplate::new(&http, &arguments()).expect("sound");
        assert_eq!(template.variables(), ["KEY", "KEY"]);
        let request = fill(&template, json!({"id": "a/b?c", "tags": ["x", 2], "q": "ä&b"})).expect("filled");
        assert_eq!(
            request.url.as_str(),
            "https://api.example.com/v1/items/a%2Fb%3Fc.json?fixed=1&tag=x&tag=2&q=about%20%C3%A4%26b&key=s3cret"
        );
        assert_eq!(
            request.body.as_ref().map(|(_, body)| body.as_str()),
            Some(r#"{"id": "a/b?c", "tags": ["x",2]}"#)
        );
        assert_eq!(request.headers[0].value, "Bearer s3cret");
        assert!(request.headers[0].secret && !request.headers[1].secret);
        assert!(!format!("{request:?}").contains("s3cret"), "{request:?}");

        let bare = fill(&template, json!({"id": "1"})).expect("filled");
        assert_eq!(bare.url.as_str(), "https://api.example.com/v1/items/1.json?fixed=1&key=s3cret");
        assert_eq!(bare.headers.len(), 1);
        let none = template.fill(json!({"id": "1"}).as_object().expect("an object"), &|_| None);
        assert_eq!(none.expect_err("no key"), "the environment variable KEY is not set");
    }

    #[test]
    fn arguments_that_would_lead_elsewhere_are_refused() {
        let template =
            RequestTemplate::new(&http("http://a.test/x/{{id}}/y"), &only(&["id"])).expect("sound");
        for (id, expected) in [("..", "leads elsewhere"), (".", "leads elsewhere"), ("", "id is empty")] {
            let error = fill(&template, json!({"id": id})).expect_err(id);
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(fill(&template, json!({"id": "../y"})).expect("one part").url.path(), "/x/..%2Fy/y");
        let mut http = http("http://a.test/");
        http.headers = vec![named("X-Id", "{{id}}")];
        let template = RequestTemplate::new(&http, &only(&["id"])).expect("sound");
        let error = fill(&template, json!({"id": "a\r\nX-Other: b"})).expect_err("two headers");
        assert!(error.contains("control character"), "{error}");
    }

    #[test]
    fn templates_that_cannot_work_are_refused_with_the_reason() {
        for (url, expected) in [
            ("{{id}}", "should begin with http://"),
            ("ftp://a.test/{{id}}", "should begin with http://"),
            ("https://{{id}}.example.com/", "not in the host"),
            ("https://a.test:{{id}}/", "not in the host"),
            ("https://a.test", "the argument \"id\" is declared, but no placeholder uses it"),
            ("https://user:pw@a.test/{{id}}", "send it in a header"),
            ("https://a.test/{{id}}/{{idd}}", "there is no argument \"idd\"; did you mean id?"),
            ("https://a.test/{{id}}#x", "behind # is never sent"),
            ("https://a.test/{{id}}/{{env.KEY}}", "headers and query only"),
            ("https://a.test/{{id", "has no end"),
        ] {
            let error = RequestTemplate::new(&http(url), &only(&["id"])).expect_err(url);
            assert!(error.contains(expected), "{url}: {error}");
        }
        let optional = Arguments::new(json!({"properties": {"id": {}}}).as_object()).expect("a schema");
        let error = RequestTemplate::new(&http("https://a.test/{{id}}"), &optional).expect_err("optional");
        assert!(error.contains("id is optional, but the address' path needs it"), "{error}");
        let change = |change: fn(&mut HttpRequest)| {
            let mut http = http("https://a.test/{{id}}");
            change(&mut http);
            RequestTemplate::new(&http, &only(&["id"])).expect_err("refused")
        };
        for (error, expected) in [
            (change(|http| http.body = Some("{}".into())), "GET carries none"),
            (change(|http| http.headers = vec![named("Host", "b")]), "set by the server itself"),
            (change(|http| http.headers = vec![named("a b", "b")]), "no name of a header"),
            (
                change(|http| http.allowed_hosts = vec!["http://b".into()]),
                "allowedHosts: \"http://b\" is no host",
            ),
            (
                change(|http| {
                    http.method = Method::Post;
                    http.content_type = "image/png".into();
                    http.body = Some("{{id}}".into());
                }),
                "cannot be escaped for \"image/png\"",
            ),
        ] {
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_argument_changes_another_part_of_the_address(id in any::<String>(), q in any::<String>()) {
            let url = http("https://a.test:8443/x/{{id}}/y?q={{q}}&z=1");
            let template = RequestTemplate::new(&url, &only(&["id", "q"])).expect("sound");
            if let Ok(request) = fill(&template, json!({"id": id, "q": q})) {
                let url = request.url;
                prop_assert_eq!(url.host_str(), Some("a.test"));
                prop_assert_eq!(url.port(), Some(8443));
                let path: Vec<_> = url.path_segments().expect("segments").collect();
                prop_assert_eq!((path.len(), path[0], path[2]), (3, "x", "y"));
                let query: Vec<_> = url.query_pairs().into_owned().collect();
                prop_assert_eq!(query, [("q".to_owned(), q), ("z".to_owned(), "1".to_owned())]);
            } else {
                prop_assert!(["", ".", ".."].contains(&id.as_str()), "{:?}", id);
            }
        }

        #[test]
        fn no_argument_adds_a_header(value in any::<String>()) {
            let mut http = http("https://a.test/");
            http.headers = vec![named("X-Id", "{{id}}")];
            let template = RequestTemplate::new(&http, &only(&["id"])).expect("sound");
            if let Ok(request) = fill(&template, json!({"id": value})) {
                prop_assert!(!request.headers[0].value.contains(['\r', '\n', '\0']));
            }
        }
    }
}
