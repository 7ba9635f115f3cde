//! What the tools give back.

use mcp_system_weaviate::{Added, Collection, DataType, Hit, Object, Property, Schema};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SchemaAnswer {
    collections: Vec<CollectionAnswer>,
    /// How many there are here.
    count: usize,
    /// Other names of collections, each with the collection that it stands for.
    aliases: Map<String, Value>,
}

impl SchemaAnswer {
    pub(crate) fn all(schema: &Schema) -> Self {
        let collections: Vec<_> = schema.collections.iter().map(CollectionAnswer::short).collect();
        let aliases = schema.aliases.iter().map(|(alias, name)| (alias.clone(), name.clone().into()));
        Self { count: collections.len(), collections, aliases: aliases.collect() }
    }

    pub(crate) fn one(collection: &Collection, tenants: Option<Vec<Value>>) -> Self {
        let definition = collection.definition.as_object().cloned();
        let collection = CollectionAnswer { definition, tenants, ..CollectionAnswer::short(collection) };
        Self { collections: vec![collection], count: 1, aliases: Map::new() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct CollectionAnswer {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    properties: Vec<PropertyAnswer>,
    /// The names of its vectors; none for a collection with one vector without a name.
    vector_names: Vec<String>,
    /// Whether Weaviate makes vectors of texts itself; otherwise callers give them.
    makes_vectors: bool,
    /// Whether each object belongs to a tenant.
    multi_tenant: bool,
    /// The whole definition, as Weaviate has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Map<String, Value>>,
    /// The tenants, with their status.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenants: Option<Vec<Value>>,
}

impl CollectionAnswer {
    fn short(collection: &Collection) -> Self {
        Self {
            name: collection.name.clone(),
            description: collection.definition["description"].as_str().map(str::to_owned),
            properties: properties(&collection.properties, ""),
            vector_names: collection.vectors.clone(),
            makes_vectors: collection.makes_vectors,
            multi_tenant: collection.multi_tenant,
            definition: None,
            tenants: None,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct PropertyAnswer {
    /// With a dot inside an object.
    name: String,
    /// What it holds.
    holds: String,
}

/// Properties in a flat list: schemas of answers must not be recursive for every client.
fn properties(all: &[Property], before: &str) -> Vec<PropertyAnswer> {
    let one = |property: &Property| {
        let name = format!("{before}{}", property.name);
        let nested = properties(&property.nested, &format!("{name}."));
        std::iter::once(PropertyAnswer { holds: holds(&property.data_type), name }).chain(nested)
    };
    all.iter().flat_map(one).collect()
}

fn holds(data_type: &DataType) -> String {
    match data_type {
        DataType::Text => "text",
        DataType::Integer => "int",
        DataType::Number => "number",
        DataType::Boolean => "boolean",
        DataType::Date => "date",
        DataType::Uuid => "uuid",
        DataType::GeoCoordinates => "geoCoordinates",
        DataType::PhoneNumber => "phoneNumber",
        DataType::Blob => "blob",
        DataType::Object => "object",
        DataType::Reference(targets) => return format!("reference to {}", targets.join(", ")),
    }
    .to_owned()
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AddAnswer {
    objects: Vec<AddedAnswer>,
    /// How many were added.
    added: usize,
    /// How many were not.
    failed: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct AddedAnswer {
    id: String,
    /// Why it was not added.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl AddAnswer {
    pub(crate) fn of(added: Vec<Added>) -> Self {
        let failed = added.iter().filter(|object| object.error.is_some()).count();
        let objects: Vec<_> =
            added.into_iter().map(|Added { id, error }| AddedAnswer { id, error }).collect();
        Self { added: objects.len() - failed, failed, objects }
    }

    /// The first reason, when nothing was added.
    pub(crate) fn nothing(&self) -> Option<String> {
        (self.added == 0).then(|| self.objects.iter().find_map(|object| object.error.clone()))?
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ObjectsAnswer {
    objects: Vec<ObjectAnswer>,
    /// How many there are here.
    count: usize,
    /// What to give as after for the objects behind these; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<String>,
}

impl ObjectsAnswer {
    pub(crate) fn of(objects: Vec<Object>, next_after: Option<String>) -> Self {
        let objects: Vec<_> = objects.into_iter().map(ObjectAnswer::of).collect();
        Self { count: objects.len(), objects, next_after }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct ObjectAnswer {
    id: String,
    collection: String,
    properties: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vectors: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at_milliseconds: Option<i64>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at_milliseconds: Option<i64>,
}

impl ObjectAnswer {
    fn of(object: Object) -> Self {
        Self {
            id: object.id,
            collection: object.collection,
            properties: object.properties.unwrap_or_default(),
            vector: object.vector.filter(|vector| !vector.is_empty()),
            vectors: object.vectors.filter(|vectors| !vectors.is_empty()),
            tenant: object.tenant.filter(|tenant| !tenant.is_empty()),
            created_at_milliseconds: object.creation_time_unix,
            updated_at_milliseconds: object.last_update_time_unix,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeleteAnswer {
    /// Whether there was such an object; it is gone in any case.
    pub(crate) deleted: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SearchAnswer {
    /// Best first.
    objects: Vec<HitAnswer>,
    /// How many there are here.
    count: usize,
    /// How much vectors counted: 0 for words alone, 1 for vectors alone.
    alpha: f64,
    /// What to give as offset for the objects behind these; not there at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u32>,
}

impl SearchAnswer {
    pub(crate) fn of(hits: Vec<Hit>, alpha: f64, next_offset: Option<u32>) -> Self {
        let objects: Vec<_> = hits.into_iter().map(HitAnswer::of).collect();
        Self { count: objects.len(), objects, alpha, next_offset }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
struct HitAnswer {
    id: String,
    /// How well it fits; higher is better. Only scores of one search compare.
    score: Option<f64>,
    properties: Map<String, Value>,
    /// What return_metadata asked for, under Weaviate's names.
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: Map<String, Value>,
}

impl HitAnswer {
    fn of(hit: Hit) -> Self {
        let score = hit.score();
        let mut metadata = hit.metadata;
        metadata.shift_remove("score");
        Self { id: hit.id, score, properties: hit.properties, metadata }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GraphqlAnswer {
    /// What the query gave, by its own fields.
    pub(crate) data: Map<String, Value>,
    /// What of the query failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
}
