//! Requests of the last five minutes, in slots of one minute. Pure: the time is handed in.

use std::time::Duration;

const SLOTS: usize = 5;
const SLOT_SECONDS: u64 = 60;

/// A ring of slots; time is counted from the server's start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    minute: u64,
    total: Total,
}

/// What some slots hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    count: u32,
    errors: u32,
    took: Duration,
}

impl Window {
    pub(super) fn record(&mut self, now: Duration, error: bool, took: Duration) {
        let minute = now.as_secs() / SLOT_SECONDS;
        let slot = &mut self.slots[usize::try_from(minute).unwrap_or_default() % SLOTS];
        if slot.minute != minute {
            *slot = Slot { minute, total: Total::default() };
        }
        let total = &mut slot.total;
        total.count = total.count.saturating_add(1);
        total.errors = total.errors.saturating_add(error.into());
        total.took = total.took.saturating_add(took);
    }

    pub(super) fn total(&self, now: Duration) -> Total {
        let minute = now.as_secs() / SLOT_SECONDS;
        let recent = self.slots.iter().filter(|slot| minute.saturating_sub(slot.minute) < SLOTS as u64);
        recent.fold(Total::default(), |sum, slot| Total {
            count: sum.count.saturating_add(slot.total.count),
            errors: sum.errors.saturating_add(slot.total.errors),
            took: sum.took.saturating_add(slot.total.took),
        })
    }
}

impl Total {
    pub(super) fn error_rate(self) -> f64 {
        if self.count == 0 { 0.0 } else { f64::from(self.errors) / f64::from(self.count) }
    }

    pub(super) fn average(self) -> Duration {
        self.took.checked_div(self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_five_minutes_is_forgotten() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let mut window = Window::default();
        window.record(minutes(0), true, Duration::from_secs(3));
        window.record(minutes(4), false, Duration::from_secs(1));
        assert!((window.total(minutes(4)).error_rate() - 0.5).abs() < f64::EPSILON);
        assert_eq!(window.total(minutes(4)).average(), Duration::from_secs(2));
        assert!(window.total(minutes(5)).error_rate() < f64::EPSILON);
        window.record(minutes(5), false, Duration::from_secs(1));
        assert_eq!(window.total(minutes(5)).count, 2);
        assert_eq!(window.total(minutes(99)), Total::default());
    }
}
