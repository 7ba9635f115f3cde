//! Objects: added, read, listed and deleted over REST.

use crate::connection::{Call, Weaviate};
use crate::error::Error;
use crate::filter::Condition;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// An object that is to be added. Its id is chosen here, so that a repeated call cannot add it twice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewObject {
    #[serde(rename = "class")]
    pub collection: String,
    #[serde(serialize_with = "as_text")]
    pub id: Uuid,
    pub properties: Map<String, Value>,
    /// Its vector, in a collection with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// Its vectors by name, in a collection with named ones.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub vectors: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

fn as_text<S: serde::Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// An object as it is kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    #[serde(rename = "class")]
    pub collection: String,
    pub id: String,
    pub properties: Option<Map<String, Value>>,
    pub vector: Option<Vec<f32>>,
    pub vectors: Option<Map<String, Value>>,
    pub tenant: Option<String>,
    pub creation_time_unix: Option<i64>,
    pub last_update_time_unix: Option<i64>,
}

/// What became of one object of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub id: String,
    /// Why it was not added.
    pub error: Option<String>,
}

/// Whether vectors are read as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    With,
    Without,
}

/// Which part of a collection's objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub limit: u32,
    /// Leaves out so many of the first; for the first thousands. Not together with `after`.
    pub offset: u32,
    /// Goes on behind the object of this id, in the order of ids; for all of them.
    pub after: Option<String>,
    /// By default in the order of ids.
    pub sort: Option<Sort>,
}

/// An order of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    pub property: String,
    pub order: Order,
}

/// Which way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Weaviate {
    /// Adds an object whose id is new.
    pub async fn insert(&self, object: &NewObject) -> Result<Object, Error> {
        self.json(Call::new(Method::POST, &["objects"], false).body(object)?).await
    }

    /// Adds objects, and replaces those whose ids are there already. Each may fail by itself.
    pub async fn put_batch(&self, objects: &[NewObject]) -> Result<Vec<Added>, Error> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let call = Call::new(Method::POST, &["batch", "objects"], true).body(&json!({"objects": objects}))?;
        let answers: Vec<Value> = self.json(call).await?;
        Ok(answers.iter().map(added).collect())
    }

    /// The object of this id; `None` without one.
    pub async fn object(
        &self,
        collection: &str,
        id: Uuid,
        tenant: Option<&str>,
        vectors: Vectors,
    ) -> Result<Option<Object>, Error> {
        let call = Call::get(&["objects", collection, &id.to_string()]).query("tenant", tenant);
        match self.json(call.query("include", vectors.include())).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A part of a collection's objects.
    pub async fn objects(
        &self,
        collection: &str,
        tenant: Option<&str>,
        page: &Page,
        vectors: Vectors,
    ) -> Result<Vec<Object>, Error> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            objects: Vec<Object>,
        }
        let order = |sort: &Sort| match sort.order {
            Order::Ascending => "asc",
            Order::Descending => "desc",
        };
        let call = Call::get(&["objects"])
            .query("class", Some(collection))
            .query("tenant", tenant)
            .query("limit", Some(page.limit))
            .query("offset", (page.offset > 0).then_some(page.offset))
            .query("after", page.after.as_deref())
            .query("sort", page.sort.as_ref().map(|sort| sort.property.as_str()))
            .query("order", page.sort.as_ref().map(order))
            .query("include", vectors.include());
        let answer: Answer = self.json(call).await?;
        Ok(answer.objects)
    }

    /// Deletes the object of this id; whether there was one. Weaviate itself answers alike in both cases.
    pub async fn delete(&self, collection: &str, id: Uuid, tenant: Option<&str>) -> Result<bool, Error> {
        let path = ["objects", collection, &id.to_string()];
        match self.bytes(Call::new(Method::HEAD, &path, true).query("tenant", tenant)).await {
            Ok(_) => {}
            Err(Error::Missing(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        match self.bytes(Call::new(Method::DELETE, &path, true).query("tenant", tenant)).await {
            Ok(_) => Ok(true),
            Err(Error::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes what this condition holds for, some thousands at a time; how many are gone.
    pub async fn delete_where(
        &self,
        collection: &str,
        condition: &Condition,
        tenant: Option<&str>,
    ) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Answer {
            results: Results,
        }
        #[derive(Deserialize)]
        struct Results {
            #[serde(default)]
            matches: u64,
            #[serde(default)]
            successful: u64,
        }
        let body = json!({"match": {"class": collection, "where": condition.to_json()}});
        let mut gone = 0;
        loop {
            let call = Call::new(Method::DELETE, &["batch", "objects"], true).query("tenant", tenant);
            let answer: Answer = self.json(call.body(&body)?).await?;
            gone += answer.results.successful;
            // It deletes no more than its own limit at once, and tells how many there were.
            if answer.results.successful == 0 || answer.results.matches <= answer.results.successful {
                return Ok(gone);
            }
        }
    }
}

impl Vectors {
    const fn include(self) -> Option<&'static str> {
        match self {
            Self::With => Some("vector"),
            Self::Without => None,
        }
    }
}

fn added(answer: &Value) -> Added {
    let messages: Vec<&str> = answer["result"]["errors"]["error"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| error["message"].as_str())
        .collect();
    let failed = answer["result"]["status"] == "FAILED" || !messages.is_empty();
    let message = || if messages.is_empty() { "no message".to_owned() } else { messages.join("; ") };
    Added { id: answer["id"].as_str().unwrap_or_default().to_owned(), error: failed.then(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_as_weaviate_reads_it() {
        let object = NewObject {
            collection: "Article".into(),
            id: Uuid::from_u128(1),
            properties: json!({"title": "a"}).as_object().expect("an object").clone(),
            vector: Some(vec![0.5]),
            vectors: Map::new(),
            tenant: None,
        };
        let expected = json!({"class": "Article", "id": "00000000-0000-0000-0000-000000000001",
                              "properties": {"title": "a"}, "vector": [0.5]});
        assert_eq!(serde_json::to_value(object).expect("JSON"), expected);
    }

    #[test]
    fn each_object_of_a_batch_tells_its_own_error() {
        let good = json!({"id": "1", "result": {"status": "SUCCESS"}});
        assert_eq!(added(&good), Added { id: "1".into(), error: None });
        let bad =
            json!({"id": "2", "result": {"status": "FAILED", "errors": {"error": [{"message": "why"}]}}});
        assert_eq!(added(&bad), Added { id: "2".into(), error: Some("why".into()) });
    }
}
