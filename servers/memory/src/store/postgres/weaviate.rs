//! Weaviate beside the database, as an index of the vectors: for scopes that are too large for the engine's memory, and
//! for those who run it anyway.
//!
//! The database stays the record. It notes which vectors Weaviate has not been told of and which it has to forget
//! (`migrations/3_vector_index.up.sql`), and a task tells it, however often one of the two was down; a collection that
//! Weaviate has lost is filled anew once somebody misses it. What a search offers is read from the database, so that an answer of Weaviate that is behind shows nothing that is gone.

use super::access::{self, Access};
use super::bounds;
use super::locks;
use super::rows;
use super::text::{given, kept};
use crate::hex::hex;
use crate::store::StoreError;
use futures::TryFutureExt;
use mcp_system_weaviate::{
    Error, Filter, NearVector, Nearness, NewObject, Operator, Returned, Schema, Search, Weaviate,
};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool, Row};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use uuid::Uuid;

/// Vectors that it is told of at once.
const BATCH: u8 = 100;
/// How often the task looks for what other replicas left untold, and the pause after a failure.
const EVERY: Duration = Duration::from_secs(15);
/// How long another replica is left to tell.
const ELSEWHERE: Duration = Duration::from_secs(1);
/// Vectors that are looked through at once for those of a collection that is lost: of all together, the deadline would make an end.
const LOOKED_AT: i64 = 10_000;

/// The property that holds an entry's scope; its number is in the id.
const SCOPE: &str = "scope";

/// Weaviate, as an index of one database's vectors.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) weaviate: Arc<Weaviate>,
    /// The database's own name, so that several may share a Weaviate.
    database: Uuid,
    /// Models, with the length of their vectors, whose collection a search missed.
    missed: Mutex<BTreeSet<(String, usize)>>,
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
    Database(StoreError),
}

impl From<access::Trouble> for Trouble {
    fn from(trouble: access::Trouble) -> Self {
        Self::Database(trouble.into())
    }
}

/// How far the telling is.
enum Told {
    /// There may be more.
    More,
    All,
    /// Another replica does it.
    Elsewhere,
}

