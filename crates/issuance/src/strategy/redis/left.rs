//! Events that somebody has begun to rebuild, or that Redis has lost, and that nobody claims on:
//! whoever keeps them ends it, a few at a time. What fails, as while no worker applies the journal,
//! is tried less and less often; a claim on it tries at once, and so does whoever asks for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firstcome_core::EventId;
use futures_util::{StreamExt as _, future::ready, stream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::RedisStrategy;
use super::calls::Keys;

/// Events that a process rebuilds at once without being asked.
const AT_ONCE: usize = 8;
/// How long it begins those that were found together: what has never failed comes first, and waits
/// no longer than this for what fails.
const ROUND_MAX: Duration = Duration::from_secs(30);
/// How long an event rests after its first failure, and twice as long after each one more.
const REST: Duration = Duration::from_secs(5);
/// Longest that it rests.
const REST_MAX: Duration = Duration::from_secs(60);
/// Failures that are remembered; with more, all are forgotten.
const FAILED_MAX: usize = 10_000;

/// What a process has found so.
pub(super) struct Left {
    found: Mutex<HashSet<EventId>>,
    failed: Mutex<HashMap<EventId, Rest>>,
    /// One round at a time.
    round: Arc<Semaphore>,
}

/// Of an event whose rebuilding has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    until: Instant,
    lasts: Duration,
}

impl Default for Left {
    fn default() -> Self {
        let round = Arc::new(Semaphore::new(1));
        Self { found: Mutex::default(), failed: Mutex::default(), round }
    }
}

impl Left {
    /// Somebody has begun to rebuild this event, and may have died; or nobody has yet.
    pub(super) fn find(&self, event: EventId) {
        self.found().insert(event);
    }

    pub(super) fn is_rebuilt(&self, event: EventId) {
        self.failed().remove(&event);
    }

    /// Whether it had not before.
    pub(super) fn has_failed(&self, event: EventId, now: Instant) -> bool {
        let mut failed = self.failed();
        if failed.len() >= FAILED_MAX && !failed.contains_key(&event) {
            failed.clear();
        }
        let last = failed.get(&event);
        let lasts = last.map_or(REST, |last| REST_MAX.min(last.lasts * 2));
        failed.insert(event, Rest { until: now + lasts, lasts }).is_none()
    }

    /// What was found and does not rest, in the order in which it is tried.
    fn take(&self, now: Instant) -> Vec<EventId> {
        let (failed, mut found) = (self.failed(), self.found());
        let found = found.drain().map(|event| (failed.get(&event).copied(), event));
        let is_due = |(rest, _): &(Option<Rest>, EventId)| rest.is_none_or(|it| it.until <= now);
        let mut due: Vec<_> = found.filter(is_due).collect();
        due.sort_unstable_by_key(|(rest, _)| *rest);
        due.into_iter().map(|(_, event)| event).collect()
    }

    fn found(&self) -> MutexGuard<'_, HashSet<EventId>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, HashMap<EventId, Rest>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RedisStrategy {
    /// Rebuilds in the background what was found left, unless that is under way.
    pub(super) fn rebuild_left(&self) {
        let left = &self.0.left;
        let Ok(round) = Arc::clone(&left.round).try_acquire_owned() else { return };
        let events = left.take(Instant::now());
        if events.is_empty() {
            return;
        }
        let strategy = self.clone();
        tokio::spawn(async move {
            let (_round, until) = (round, Instant::now() + ROUND_MAX);
            let in_time = stream::iter(events).take_while(|_| ready(Instant::now() < until));
            in_time.for_each_concurrent(AT_ONCE, |event| strategy.end_rebuild(event)).await;
        });
    }

    /// Rebuilds an event if nobody has done so since it was found.
    async fn end_rebuild(&self, event: EventId) {
        if let Ok(0) = self.0.redis.run::<i64>(&Keys::of(event).check()).await {
            let mut ended = self.begin_sync(event);
            while ended.changed().await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_fails_is_tried_less_and_less_often() {
        let (left, mut now) = (Left::default(), Instant::now());
        let [first, second] = [1, 2].map(|number| EventId::from_uuid(Uuid::from_u128(number)));
        let due = |now| {
            left.find(first);
            left.find(second);
            left.take(now)
        };
        for rests in [5, 10, 20, 40, 60, 60] {
            assert_eq!(left.has_failed(first, now), rests == 5, "it is told once");
            now += Duration::from_secs(rests);
            assert_eq!(due(now - Duration::from_millis(1)), [second], "within {rests} s");
            assert_eq!(due(now), [second, first], "after {rests} s");
        }
        assert!(left.take(now).is_empty(), "each is found once");
        left.is_rebuilt(first);
        assert!(left.has_failed(first, now));
        assert_eq!(due(now + REST), [second, first]);
    }
}
