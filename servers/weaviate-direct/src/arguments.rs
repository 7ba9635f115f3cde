//! What the tools take, and what becomes of it.

use crate::failure::Failure;
use mcp_system_weaviate::{
    Collection, Combination, Filter, Fusion, Hybrid, KeywordOperator, Metadata, Nearness, NewObject, Order,
    Page, Returned, Schema, Search, Sort,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many objects a call may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) default: u32,
    pub(crate) max: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetSchema {
    /// Only this collection, with its whole definition. Left out, all collections in short.
    pub(crate) collection: Option<String>,
    /// Also the tenants of that collection.
    #[serde(default)]
    pub(crate) include_tenants: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddObject {
    /// The collection, as get_schema names it.
    pub(crate) collection: String,
    /// The tenant, in a collection with tenants.
    pub(crate) tenant: Option<String>,
    /// The properties of one object. Dates are texts such as 2026-11-23T09:00:00Z; a reference is a list such as
    /// [{"beacon": "weaviate://localhost/Person/ID"}].
    pub(crate) properties: Option<Map<String, Value>>,
    /// The object's id, a UUID. Left out, a new one is made.
    pub(crate) id: Option<String>,
    /// The object's vector, for a collection whose vectors are given by callers.
    pub(crate) vector: Option<Vec<f32>>,
    /// The object's vectors by name, for a collection with named vectors.
    pub(crate) vectors: Option<BTreeMap<String, Vec<f32>>>,
    /// Many objects at once, instead of properties, id, vector and vectors. Each may fail by itself; one whose id is
    /// there already is replaced.
    pub(crate) objects: Option<Vec<ObjectInput>>,
    /// Whether an object of this id that is there already is replaced. By default that is an error.
    #[serde(default)]
    pub(crate) replace_existing: bool,
}

/// One of many objects.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectInput {
    properties: Map<String, Value>,
    /// A UUID. Left out, a new one is made.
    id: Option<String>,
    vector: Option<Vec<f32>>,
    vectors: Option<BTreeMap<String, Vec<f32>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetObject {
    /// The collection, as get_schema names it.
    pub(crate) collection: String,
    /// The object's id. Left out, the collection's objects are listed.
    pub(crate) id: Option<String>,
    /// The tenant, in a collection with tenants.
    pub(crate) tenant: Option<String>,
    /// Also the vectors.
    #[serde(default)]
    pub(crate) include_vector: bool,
    /// How many objects to list.
    #[schemars(range(min = 1))]
    pub(crate) limit: Option<u32>,
    /// How many of the first to leave out; not together with after.
    pub(crate) offset: Option<u32>,
    /// List on behind the object of this id, in the order of ids: next_after of the answer before.
    pub(crate) after: Option<String>,
    /// List in the order of this property; not together with after.
    pub(crate) sort_by: Option<String>,
    /// Largest or latest first.
    #[serde(default)]
    pub(crate) descending: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeleteObject {
    /// The collection, as get_schema names it.
    pub(crate) collection: String,
    /// The object's id.
    pub(crate) id: String,
    /// The tenant, in a collection with tenants.
    pub(crate) tenant: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HybridSearch {
    /// The collection, as get_schema names it.
    pub(crate) collection: String,
    /// What to look for, in words.
    query: String,
    /// The tenant, in a collection with tenants.
    tenant: Option<String>,
    /// How many objects to return.
    #[schemars(range(min = 1))]
    limit: Option<u32>,
    /// How many of the first to leave out: next_offset of the answer before.
    offset: Option<u32>,
    /// From 0, words alone, to 1, vectors alone. By default 0.75, and 0 where there is no vector to compare.
    #[schemars(range(min = 0, max = 1))]
    alpha: Option<f64>,
    /// How the order by words and the order by vectors become one. By default relative_score.
    fusion_type: Option<FusionType>,
    /// The properties whose words count, each with a weight if you like, such as title^2. By default all.
    #[serde(default)]
    query_properties: Vec<String>,
    /// How many of the query's words an object must hold to be found by words; by default one. Not together with
    /// all_words.
    #[schemars(range(min = 1))]
    min_words: Option<u32>,
    /// Whether an object must hold all of the query's words to be found by words.
    #[serde(default)]
    all_words: bool,
    /// The query's vector, for a collection whose vectors are given by callers.
    vector: Option<Vec<f32>>,
    /// The query's vectors by the name of the vector to compare with, for a collection with named vectors.
    vectors: Option<BTreeMap<String, Vec<f32>>>,
    /// Which of the collection's named vectors to compare. By default those in vectors.
    #[serde(default)]
    target_vectors: Vec<String>,
    /// How the distances to several named vectors become one.
    combination: Option<CombinationMethod>,
    /// The weights of named vectors, for manual_weights and relative_score.
    weights: Option<BTreeMap<String, f64>>,
    /// Leave out what is farther away by its vector.
    max_vector_distance: Option<f64>,
    /// Only objects for which this holds.
    filter: Option<Filter>,
    /// The properties to return; with a dot into objects and references, such as author.name. By default all
    /// but references and blobs.
    return_properties: Option<Vec<String>>,
    /// What else to return of each object.
    #[serde(default)]
    return_metadata: Vec<MetadataChoice>,
    /// End the list after so many clear falls of the score.
    #[schemars(range(min = 1))]
    autocut: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FusionType {
    RelativeScore,
    Ranked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CombinationMethod {
    Minimum,
    Average,
    Sum,
    ManualWeights,
    RelativeScore,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MetadataChoice {
    /// The distance of the vector, where vectors alone were compared.
    Distance,
    /// How the score came about.
    ExplainScore,
    CreationTime,
    LastUpdateTime,
    Vector,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawGraphqlQuery {
    /// The query, such as { Aggregate { Article { meta { count } } } }.
    pub(crate) query: String,
    /// Values for the query's variables.
    pub(crate) variables: Option<Map<String, Value>>,
    /// Which of the query's operations to run, when it has several.
    pub(crate) operation_name: Option<String>,
}

/// Reads an id.
pub(crate) fn id(argument: &str, text: &str) -> Result<Uuid, Failure> {
    Uuid::parse_str(text.trim()).map_err(|_| {
        let text: String = text.chars().take(60).collect();
        Failure(format!(
            "{argument} is {text:?}; it must be a UUID such as 00000000-0000-0000-0000-000000000000"
        ))
    })
}

fn limit(limit: Option<u32>, limits: Limits) -> Result<u32, Failure> {
    let limit = limit.unwrap_or(limits.default.min(limits.max));
    if (1..=limits.max).contains(&limit) {
        return Ok(limit);
    }
    Err(Failure(format!("limit is {limit}; it must be a number from 1 to {}", limits.max)))
}

impl AddObject {
    /// The objects, and whether they go as a batch.
    pub(crate) fn objects(self, limits: Limits) -> Result<(Vec<NewObject>, bool), Failure> {
        let Self { collection, tenant, properties, id, vector, vectors, objects, replace_existing } = self;
        let (inputs, batch) = match (properties, objects) {
            (Some(properties), None) => {
                (vec![ObjectInput { properties, id, vector, vectors }], replace_existing)
            }
            (None, Some(objects)) if id.is_none() && vector.is_none() && vectors.is_none() => (objects, true),
            (None, Some(_)) => {
                return Err(Failure(
                    "id, vector and vectors stand beside objects; put them into each of objects".into(),
                ));
            }
            _ => return Err(Failure("give either properties, for one object, or objects, for many".into())),
        };
        if inputs.is_empty() || inputs.len() > limits.max as usize {
            let count = inputs.len();
            return Err(Failure(format!(
                "objects has {count} entries; it must have from 1 to {}",
                limits.max
            )));
        }
        let object = |input: ObjectInput| input.object(&collection, tenant.as_deref());
        Ok((inputs.into_iter().map(object).collect::<Result<_, _>>()?, batch))
    }
}

impl ObjectInput {
    fn object(self, collection: &str, tenant: Option<&str>) -> Result<NewObject, Failure> {
        let chosen = self.id.as_deref().map(|text| id("id", text)).transpose()?;
        let vectors = self.vectors.unwrap_or_default();
        if self.vector.is_some() && !vectors.is_empty() {
            return Err(Failure(
                "give either vector or vectors: a collection has one vector or named ones".into(),
            ));
        }
        Ok(NewObject {
            collection: collection.to_owned(),
            id: chosen.unwrap_or_else(Uuid::new_v4),
            properties: self.properties,
            vector: self.vector,
            vectors: vectors.into_iter().map(|(name, vector)| (name, json!(vector))).collect(),
            tenant: tenant.map(str::to_owned),
        })
    }
}

impl GetObject {
    /// Which part of the collection is listed.
    pub(crate) fn page(&self, limits: Limits) -> Result<Page, Failure> {
        let limit = limit(self.limit, limits)?;
        let after = self.after.as_deref().map(|text| id("after", text)).transpose()?;
        if after.is_some() && (self.offset.is_some() || self.sort_by.is_some()) {
            return Err(Failure("after goes by the order of ids; leave offset and sort_by out".into()));
        }
        let order = if self.descending { Order::Descending } else { Order::Ascending };
        Ok(Page {
            limit,
            offset: self.offset.unwrap_or(0),
            after: after.map(|id| id.to_string()),
            sort: self.sort_by.clone().map(|property| Sort { property, order }),
        })
    }
}

impl HybridSearch {
    /// The search in a collection, and where its next page begins.
    pub(crate) fn search<'a>(
        &self,
        schema: &'a Schema,
        collection: &'a Collection,
        limits: Limits,
    ) -> Result<Search<'a>, Failure> {
        let filter = self.filter.as_ref().map(|filter| filter.check(schema, collection)).transpose()?;
        let metadata = self.return_metadata.iter().map(|choice| match choice {
            MetadataChoice::Distance => Metadata::Distance,
            MetadataChoice::ExplainScore => Metadata::ExplainScore,
            MetadataChoice::CreationTime => Metadata::CreationTime,
            MetadataChoice::LastUpdateTime => Metadata::LastUpdateTime,
            MetadataChoice::Vector => Metadata::Vector,
        });
        Ok(Search {
            schema,
            collection,
            nearness: Nearness::Hybrid(self.hybrid(collection)?),
            filter,
            tenant: self.tenant.clone(),
            limit: limit(self.limit, limits)?,
            offset: self.offset.unwrap_or(0),
            autocut: self.autocut,
            returned: Returned { properties: self.return_properties.clone(), metadata: metadata.collect() },
        })
    }

    /// How much the vectors count.
    pub(crate) fn alpha(&self, collection: &Collection) -> f64 {
        let comparable = self.vector.is_some() || self.vectors.is_some() || collection.makes_vectors;
        self.alpha.unwrap_or(if comparable { 0.75 } else { 0.0 })
    }

    fn hybrid(&self, collection: &Collection) -> Result<Hybrid, Failure> {
        if self.vector.is_some() && self.vectors.is_some() {
            return Err(Failure("give either vector or vectors".into()));
        }
        let words = match (self.all_words, self.min_words) {
            (true, Some(_)) => return Err(Failure("give either all_words or min_words".into())),
            (true, None) => Some(KeywordOperator::All),
            (false, least) => least.map(KeywordOperator::AtLeast),
        };
        let vectors = self.vectors.clone().unwrap_or_default().into_iter().collect();
        Ok(Hybrid {
            query: self.query.clone(),
            alpha: self.alpha(collection),
            fusion: match self.fusion_type {
                Some(FusionType::Ranked) => Fusion::Ranked,
                Some(FusionType::RelativeScore) | None => Fusion::RelativeScore,
            },
            properties: self.query_properties.clone(),
            vector: self.vector.clone(),
            vectors,
            targets: self.target_vectors.clone(),
            combination: self.combination()?,
            max_vector_distance: self.max_vector_distance,
            words,
        })
    }

    fn combination(&self) -> Result<Option<Combination>, Failure> {
        let weights = self.weights.clone().map(|weights| weights.into_iter().collect());
        Ok(match (self.combination, weights) {
            (None, None) => None,
            (Some(CombinationMethod::Minimum), None) => Some(Combination::Minimum),
            (Some(CombinationMethod::Average), None) => Some(Combination::Average),
            (Some(CombinationMethod::Sum), None) => Some(Combination::Sum),
            (None | Some(CombinationMethod::ManualWeights), Some(weights)) => {
                Some(Combination::ManualWeights(weights))
            }
            (Some(CombinationMethod::RelativeScore), Some(weights)) => {
                Some(Combination::RelativeScore(weights))
            }
            (Some(_), Some(_)) => {
                return Err(Failure("only manual_weights and relative_score take weights".into()));
            }
            (Some(_), None) => {
                return Err(Failure(
                    "manual_weights and relative_score need weights, a number for each vector".into(),
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests;
