//! The database's clock, as a process knows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firstcome_core::{Clock, Timestamp};

/// The process's clock, moved by what the database's is ahead.
///
/// Every batch of claims reads the database's own clock, after it has locked the event; this one
/// is for what is told beside the claims, so that people see an event as claims meet it.
pub(crate) struct DatabaseClock {
    process: Arc<dyn Clock>,
    /// The process's clock decides, as tests want it.
    given: bool,
    ahead_micros: AtomicI64,
}

impl DatabaseClock {
    pub(crate) fn new(process: Arc<dyn Clock>, given: bool) -> Self {
        Self { process, given, ahead_micros: AtomicI64::new(0) }
    }

    /// The process's own clock.
    pub(crate) fn process_now(&self) -> Timestamp {
        self.process.now()
    }

    /// The moment that decides where it is not the database's.
    pub(crate) fn given(&self) -> Option<Timestamp> {
        self.given.then(|| self.process.now())
    }

    /// The moment that decides, when the database told these microseconds since the epoch.
    pub(crate) fn deciding(&self, told_micros: i64) -> Timestamp {
        if self.given { self.process.now() } else { Timestamp::from_micros(told_micros) }
    }

    /// Takes in what the database told, in microseconds since the epoch, when it was asked at
    /// `asked` by the process's clock and has answered by now.
    pub(crate) fn observe(&self, asked: Timestamp, told_micros: i64) {
        if self.given {
            return;
        }
        let answered = self.process.now().as_micros();
        let between = asked.as_micros() + (answered - asked.as_micros()) / 2;
        self.ahead_micros.store(told_micros - between, Ordering::Relaxed);
    }

    /// Microseconds that the database's clock is ahead of the process's.
    pub(crate) fn ahead_micros(&self) -> i64 {
        self.ahead_micros.load(Ordering::Relaxed)
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.process.now().as_micros() + self.ahead_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Standing(AtomicI64);

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn the_databases_clock_counts_whatever_the_processs_shows() {
        let process = Arc::new(Standing(AtomicI64::new(1_000)));
        let clock = DatabaseClock::new(Arc::clone(&process) as Arc<dyn Clock>, false);
        let asked = process.now();
        process.0.store(1_010, Ordering::Relaxed);
        clock.observe(asked, 300_000_005);
        assert_eq!(clock.deciding(5).as_micros(), 5);
        assert_eq!(clock.now().as_micros(), 300_000_010);
        process.0.store(2_010, Ordering::Relaxed);
        assert_eq!(clock.now().as_micros(), 300_001_010);
    }

    #[test]
    fn a_given_clock_stays() {
        let process: Arc<dyn Clock> = Arc::new(Standing(AtomicI64::new(1_000)));
        let clock = DatabaseClock::new(process, true);
        clock.observe(Timestamp::from_micros(1_000), 5);
        assert_eq!(clock.deciding(5).as_micros(), 1_000);
        assert_eq!(clock.now().as_micros(), 1_000);
    }
}
