//! Which parts of the objects found a query asks for.

use crate::filter::Unusable;
use crate::schema::{Collection, DataType, Property, Schema};

/// What is returned of each object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// Properties; inside an object or a reference with a dot (`author.name`). `None` for all that are neither
    /// references nor blobs.
    pub properties: Option<Vec<String>>,
    /// What is told beside id and score.
    pub metadata: Vec<Metadata>,
}

/// What Weaviate can tell of an object that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    Distance,
    ExplainScore,
    CreationTime,
    LastUpdateTime,
    Vector,
}

impl Returned {
    /// The fields between a query's innermost braces.
    pub(super) fn selection(&self, schema: &Schema, collection: &Collection) -> Result<String, Unusable> {
        let mut fields = match &self.properties {
            None => everything(&collection.properties),
            Some(names) => {
                let paths = names.iter().map(|name| path(name)).collect::<Result<Vec<_>, _>>()?;
                let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
                chosen(&paths, &collection.properties, &collection.name, schema)?
            }
        };
        fields.push(format!("_additional {{ {} }}", self.additional(collection)));
        Ok(fields.join(" "))
    }

    fn additional(&self, collection: &Collection) -> String {
        let mut fields = vec!["id".to_owned(), "score".to_owned()];
        fields.extend(self.metadata.iter().map(|metadata| match metadata {
            Metadata::Distance => "distance".to_owned(),
            Metadata::ExplainScore => "explainScore".to_owned(),
            Metadata::CreationTime => "creationTimeUnix".to_owned(),
            Metadata::LastUpdateTime => "lastUpdateTimeUnix".to_owned(),
            Metadata::Vector if collection.vectors.is_empty() => "vector".to_owned(),
            Metadata::Vector => format!("vectors {{ {} }}", collection.vectors.join(" ")),
        }));
        fields.join(" ")
    }
}

/// Steps that a property may lie away: each may lead to several collections, all of which the query then names.
const MOST_STEPS: usize = 6;

/// The steps to a property.
fn path(name: &str) -> Result<Vec<&str>, Unusable> {
    let path: Vec<&str> = name.split('.').take(MOST_STEPS + 1).collect();
    if path.len() > MOST_STEPS {
        let begin: String = name.chars().take(80).collect();
        return Err(Unusable(format!("{begin:?} leads on for more than {MOST_STEPS} steps")));
    }
    Ok(path)
}

/// All properties that stand in the object itself. A blob is left out: it may be megabytes.
fn everything(properties: &[Property]) -> Vec<String> {
    let own = |property: &&Property| !matches!(property.data_type, DataType::Blob | DataType::Reference(_));
    properties.iter().filter(own).map(whole).collect()
}

/// One property with all that is in it.
fn whole(Property { name, data_type, nested }: &Property) -> String {
    match data_type {
        DataType::GeoCoordinates => format!("{name} {{ latitude longitude }}"),
        DataType::PhoneNumber => format!(
            "{name} {{ input internationalFormatted nationalFormatted national countryCode valid defaultCountry }}"
        ),
        DataType::Object => format!("{name} {{ {} }}", everything(nested).join(" ")),
        _ => name.clone(),
    }
}

/// The properties that these paths name; those that begin alike become one.
fn chosen(
    paths: &[&[&str]],
    properties: &[Property],
    owner: &str,
    schema: &Schema,
) -> Result<Vec<String>, Unusable> {
    let mut names: Vec<&str> = Vec::new();
    for first in paths.iter().filter_map(|path| path.first()) {
        if !names.contains(first) {
            names.push(first);
        }
    }
    let field = |name: &&str| {
        let property = properties.iter().find(|property| property.name == *name).ok_or_else(|| {
            let known: Vec<&str> = properties.iter().map(|property| property.name.as_str()).collect();
            Unusable(format!("{owner} has no property {name:?}; its properties: {}", known.join(", ")))
        })?;
        let rests: Vec<&[&str]> = paths
            .iter()
            .filter(|path| path.first() == Some(name))
            .map(|path| &path[1..])
            .filter(|rest| !rest.is_empty())
            .collect();
        inside(property, &rests, schema)
    };
    names.iter().map(field).collect()
}

fn inside(property: &Property, rests: &[&[&str]], schema: &Schema) -> Result<String, Unusable> {
    let name = &property.name;
    match &property.data_type {
        DataType::Reference(targets) => {
            let of = |target: &String| {
                let target = schema.collection(target)?;
                let fields = if rests.is_empty() {
                    Ok(everything(&target.properties))
                } else {
                    chosen(rests, &target.properties, &target.name, schema)
                };
                Some(fields.map(|fields| {
                    format!("... on {} {{ {} _additional {{ id }} }}", target.name, fields.join(" "))
                }))
            };
            let targets = targets.iter().filter_map(of).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("{name} {{ {} }}", targets.join(" ")))
        }
        _ if rests.is_empty() => Ok(whole(property)),
        DataType::Object => {
            Ok(format!("{name} {{ {} }}", chosen(rests, &property.nested, name, schema)?.join(" ")))
        }
        _ => Err(Unusable(format!("{name} is no object and no reference; name it without a dot"))),
    }
}
