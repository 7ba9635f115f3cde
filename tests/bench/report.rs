//! Figures as Markdown. Pure.

use std::fmt::Write;

use crate::clock::Spread;
use crate::memory::{AtSize, Figures};

/// One figure of a size: what it is called, and how it is read.
type Row = (&'static str, fn(&AtSize) -> Option<f64>);

/// Larger is better for the first, smaller for the others.
const ROWS: [Row; 12] = [
    ("searches a second, 32 callers", |at| at.searches_per_second),
    ("search, distinct queries: p50, ms", |at| at.search_ms.map(|spread| spread.p50)),
    ("search, distinct queries: p95, ms", |at| at.search_ms.map(|spread| spread.p95)),
    ("search, distinct queries: p99, ms", |at| at.search_ms.map(|spread| spread.p99)),
    ("search, cached: p50, ms", |at| at.cached_ms.map(|spread| spread.p50)),
    ("store: p50, ms", |at| at.store_ms.map(|spread| spread.p50)),
    ("batch of 1,000, ms", |at| at.batch_ms),
    ("processor time of a search, µs", |at| at.search_cpu_us),
    ("processor time of a store, µs", |at| at.store_cpu_us),
    ("RSS, MiB", |at| Some(at.resident_mib)),
    ("RSS after a restart, MiB", |at| Some(at.restarted_mib)),
    ("start of the process to first answer, ms", |at| Some(at.restart_ms)),
];

/// The figures of one server by themselves, as they come.
pub(crate) fn rows(figures: &Figures) -> String {
    let mut text = format!(
        "{}: first answer {} ms after the start, {} MiB empty\n",
        figures.server,
        short(figures.start_ms),
        short(figures.empty_mib)
    );
    for at in &figures.sizes {
        let spread = |spread: Option<Spread>| {
            spread.map_or("none".to_owned(), |it| {
                format!("{}/{}/{} ms of {}", short(it.p50), short(it.p95), short(it.p99), it.count)
            })
        };
        let _ = writeln!(
            text,
            "  {} memories ({} stores/s): search {}, cached {}, store {}, batch {} ms, {} searches/s, RSS {} MiB",
            at.memories,
            short(at.filled_per_second),
            spread(at.search_ms),
            spread(at.cached_ms),
            spread(at.store_ms),
            at.batch_ms.map_or("none".to_owned(), short),
            at.searches_per_second.map_or("none".to_owned(), short),
            short(at.resident_mib)
        );
    }
    text
}

/// A table a size: a column a server, ratios to the first one, which is ours.
pub(crate) fn table(all: &[Figures]) -> String {
    let mut sizes: Vec<usize> = all.iter().flat_map(|figures| &figures.sizes).map(|at| at.memories).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut text = head(all);
    let of_each =
        |read: fn(&Figures) -> f64| all.iter().map(|figures| Some(read(figures))).collect::<Vec<_>>();
    text += &line("start without data to first answer, ms", &of_each(|figures| figures.start_ms));
    text += &line("RSS without data, at rest, MiB", &of_each(|figures| figures.empty_mib));
    for size in sizes {
        let at: Vec<Option<&AtSize>> =
            all.iter().map(|figures| figures.sizes.iter().find(|at| at.memories == size)).collect();
        for (name, read) in ROWS {
            let values: Vec<Option<f64>> = at.iter().map(|at| at.and_then(read)).collect();
            if values.iter().any(Option::is_some) {
                text += &line(&format!("{size} memories: {name}"), &values);
            }
        }
    }
    for figures in all.iter().filter(|figures| !figures.note.is_empty()) {
        let _ = writeln!(text, "\n{}: {}.", figures.server, figures.note);
    }
    text
}

fn head(all: &[Figures]) -> String {
    let names: Vec<&str> = all.iter().map(|figures| figures.server).collect();
    format!("\n| figure | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()))
}

/// A row; behind each value but the first how many times the first it is.
fn line(name: &str, values: &[Option<f64>]) -> String {
    let ours = values.first().copied().flatten().filter(|ours| *ours > 0.0);
    let cells: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(column, value)| match (value, ours) {
            (None, _) => "–".to_owned(),
            (Some(value), Some(ours)) if column > 0 => {
                format!("{} (× {})", short(*value), short(value / ours))
            }
            (Some(value), _) => short(*value),
        })
        .collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

/// Three figures that count.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}