impl Elsewhere {
    /// Weaviate as the index of the database behind this pool.
    pub(super) async fn of(weaviate: Arc<Weaviate>, pool: &PgPool) -> Result<Self, sqlx::Error> {
        let database = sqlx::query_scalar("SELECT id::text FROM mcp_memory.vector_index LIMIT 1");
        let database: String = database.fetch_one(pool).await?;
        let database = Uuid::parse_str(&database).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(Self { weaviate, database, missed: Mutex::default(), news: Notify::new() })
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
        let Some(collection) = self.weaviate.collection(&name).await? else {
            self.missed().insert((model.to_owned(), vector.len()));
            return Ok(Vec::new());
        };
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
    pub(super) async fn tell(&self, access: &Access) {
        let mut failed = false;
        loop {
            match self.tell_some(access).await {
                Ok(Told::More) => {}
                Ok(Told::All) => {
                    failed = false;
                    let _ = tokio::time::timeout(EVERY, self.news.notified()).await;
                }
                Ok(Told::Elsewhere) => tokio::time::sleep(ELSEWHERE).await,
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(%error, "Weaviate is behind with the vectors; it is told later");
                    }
                    // A failure is not made good by news.
                    tokio::time::sleep(EVERY).await;
                }
            }
        }
    }

    /// Tells of a few, on a connection that is closed where the database fails.
    async fn tell_some(&self, access: &Access) -> Result<Told, Trouble> {
        let mut lent = access.connection().await?;
        let told = self.tell_by(access, &mut lent).await;
        if !matches!(told, Err(Trouble::Database(_))) {
            lent.give_back();
        }
        told
    }

    /// Only one replica does so at a time, but nobody who writes waits for it: until all is told, it only reads. The database
    /// has its deadline for each answer, since Weaviate is waited for in between.
    async fn tell_by(&self, access: &Access, connection: &mut PgConnection) -> Result<Told, Trouble> {
        let missed = std::mem::take(&mut *self.missed());
        for (model, length) in missed {
            if !self.is_there(&self.collection(&model, length)).await? {
                untell(access, connection, &model, length).await?;
            }
        }
        let mut transaction = ask(access, bounds::begin(connection, "")).await?;
        if !ask(access, claim(&mut transaction)).await? {
            return Ok(Told::Elsewhere);
        }
        let new = ask(access, untold(&mut transaction)).await?;
        let gone = ask(access, gone(&mut transaction)).await?;
        if let Some((model, length)) = self.without_collection(&new).await? {
            ask(access, transaction.rollback()).await?;
            // It may be one that was lost. In this order: what breaks off in between is noticed again.
            untell(access, connection, model, length).await?;
            self.make(model, length).await?;
            return Ok(Told::More);
        }
        self.put(&new).await?;
        self.forget(access, &mut transaction, &gone).await?;
        ask(access, note_told(&mut transaction, &new)).await?;
        ask(access, note_forgotten(&mut transaction, &gone)).await?;
        ask(access, transaction.commit()).await?;
        let most = usize::from(BATCH);
        Ok(if new.len() == most || gone.len() == most { Told::More } else { Told::All })
    }

    async fn put(&self, new: &[Untold]) -> Result<(), Trouble> {
        let objects = new.iter().map(|untold| NewObject {
            collection: self.collection(&untold.model, untold.vector.len()),
            id: id_of(untold.number),
            properties: Map::from_iter([(SCOPE.to_owned(), json!(untold.scope))]),
            vector: Some(untold.vector.clone()),
            vectors: Map::new(),
            tenant: None,
        });
        let added = self.weaviate.put_batch(&objects.collect::<Vec<_>>()).await?;
        match added.into_iter().find_map(|added| added.error) {
            Some(error) => Err(Trouble::Refused(error)),
            None => Ok(()),
        }
    }

    async fn forget(
        &self,
        access: &Access,
        connection: &mut PgConnection,
        gone: &[Gone],
    ) -> Result<(), Trouble> {
        let mut collections: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for gone in gone {
            collections.entry(self.collection(&gone.model, gone.length)).or_default().push(gone.number);
        }
        for (collection, numbers) in collections {
            if !self.is_there(&collection).await? {
                continue;
            }
            for number in numbers {
                // One that has such a vector again was told of anew, or will be.
                if !ask(access, self.holds(connection, number, &collection)).await? {
                    self.weaviate.delete(&collection, id_of(number), None).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether an entry's present vector belongs into this collection.
    async fn holds(
        &self,
        connection: &mut PgConnection,
        number: i64,
        collection: &str,
    ) -> Result<bool, sqlx::Error> {
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

    async fn is_there(&self, collection: &str) -> Result<bool, Error> {
        Ok(self.weaviate.collection(collection).await?.is_some())
    }

    /// The model and the length of some of these vectors whose collection is not there.
    async fn without_collection<'a>(&self, new: &'a [Untold]) -> Result<Option<(&'a str, usize)>, Error> {
        let kinds: BTreeSet<(&str, usize)> =
            new.iter().map(|untold| (untold.model.as_str(), untold.vector.len())).collect();
        for (model, length) in kinds {
            if !self.is_there(&self.collection(model, length)).await? {
                return Ok(Some((model, length)));
            }
        }
        Ok(None)
    }

    async fn make(&self, model: &str, length: usize) -> Result<(), Error> {
        let name = self.collection(model, length);
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
        if made.is_err() && self.is_there(&name).await? {
            return Ok(());
        }
        made
    }

    fn missed(&self) -> MutexGuard<'_, BTreeSet<(String, usize)>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A vector that Weaviate was not told of.
#[derive(Debug)]
struct Untold {
    number: i64,
    scope: i64,
    model: String,
    vector: Vec<f32>,
    /// Tells this state of its row from any other.
    state: String,
}

/// A vector that Weaviate has to forget.
#[derive(Debug)]
struct Gone {
    number: i64,
    model: String,
    length: usize,
    /// Where its row lies.
    place: String,
}

/// What the database answers, unless it falls silent.
async fn ask<T>(access: &Access, asking: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Trouble> {
    Ok(access.in_time(asking.map_err(access::Trouble::from)).await?)
}

/// Takes the telling until the end of the transaction, unless another replica has it.
async fn claim(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let claim = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)").bind(locks::TELLING);
    claim.fetch_one(connection).await
}

async fn untold(connection: &mut PgConnection) -> Result<Vec<Untold>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT number, scope, model, vector::real[] AS vector, xmin::text AS state FROM mcp_memory.vectors
         WHERE NOT told ORDER BY number LIMIT $1",
    );
    let rows = rows.bind(i64::from(BATCH)).fetch_all(connection).await?;
    let untold = rows.iter().map(|row| {
        Ok(Untold {
            number: row.try_get("number")?,
            scope: row.try_get("scope")?,
            model: rows::required(row, "model")?,
            vector: row.try_get("vector")?,
            state: row.try_get("state")?,
        })
    });
    untold.collect()
}

async fn gone(connection: &mut PgConnection) -> Result<Vec<Gone>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT number, model, length, ctid::text AS place FROM mcp_memory.vectors_gone LIMIT $1",
    );
    let rows = rows.bind(i64::from(BATCH)).fetch_all(connection).await?;
    let gone = rows.iter().map(|row| {
        Ok(Gone {
            number: row.try_get("number")?,
            model: rows::required(row, "model")?,
            length: usize::try_from(row.try_get::<i32, _>("length")?).unwrap_or_default(),
            place: row.try_get("place")?,
        })
    });
    gone.collect()
}

