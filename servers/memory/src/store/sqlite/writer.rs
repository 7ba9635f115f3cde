//! The one writer: SQLite takes one at a time anyway, so writes queue here and those that wait share a
//! transaction, and with it the wait for the disk.

use super::super::StoreError;
use super::ledger::Ledger;
use super::places::Places;
use futures::future::BoxFuture;
use sqlx::{SqliteConnection, SqlitePool};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Writes that may wait before further callers wait to queue.
const QUEUE: usize = 256;

/// Something to be written. It may be tried more than once, each time from the same beginning.
pub(super) trait Write: Send + Sync + 'static {
    /// What its caller learns.
    type Written: Send + 'static;

    /// Carries it out. An inner error tells that it was refused before it changed anything; an outer one leaves
    /// it half done, and the transaction must be rolled back.
    fn apply(
        &self,
        ledger: &mut Ledger<'_>,
    ) -> impl Future<Output = Result<Result<Self::Written, StoreError>, sqlx::Error>> + Send;
}

/// A write of any kind, its outcome and the one who waits for it.
trait Job: Send {
    fn apply<'a>(&'a mut self, ledger: &'a mut Ledger<'_>) -> BoxFuture<'a, Result<(), sqlx::Error>>;
    /// Tells the outcome, or the error that the transaction ended with.
    fn reply(self: Box<Self>, failed: Option<StoreError>);
}

struct Waiting<W: Write> {
    write: W,
    outcome: Option<Result<W::Written, StoreError>>,
    reply: oneshot::Sender<Result<W::Written, StoreError>>,
}

impl<W: Write> Job for Waiting<W> {
    fn apply<'a>(&'a mut self, ledger: &'a mut Ledger<'_>) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            self.outcome = Some(self.write.apply(ledger).await?);
            Ok(())
        })
    }

    fn reply(self: Box<Self>, failed: Option<StoreError>) {
        let outcome = match (failed, self.outcome) {
            (Some(error), _) => Err(error),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that went away asked for nothing more.
        let _ = self.reply.send(outcome);
    }
}

enum Order {
    Write(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The way to the task that writes.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
}

impl Writer {
    /// Starts the task, which puts at most `batch` writes into a transaction. The pool should hold one
    /// connection: it is there to replace one that broke.
    pub(super) fn start(pool: SqlitePool, places: Arc<Places>, batch: usize) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, places, queue, batch));
        Self { orders }
    }

    /// Writes, and returns once it is on disk. A caller that stops waiting stops nothing.
    pub(super) async fn write<W: Write>(&self, write: W) -> Result<W::Written, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let job = Box::new(Waiting { write, outcome: None, reply });
        self.orders.send(Order::Write(job)).await.map_err(|_| StoreError::Closed)?;
        outcome.await.map_err(|_| StoreError::Closed)?
    }

    /// Whether the task has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.orders.is_closed()
    }

    /// Finishes what was queued before, refuses what comes after.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.orders.send(Order::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

async fn run(pool: SqlitePool, places: Arc<Places>, mut queue: mpsc::Receiver<Order>, most: usize) {
    let mut orders = Vec::with_capacity(most);
    let mut batch = Vec::with_capacity(most);
    while queue.recv_many(&mut orders, most).await > 0 {
        let mut closing = None;
        for order in orders.drain(..) {
            match order {
                Order::Write(job) if closing.is_none() => batch.push(job),
                // Its caller sees that the reply was dropped.
                Order::Write(_) => {}
                Order::Close(reply) => closing = Some(reply),
            }
        }
        settle(&pool, &places, &mut batch).await;
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
async fn settle(pool: &SqlitePool, places: &Places, batch: &mut Vec<Box<dyn Job>>) {
    match commit(pool, places, batch).await {
        Ok(()) => batch.drain(..).for_each(|job| job.reply(None)),
        Err(error) if batch.len() < 2 => batch.drain(..).for_each(|job| job.reply(Some(error.clone()))),
        Err(_) => {
            for mut job in batch.drain(..) {
                let failed = commit(pool, places, std::slice::from_mut(&mut job)).await.err();
                job.reply(failed);
            }
        }
    }
}

async fn commit(pool: &SqlitePool, places: &Places, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await?;
    let committed = commit_on(&mut connection, places, batch).await;
    if committed.is_err() {
        // Takes back what was done, whatever state the transaction is in: SQLite itself ends that of a full disk.
        connection.close_on_drop();
    }
    committed
}

async fn commit_on(
    connection: &mut SqliteConnection,
    places: &Places,
    batch: &mut [Box<dyn Job>],
) -> Result<(), StoreError> {
    let mut ledger = Ledger::begin(connection, places).await?;
    for job in batch {
        job.apply(&mut ledger).await?;
    }
    places.publish(ledger.commit().await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::writes::Insert;
    use super::super::{Options, file_in, migrate, open_to_write};
    use super::*;
    use crate::store::conformance::{memory, scope};
    use futures::future::join_all;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// The transactions that 25 stores of several agents take which all wait at once.
    async fn transactions(batch: usize) -> usize {
        let directory = tempfile::tempdir().unwrap();
        let pool = open_to_write(&file_in(directory.path()), &Options::default()).await.expect("opens");
        migrate::bring_up_to_date(&pool).await.expect("the tables");
        let writer = Writer::start(pool.clone(), Arc::default(), batch);
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = commits.clone();
        let mut held = pool.acquire().await.expect("the only connection");
        held.lock_handle().await.expect("the connection").set_commit_hook(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            true
        });
        let stores = (0..25).map(|number| {
            let scope = scope(&format!("agent {}", number % 3));
            writer.write(Insert { scope, drafts: vec![memory(number, &format!("word {number}"))] })
        });
        let mut stores = pin!(join_all(stores));
        tokio::select! {
            biased;
            _ = &mut stores => panic!("the connection is held"),
            () = std::future::ready(()) => {}
        }
        drop(held);
        for written in stores.await {
            assert!(!written.expect("stored")[0].duplicate);
        }
        commits.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn concurrent_stores_share_transactions_of_so_many_at_the_most() {
        assert_eq!(transactions(100).await, 1);
        assert_eq!(transactions(10).await, 3);
        assert_eq!(transactions(1).await, 25);
    }
}
