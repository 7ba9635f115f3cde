//! The texts of concurrent callers, gathered: a model does fifty texts in little more time than one.

use crate::{Embedder, Error};
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The most texts that are given to a model at once.
const BATCH: usize = 50;
/// Callers that may wait before further ones wait to queue.
const QUEUE: usize = 256;

struct Job {
    texts: Vec<String>,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

/// The way to a model that several callers share. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Batches {
    jobs: mpsc::Sender<Job>,
    embedder: Arc<Embedder>,
}

impl Batches {
    /// Starts the task that gathers; it ends when the last clone is gone.
    pub fn start(embedder: Embedder) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let embedder = Arc::new(embedder);
        // An endpoint waits for the network, weights for a processor.
        let at_once = match &*embedder {
            Embedder::Endpoint(_) => 4,
            Embedder::Onnx(_) => 1,
        };
        tokio::spawn(gather(queue, embedder.clone(), Arc::new(Semaphore::new(at_once))));
        Self { jobs, embedder }
    }

    /// The model.
    pub fn embedder(&self) -> &Embedder {
        &self.embedder
    }

    /// The vector of each text, in order. See [`Embedder::embed`].
    pub async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { texts, reply }).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Whoever waits when a place is free goes along, up to a batch: without callers beside it, nobody waits.
async fn gather(mut queue: mpsc::Receiver<Job>, embedder: Arc<Embedder>, places: Arc<Semaphore>) {
    while let Some(first) = queue.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let mut count = first.texts.len();
        let mut jobs = vec![first];
        while count < BATCH {
            let Ok(job) = queue.try_recv() else { break };
            count += job.texts.len();
            jobs.push(job);
        }
        let embedder = embedder.clone();
        tokio::spawn(async move {
            settle(&embedder, jobs).await;
            drop(place);
        });
    }
}

async fn settle(embedder: &Embedder, jobs: Vec<Job>) {
    let texts: Vec<String> = jobs.iter().flat_map(|job| &job.texts).cloned().collect();
    let mut vectors = Ok(Vec::with_capacity(texts.len()));
    for texts in texts.chunks(BATCH) {
        let (Ok(all), more) = (&mut vectors, embedder.embed(texts.to_vec()).await) else { break };
        match more {
            Ok(more) => all.extend(more),
            Err(error) => vectors = Err(error),
        }
    }
    let mut rest = vectors.map(Vec::into_iter);
    for Job { texts, reply } in jobs {
        // A caller that went away asked for nothing more.
        let _ = reply.send(match &mut rest {
            Ok(vectors) => Ok(vectors.take(texts.len()).collect()),
            Err(error) => Err(error.clone()),
        });
    }
}
