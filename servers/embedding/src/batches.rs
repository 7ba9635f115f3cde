//! The texts of concurrent callers, gathered: an endpoint does fifty texts in little more time than one. Queries go before
//! the texts of entries, for somebody waits for each of them.

use crate::{Embedder, Error};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The most texts that an endpoint is given at once.
const BATCH: usize = 50;
/// The most that weights are given at once: they do one after the other, and a query waits until they are done.
const FEW: usize = 8;
/// Callers that may wait before further ones wait to queue.
const QUEUE: usize = 256;

#[derive(Debug)]
struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

/// The way to a model that several callers share. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Batches {
    queries: mpsc::Sender<Job>,
    entries: mpsc::Sender<Job>,
    embedder: Arc<Embedder>,
    most: usize,
}

impl Batches {
    /// Starts the task that gathers; it ends when the last clone is gone.
    pub fn start(embedder: Embedder) -> Self {
        let (queries, urgent) = mpsc::channel(QUEUE);
        let (entries, patient) = mpsc::channel(QUEUE);
        let embedder = Arc::new(embedder);
        // An endpoint waits for the network, weights for a processor.
        let (at_once, most) = match &*embedder {
            Embedder::Endpoint(_) => (4, BATCH),
            Embedder::Onnx(_) => (1, FEW),
        };
        let waiting = Waiting { urgent, patient, most };
        tokio::spawn(gather(waiting, embedder.clone(), Arc::new(Semaphore::new(at_once))));
        Self { queries, entries, embedder, most }
    }

    /// The model.
    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    /// The vector of each text, in order. See [`Embedder::embed`].
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(texts.len());
        // Job by job: between two of them, queries have their turn.
        for texts in texts.chunks(self.most) {
            vectors.extend(ask(&self.entries, texts.to_vec()).await?);
        }
        Ok(vectors)
    }

    /// The vector of a query, before all texts of [`Batches::embed`] that are not under way.
    pub async fn embed_query(&self, query: String) -> Result<Vec<f32>, Error> {
        let vectors = ask(&self.queries, vec![query]).await?;
        vectors.into_iter().next().ok_or(Error::Closed)
    }
}

async fn ask(queue: &mpsc::Sender<Job>, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
    let (reply, answer) = oneshot::channel();
    queue.send(Job { texts, reply }).await.map_err(|_| Error::Closed)?;
    answer.await.map_err(|_| Error::Closed)?
}

/// Who waits for the model.
struct Waiting {
    urgent: mpsc::Receiver<Job>,
    patient: mpsc::Receiver<Job>,
    /// The most texts that go together.
    most: usize,
}

impl Waiting {
    /// Whoever is next, and who can go along; `None` when nobody can come any more. Nobody waits for company, and none of
    /// the urgent ones has a patient one beside it.
    async fn next(&mut self) -> Option<Vec<Job>> {
        let (first, queue) = tokio::select! {
            biased;
            Some(job) = self.urgent.recv() => (job, &mut self.urgent),
            Some(job) = self.patient.recv() => (job, &mut self.patient),
            else => return None,
        };
        let mut count = first.texts.len();
        let mut jobs = vec![first];
        while count < self.most {
            let Ok(job) = queue.try_recv() else { break };
            count += job.texts.len();
            jobs.push(job);
        }
        Some(jobs)
    }
}

async fn gather(mut waiting: Waiting, embedder: Arc<Embedder>, places: Arc<Semaphore>) {
    // A place first: who comes while all are taken may be more urgent than those who wait already.
    while let Ok(place) = places.clone().acquire_owned().await {
        let most = waiting.most;
        let Some(jobs) = waiting.next().await else { return };
        let embedder = embedder.clone();
        tokio::spawn(async move {
            settle(&embedder, jobs, most).await;
            drop(place);
        });
    }
}

async fn settle(embedder: &Embedder, mut jobs: Vec<Job>, most: usize) {
    // A caller that went away asked for nothing more.
    jobs.retain(|job| !job.reply.is_closed());
    let texts: Vec<String> = jobs.iter().flat_map(|job| &job.texts).cloned().collect();
    match embed(embedder, &texts, most).await {
        Ok(vectors) => {
            let mut vectors = vectors.into_iter();
            for Job { texts, reply } in jobs {
                let _ = reply.send(Ok(vectors.by_ref().take(texts.len()).collect()));
            }
        }
        // It may be a text of one of them that the model fails at: the others have nothing to do with that.
        Err(error) if jobs.len() > 1 && !matches!(error, Error::Open(_) | Error::Full(_)) => {
            for Job { texts, reply } in jobs {
                let _ = reply.send(embed(embedder, &texts, most).await);
            }
        }
        Err(error) => {
            for job in jobs {
                let _ = job.reply.send(Err(error.clone()));
            }
        }
    }
}

async fn embed(embedder: &Embedder, texts: &[String], most: usize) -> Result<Vec<Vec<f32>>, Error> {
    let mut vectors = Vec::with_capacity(texts.len());
    for texts in texts.chunks(most) {
        vectors.extend(embedder.embed(texts.to_vec()).await?);
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn queued(jobs: &mpsc::Sender<Job>, texts: &[&str]) {
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        jobs.send(Job { texts, reply: oneshot::channel().0 }).await.expect("room");
    }

    #[tokio::test]
    async fn queries_go_before_entries_and_each_with_their_like() {
        let (queries, urgent) = mpsc::channel(QUEUE);
        let (entries, patient) = mpsc::channel(QUEUE);
        let mut waiting = Waiting { urgent, patient, most: 3 };
        queued(&entries, &["one", "two"]).await;
        queued(&entries, &["three"]).await;
        queued(&entries, &["four"]).await;
        queued(&queries, &["who"]).await;
        queued(&queries, &["what"]).await;
        let mut next = async || {
            let jobs = waiting.next().await?;
            Some(jobs.into_iter().flat_map(|job| job.texts).collect::<Vec<_>>())
        };
        assert_eq!(next().await.expect("some"), ["who", "what"]);
        assert_eq!(next().await.expect("some"), ["one", "two", "three"]);
        queued(&queries, &["when"]).await;
        assert_eq!(next().await.expect("some"), ["when"]);
        drop(queries);
        assert_eq!(next().await.expect("some"), ["four"]);
        drop(entries);
        assert_eq!(next().await, None);
    }
}
