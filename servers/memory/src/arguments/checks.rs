//! Single arguments: usable values, or words on what to change.

use super::{DEFAULT_LIMIT, Limits, MAX_LIMIT, MAX_NAME, MAX_QUERY, MAX_TTL_HOURS, Unusable, unusable};
use crate::engine::Rules;
use crate::model::Before;
use crate::moment::Moment;
use rmcp::model::JsonObject;

/// An id or a kind: some text, not too long.
pub(crate) fn name(argument: &'static str, text: String) -> Result<String, Unusable> {
    if text.trim().is_empty() {
        return Err(unusable(argument, "is empty; give it some text"));
    }
    if text.len() > MAX_NAME {
        return Err(unusable(
            argument,
            format!("has {} bytes; the most that can be used is {MAX_NAME}", text.len()),
        ));
    }
    Ok(text)
}

/// An id or a kind that may be missing.
pub(crate) fn optional(argument: &'static str, text: Option<String>) -> Result<Option<String>, Unusable> {
    text.map(|text| name(argument, text)).transpose()
}

/// A content or a message.
pub(crate) fn content(argument: &'static str, text: String, limits: Limits) -> Result<String, Unusable> {
    if text.trim().is_empty() {
        return Err(unusable(argument, "is empty; there is nothing to store"));
    }
    fits(argument, text.len(), limits)?;
    Ok(text)
}

/// What to search for: any text, as long as a page or two.
pub(super) fn query(text: String) -> Result<String, Unusable> {
    if text.len() > MAX_QUERY {
        let bytes = text.len();
        return Err(unusable(
            "query",
            format!("has {bytes} bytes; the most that can be used is {MAX_QUERY}"),
        ));
    }
    Ok(text)
}

/// A context or metadata.
pub(crate) fn object(
    argument: &'static str,
    object: Option<JsonObject>,
    limits: Limits,
) -> Result<Option<JsonObject>, Unusable> {
    if let Some(object) = &object {
        let text = serde_json::to_string(object).map_err(|error| unusable(argument, error.to_string()))?;
        fits(argument, text.len(), limits)?;
    }
    Ok(object)
}

fn fits(argument: &'static str, bytes: usize, limits: Limits) -> Result<(), Unusable> {
    let max = limits.max_content_bytes;
    if bytes > max {
        return Err(unusable(
            argument,
            format!("has {bytes} bytes; this server takes at most {max}, so split it"),
        ));
    }
    Ok(())
}

/// A number from 0 to 1.
pub(crate) fn fraction(argument: &'static str, number: f64) -> Result<f64, Unusable> {
    if (0.0..=1.0).contains(&number) {
        return Ok(number);
    }
    Err(unusable(argument, format!("is {number}; it must be a number from 0 to 1")))
}

/// How many entries to return.
pub(crate) fn limit(limit: Option<u32>) -> Result<u32, Unusable> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(limit);
    }
    Err(unusable("limit", format!("is {limit}; it must be a number from 1 to {MAX_LIMIT}")))
}

/// How long a session lives.
pub(crate) fn ttl_hours(hours: Option<u32>, limits: Limits) -> Result<u32, Unusable> {
    let hours = hours.unwrap_or(limits.session_ttl_hours);
    if (1..=MAX_TTL_HOURS).contains(&hours) {
        return Ok(hours);
    }
    Err(unusable("ttl_hours", format!("is {hours}; it must be a number from 1 to {MAX_TTL_HOURS}")))
}

/// The point before which a history is read. What is no time is taken for a message's id.
pub(crate) fn before(text: Option<String>) -> Result<Option<Before>, Unusable> {
    let Some(text) = optional("before", text)? else { return Ok(None) };
    Ok(Some(text.parse().map_or_else(|_| Before::Message(text), Before::Moment)))
}

pub(super) fn moment(argument: &'static str, text: &str) -> Result<Moment, Unusable> {
    text.parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        unusable(
            argument,
            format!("is {text:?}; it must be a time such as 2026-11-23T09:00:00Z or 2026-11-23"),
        )
    })
}

/// The most memories of one batch.
const MAX_MEMORIES: usize = 1000;

/// How many entries a call brings.
pub(crate) fn batch(argument: &'static str, count: usize) -> Result<(), Unusable> {
    if (1..=MAX_MEMORIES).contains(&count) {
        return Ok(());
    }
    Err(unusable(argument, format!("has {count} entries; it must have from 1 to {MAX_MEMORIES}")))
}

/// What an optimisation may put away.
pub(crate) fn rules(
    compact_threshold: Option<f64>,
    archive_below: Option<f64>,
    archive_after_days: Option<u32>,
    now: Moment,
) -> Result<Rules, Unusable> {
    let threshold = fraction("compact_threshold", compact_threshold.unwrap_or(0.9))?;
    if threshold < 0.5 {
        return Err(unusable(
            "compact_threshold",
            format!("is {threshold}; below 0.5 nothing is alike, so it must be from 0.5 to 1"),
        ));
    }
    let days = i64::from(archive_after_days.unwrap_or(90));
    Ok(Rules {
        // A memory is like itself but for rounding.
        #[allow(clippy::cast_possible_truncation, reason = "a threshold, not an account")]
        compact_threshold: threshold as f32 - 1e-3,
        archive_below: fraction("archive_below", archive_below.unwrap_or(0.2))?,
        old_before: Moment(now.0.saturating_sub(days.saturating_mul(86_400_000_000))),
    })
}
