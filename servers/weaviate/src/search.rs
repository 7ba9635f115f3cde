//! Searches as GraphQL queries, and what came of them.

use crate::connection::Weaviate;
use crate::error::Error;
use crate::filter::{Condition, Unusable};
use crate::literal::{Arguments, Literal};
use crate::schema::{Collection, Schema};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt::Write;

mod selection;

pub use selection::{Metadata, Returned};

/// What objects are looked for by.
#[derive(Clone, Debug, PartialEq)]
pub enum Nearness {
    Hybrid(Hybrid),
    Vector(NearVector),
}

/// A search by words and by a vector together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hybrid {
    pub query: String,
    /// From 0, words alone, to 1, the vector alone.
    pub alpha: f64,
    pub fusion: Fusion,
    /// The properties whose words count, each perhaps with a weight (`title^2`); empty for all.
    pub properties: Vec<String>,
    /// The vector to be near to, for a collection with one, or for each target.
    pub vector: Option<Vec<f32>>,
    /// Vectors of their own for targets.
    pub vectors: Vec<(String, Vec<f32>)>,
    /// Which of a collection's named vectors are compared.
    pub targets: Vec<String>,
    /// How the distances to several targets become one.
    pub combination: Option<Combination>,
    /// Leaves out what is farther away, where the vector counts.
    pub max_vector_distance: Option<f64>,
    /// How many of the words an object must hold; by default one.
    pub words: Option<KeywordOperator>,
}

/// How the two orders become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fusion {
    /// By place.
    Ranked,
    /// By score, each side's scores brought to the same scale.
    #[default]
    RelativeScore,
}

/// How the distances to several targets become one.
#[derive(Clone, Debug, PartialEq)]
pub enum Combination {
    Minimum,
    Average,
    Sum,
    /// The distances times these weights, a target each.
    ManualWeights(Vec<(String, f64)>),
    /// The same, with the distances brought to the same scale.
    RelativeScore(Vec<(String, f64)>),
}

/// How many of a query's words an object must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeywordOperator {
    All,
    AtLeast(u32),
}

/// A search by a vector alone.
#[derive(Clone, Debug, PartialEq)]
pub struct NearVector {
    pub vector: Vec<f32>,
    /// Which of a collection's named vectors is compared.
    pub target: Option<String>,
}

/// A whole search of one collection.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    pub schema: &'a Schema,
    pub collection: &'a Collection,
    pub nearness: Nearness,
    pub filter: Option<Condition>,
    pub tenant: Option<String>,
    pub limit: u32,
    pub offset: u32,
    /// Ends the list after so many falls of the score.
    pub autocut: Option<u32>,
    pub returned: Returned,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub id: String,
    pub properties: Map<String, Value>,
    /// What was asked for beside them, under Weaviate's names; `score` among it.
    pub metadata: Map<String, Value>,
}

impl Hit {
    /// How well it fits; higher is better.
    pub fn score(&self) -> Option<f64> {
        number(&self.metadata, "score")
    }

    /// How far away it is; lower is better.
    pub fn distance(&self) -> Option<f64> {
        number(&self.metadata, "distance")
    }
}

