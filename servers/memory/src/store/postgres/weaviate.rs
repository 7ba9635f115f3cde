//! Weaviate beside the database, as an index of the vectors: for scopes that are too large for the engine's memory, and
//! for those who run it anyway.
//!
//! The database stays the record. It notes which vectors Weaviate has not been told of and which it has to forget
//! (`migrations/3_vector_index.up.sql`), and a task tells it, however often one of the two was down. What a search
//! offers is read from the database, so that an answer of Weaviate that is behind shows nothing that is gone.

use super::rows;
use super::text::given;
use crate::hex::hex;
use mcp_system_weaviate::{
    Error, Filter, NearVector, Nearness, NewObject, Operator, Returned, Schema, Search, Weaviate,
};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection, PgPool, Row};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// Vectors that it is told of at once.
const BATCH: i64 = 100;
/// How often the task looks for what other replicas left untold, and the pause after a failure.
const EVERY: Duration = Duration::from_secs(15);

/// The property that holds an entry's scope; its number is in the id.
const SCOPE: &str = "scope";

/// Weaviate, as an index of one database's vectors.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) weaviate: Arc<Weaviate>,
    /// The database's own name, so that several may share a Weaviate.
    database: Uuid,
    /// Collections that are known to be there.
    collections: Mutex<HashSet<String>>,
    news: Notify,
}

