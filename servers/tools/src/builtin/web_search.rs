//! `web_search`: a search engine that the settings name and that answers in JSON.

use super::SEARCH;
use crate::guards;
use crate::outbound::Outbound;
use crate::stock::{Environment, Stock};
use crate::tool::{About, Call, Effect, Failure, Tool};
use mcp_system_config::WebSearchSettings;
use mcp_system_kit::guarded::Guarded;
use mcp_system_user_tools::RequestTemplate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) const ABOUT: About = About {
    name: "web_search",
    title: "Search the web",
    category: SEARCH,
    description: "Search the web with the engine that this server's operator chose; gives titles, addresses and \
                  a part of each page's text.",
    keywords: &["google", "bing", "internet", "online", "engine", "news", "look up", "pages"],
    effect: Effect::Reads,
    open_world: true,
};

/// Why it is off until the settings say otherwise.
pub(super) const DISABLED: &str =
    "there is no search engine; the operator names one with the setting webSearch";

const DEFAULT_LIMIT: u32 = 10;

pub(super) struct WebSearch {
    settings: WebSearchSettings,
    template: RequestTemplate,
    outbound: Outbound,
    guarded: Arc<Guarded>,
    environment: Environment,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// What is sought, as one would type it into a search engine.
    #[schemars(length(min = 1, max = 1024))]
    query: String,
    /// The most results to return.
    #[serde(default)]
    #[schemars(range(min = 1, max = 50), extend("default" = 10))]
    limit: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Results {
    /// In the engine's order.
    results: Vec<Page>,
    /// How many there are here.
    count: usize,
}

/// A page that was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    title: String,
    url: String,
    /// A part of its text.
    snippet: String,
}

impl WebSearch {
    pub(super) fn new(
        settings: &WebSearchSettings,
        template: RequestTemplate,
        stock: &Stock,
    ) -> anyhow::Result<Self> {
        for name in template.variables() {
            anyhow::ensure!(
                (stock.environment)(&name).is_some(),
                "webSearch: the environment variable {name} is not set"
            );
        }
        let outbound = stock.clients.outbound(&template.bounds, "webSearch.request.allowedHosts")?;
        let (environment, guarded) = (stock.environment.clone(), stock.guards.of(guards::WEB_SEARCH));
        Ok(Self { settings: settings.clone(), template, outbound, guarded, environment })
    }
}

impl Tool for WebSearch {
    type Input = Search;
    type Output = Results;

    fn about(&self) -> About {
        ABOUT
    }

    async fn execute(&self, input: Search, _: &Call) -> Result<Results, Failure> {
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT);
        let mut arguments = Map::new();
        arguments.insert("query".into(), input.query.into());
        arguments.insert("limit".into(), limit.into());
        let request = self.template.fill(&arguments, &*self.environment).map_err(Failure)?;
        let answer = self.outbound.exchange_behind(&self.guarded, request).await?;
        if answer.status >= 400 {
            return Err(Failure(format!("the search engine answered with status {}", answer.status)));
        }
        let results = pages(&self.settings, &answer.body, limit as usize)?;
        Ok(Results { count: results.len(), results })
    }
}

fn pages(settings: &WebSearchSettings, body: &[u8], limit: usize) -> Result<Vec<Page>, Failure> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| Failure(format!("the search engine's answer is no JSON: {error}")))?;
    let list = body.pointer(&settings.results).and_then(Value::as_array).ok_or_else(|| {
        Failure(format!(
            "the search engine's answer has no list at {}; the setting is webSearch.results",
            settings.results
        ))
    })?;
    let text = |result: &Value, field: &str| {
        result.get(field).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
    };
    let pages = list.iter().map(|result| Page {
        title: text(result, &settings.title),
        url: text(result, &settings.link),
        snippet: text(result, &settings.snippet),
    });
    Ok(pages.filter(|page| !page.url.is_empty()).take(limit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::{Json, Query};
    use axum::routing::get;
    use mcp_system_config::ToolsSettings;
    use mcp_system_kit::Metrics;
    use serde_json::json;
    use std::collections::HashMap;

    #[tokio::test]
    async fn an_engine_is_asked_and_its_results_are_read() {
        let answer = async |Query(query): Query<HashMap<String, String>>| {
            let page = |number: usize| json!({"t": format!("{} {number}", query["q"]), "u": format!("https://p/{number}"), "s": " text "});
            Json(json!({"web": {"results": [page(1), {"t": "no address"}, page(2), page(3)]}}))
        };
        let routes = axum::Router::new().route("/search", get(answer)).route("/other", get(async || "[]"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let settings = |path: &str| -> ToolsSettings {
            let web = json!({
                "request": {"url": format!("{base}{path}?q={{{{query}}}}")},
                "results": "/web/results", "title": "t", "link": "u", "snippet": "s",
            });
            serde_json::from_value(json!({"webSearch": web})).expect("settings")
        };
        let call = async |settings: ToolsSettings| {
            let stock = Stock::new(&settings, &Metrics::new("tools")).expect("a stock");
            let registry = stock.registry(&settings).expect("a registry");
            let arguments = json!({"query": "a&b", "limit": 2}).as_object().cloned().expect("an object");
            registry.get("web_search").expect("there").execute(arguments, Call::default()).await
        };
        let found = call(settings("/search")).await.expect("found");
        assert_eq!(
            found,
            json!({"count": 2, "results": [
                {"title": "a&b 1", "url": "https://p/1", "snippet": "text"},
                {"title": "a&b 2", "url": "https://p/2", "snippet": "text"},
            ]})
        );
        let error = call(settings("/other")).await.expect_err("no list");
        assert!(error.0.contains("no list at /web/results"), "{error}");
        let error = call(settings("/nothing")).await.expect_err("not there");
        assert!(error.0.contains("status 404"), "{error}");
    }
}