/// Weaviate gives scores as texts.
fn number(metadata: &Map<String, Value>, name: &str) -> Option<f64> {
    match metadata.get(name)? {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

impl Search<'_> {
    /// The query's text.
    pub fn query(&self) -> Result<String, Unusable> {
        let collection = self.collection;
        let (field, nearness) = match &self.nearness {
            Nearness::Hybrid(hybrid) => ("hybrid", hybrid.argument(collection)?),
            Nearness::Vector(near) => ("nearVector", near.argument(collection)?),
        };
        match (&self.tenant, collection.multi_tenant) {
            (None, true) => {
                return Err(Unusable(format!(
                    "{} keeps objects by tenant; name the tenant",
                    collection.name
                )));
            }
            (Some(_), false) => {
                return Err(Unusable(format!("{} has no tenants; leave the tenant out", collection.name)));
            }
            _ => {}
        }
        let arguments = Literal::object([
            (field, Some(nearness)),
            ("where", self.filter.as_ref().map(Condition::to_literal)),
            ("tenant", self.tenant.clone().map(Literal::Text)),
            ("limit", Some(Literal::Integer(self.limit.into()))),
            ("offset", (self.offset > 0).then(|| Literal::Integer(self.offset.into()))),
            ("autocut", self.autocut.map(|falls| Literal::Integer(falls.into()))),
        ]);
        let mut query = String::new();
        let selection = self.returned.selection(self.schema, collection)?;
        // Writing to a text cannot fail.
        let _ =
            write!(query, "{{ Get {{ {}({}) {{ {selection} }} }} }}", collection.name, Arguments(&arguments));
        Ok(query)
    }
}

impl Hybrid {
    fn argument(&self, collection: &Collection) -> Result<Literal, Unusable> {
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(Unusable(format!("alpha is {}; it must be a number from 0 to 1", self.alpha)));
        }
        self.properties.iter().try_for_each(|property| weighted(property, collection))?;
        let given = self.vectors.iter().map(|(target, _)| target);
        let weighted = match &self.combination {
            Some(Combination::ManualWeights(weights) | Combination::RelativeScore(weights)) => &weights[..],
            _ => &[],
        };
        let all = self.targets.iter().chain(given).chain(weighted.iter().map(|(target, _)| target));
        all.into_iter().try_for_each(|target| is_target(target, collection))?;
        let fusion = match self.fusion {
            Fusion::Ranked => "rankedFusion",
            Fusion::RelativeScore => "relativeScoreFusion",
        };
        let properties = (!self.properties.is_empty()).then(|| Literal::texts(self.properties.clone()));
        Ok(Literal::object([
            ("query", Some(Literal::Text(self.query.clone()))),
            ("alpha", Some(Literal::Number(self.alpha))),
            ("fusionType", Some(Literal::Word(fusion))),
            ("properties", properties),
            ("vector", self.vector.as_deref().map(Literal::vector)),
            ("searches", self.searches()),
            ("targetVectors", self.single_target()),
            ("targets", self.combined_targets()),
            ("maxVectorDistance", self.max_vector_distance.map(Literal::Number)),
            ("bm25SearchOperator", self.words.map(KeywordOperator::argument)),
        ]))
    }

    fn targets(&self) -> Vec<String> {
        if self.targets.is_empty() {
            self.vectors.iter().map(|(target, _)| target.clone()).collect()
        } else {
            self.targets.clone()
        }
    }

    fn searches(&self) -> Option<Literal> {
        let per_target = self.vectors.iter().map(|(name, vector)| (name.clone(), Literal::vector(vector)));
        let per_target = Literal::Object(per_target.collect());
        let near = Literal::object([("vectorPerTarget", Some(per_target))]);
        (!self.vectors.is_empty()).then(|| Literal::List(vec![Literal::object([("nearVector", Some(near))])]))
    }

    fn single_target(&self) -> Option<Literal> {
        let targets = self.targets();
        (self.combination.is_none() && !targets.is_empty()).then(|| Literal::texts(targets))
    }

    fn combined_targets(&self) -> Option<Literal> {
        let combination = self.combination.as_ref()?;
        let (method, weights) = match combination {
            Combination::Minimum => ("minimum", None),
            Combination::Average => ("average", None),
            Combination::Sum => ("sum", None),
            Combination::ManualWeights(weights) => ("manualWeights", Some(weights)),
            Combination::RelativeScore(weights) => ("relativeScore", Some(weights)),
        };
        let weights = weights.map(|weights| {
            Literal::Object(
                weights.iter().map(|(name, weight)| (name.clone(), Literal::Number(*weight))).collect(),
            )
        });
        Some(Literal::object([
            ("targetVectors", Some(Literal::texts(self.targets()))),
            ("combinationMethod", Some(Literal::Word(method))),
            ("weights", weights),
        ]))
    }
}

impl NearVector {
    fn argument(&self, collection: &Collection) -> Result<Literal, Unusable> {
        self.target.iter().try_for_each(|target| is_target(target, collection))?;
        Ok(Literal::object([
            ("vector", Some(Literal::vector(&self.vector))),
            ("targetVectors", self.target.clone().map(|target| Literal::texts([target]))),
        ]))
    }
}

impl KeywordOperator {
    fn argument(self) -> Literal {
        let (operator, least) = match self {
            Self::All => ("And", None),
            Self::AtLeast(words) => ("Or", Some(Literal::Integer(words.into()))),
        };
        Literal::object([("operator", Some(Literal::Word(operator))), ("minimumOrTokensMatch", least)])
    }
}

/// Whether it is a property, perhaps with a weight after `^`.
fn weighted(text: &str, collection: &Collection) -> Result<(), Unusable> {
    let (name, weight) = text.split_once('^').map_or((text, None), |(name, weight)| (name, Some(weight)));
    if collection.property(name).is_none() {
        let names = collection.property_names();
        return Err(Unusable(format!(
            "{} has no property {name:?}; its properties: {names}",
            collection.name
        )));
    }
    let is_weight =
        |weight: &str| weight.parse::<f64>().is_ok_and(|weight| weight.is_finite() && weight > 0.0);
    if weight.is_none_or(is_weight) {
        return Ok(());
    }
    Err(Unusable(format!("{text:?} has no usable weight; write it like {name}^2")))
}

fn is_target(name: &str, collection: &Collection) -> Result<(), Unusable> {
    if collection.vectors.iter().any(|vector| vector == name) {
        return Ok(());
    }
    let collection_name = &collection.name;
    Err(Unusable(match &collection.vectors[..] {
        [] => format!("{collection_name} has one vector without a name; leave target vectors out"),
        names => format!("{collection_name} has no vector {name:?}; its vectors: {}", names.join(", ")),
    }))
}

impl Weaviate {
    /// Searches. An error of the search itself, such as a missing vector, is told by Weaviate.
    pub async fn search(&self, collection: &str, query: &str) -> Result<Vec<Hit>, Error> {
        let data = self.graphql(query).await?;
        let hits = &data["Get"][collection];
        let hits = Vec::<Map<String, Value>>::deserialize(hits)
            .map_err(|error| Error::Unreadable(error.to_string()))?;
        Ok(hits.into_iter().map(hit).collect())
    }
}

fn hit(mut properties: Map<String, Value>) -> Hit {
    let mut metadata = match properties.shift_remove("_additional") {
        Some(Value::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    let id = match metadata.shift_remove("id") {
        Some(Value::String(id)) => id,
        _ => String::new(),
    };
    Hit { id, properties, metadata }
}

#[cfg(test)]
mod tests;
