//! Entries for several callers by one statement.
//!
//! Half of what a read of a few entries takes is the way to the connection's thread and back. So whoever comes while others
//! read waits, and the next statement reads for all that wait, as writes share a transaction. Nobody waits for company, and no
//! task stands between: one of those that wait reads for the others.

use super::readers::Readers;
use super::reads::{self, Asked};
use crate::model::Kept;
use crate::store::StoreError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

/// Statements under way at which whoever comes waits for the next.
const AT_ONCE: usize = 1;

/// The most entries that callers share a statement for. Once so many are waited for, nobody waits any longer: where it is
/// the disk that takes the time, several statements take less of it.
const MOST: usize = 40;

/// The calls for entries that are under way or wait. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Together(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    /// Statements under way.
    reading: usize,
    /// Those that come next; nobody, while no statement is under way.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    /// Dropped, it tells the caller to read for itself.
    reply: oneshot::Sender<Told>,
}

/// What a caller is told.
#[derive(Debug)]
enum Told {
    Entries(Vec<Kept>),
    Turn(Turn),
}

/// The turn to read, for oneself and for those that wait. Dropped, it goes to the next.
#[derive(Debug)]
struct Turn(Together);

impl Calls {
    /// Whether whoever asks for so many entries reads at once.
    fn is_due(&self, count: usize) -> bool {
        let waited_for: usize = self.waiting.iter().map(|waiting| waiting.asked.count()).sum();
        self.reading < AT_ONCE || waited_for + count >= MOST
    }

    /// Ends a turn; answers who has the next one.
    fn end(&mut self) -> Option<Waiting> {
        self.reading -= 1;
        if self.reading >= AT_ONCE {
            return None;
        }
        let next = std::iter::from_fn(|| self.waiting.pop_front()).find(|next| !next.reply.is_closed());
        self.reading += usize::from(next.is_some());
        next
    }
}

impl Together {
    /// The entries that somebody asks for.
    pub(super) async fn get_many(&self, readers: &Readers, asked: &Asked) -> Result<Vec<Kept>, StoreError> {
        if asked.count() == 0 {
            return Ok(Vec::new());
        }
        if asked.count() >= MOST {
            return alone(readers, asked).await;
        }
        match self.join(asked).await {
            Ok(Told::Turn(turn)) => turn.read(readers, asked).await,
            Ok(Told::Entries(entries)) => Ok(entries),
            // Whoever read for this one too went away or failed, maybe at an entry of another.
            Err(_) => alone(readers, asked).await,
        }
    }

