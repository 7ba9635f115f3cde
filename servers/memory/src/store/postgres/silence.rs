//! Tells a database that is silent from one that only takes long: what counts is how long nothing at all has come from it.
//!
//! Whoever waits for an answer is woken by its connection and by nothing else, whichever of how many statements the answer is
//! to. So that is what moves the deadline on, and no statement has to say that it was answered.

use futures::task::AtomicWaker;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Is woken in the place of the task that waits, and wakes it.
#[derive(Default)]
struct Listener {
    heard: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Listener {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.heard.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// What comes of asking; `None` where nothing was heard for as long as the deadline says. What else the task is woken for, such
/// as what it does beside this, counts for nothing.
pub(super) async fn unless_silent<T>(deadline: Duration, asking: impl Future<Output = T>) -> Option<T> {
    let mut asking = pin!(asking);
    let mut silence = pin!(sleep(deadline));
    let listener = Arc::new(Listener::default());
    let waker = Waker::from(listener.clone());
    let answer = poll_fn(move |task| {
        listener.task.register(task.waker());
        if listener.heard.swap(false, Ordering::AcqRel) {
            silence.as_mut().reset(Instant::now() + deadline);
        }
        match asking.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => silence.as_mut().poll(task).map(|()| None),
        }
    });
    answer.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn answers_that_come_late_one_after_the_other_are_waited_for() {
        let answers = async {
            for _ in 0..3 {
                sleep(Duration::from_secs(25)).await;
            }
            "all"
        };
        assert_eq!(unless_silent(DEADLINE, answers).await, Some("all"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_answer() {
        let one_answer = async {
            sleep(Duration::from_secs(25)).await;
            sleep(Duration::from_secs(35)).await;
        };
        assert!(unless_silent(DEADLINE, one_answer).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_task_does_beside_it_is_no_answer() {
        let beside = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(10)).await;
            }
        };
        tokio::select! {
            answer = unless_silent(DEADLINE, pending::<()>()) => assert!(answer.is_none()),
            () = beside => panic!("it is waited for without end"),
        }
    }
}
