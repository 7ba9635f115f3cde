//! Has systems looked at: by a few workers, once this operator leads and everything was listed.
//!
//! Must not know what a look does.

use crate::error::Error;
use crate::kind::SystemKey;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::reconcile::{Context, Looked, Next, reconcile};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

/// Every system is looked at so often, though nothing was told of. At rest that reads and writes nothing.
const RESYNC: Duration = Duration::from_mins(10);

/// Works until it is told to stop; looks that were begun are finished.
pub(crate) async fn work(context: Arc<Context>, queue: Arc<Queue>, workers: usize, stopped: Receiver<bool>) {
    let mut running = JoinSet::new();
    for _ in 0..workers.max(1) {
        running.spawn(worker(context.clone(), queue.clone(), stopped.clone()));
    }
    let mut background = JoinSet::new();
    background.spawn(resync(context, queue));
    while running.join_next().await.is_some() {}
}

async fn resync(context: Arc<Context>, queue: Arc<Queue>) {
    loop {
        tokio::time::sleep(RESYNC).await;
        queue.add_all(context.cache.systems());
    }
}

async fn worker(context: Arc<Context>, queue: Arc<Queue>, mut stopped: Receiver<bool>) {
    loop {
        let key = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return,
            key = queue.next() => key,
        };
        let started = Instant::now();
        // A task of its own, so that a panic takes only this look with it.
        let look = {
            let (context, key) = (context.clone(), key.clone());
            tokio::spawn(async move { reconcile(&context, &key).await })
        };
        match AbortOnDrop(look).await {
            Ok(looked) => settle(&queue, &context.metrics, key.clone(), &looked),
            Err(error) => {
                tracing::error!(system = %key, %error, "looking at this system failed");
                context.metrics.errors.with_label_values(&["panic"]).inc();
                context.metrics.reconciles.with_label_values(&["error"]).inc();
                queue.retry(key.clone());
            }
        }
        context.metrics.duration.observe(started.elapsed().as_secs_f64());
        queue.done(&key);
    }
}

fn settle(queue: &Queue, metrics: &Metrics, key: SystemKey, looked: &Looked) {
    metrics.reconciles.with_label_values(&[looked.result]).inc();
    for error in &looked.errors {
        metrics.errors.with_label_values(&[error.reason()]).inc();
        match error {
            Error::Conflict { .. } | Error::NamespaceEnds { .. } => {
                tracing::debug!(system = %key, %error, "again soon");
            }
            _ => tracing::warn!(system = %key, %error, "a step failed; it is tried again"),
        }
    }
    match looked.next {
        Next::Retry => queue.retry(key),
        Next::After(delay) => {
            queue.forgive(&key);
            queue.add_after(key, delay);
        }
        Next::Rest => queue.forgive(&key),
    }
}

/// Ends the task when nobody waits for it any more.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}