    /// Waits for the entries or for a turn, unless it is due at once.
    async fn join(&self, asked: &Asked) -> Result<Told, RecvError> {
        let told = {
            let mut calls = self.calls();
            if calls.is_due(asked.count()) {
                calls.reading += 1;
                return Ok(Told::Turn(Turn(self.clone())));
            }
            let (reply, told) = oneshot::channel();
            calls.waiting.push_back(Waiting { asked: asked.clone(), reply });
            told
        };
        told.await
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Reads for oneself and for those that wait.
    async fn read(self, readers: &Readers, mine: &Asked) -> Result<Vec<Kept>, StoreError> {
        let reader = readers.acquire().await;
        // Only now: whoever came while there was no connection goes along.
        let others = self.take(mine.count());
        // Without one, those that came later wait for one by themselves.
        let mut reader = reader?;
        let read = {
            let asked: Vec<&Asked> =
                std::iter::once(mine).chain(others.iter().map(|other| &other.asked)).collect();
            reads::get_many(&mut reader, &asked).await
        };
        match read {
            Ok(answers) => {
                readers.keep(reader);
                let mut answers = answers.into_iter();
                let own = answers.next().unwrap_or_default();
                for (other, entries) in others.into_iter().zip(answers) {
                    // A caller that went away asked for nothing more.
                    let _ = other.reply.send(Told::Entries(entries));
                }
                Ok(own)
            }
            // Each for itself, so that an entry that cannot be read takes no others with it.
            Err(_) if !others.is_empty() => {
                drop((others, reader, self));
                alone(readers, mine).await
            }
            Err(error) => Err(error),
        }
    }

    /// Those that wait, as far as there is room for them beside so many entries.
    fn take(&self, mut count: usize) -> Vec<Waiting> {
        let mut calls = self.0.calls();
        let mut taken = Vec::new();
        while let Some(next) = calls.waiting.front() {
            count += next.asked.count();
            if count > MOST {
                break;
            }
            taken.extend(calls.waiting.pop_front());
        }
        taken.retain(|waiting: &Waiting| !waiting.reply.is_closed());
        taken
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.0.calls().end();
        if let Some(next) = next {
            // Where that one goes away before it hears of it, this ends the turn that it was given.
            let _ = next.reply.send(Told::Turn(Self(self.0.clone())));
        }
    }
}

async fn alone(readers: &Readers, asked: &Asked) -> Result<Vec<Kept>, StoreError> {
    let mut reader = readers.acquire().await?;
    let mut answers = reads::get_many(&mut reader, &[asked]).await?;
    readers.keep(reader);
    Ok(answers.pop().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::{Options, SqliteStore, file_in, open_to_write};
    use super::*;
    use crate::model::Scope;
    use crate::store::Store;
    use crate::store::conformance::{memory, scope};
    use mcp_system_config::Pool;
    use sqlx::pool::PoolConnection;
    use sqlx::{Sqlite, SqliteConnection};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use tempfile::TempDir;
    use tokio::task::{JoinHandle, yield_now};

    type Call = (Scope, Vec<u64>);
    type Reading = JoinHandle<Result<Vec<Kept>, StoreError>>;

    /// A store whose only connection that reads is held, and two scopes with the numbers of what they hold.
    async fn filled() -> (TempDir, Arc<SqliteStore>, PoolConnection<Sqlite>, [Call; 2]) {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { pool: Pool { min_size: 0, max_size: 1 }, ..Options::default() };
        let store = SqliteStore::open(directory.path(), &options).await.expect("opens");
        let mut scopes = ["a", "b"].map(|agent| (scope(agent), Vec::new()));
        for (scope, numbers) in &mut scopes {
            let drafts = (0..15).map(|number| memory(number, &format!("{} {number}", scope.agent_id)));
            let inserted = store.insert(scope, drafts.collect()).await.expect("stored");
            numbers.extend(inserted.iter().map(|inserted| inserted.number));
        }
        let held = store.readers.acquire().await.expect("the only one");
        (directory, Arc::new(store), held, scopes)
    }

    /// Makes calls that wait while the connection is held: the first for it, the others for the first.
    async fn waiting(store: &Arc<SqliteStore>, calls: &[Call]) -> Vec<Reading> {
        let readings = calls.iter().cloned().map(|(scope, numbers)| {
            let store = store.clone();
            tokio::spawn(async move { store.get_many(&scope, &numbers).await })
        });
        let readings = readings.collect();
        while store.together.calls().waiting.len() + 1 < calls.len() {
            yield_now().await;
        }
        readings
    }

    async fn found(reading: Reading) -> Vec<(u64, String)> {
        let kept = reading.await.expect("no panic").expect("entries");
        let mut found: Vec<_> = kept.into_iter().map(|kept| (kept.number, kept.entry.content)).collect();
        found.sort_unstable();
        found
    }

    async fn at_each_step(connection: &mut SqliteConnection, mut todo: impl FnMut() + Send + 'static) {
        connection.lock_handle().await.expect("the connection").set_progress_handler(1, move || {
            todo();
            true
        });
    }

    #[tokio::test]
    async fn calls_that_wait_share_a_statement_and_each_gets_its_own() {
        let (_directory, store, mut held, [a, b]) = filled().await;
        // Each wants three entries of its scope, some of which others want too, and one of the other scope.
        let whose = |call: usize| if call.is_multiple_of(2) { (&a, &b) } else { (&b, &a) };
        let calls: Vec<Call> = (0..10)
            .map(|call| {
                let ((scope, own), (_, foreign)) = whose(call);
                (scope.clone(), [&own[call..call + 3], &foreign[call..=call]].concat())
            })
            .collect();

        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        at_each_step(&mut held, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .await;
        let place = |scope| store.places.peek(scope).expect("known");
        let asked = calls.iter().map(|(scope, numbers)| Asked::of(place(scope), numbers));
        let asked: Vec<Asked> = asked.collect();
        // The first time, the tables are read as well.
        for _ in 0..2 {
            steps.store(0, Ordering::Relaxed);
            reads::get_many(&mut held, &asked.iter().collect::<Vec<_>>()).await.expect("entries");
        }
        let of_one = steps.swap(0, Ordering::Relaxed);

        let readings = waiting(&store, &calls).await;
        drop(held);
        for (call, reading) in readings.into_iter().enumerate() {
            let ((scope, own), _) = whose(call);
            let expected: Vec<(u64, String)> =
                (call..call + 3).map(|at| (own[at], format!("{} {at}", scope.agent_id))).collect();
            assert_eq!(found(reading).await, expected);
        }
        assert_eq!(steps.load(Ordering::Relaxed), of_one, "steps of ten calls and of one statement");
        assert_eq!(store.together.calls().reading, 0);
    }

    #[tokio::test]
    async fn once_enough_is_waited_for_nobody_waits_longer() {
        let (_directory, store, held, [(a, numbers), (b, _)]) = filled().await;
        let readings = waiting(&store, &[(a.clone(), numbers.clone()), (a.clone(), numbers.clone())]).await;
        assert_eq!(store.together.calls().reading, 1);
        // It makes forty of them.
        let full = [numbers.clone(), numbers[..10].to_vec()].concat();
        let further = tokio::spawn({
            let (store, a) = (store.clone(), a.clone());
            async move { store.get_many(&a, &full).await }
        });
        while store.together.calls().reading < 2 {
            yield_now().await;
        }
        // What nobody can have needs no statement.
        assert!(store.get_many(&b, &numbers).await.expect("none").is_empty());
        drop(held);
        assert_eq!(found(further).await.len(), 25);
        for reading in readings {
            assert_eq!(found(reading).await.len(), 15);
        }
        assert_eq!(store.together.calls().reading, 0);
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_the_others_their_entries() {
        for at_work in [false, true] {
            let (_directory, store, mut held, [(scope, numbers), _]) = filled().await;
            let (go_on, gate) = mpsc::channel::<()>();
            at_each_step(&mut held, move || {
                let _ = gate.recv();
            })
            .await;
            let calls: Vec<Call> = numbers.iter().map(|number| (scope.clone(), vec![*number])).collect();
            let mut readings = waiting(&store, &calls).await;
            // The one that reads, before it has a connection or in the midst of the statement, and the one after it.
            let gone: Vec<Reading> = readings.drain(..2).collect();
            let go_away = || gone.iter().for_each(JoinHandle::abort);
            if !at_work {
                go_away();
            }
            drop(held);
            if at_work {
                while !store.together.calls().waiting.is_empty() {
                    yield_now().await;
                }
                go_away();
            }
            for gone in gone {
                assert!(gone.await.expect_err("went away").is_cancelled());
            }
            drop(go_on);
            for (reading, number) in readings.into_iter().zip(&numbers[2..]) {
                let found: Vec<u64> = found(reading).await.into_iter().map(|(number, _)| number).collect();
                assert_eq!(found, [*number]);
            }
            assert_eq!(store.together.calls().reading, 0);
        }
    }

    #[tokio::test]
    async fn all_that_wait_hear_that_there_is_no_connection() {
        let (_directory, store, held, [a, b]) = filled().await;
        let readings = waiting(&store, &[a.clone(), b, (a.0, a.1[..5].to_vec())]).await;
        tokio::join!(store.readers.close(), async { drop(held) });
        for reading in readings {
            assert!(matches!(reading.await.expect("no panic"), Err(StoreError::Closed)));
        }
        assert_eq!(store.together.calls().reading, 0);
    }

    #[tokio::test]
    async fn what_cannot_be_read_fails_nobody_who_did_not_ask_for_it() {
        let (directory, store, held, [(a, of_a), (b, of_b)]) = filled().await;
        let writing = open_to_write(&file_in(directory.path()), &Options::default()).await.expect("opens");
        sqlx::query("UPDATE entries SET context = '{' WHERE number = ?")
            .bind(of_b[0].cast_signed())
            .execute(&writing)
            .await
            .expect("written");
        let calls = [(a, of_a[..3].to_vec()), (b.clone(), of_b[..3].to_vec()), (b, of_b[3..6].to_vec())];
        let readings = waiting(&store, &calls).await;
        drop(held);
        let mut outcomes = Vec::new();
        for reading in readings {
            outcomes.push(reading.await.expect("no panic").map(|kept| kept.len()));
        }
        assert!(matches!(outcomes.as_slice(), [Ok(3), Err(StoreError::Database(_)), Ok(3)]), "{outcomes:?}");
        assert_eq!(store.together.calls().reading, 0);
    }
}
