//! A connection whose other end does not read, or hardly: given up, so that what it should read does not lie in memory
//! for ever.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that fails when, for `patience` from a write that could not go on, neither `enough` bytes are written nor all
/// that there are.
#[derive(Debug)]
pub(crate) struct Impatient<S> {
    stream: S,
    patience: Duration,
    enough: usize,
    /// Runs from when a write could not go on, beside what was written since.
    stalled: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> Impatient<S> {
    pub(crate) const fn new(stream: S, patience: Duration, enough: usize) -> Self {
        Self { stream, patience, enough, stalled: None }
    }

    fn written(&mut self, written: Poll<Result<usize>>, context: &mut Context<'_>) -> Poll<Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let stalled = self.stalled.take().map(|(sleep, since)| (sleep, since.saturating_add(bytes)));
                self.stalled = stalled.filter(|(_, since)| *since < self.enough);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => self.waits(context).map(Err),
        }
    }

    /// All that there was is written, or not yet.
    fn done(&mut self, done: Poll<Result<()>>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        self.waits(context).map(Err)
    }

    /// Waits until there is no patience left.
    fn waits(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let patience = self.patience;
        let (stalled, _) = self.stalled.get_or_insert_with(|| (Box::pin(sleep(patience)), 0));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Error::new(ErrorKind::TimedOut, "the other end does not read"))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.done(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.done(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_on_is_waited_for_and_one_that_stops_is_not() {
        let patience = Duration::from_mins(1);
        let (server, mut client) = duplex(10);
        let mut server = Impatient::new(server, patience, 10);
        let slow = async {
            for _ in 0..10 {
                sleep(patience.saturating_sub(Duration::from_secs(1))).await;
                client.read_exact(&mut [0; 10]).await.expect("read");
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 100]), slow);
        written.expect("slow, but it reads");
        let error = server.write_all(&[0; 100]).await.expect_err("it reads no more");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_a_little_now_and_then_is_not_waited_for() {
        let patience = Duration::from_mins(1);
        let (server, mut client) = duplex(10);
        let mut server = Impatient::new(server, patience, 50);
        let dripping = async {
            while client.read_exact(&mut [0; 1]).await.is_ok() {
                sleep(Duration::from_secs(2)).await;
            }
        };
        let writing = async {
            // What is written in time is forgiven, however little it is.
            server.write_all(&[0; 30]).await.expect("written");
            server.flush().await.expect("flushed");
            let error = server.write_all(&[0; 100]).await.expect_err("it takes too long");
            drop(server);
            error.kind()
        };
        assert_eq!(tokio::join!(writing, dripping).0, ErrorKind::TimedOut);
    }
}
