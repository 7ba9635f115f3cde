//! The MCP side: six tools, and what each makes of a call.

use crate::answers::{AddAnswer, DeleteAnswer, GraphqlAnswer, ObjectsAnswer, SchemaAnswer, SearchAnswer};
use crate::arguments::{
    self, AddObject, DeleteObject, GetObject, GetSchema, HybridSearch, Limits, RawGraphqlQuery,
};
use crate::failure::Failure;
use crate::schemas::Schemas;
use mcp_system_config::WeaviateDirectSettings;
use mcp_system_kit::schema::plain_router;
use mcp_system_weaviate::{Added, Vectors, Weaviate};
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde_json::Value;
use std::sync::Arc;

const INSTRUCTIONS: &str = "\
Direct access to a Weaviate vector database. get_schema tells which collections and properties there are: look \
there first. hybrid_search finds objects by words and vectors with filters; get_object reads one or lists \
many; add_object and delete_object change them; raw_graphql_query runs any other query.";

/// Answers MCP requests from a Weaviate. Clones share it.
#[derive(Clone, Debug)]
pub struct WeaviateHandler {
    weaviate: Arc<Weaviate>,
    schemas: Arc<Schemas>,
    limits: Limits,
    // Built from every tool's schemas: once, not once a request.
    router: Arc<ToolRouter<Self>>,
}

#[tool_router]
impl WeaviateHandler {
    /// Answers from this Weaviate.
    pub fn new(weaviate: Arc<Weaviate>, settings: &WeaviateDirectSettings) -> Self {
        let limits = Limits { default: settings.default_limit, max: settings.max_limit };
        Self {
            weaviate,
            schemas: Arc::default(),
            limits,
            router: Arc::new(plain_router(Self::tool_router())),
        }
    }

