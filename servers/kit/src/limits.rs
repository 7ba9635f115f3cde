//! How much a server takes in at a time. The numbers may change while it runs.

use mcp_system_config::Listen;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The limits in force, and what counts towards them. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_body_bytes: AtomicUsize,
    max_in_flight: AtomicU64,
    in_flight: AtomicU64,
}

impl Limits {
    pub(crate) fn new(listen: &Listen) -> Self {
        let limits = Self(Arc::new(Inner {
            max_body_bytes: AtomicUsize::new(0),
            max_in_flight: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }));
        limits.set(listen);
        limits
    }

    /// Puts other limits in force. What was let in stays.
    pub(crate) fn set(&self, listen: &Listen) {
        self.0.max_body_bytes.store(listen.max_body_bytes as usize, Ordering::Relaxed);
        self.0.max_in_flight.store(listen.max_in_flight.max(1).into(), Ordering::Relaxed);
    }

    pub(crate) fn max_body_bytes(&self) -> usize {
        self.0.max_body_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn max_in_flight(&self) -> u64 {
        self.0.max_in_flight.load(Ordering::Relaxed)
    }

    /// A place for one request, when there is one; it is free again when the guard goes.
    pub(crate) fn enter(&self) -> Option<InFlight> {
        let before = self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        let place = InFlight(self.clone());
        (before < self.max_in_flight()).then_some(place)
    }

    /// Requests that are being served now.
    pub(crate) fn in_flight(&self) -> u64 {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

/// One request that is being served.
#[derive(Debug)]
pub(crate) struct InFlight(Limits);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back_and_the_limit_can_change() {
        let limits = Limits::new(&Listen { max_in_flight: 2, ..Listen::default() });
        let places = [limits.enter(), limits.enter()];
        assert!(places.iter().all(Option::is_some) && limits.enter().is_none());
        assert_eq!(limits.in_flight(), 2, "one that was turned away does not count");
        limits.set(&Listen { max_in_flight: 3, ..Listen::default() });
        assert!(limits.enter().is_some());
        drop(places);
        assert_eq!(limits.in_flight(), 0);
    }
}