/// Notes that Weaviate knows no vector of a model and length: it has lost them, or never had any.
pub(super) async fn untell(
    access: &Access,
    connection: &mut PgConnection,
    model: &str,
    length: usize,
) -> Result<(), Trouble> {
    let (mut after, mut untold) = (0, 0);
    while let Some(end) = ask(access, end_of_portion(connection, after)).await? {
        untold += ask(access, untell_portion(connection, (after, end), model, length)).await?;
        after = end;
    }
    if untold > 0 {
        tracing::warn!(untold, model, "Weaviate has lost vectors; it is told of them again");
    }
    Ok(())
}

/// The last number of the vectors that are looked through next.
async fn end_of_portion(connection: &mut PgConnection, after: i64) -> Result<Option<i64>, sqlx::Error> {
    let end = sqlx::query_scalar(
        "SELECT max(number) FROM
             (SELECT number FROM mcp_memory.vectors WHERE number > $1 ORDER BY number LIMIT $2) AS next",
    );
    end.bind(after).bind(LOOKED_AT).fetch_one(connection).await
}

/// Does it for the vectors after a number, up to another; answers how many there were.
async fn untell_portion(
    connection: &mut PgConnection,
    (after, end): (i64, i64),
    model: &str,
    length: usize,
) -> Result<u64, sqlx::Error> {
    let untold = sqlx::query(
        "UPDATE mcp_memory.vectors SET told = false
         WHERE number > $1 AND number <= $2 AND told AND model = $3 AND vector_dims(vector) = $4",
    );
    let untold = untold.bind(after).bind(end).bind(kept(model)).bind(to_integer(length));
    Ok(untold.execute(connection).await?.rows_affected())
}

/// Notes what Weaviate was told of. A vector that was deleted or replaced meanwhile is one that it has to forget, unless it
/// is told of the new one.
async fn note_told(connection: &mut PgConnection, new: &[Untold]) -> Result<(), sqlx::Error> {
    let told: Vec<i64> = sqlx::query_scalar(
        "UPDATE mcp_memory.vectors AS v SET told = true FROM unnest($1::bigint[], $2::text[]) AS seen (number, state)
         WHERE v.number = seen.number AND v.xmin::text = seen.state RETURNING v.number",
    )
    .bind(new.iter().map(|untold| untold.number).collect::<Vec<i64>>())
    .bind(new.iter().map(|untold| untold.state.clone()).collect::<Vec<String>>())
    .fetch_all(&mut *connection)
    .await?;
    let told: HashSet<i64> = told.into_iter().collect();
    let void: Vec<&Untold> = new.iter().filter(|untold| !told.contains(&untold.number)).collect();
    if void.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO mcp_memory.vectors_gone (number, model, length)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::integer[])",
    )
    .bind(void.iter().map(|untold| untold.number).collect::<Vec<i64>>())
    .bind(void.iter().map(|untold| kept(&untold.model).into_owned()).collect::<Vec<String>>())
    .bind(void.iter().map(|untold| to_integer(untold.vector.len())).collect::<Vec<i32>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn note_forgotten(connection: &mut PgConnection, gone: &[Gone]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM mcp_memory.vectors_gone WHERE ctid = ANY($1::text[]::tid[])")
        .bind(gone.iter().map(|gone| gone.place.clone()).collect::<Vec<String>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn to_integer(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
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
