//! Finding by the database's own indexes: words by GIN, vectors by HNSW.

use super::access::Trouble;
use super::bounds;
use super::reads::{Place, push_filter};
use super::rows::{self, INDEXED};
use super::text::kept;
use crate::model::{Filter, Indexed};
use crate::store::Wanted;
use sqlx::{PgConnection, Postgres, QueryBuilder};

/// The longest vectors that pgvector's HNSW takes as they are, and in half precision.
const FULL_PRECISION: usize = 2000;
const HALF_PRECISION: usize = 4000;

/// See [`crate::store::Store::candidates`]: the best by words and the best by vectors, each once. `nearest` are the
/// latter where another index has found them.
pub(super) async fn candidates(
    connection: &mut PgConnection,
    place: Place,
    wanted: &Wanted<'_>,
    nearest: Option<&[i64]>,
) -> Result<Vec<Indexed>, Trouble> {
    let mut bounded = bounds::begin(connection, "READ ONLY").await?;
    let mut numbers = by_words(&mut bounded, place, wanted).await?;
    if let Some(nearest) = nearest {
        numbers.extend(nearest);
    } else if let Some((model, vector)) = wanted.dense {
        numbers.extend(by_vector(&mut bounded, place, wanted, model, vector).await?);
    }
    at(&mut bounded, place, &numbers, wanted).await
}

/// The entries at these places that the filter lets through.
async fn at(
    connection: &mut PgConnection,
    place: Place,
    numbers: &[i64],
    wanted: &Wanted<'_>,
) -> Result<Vec<Indexed>, Trouble> {
    let model = wanted.dense.map(|(model, _)| kept(model));
    let mut query = QueryBuilder::<Postgres>::new("SELECT ");
    query.push(INDEXED).push(
        " FROM mcp_memory.entries AS e LEFT JOIN mcp_memory.vectors AS v ON v.number = e.number AND v.model = ",
    );
    query.push_bind(model).push(" WHERE e.scope = ").push_bind(place.scope);
    query.push(" AND e.archived_at IS NULL AND e.number = ANY(").push_bind(numbers).push(")");
    push_filter(&mut query, wanted.filter);
    let rows = query.build().fetch_all(connection).await?;
    Ok(rows.iter().map(rows::indexed).collect::<Result<_, sqlx::Error>>()?)
}

/// The numbers of the entries that share words with the query, best first.
async fn by_words(
    connection: &mut PgConnection,
    place: Place,
    wanted: &Wanted<'_>,
) -> Result<Vec<i64>, sqlx::Error> {
    // One word is enough: a question holds words that no answer does.
    let mut query =
        QueryBuilder::<Postgres>::new("WITH asked AS (SELECT replace(plainto_tsquery('english', ");
    query.push_bind(kept(wanted.text)).push(
        ")::text, '&', '|')::tsquery AS words)
         SELECT e.number FROM mcp_memory.entries AS e, asked WHERE e.words @@ asked.words AND e.archived_at IS NULL AND e.scope = ",
    );
    query.push_bind(place.scope);
    push_filter(&mut query, wanted.filter);
    query
        .push(" ORDER BY ts_rank_cd(e.words, asked.words, 1) DESC, e.number DESC LIMIT ")
        .push_bind(i64::from(wanted.limit));
    query.build_query_scalar().fetch_all(connection).await
}

/// The numbers of the entries whose vectors are nearest. Within a transaction, with which a setting ends.
async fn by_vector(
    transaction: &mut PgConnection,
    place: Place,
    wanted: &Wanted<'_>,
    model: &str,
    vector: &[f32],
) -> Result<Vec<i64>, sqlx::Error> {
    // Filters and scopes leave out what the index finds first: it goes on until there are enough.
    sqlx::query("SET LOCAL hnsw.iterative_scan = 'strict_order'").execute(&mut *transaction).await?;
    // The model stands in the statement, not beside it: only so is its partial index used.
    let model: String =
        sqlx::query_scalar("SELECT quote_literal($1)").bind(kept(model)).fetch_one(&mut *transaction).await?;
    let kind = Kind::of(vector.len());
    let mut query = QueryBuilder::<Postgres>::new("SELECT v.number FROM mcp_memory.vectors AS v ");
    let narrowed = *wanted.filter != Filter::default();
    query.push("JOIN mcp_memory.entries AS e ON e.number = v.number WHERE v.model = ").push(model);
    query.push(" AND v.scope = ").push_bind(place.scope).push(" AND e.archived_at IS NULL");
    if narrowed {
        push_filter(&mut query, wanted.filter);
    }
    query.push(" ORDER BY v.vector::").push(kind.cast(vector.len())).push(" <=> ");
    query.push_bind(rows::vector(vector)).push("::").push(kind.cast(vector.len()));
    query.push(" LIMIT ").push_bind(i64::from(wanted.limit));
    query.build_query_scalar().fetch_all(transaction).await
}

/// How a vector is indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Full,
    Half,
    /// Too long for an index: each is looked at.
    None,
}

impl Kind {
    const fn of(length: usize) -> Self {
        match length {
            0..=FULL_PRECISION => Self::Full,
            _ if length <= HALF_PRECISION => Self::Half,
            _ => Self::None,
        }
    }

    fn cast(self, length: usize) -> String {
        match self {
            Self::Full | Self::None => format!("vector({length})"),
            Self::Half => format!("halfvec({length})"),
        }
    }
}

/// Makes the HNSW index of a model's vectors, if it is not there.
pub(super) async fn ensure_index(
    connection: &mut PgConnection,
    model: &str,
    length: usize,
) -> Result<(), sqlx::Error> {
    let kind = Kind::of(length);
    if kind == Kind::None || length == 0 {
        return Ok(());
    }
    let (name, literal): (String, String) =
        sqlx::query_as("SELECT 'vectors_' || left(md5($1 || '/' || $2::text), 16), quote_literal($1)")
            .bind(kept(model))
            .bind(i64::try_from(length).unwrap_or(i64::MAX))
            .fetch_one(&mut *connection)
            .await?;
    let operators = if kind == Kind::Half { "halfvec_cosine_ops" } else { "vector_cosine_ops" };
    let cast = kind.cast(length);
    let mut transaction = bounds::begin_unbound(connection).await?;
    // Two that make it at once would both fail; the lock ends with the transaction.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext($1))").bind(&name).execute(&mut *transaction).await?;
    let mut statement = QueryBuilder::<Postgres>::new("CREATE INDEX IF NOT EXISTS ");
    statement.push(&name).push(" ON mcp_memory.vectors USING hnsw ((vector::").push(&cast).push(") ");
    statement.push(operators).push(") WHERE model = ").push(literal);
    statement.build().execute(&mut *transaction).await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_vector_is_indexed_at_half_precision_and_a_longer_one_not_at_all() {
        assert_eq!(Kind::of(384).cast(384), "vector(384)");
        assert_eq!(Kind::of(3072).cast(3072), "halfvec(3072)");
        assert_eq!(Kind::of(4001), Kind::None);
    }
}