    #[tool(
        title = "Get the schema",
        description = "List the collections with their properties, vectors and whether they have tenants; for one \
                       collection its whole definition, and its tenants.",
        annotations(read_only_hint = true, open_world_hint = true)
    )]
    async fn get_schema(
        &self,
        Parameters(input): Parameters<GetSchema>,
    ) -> Result<Json<SchemaAnswer>, Failure> {
        let Some(name) = &input.collection else {
            if input.include_tenants {
                return Err(Failure("include_tenants needs a collection".into()));
            }
            return Ok(Json(SchemaAnswer::all(self.schemas.fresh(&self.weaviate).await?.as_ref())));
        };
        let collection =
            self.schemas.using(&self.weaviate, name, |_, collection| Ok(collection.clone())).await?;
        if input.include_tenants && !collection.multi_tenant {
            return Err(Failure(format!("{} has no tenants; leave include_tenants out", collection.name)));
        }
        let tenants =
            if input.include_tenants { Some(self.weaviate.tenants(&collection.name).await?) } else { None };
        Ok(Json(SchemaAnswer::one(&collection, tenants)))
    }

    #[tool(
        title = "Add objects",
        description = "Add an object to a collection, or many at once, with vectors of your own where the \
                       collection makes none. With replace_existing an object of the same id is replaced.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = false,
            open_world_hint = true
        )
    )]
    async fn add_object(&self, Parameters(input): Parameters<AddObject>) -> Result<Json<AddAnswer>, Failure> {
        let (mut objects, batch) = input.objects(self.limits)?;
        // A collection that is not there would be made by some Weaviates, out of a misspelled name.
        if let Some(name) = objects.first().map(|object| object.collection.clone()) {
            let name = self.schemas.using(&self.weaviate, &name, |_, found| Ok(found.name.clone())).await?;
            for object in &mut objects {
                object.collection.clone_from(&name);
            }
        }
        let added = match (batch, &objects[..]) {
            (false, [object]) => {
                let id = object.id;
                self.weaviate.insert(object).await.map_err(|error| {
                    let Failure(text) = error.into();
                    Failure(format!("{text} (the object's id is {id})"))
                })?;
                vec![Added { id: id.to_string(), error: None }]
            }
            _ => self.weaviate.put_batch(&objects).await?,
        };
        let answer = AddAnswer::of(added);
        match answer.nothing() {
            Some(reason) => Err(Failure(format!("Weaviate added nothing: {reason}"))),
            None => Ok(Json(answer)),
        }
    }

    #[tool(
        title = "Get objects",
        description = "Read an object by its id, or list a collection's objects page by page: all of them with \
                       after, in an order with sort_by.",
        annotations(read_only_hint = true, open_world_hint = true)
    )]
    async fn get_object(
        &self,
        Parameters(input): Parameters<GetObject>,
    ) -> Result<Json<ObjectsAnswer>, Failure> {
        let name =
            self.schemas.using(&self.weaviate, &input.collection, |_, found| Ok(found.name.clone())).await?;
        let vectors = if input.include_vector { Vectors::With } else { Vectors::Without };
        let tenant = input.tenant.as_deref();
        if let Some(text) = &input.id {
            let id = arguments::id("id", text)?;
            return match self.weaviate.object(&name, id, tenant, vectors).await? {
                Some(object) => Ok(Json(ObjectsAnswer::of(vec![object], None))),
                None => Err(Failure(format!("{name} has no object {id}"))),
            };
        }
        let page = input.page(self.limits)?;
        let objects = self.weaviate.objects(&name, tenant, &page, vectors).await?;
        let full = objects.len() == page.limit as usize && page.sort.is_none();
        let next = objects.last().filter(|_| full).map(|object| object.id.clone());
        Ok(Json(ObjectsAnswer::of(objects, next)))
    }

    #[tool(
        title = "Delete an object",
        description = "Delete the object of an id for good.",
        annotations(
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = true
        )
    )]
    async fn delete_object(
        &self,
        Parameters(input): Parameters<DeleteObject>,
    ) -> Result<Json<DeleteAnswer>, Failure> {
        let id = arguments::id("id", &input.id)?;
        let name =
            self.schemas.using(&self.weaviate, &input.collection, |_, found| Ok(found.name.clone())).await?;
        let deleted = self.weaviate.delete(&name, id, input.tenant.as_deref()).await?;
        Ok(Json(DeleteAnswer { deleted }))
    }

    #[tool(
        title = "Search by words and vectors",
        description = "Find the objects of a collection that fit best, by words, by vectors or by both, with \
                       filters. Without a vector, in a collection whose vectors are given by callers, it \
                       searches by words alone.",
        annotations(read_only_hint = true, open_world_hint = true)
    )]
    async fn hybrid_search(
        &self,
        Parameters(input): Parameters<HybridSearch>,
    ) -> Result<Json<SearchAnswer>, Failure> {
        let prepare = self.schemas.using(&self.weaviate, &input.collection, |schema, collection| {
            let search = input.search(schema, collection, self.limits)?;
            let next = search.offset.saturating_add(search.limit);
            let key = search.collection.name.clone();
            Ok((search.query()?, key, search.limit, next, input.alpha(collection)))
        });
        let (query, collection, limit, next, alpha) = prepare.await?;
        let hits = self.weaviate.search(&collection, &query).await?;
        let full = hits.len() == limit as usize;
        Ok(Json(SearchAnswer::of(hits, alpha, full.then_some(next))))
    }

    #[tool(
        title = "Run a GraphQL query",
        description = "Run a query as it is: Get with any search, Aggregate, Explore. Queries of Weaviate only \
                       read. When a part of a query fails, errors tells why, beside what the rest gave.",
        annotations(read_only_hint = true, open_world_hint = true)
    )]
    async fn raw_graphql_query(
        &self,
        Parameters(input): Parameters<RawGraphqlQuery>,
    ) -> Result<Json<GraphqlAnswer>, Failure> {
        let variables = input.variables.map(Value::Object);
        let operation = input.operation_name.as_deref();
        let (data, errors) = self.weaviate.graphql_parts(&input.query, variables.as_ref(), operation).await?;
        let Value::Object(data) = data else { return Err(failed(&errors)) };
        if !errors.is_empty() && data.values().all(is_empty) {
            return Err(failed(&errors));
        }
        Ok(Json(GraphqlAnswer { data, errors }))
    }
}

/// Whether nothing came of a field: Weaviate answers a search that failed with null below its names.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

fn failed(errors: &[String]) -> Failure {
    let text = if errors.is_empty() { "it gave no data".to_owned() } else { errors.join("; ") };
    mcp_system_weaviate::Error::Query(text).into()
}

#[tool_handler(router = self.router)]
impl ServerHandler for WeaviateHandler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("mcp-system-weaviate-direct", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }
}
