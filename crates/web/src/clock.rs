//! The process's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use firstcome_core::{Clock, Timestamp};

/// The system's clock, which never steps back while the process lives: when the system's time is
/// set back, this one stands still until it has caught up.
#[derive(Debug, Default)]
pub struct SystemClock {
    latest_micros: AtomicI64,
}

impl SystemClock {
    /// The clock. A process shares one.
    #[must_use]
    pub const fn new() -> Self {
        Self { latest_micros: AtomicI64::new(0) }
    }

    /// The later of this reading and every one before.
    fn advance(&self, micros: i64) -> Timestamp {
        let before = self.latest_micros.fetch_max(micros, Ordering::Relaxed);
        Timestamp::from_micros(before.max(micros))
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time comes in")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.advance(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_still_when_the_system_steps_back() {
        let clock = SystemClock::new();
        assert_eq!(clock.advance(20).as_micros(), 20);
        assert_eq!(clock.advance(10).as_micros(), 20);
        assert_eq!(clock.advance(30).as_micros(), 30);
    }

    #[test]
    fn the_clock_tells_the_present() {
        let written = Timestamp::parse_rfc3339("2025-01-01T00:00:00Z").unwrap();
        assert!(SystemClock::new().now() > written);
    }
}