/// Why something could not be told, or found.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Weaviate(#[from] Error),
    #[error("Weaviate refused a vector: {0}")]
    Refused(String),
    #[error(transparent)]
    Query(#[from] mcp_system_weaviate::Unusable),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Elsewhere {
    /// Weaviate as the index of the database behind this pool.
    pub(super) async fn of(weaviate: Arc<Weaviate>, pool: &PgPool) -> Result<Self, sqlx::Error> {
        let database = sqlx::query_scalar("SELECT id::text FROM mcp_memory.vector_index LIMIT 1");
        let database: String = database.fetch_one(pool).await?;
        let database = Uuid::parse_str(&database).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self { weaviate, database, collections: Mutex::default(), news: Notify::new() })
    }

    /// Says that there is something to tell.
    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// The numbers of the entries of a scope whose vectors are nearest, nearest first.
    pub(super) async fn nearest(
        &self,
        scope: i64,
        model: &str,
        vector: &[f32],
        limit: u32,
    ) -> Result<Vec<i64>, Trouble> {
        let name = self.collection(model, vector.len());
        let Some(collection) = self.weaviate.collection(&name).await? else { return Ok(Vec::new()) };
        let schema = Schema { collections: vec![collection.clone()], aliases: Vec::new() };
        let filter = Filter::compare(SCOPE, Operator::Equal, scope).check(&schema, &collection)?;
        let search = Search {
            schema: &schema,
            collection: &collection,
            nearness: Nearness::Vector(NearVector { vector: vector.to_vec(), target: None }),
            filter: Some(filter),
            tenant: None,
            limit,
            offset: 0,
            autocut: None,
            returned: Returned { properties: Some(Vec::new()), metadata: Vec::new() },
        };
        let hits = self.weaviate.search(&name, &search.query()?).await?;
        Ok(hits.iter().filter_map(|hit| number_of(&hit.id)).collect())
    }

    /// Tells Weaviate what there is to tell, for as long as it is polled.
    pub(super) async fn tell(&self, pool: PgPool) {
        let mut failed = false;
        loop {
            match self.tell_some(&pool).await {
                Ok(true) => continue,
                Ok(false) => failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(%error, "Weaviate is behind with the vectors; it is told later");
                    }
                }
            }
            // A failure is not made good by news.
            let waited = tokio::time::timeout(EVERY, self.news.notified());
            if failed {
                tokio::time::sleep(EVERY).await;
            } else {
                let _ = waited.await;
            }
        }
    }

    /// Tells of a few; answers whether there may be more. Rows that another replica is telling of are left to it.
    async fn tell_some(&self, pool: &PgPool) -> Result<bool, Trouble> {
        let mut connection = pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let told = self.tell_new(&mut transaction).await?;
        let forgotten = self.tell_gone(&mut transaction).await?;
        transaction.commit().await?;
        Ok(told == BATCH || forgotten == BATCH)
    }

    async fn tell_new(&self, connection: &mut PgConnection) -> Result<i64, Trouble> {
        let rows = sqlx::query(
            "SELECT number, scope, model, vector::real[] AS vector FROM mcp_memory.vectors WHERE NOT told
             ORDER BY number LIMIT $1 FOR UPDATE SKIP LOCKED",
        );
        let rows = rows.bind(BATCH).fetch_all(&mut *connection).await?;
        let mut objects = Vec::with_capacity(rows.len());
        let mut numbers = Vec::with_capacity(rows.len());
        for row in &rows {
            let number: i64 = row.try_get("number")?;
            let vector: Vec<f32> = row.try_get("vector")?;
            let model: String = rows::required(row, "model")?;
            let collection = self.collection(&model, vector.len());
            self.ensure(&collection, &model).await?;
            let properties = Map::from_iter([(SCOPE.to_owned(), json!(row.try_get::<i64, _>("scope")?))]);
            let (vector, vectors) = (Some(vector), Map::new());
            let id = id_of(number);
            objects.push(NewObject { collection, id, properties, vector, vectors, tenant: None });
            numbers.push(number);
        }
        let added = self.weaviate.put_batch(&objects).await?;
        if let Some(error) = added.into_iter().find_map(|added| added.error) {
            // A collection that was removed behind our back is made again with the next try.
            self.collections.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return Err(Trouble::Refused(error));
        }
        sqlx::query("UPDATE mcp_memory.vectors SET told = true WHERE number = ANY($1)")
            .bind(&numbers)
            .execute(connection)
            .await?;
        Ok(i64::try_from(numbers.len()).unwrap_or(BATCH))
    }

    async fn tell_gone(&self, connection: &mut PgConnection) -> Result<i64, Trouble> {
        let rows = sqlx::query(
            "DELETE FROM mcp_memory.vectors_gone WHERE ctid IN
                (SELECT ctid FROM mcp_memory.vectors_gone LIMIT $1 FOR UPDATE SKIP LOCKED)
             RETURNING number, model, length",
        );
        let rows = rows.bind(BATCH).fetch_all(&mut *connection).await?;
        let mut gone: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for row in &rows {
            let length = usize::try_from(row.try_get::<i32, _>("length")?).unwrap_or_default();
            let collection = self.collection(&rows::required(row, "model")?, length);
            gone.entry(collection).or_default().push(row.try_get("number")?);
        }
        for (collection, numbers) in gone {
            for number in numbers {
                // One that has such a vector again was told of anew, or will be.
                if !self.holds(connection, number, &collection).await? {
                    self.weaviate.delete(&collection, id_of(number), None).await?;
                }
            }
        }
        Ok(i64::try_from(rows.len()).unwrap_or(BATCH))
    }

    /// Whether an entry's present vector belongs into this collection.
    async fn holds(
        &self,
        connection: &mut PgConnection,
        number: i64,
        collection: &str,
    ) -> Result<bool, Trouble> {
        let present: Option<(String, i32)> =
            sqlx::query_as("SELECT model, vector_dims(vector) FROM mcp_memory.vectors WHERE number = $1")
                .bind(number)
                .fetch_optional(connection)
                .await?;
        Ok(present.is_some_and(|(model, length)| {
            self.collection(&given(model), usize::try_from(length).unwrap_or_default()) == collection
        }))
    }

    /// The collection of a model's vectors: a name of its own for each database, model and length.
    fn collection(&self, model: &str, length: usize) -> String {
        let hash = Sha256::digest(format!("{}/{length}/{model}", self.database));
        format!("McpMemory_{}", hex(&hash[..10]))
    }

    /// Makes a collection that is not there.
    async fn ensure(&self, name: &str, model: &str) -> Result<(), Trouble> {
        let known = || self.collections.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(name) {
            return Ok(());
        }
        if self.weaviate.collection(name).await?.is_none() {
            let definition = json!({
                "class": name,
                "description": format!("Vectors of memories by the model {model}; made and filled by mcp-system"),
                "vectorizer": "none",
                "vectorIndexType": "hnsw",
                "vectorIndexConfig": {"distance": "cosine"},
                "properties": [{"name": SCOPE, "dataType": ["int"], "indexFilterable": true}],
            });
            let made = self.weaviate.create_collection(&definition).await;
            // Another replica may have been faster.
            if made.is_err() && self.weaviate.collection(name).await?.is_none() {
                made?;
            }
        }
        known().insert(name.to_owned());
        Ok(())
    }
}

/// An entry's number as an id; ids are exact where JSON's numbers are not.
const fn id_of(number: i64) -> Uuid {
    Uuid::from_u128(number.cast_unsigned() as u128)
}

fn number_of(id: &str) -> Option<i64> {
    let number = Uuid::parse_str(id).ok()?.as_u128();
    u64::try_from(number).ok().map(u64::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ids_are_the_same() {
        for number in [1, 1 << 40, i64::MAX] {
            assert_eq!(number_of(&id_of(number).to_string()), Some(number));
        }
        assert_eq!(number_of("ffffffff-0000-0000-0000-000000000001"), None);
    }
}
