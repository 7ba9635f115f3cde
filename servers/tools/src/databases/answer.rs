//! What a statement brought, within its bounds.

use crate::tool::Failure;
use futures::{Stream, TryStreamExt};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sqlx::Either;

/// The bounds of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_rows: usize,
    pub(crate) max_bytes: usize,
    pub(crate) seconds: u32,
}

/// The rows of a statement.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Answer {
    /// The columns, in order.
    pub(crate) columns: Vec<Column>,
    /// The rows: a value for each column.
    pub(crate) rows: Vec<Vec<Value>>,
    /// How many there are here.
    pub(crate) row_count: usize,
    /// What kept further rows out, when there were some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncated: Option<Truncated>,
    /// How many rows were written, by a statement that writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows_affected: Option<u64>,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its type, as the database calls it. Values that JSON has no form for come as text: exact numbers, times
    /// as ISO 8601, bytes as base64.
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

/// Which bound was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Truncated {
    /// The most rows of one answer.
    Rows,
    /// The most bytes of one answer.
    Bytes,
}

/// Collects rows up to the bounds.
#[derive(Debug)]
struct Collector {
    answer: Answer,
    bounds: Bounds,
    bytes: usize,
}

impl Collector {
    fn new(bounds: Bounds) -> Self {
        Self { answer: Answer::default(), bounds, bytes: 0 }
    }

    /// Takes a row, unless what the database sent for it is too much already; says whether there is room for more.
    fn push(&mut self, sent: usize, row: impl FnOnce() -> Vec<Value>) -> bool {
        self.answer.truncated = if self.answer.rows.len() >= self.bounds.max_rows {
            Some(Truncated::Rows)
        } else if sent > self.bounds.max_bytes {
            Some(Truncated::Bytes)
        } else {
            self.keep(row())
        };
        self.answer.truncated.is_none()
    }

    fn keep(&mut self, row: Vec<Value>) -> Option<Truncated> {
        let bytes: usize = row.iter().map(weight).sum();
        if self.bytes + bytes > self.bounds.max_bytes {
            return Some(Truncated::Bytes);
        }
        self.bytes += bytes;
        self.answer.rows.push(row);
        self.answer.row_count += 1;
        None
    }
}

/// What a statement brings, up to the bounds: how many rows it wrote, or a row. One that writes is carried on to its end,
/// whatever comes of its rows: only then is all of it done. `sent` tells the bytes of a row as the database sent it.
pub(super) async fn collected<Row>(
    found: impl Stream<Item = Result<Either<u64, Row>, sqlx::Error>>,
    write: bool,
    bounds: Bounds,
    columns: impl Fn(&Row) -> Vec<Column>,
    sent: impl Fn(&Row) -> usize,
    values: impl Fn(&Row) -> Vec<Value>,
) -> Result<Answer, sqlx::Error> {
    let mut found = std::pin::pin!(found);
    let mut collector = Collector::new(bounds);
    let mut affected = 0;
    while let Some(next) = found.try_next().await? {
        match next {
            Either::Left(rows) => affected += rows,
            Either::Right(row) => {
                if collector.answer.columns.is_empty() {
                    collector.answer.columns = columns(&row);
                }
                if !collector.push(sent(&row), || values(&row)) && !write {
                    break;
                }
            }
        }
    }
    Ok(Answer { rows_affected: write.then_some(affected), ..collector.answer })
}

/// What a value takes as JSON, roughly.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 3,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 3,
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + 4 + weight(value)).sum::<usize>() + 3
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

pub(super) fn too_slow(seconds: u32) -> Failure {
    Failure(format!("the statement took longer than {seconds} seconds and was ended; ask for less"))
}

/// A number as JSON has it; what JSON has no form for is text.
pub(super) fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_and_bytes_are_bounded() {
        let mut collector = Collector::new(Bounds { max_rows: 2, max_bytes: 100, seconds: 1 });
        assert!(collector.push(8, || vec![json!(1)]) && collector.push(8, || vec![json!(2)]));
        assert!(!collector.push(8, || vec![json!(3)]));
        assert_eq!((collector.answer.row_count, collector.answer.truncated), (2, Some(Truncated::Rows)));
        for sent in [50, 200] {
            let mut collector = Collector::new(Bounds { max_rows: 9, max_bytes: 100, seconds: 1 });
            assert!(!collector.push(sent, || {
                assert!(sent <= 100, "a row that is too large is not looked at");
                vec![json!("x".repeat(200))]
            }));
            assert_eq!((collector.answer.row_count, collector.answer.truncated), (0, Some(Truncated::Bytes)));
        }
    }

    #[test]
    fn numbers_that_json_has_not_are_text() {
        assert_eq!(
            [float(1.5), float(f64::NAN), float(f64::INFINITY)],
            [json!(1.5), json!("NaN"), json!("inf")]
        );
    }
}
