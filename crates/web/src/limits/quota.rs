//! The arithmetic: the generic cell rate algorithm in its virtual scheduling form (ITU-T I.371,
//! annex A). All that is kept of a key is one moment: when its quota will be whole again.

/// Microseconds since the limits began.
pub(super) type Micros = u64;

const MINUTE: Micros = 60_000_000;
const SECOND: Micros = 1_000_000;

/// So many requests at once, and one more after each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    burst: u32,
    interval: Micros,
}

/// What is left of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// Requests that may follow at once.
    pub(super) remaining: u64,
    /// Seconds until all of them may, rounded up.
    pub(super) whole_seconds: u64,
}

/// One request too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// Seconds until one may follow, rounded up.
    pub(super) retry_seconds: u64,
}

impl Quota {
    /// So many at once and so many a minute; none when either is zero.
    pub(super) fn new(burst: u32, per_minute: u32) -> Option<Self> {
        let per_minute = u64::from(per_minute);
        // Rounded up: never more than was asked for.
        let interval = (MINUTE + per_minute).saturating_sub(1).checked_div(per_minute)?;
        (burst > 0).then_some(Self { burst, interval })
    }

    pub(super) const fn burst(self) -> u32 {
        self.burst
    }

    /// Seconds in which nothing becomes all, rounded up.
    pub(super) fn window_seconds(self) -> u64 {
        self.whole().div_ceil(SECOND)
    }

    /// Takes one from a quota that is whole at `whole_at`, or would be by then: the new moment.
    pub(super) fn spend(self, whole_at: Micros, now: Micros) -> Result<Micros, Exhausted> {
        self.check(whole_at, now)?;
        Ok(whole_at.max(now) + self.interval)
    }

    /// Whether one could be taken.
    pub(super) fn check(self, whole_at: Micros, now: Micros) -> Result<(), Exhausted> {
        let owed = whole_at.saturating_sub(now);
        match owed.checked_sub(self.whole() - self.interval) {
            None | Some(0) => Ok(()),
            Some(wait) => Err(Exhausted { retry_seconds: wait.div_ceil(SECOND) }),
        }
    }

    /// Takes one also when none is left: then it is owed, as far as `debt_max`.
    pub(super) fn owe(self, whole_at: Micros, now: Micros, debt_max: Micros) -> Micros {
        (whole_at.max(now) + self.interval).min(now + self.whole() + debt_max)
    }

    /// What is left.
    pub(super) fn standing(self, whole_at: Micros, now: Micros) -> Standing {
        let owed = whole_at.saturating_sub(now);
        let remaining = self.whole().saturating_sub(owed) / self.interval;
        Standing { remaining, whole_seconds: owed.div_ceil(SECOND) }
    }

    /// How long it takes until a spent quota is whole.
    fn whole(self) -> Micros {
        u64::from(self.burst) * self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three at once, and one a second.
    fn quota() -> Quota {
        Quota::new(3, 60).expect("a quota")
    }

    const NOW: Micros = 1_000 * SECOND;

    #[test]
    fn the_burst_may_come_at_once_and_then_one_each_interval() {
        let quota = quota();
        let mut whole_at = 0;
        for remaining in [2, 1, 0] {
            whole_at = quota.spend(whole_at, NOW).expect("within the burst");
            assert_eq!(quota.standing(whole_at, NOW).remaining, remaining);
        }
        assert_eq!(quota.spend(whole_at, NOW), Err(Exhausted { retry_seconds: 1 }));
        assert_eq!(quota.spend(whole_at, NOW + SECOND - 1), Err(Exhausted { retry_seconds: 1 }));
        let whole_at = quota.spend(whole_at, NOW + SECOND).expect("one interval later");
        assert!(quota.spend(whole_at, NOW + SECOND).is_err());
        let later = NOW + 10 * SECOND;
        assert_eq!(quota.standing(whole_at, later).remaining, 3, "more than a burst is not saved");
    }

    #[test]
    fn a_refusal_tells_when_one_may_follow() {
        let quota = Quota::new(2, 2).expect("a quota");
        let whole_at = quota.spend(0, NOW).and_then(|at| quota.spend(at, NOW)).expect("two");
        let Err(Exhausted { retry_seconds }) = quota.spend(whole_at, NOW + 3 * SECOND) else {
            panic!("a third")
        };
        assert_eq!(retry_seconds, 27);
        assert!(quota.spend(whole_at, NOW + 30 * SECOND).is_ok());
        assert_eq!(quota.standing(whole_at, NOW).whole_seconds, 60);
    }

    #[test]
    fn a_debt_is_paid_but_not_beyond_its_bound() {
        let quota = quota();
        let owed = |count: usize, debt_max| {
            (0..count).fold(0, |whole_at, _| quota.owe(whole_at, NOW, debt_max))
        };
        assert_eq!(quota.check(owed(3, 0), NOW), Err(Exhausted { retry_seconds: 1 }));
        assert_eq!(quota.check(owed(10, 60 * SECOND), NOW), Err(Exhausted { retry_seconds: 8 }));
        assert_eq!(quota.check(owed(10, 2 * SECOND), NOW), Err(Exhausted { retry_seconds: 3 }));
        assert_eq!(quota.check(owed(2, 0), NOW), Ok(()));
    }

    #[test]
    fn zero_is_no_quota_and_a_rate_is_never_exceeded() {
        assert_eq!(Quota::new(0, 60), None);
        assert_eq!(Quota::new(3, 0), None);
        let fast = Quota::new(1, 7).expect("a quota");
        assert_eq!(fast.interval, 8_571_429);
        assert_eq!(Quota::new(500, 600).expect("a quota").window_seconds(), 50);
    }
}
