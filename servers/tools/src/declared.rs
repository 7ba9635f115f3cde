//! Tools that the settings declare, as entries of the registry: what they send or ask was made ready by
//! `mcp-system-user-tools`; this carries it out.

#[cfg(test)]
mod tests;

use crate::databases::{Answer, Databases};
use crate::guards;
use crate::outbound::{self, Outbound};
use crate::registry::{Registry, Run};
use crate::stock::{Environment, Stock};
use crate::tool::{Card, Effect, Failure};
use mcp_system_kit::guarded::Guarded;
use mcp_system_user_tools::sql::Statement;
use mcp_system_user_tools::{Action, Declared, Finding};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The most of a refusal's text that a model is shown.
const MAX_REFUSAL_CHARS: usize = 2000;

/// What a request brought.
#[derive(Debug, Serialize, JsonSchema)]
struct Received {
    /// The HTTP status.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// The JSON value, or the text.
    body: Value,
}

/// Adds all tools that can be called; tells what keeps the others from it.
pub(crate) fn add(
    registry: &mut Registry,
    stock: &Stock,
    tools: Vec<Declared>,
    databases: &Arc<Databases>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tool in tools {
        let name = tool.name.clone();
        if let Err(error) = add_one(registry, stock, tool, databases) {
            let message = format!("{error:#}");
            findings.push(Finding { path: format!("userTools[{name}]"), tool: Some(name), message });
        }
    }
    findings
}

fn add_one(
    registry: &mut Registry,
    stock: &Stock,
    tool: Declared,
    databases: &Arc<Databases>,
) -> anyhow::Result<()> {
    let effect = if tool.effect.read_only {
        Effect::Reads
    } else {
        Effect::Writes { destructive: tool.effect.destructive, idempotent: tool.effect.idempotent }
    };
    let card = Card {
        name: tool.name,
        title: tool.title,
        category: tool.category,
        description: tool.description,
        keywords: tool.keywords,
        effect,
        open_world: !matches!(tool.action, Action::Sql { .. }),
    };
    for variable in tool.action.variables() {
        anyhow::ensure!(
            (stock.environment)(&variable).is_some(),
            "the environment variable {variable} is not set; set it with servers.tools.env"
        );
    }
    match tool.action {
        Action::Sql { database, statement } => {
            databases.get(Some(&database)).map_err(anyhow::Error::from)?;
            let run = ask(databases.clone(), database, statement);
            registry.add_declared::<Answer>(card, tool.input_schema, run)
        }
        action @ (Action::Http(_) | Action::Operation(_)) => {
            let bounds = match &action {
                Action::Http(template) => &template.bounds,
                Action::Operation(operation) => &operation.bounds,
                Action::Sql { .. } => return Ok(()),
            };
            let outbound = stock.clients.outbound(bounds, &format!("allowedHosts of {}", card.name))?;
            let guarded = stock.guards.of(&guards::user_tool(&card.name));
            let run = send(action, outbound, guarded, stock.environment.clone());
            registry.add_declared::<Received>(card, tool.input_schema, run)
        }
    }
}

fn ask(databases: Arc<Databases>, database: String, statement: Statement) -> Run {
    let statement = Arc::new(statement);
    Box::new(move |arguments, _| {
        let (databases, database, statement) = (databases.clone(), database.clone(), statement.clone());
        Box::pin(async move {
            let parameters: Vec<Value> = statement
                .parameters
                .iter()
                .map(|name| arguments.get(name).cloned().unwrap_or(Value::Null))
                .collect();
            let opened = databases.get(Some(&database))?;
            let bounds = opened.bounds(None);
            let answer = opened.run(&statement.text, &parameters, statement.write, bounds).await?;
            serde_json::to_value(answer).map_err(|error| Failure(error.to_string()))
        })
    })
}

fn send(action: Action, outbound: Outbound, guarded: Arc<Guarded>, environment: Environment) -> Run {
    let action = Arc::new(action);
    Box::new(move |arguments, _| {
        let (action, outbound, environment) = (action.clone(), outbound.clone(), environment.clone());
        let guarded = guarded.clone();
        Box::pin(async move {
            let none = Map::new();
            let arguments = arguments.as_object().unwrap_or(&none);
            let (request, _) = action
                .request(arguments, &*environment)
                .ok_or_else(|| Failure("this tool sends no request".into()))?;
            let answer = outbound.exchange_behind(&guarded, request.map_err(Failure)?).await?;
            let received = received(&answer)?;
            serde_json::to_value(received).map_err(|error| Failure(error.to_string()))
        })
    })
}

fn received(answer: &outbound::Answer) -> Result<Received, Failure> {
    let content_type = answer.content_type().map(str::to_owned);
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status >= 400 {
        let told: String = text.trim().chars().take(MAX_REFUSAL_CHARS).collect();
        let host = answer.url.host_str().unwrap_or_default();
        return Err(Failure(format!("{host} answered with status {}: {told}", answer.status)));
    }
    let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.into_owned()));
    Ok(Received { status: answer.status, content_type, body })
}
