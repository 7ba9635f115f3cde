//! What became of the last change to each followed file, as metrics and health tell it.

use crate::metrics::Metrics;
use prometheus::{IntCounterVec, IntGaugeVec};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in force, but for these fields, which need a restart.
    Applied { needs_restart: Vec<String> },
    /// The old content stays in force.
    Rejected(String),
}

/// The last verdict on each file. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Told(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    verdicts: RwLock<BTreeMap<&'static str, Verdict>>,
    successful: IntGaugeVec,
    success_time: IntGaugeVec,
    reloads: IntCounterVec,
    restart: IntGaugeVec,
}

impl Told {
    pub(crate) fn new(metrics: &Metrics) -> prometheus::Result<Self> {
        Ok(Self(Arc::new(Inner {
            verdicts: RwLock::default(),
            successful: metrics.gauge(
                "config_last_reload_successful",
                "1 while what the file holds is in force, 0 while an older content is",
                &["file"],
            )?,
            success_time: metrics.gauge(
                "config_last_reload_success_timestamp_seconds",
                "When the content that is in force was taken over",
                &["file"],
            )?,
            reloads: metrics.counter(
                "config_reloads_total",
                "Changes of the file, by what became of them",
                &["file", "outcome"],
            )?,
            restart: metrics.gauge(
                "config_restart_required",
                "1 while the file holds settings that only a restart puts in force",
                &["file"],
            )?,
        })))
    }

    /// The content with which the server began.
    pub(crate) fn began(&self, file: &'static str) {
        // A counter that is not there before its first count hides that first one from `increase`.
        for outcome in ["applied", "rejected"] {
            self.0.reloads.with_label_values(&[file, outcome]);
        }
        self.set(file, Verdict::Applied { needs_restart: Vec::new() });
    }

    /// A change, and what became of it.
    pub(crate) fn tell(&self, file: &'static str, verdict: Verdict) {
        let outcome = match &verdict {
            Verdict::Applied { needs_restart } => {
                if needs_restart.is_empty() {
                    tracing::info!(file, "a changed file is in force");
                } else {
                    let fields = needs_restart.join(", ");
                    tracing::warn!(
                        file,
                        fields,
                        "a changed file is in force but for these fields, which need a restart"
                    );
                }
                "applied"
            }
            Verdict::Rejected(error) => {
                tracing::error!(
                    file,
                    error,
                    "a changed file cannot be used; what it held before stays in force"
                );
                "rejected"
            }
        };
        self.0.reloads.with_label_values(&[file, outcome]).inc();
        self.set(file, verdict);
    }

    fn set(&self, file: &'static str, verdict: Verdict) {
        let applied = matches!(verdict, Verdict::Applied { .. });
        self.0.successful.with_label_values(&[file]).set(applied.into());
        if let Verdict::Applied { needs_restart } = &verdict {
            self.0.success_time.with_label_values(&[file]).set(jiff::Timestamp::now().as_second());
            self.0.restart.with_label_values(&[file]).set((!needs_restart.is_empty()).into());
        }
        self.0.verdicts.write().unwrap_or_else(PoisonError::into_inner).insert(file, verdict);
    }

    /// Whether an older content than a file's present one is in force.
    pub(crate) fn any_rejected(&self) -> bool {
        let verdicts = self.0.verdicts.read().unwrap_or_else(PoisonError::into_inner);
        verdicts.values().any(|verdict| matches!(verdict, Verdict::Rejected(_)))
    }

    /// What health shows, by file.
    pub(crate) fn report(&self) -> Value {
        let verdicts = self.0.verdicts.read().unwrap_or_else(PoisonError::into_inner);
        let shown = verdicts.iter().map(|(file, verdict)| {
            let shown = match verdict {
                Verdict::Applied { needs_restart } if needs_restart.is_empty() => {
                    json!({"status": "current"})
                }
                Verdict::Applied { needs_restart } => json!({
                    "status": "restart_required",
                    "fields": needs_restart,
                }),
                Verdict::Rejected(message) => json!({"status": "rejected", "message": message}),
            };
            ((*file).to_owned(), shown)
        });
        Value::Object(shown.collect::<Map<_, _>>())
    }
}
