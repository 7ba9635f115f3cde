//! Which collections there are and what their properties hold.

use crate::connection::{Call, Weaviate};
use crate::error::Error;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// All collections, by their own names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    /// In the order of their names.
    pub collections: Vec<Collection>,
    /// Other names, each with the collection that it stands for.
    pub aliases: Vec<(String, String)>,
}

/// One collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    pub name: String,
    pub properties: Vec<Property>,
    /// Names of its vectors; empty for a collection with the one unnamed vector.
    pub vectors: Vec<String>,
    /// Whether Weaviate makes vectors of texts itself.
    pub makes_vectors: bool,
    /// Whether each object belongs to a tenant.
    pub multi_tenant: bool,
    /// The whole definition, as Weaviate gives it.
    pub definition: Value,
}

/// A property of a collection, or of an object in a property.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    pub name: String,
    pub data_type: DataType,
    /// Those of an object's own.
    pub nested: Vec<Property>,
}

/// What a property holds; of lists, what their items are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataType {
    Text,
    Integer,
    Number,
    Boolean,
    Date,
    Uuid,
    GeoCoordinates,
    PhoneNumber,
    Blob,
    Object,
    /// Objects of these collections.
    Reference(Vec<String>),
}

impl DataType {
    fn of(names: &[String]) -> Self {
        match names.first().map_or("", String::as_str).trim_end_matches("[]") {
            "int" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "uuid" => Self::Uuid,
            "geoCoordinates" => Self::GeoCoordinates,
            "phoneNumber" => Self::PhoneNumber,
            "blob" => Self::Blob,
            "object" => Self::Object,
            // Names of collections begin with a capital.
            name if name.starts_with(|first: char| first.is_uppercase()) => Self::Reference(names.to_vec()),
            _ => Self::Text,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawProperty {
    name: String,
    #[serde(default)]
    data_type: Vec<String>,
    nested_properties: Option<Vec<RawProperty>>,
}

impl From<RawProperty> for Property {
    fn from(raw: RawProperty) -> Self {
        let nested = raw.nested_properties.unwrap_or_default().into_iter().map(Self::from).collect();
        Self { data_type: DataType::of(&raw.data_type), name: raw.name, nested }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCollection {
    class: String,
    properties: Option<Vec<RawProperty>>,
    vector_config: Option<Map<String, Value>>,
    vectorizer: Option<String>,
    multi_tenancy_config: Option<RawTenancy>,
}

#[derive(Deserialize)]
struct RawTenancy {
    #[serde(default)]
    enabled: bool,
}

impl Collection {
    /// Reads a definition as Weaviate gives it.
    pub fn of(definition: Value) -> Result<Self, Error> {
        let raw =
            RawCollection::deserialize(&definition).map_err(|error| Error::Unreadable(error.to_string()))?;
        let vectors = raw.vector_config.unwrap_or_default();
        let makes = |vectorizer: &str| !matches!(vectorizer, "" | "none");
        let named_makes = |config: &Value| {
            config["vectorizer"].as_object().is_some_and(|kinds| kinds.keys().any(|kind| makes(kind)))
        };
        Ok(Self {
            name: raw.class,
            properties: raw.properties.unwrap_or_default().into_iter().map(Property::from).collect(),
            makes_vectors: raw.vectorizer.is_some_and(|name| makes(&name))
                || vectors.values().any(named_makes),
            vectors: vectors.into_iter().map(|(name, _)| name).collect(),
            multi_tenant: raw.multi_tenancy_config.is_some_and(|config| config.enabled),
            definition,
        })
    }

    /// The property of this name.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// The names of its properties, for an error.
    pub(crate) fn property_names(&self) -> String {
        let names: Vec<&str> = self.properties.iter().map(|property| property.name.as_str()).collect();
        if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
    }
}

impl Schema {
    /// The collection of this name. Weaviate writes the first letter as a capital, whatever its creator wrote.
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        let of = |name: &str| self.collections.iter().find(|collection| collection.name == name);
        let capital: String = {
            let mut letters = name.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
        };
        of(&capital).or_else(|| {
            let (_, target) = self.aliases.iter().find(|(alias, _)| *alias == capital)?;
            of(target)
        })
    }
}

impl Weaviate {
    /// Reads the whole schema.
    pub async fn schema(&self) -> Result<Schema, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            classes: Vec<Value>,
        }
        let answer: Answer = self.json(Call::get(&["schema"])).await?;
        let mut collections =
            answer.classes.into_iter().map(Collection::of).collect::<Result<Vec<_>, _>>()?;
        collections.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Schema { collections, aliases: self.aliases().await? })
    }

    async fn aliases(&self) -> Result<Vec<(String, String)>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            aliases: Vec<Alias>,
        }
        #[derive(Deserialize)]
        struct Alias {
            alias: String,
            class: String,
        }
        match self.json::<Answer>(Call::get(&["aliases"])).await {
            Ok(answer) => Ok(answer.aliases.into_iter().map(|alias| (alias.alias, alias.class)).collect()),
            // A version before them, or a key that may not see them.
            Err(Error::Missing(_) | Error::Refused { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The definition of one collection; `None` when there is no such one.
    pub async fn collection(&self, name: &str) -> Result<Option<Collection>, Error> {
        match self.json(Call::get(&["schema", name])).await {
            Ok(definition) => Collection::of(definition).map(Some),
            Err(Error::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a collection of this definition.
    pub async fn create_collection(&self, definition: &Value) -> Result<(), Error> {
        self.bytes(Call::new(Method::POST, &["schema"], false).body(definition)?).await.map(drop)
    }

    /// Removes a collection with all its objects, if it is there.
    pub async fn delete_collection(&self, name: &str) -> Result<(), Error> {
        self.bytes(Call::new(Method::DELETE, &["schema", name], true)).await.map(drop)
    }

    /// The tenants of a collection, with their status.
    pub async fn tenants(&self, collection: &str) -> Result<Vec<Value>, Error> {
        self.json(Call::get(&["schema", collection, "tenants"])).await
    }

    /// Adds tenants to a collection.
    pub async fn create_tenants(&self, collection: &str, names: &[&str]) -> Result<(), Error> {
        let tenants: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
        let call = Call::new(Method::POST, &["schema", collection, "tenants"], true).body(&tenants)?;
        self.bytes(call).await.map(drop)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A collection with a property of each kind, and what its reference leads to.
    pub(crate) fn schema() -> Schema {
        let article = json!({
            "class": "Article",
            "vectorizer": "none",
            "multiTenancyConfig": {"enabled": false},
            "properties": [
                {"name": "title", "dataType": ["text"]},
                {"name": "tags", "dataType": ["text[]"]},
                {"name": "pages", "dataType": ["int"]},
                {"name": "price", "dataType": ["number"]},
                {"name": "sold", "dataType": ["boolean"]},
                {"name": "printed", "dataType": ["date"]},
                {"name": "isbn", "dataType": ["uuid"]},
                {"name": "place", "dataType": ["geoCoordinates"]},
                {"name": "phone", "dataType": ["phoneNumber"]},
                {"name": "cover", "dataType": ["blob"]},
                {"name": "size", "dataType": ["object"], "nestedProperties": [
                    {"name": "width", "dataType": ["int"]},
                    {"name": "unit", "dataType": ["object"], "nestedProperties": [
                        {"name": "name", "dataType": ["text"]},
                    ]},
                ]},
                {"name": "author", "dataType": ["Person"]},
            ],
        });
        let person = json!({
            "class": "Person",
            "vectorConfig": {"face": {"vectorizer": {"none": {}}}, "voice": {"vectorizer": {"none": {}}}},
            "multiTenancyConfig": {"enabled": true},
            "properties": [{"name": "name", "dataType": ["text"]}, {"name": "age", "dataType": ["int"]}],
        });
        let collections =
            [article, person].map(|definition| Collection::of(definition).expect("a definition"));
        Schema { collections: collections.into(), aliases: vec![("Human".into(), "Person".into())] }
    }

    #[test]
    fn a_definition_is_read() {
        let schema = schema();
        let person = schema.collection("Person").expect("there");
        assert_eq!(person.vectors, ["face", "voice"]);
        assert!(person.multi_tenant && !person.makes_vectors);
        let article = schema.collection("Article").expect("there");
        let data_type = |name: &str| article.property(name).expect("there").data_type.clone();
        assert_eq!(data_type("tags"), DataType::Text);
        assert_eq!(data_type("author"), DataType::Reference(vec!["Person".into()]));
        assert_eq!(article.property("size").expect("there").nested[0].data_type, DataType::Integer);
        let makes = json!({"class": "A", "vectorConfig": {"v": {"vectorizer": {"text2vec-ollama": {}}}}});
        assert!(Collection::of(makes).expect("a definition").makes_vectors);
    }

    #[test]
    fn a_collection_is_found_by_its_name_in_either_spelling_and_by_an_alias() {
        let schema = schema();
        let name = |name: &str| schema.collection(name).map(|collection| collection.name.clone());
        assert_eq!(name("article").as_deref(), Some("Article"));
        assert_eq!(name("human").as_deref(), Some("Person"));
        assert_eq!(name("ARTICLE"), None);
        assert_eq!(name(""), None);
    }
}
