//! A page of entries out of the rows of any database.

use crate::model::{Entry, Filling, Page};
use futures::{Stream, TryStreamExt};
use std::pin::pin;

/// Takes rows until they are too heavy; the first is always taken.
pub(super) async fn page<R>(
    rows: impl Stream<Item = Result<R, sqlx::Error>>,
    entry: fn(&R) -> Result<Entry, sqlx::Error>,
) -> Result<Page<Entry>, sqlx::Error> {
    let mut rows = pin!(rows);
    let mut page = Filling::new();
    while let Some(row) = rows.try_next().await? {
        let entry = entry(&row)?;
        let bytes = entry.weight();
        if !page.take(entry, bytes) {
            break;
        }
    }
    Ok(page.into_page())
}
