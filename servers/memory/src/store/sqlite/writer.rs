//! The one writer: SQLite takes one at a time anyway, so writes queue here and those that wait share a
//! transaction, and with it the wait for the disk.

use super::super::StoreError;
use super::writes::{self, Outcome, Write};
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

/// The most writes that share a transaction. More would make the first ones wait without making the
/// last ones much sooner.
const MAX_BATCH: usize = 64;

/// Writes that may wait before further callers wait to queue.
const QUEUE: usize = 256;

enum Job {
    Write(Box<Write>, oneshot::Sender<Outcome>),
    Close(oneshot::Sender<()>),
}

/// The way to the task that writes.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    /// Starts the task. The pool should hold one connection: it is there to replace one that broke.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, queue));
        Self { jobs }
    }

    /// Writes, and returns once it is on disk. A caller that stops waiting stops nothing.
    pub(super) async fn write(&self, write: Write) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.jobs.send(Job::Write(Box::new(write), reply)).await.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    /// Whether the task has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Finishes what was queued before, refuses what comes after.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

type Waiting = (Box<Write>, oneshot::Sender<Outcome>);

async fn run(pool: SqlitePool, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(MAX_BATCH);
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut jobs, MAX_BATCH).await > 0 {
        let mut closing = None;
        for job in jobs.drain(..) {
            match job {
                Job::Write(write, reply) if closing.is_none() => batch.push((write, reply)),
                // Its caller sees that the reply was dropped.
                Job::Write(..) => {}
                Job::Close(reply) => closing = Some(reply),
            }
        }
        settle(&pool, &mut batch).await;
        if let Some(reply) = closing {
            drop(queue);
            pool.close().await;
            let _ = reply.send(());
            return;
        }
    }
}

/// Writes a batch in one transaction. When that fails, each alone, so that one write that the database
/// refuses does not take others with it.
async fn settle(pool: &SqlitePool, batch: &mut Vec<Waiting>) {
    let outcomes = match commit(pool, batch).await {
        Ok(outcomes) => outcomes,
        Err(error) if batch.len() < 2 => vec![Err(error)],
        Err(_) => {
            let mut outcomes = Vec::with_capacity(batch.len());
            for waiting in batch.iter() {
                match commit(pool, std::slice::from_ref(waiting)).await {
                    Ok(mut one) => outcomes.append(&mut one),
                    Err(error) => outcomes.push(Err(error)),
                }
            }
            outcomes
        }
    };
    for ((_, reply), outcome) in batch.drain(..).zip(outcomes) {
        // A caller that went away asked for nothing more.
        let _ = reply.send(outcome);
    }
}

async fn commit(pool: &SqlitePool, batch: &[Waiting]) -> Result<Vec<Outcome>, StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut outcomes = Vec::with_capacity(batch.len());
    for (write, _) in batch {
        outcomes.push(writes::apply(&mut transaction, write).await?);
    }
    transaction.commit().await?;
    Ok(outcomes)
}
