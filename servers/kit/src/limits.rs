//! How much a server takes in at a time. The numbers may change while it runs.

use mcp_system_config::Listen;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bodies that are being read or handled may together take as much memory as so many of the largest,
const BODIES: usize = 32;
/// or as this where it is more, since small ones come in great numbers.
const LEAST_ROOM: usize = 16 << 20;

/// The limits in force, and what counts towards them. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_body_bytes: AtomicUsize,
    max_in_flight: AtomicU64,
    in_flight: AtomicU64,
    /// Bytes of bodies that are held now.
    held: AtomicUsize,
}

impl Limits {
    pub(crate) fn new(listen: &Listen) -> Self {
        let limits = Self(Arc::new(Inner {
            max_body_bytes: AtomicUsize::new(0),
            max_in_flight: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            held: AtomicUsize::new(0),
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

    /// Room for a body that comes piece by piece; it is free again when the guard goes.
    pub(crate) fn room(&self) -> Room {
        Room { limits: self.clone(), bytes: 0 }
    }

    /// The most bytes that all bodies together may take.
    pub(crate) fn max_held_bytes(&self) -> usize {
        self.max_body_bytes().saturating_mul(BODIES).max(LEAST_ROOM)
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

/// What one body takes of the room for all.
#[derive(Debug)]
pub(crate) struct Room {
    limits: Limits,
    bytes: usize,
}

impl Room {
    /// Takes so many bytes more; tells whether there was room for them.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let before = self.limits.0.held.fetch_add(bytes, Ordering::AcqRel);
        before.saturating_add(bytes) <= self.limits.max_held_bytes()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.limits.0.held.fetch_sub(self.bytes, Ordering::AcqRel);
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

    #[test]
    fn bodies_share_a_room_and_give_it_back() {
        let limits = Limits::new(&Listen { max_body_bytes: 1 << 20, ..Listen::default() });
        let mut bodies: Vec<Room> = (0..32).map(|_| limits.room()).collect();
        assert!(bodies.iter_mut().all(|body| body.grow(1 << 19) && body.grow(1 << 19)));
        assert!(!limits.room().grow(1), "there is none left");
        bodies.pop();
        assert!(limits.room().grow(1 << 20), "one was given back, and so was what found no room");
        let small = Limits::new(&Listen { max_body_bytes: 1000, ..Listen::default() });
        assert!(small.room().grow(LEAST_ROOM) && !small.room().grow(LEAST_ROOM + 1));
    }
}
