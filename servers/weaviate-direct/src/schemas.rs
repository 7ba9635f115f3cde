//! The schema as it was a moment ago: searches need it, and it changes seldom.

use mcp_system_weaviate::{Collection, Error, Schema, Weaviate};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

use crate::failure::Failure;

/// How long it is used before it is asked for again.
const LIFETIME: Duration = Duration::from_secs(5);

/// Keeps the last schema.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    last: Mutex<Option<(Instant, Arc<Schema>)>>,
}

impl Schemas {
    /// The schema as it is now.
    pub(crate) async fn fresh(&self, weaviate: &Weaviate) -> Result<Arc<Schema>, Error> {
        let schema = Arc::new(weaviate.schema().await?);
        *self.last.lock().await = Some((Instant::now(), schema.clone()));
        Ok(schema)
    }

    /// Makes something of a collection's schema. What the last schema does not allow is tried with a new one.
    pub(crate) async fn using<T>(
        &self,
        weaviate: &Weaviate,
        name: &str,
        make: impl Fn(&Schema, &Collection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let attempt = |schema: &Schema| match schema.collection(name) {
            Some(collection) => make(schema, collection),
            None => Err(unknown(name, schema)),
        };
        let last = self.last.lock().await.clone();
        if let Some((at, schema)) = last
            && at.elapsed() < LIFETIME
            && let Ok(made) = attempt(&schema)
        {
            return Ok(made);
        }
        attempt(self.fresh(weaviate).await?.as_ref())
    }
}

fn unknown(name: &str, schema: &Schema) -> Failure {
    let names: Vec<&str> = schema.collections.iter().map(|collection| collection.name.as_str()).collect();
    let known = if names.is_empty() { "it has none yet".to_owned() } else { names.join(", ") };
    Failure(format!("Weaviate has no collection {name:?}; its collections: {known}"))
}
