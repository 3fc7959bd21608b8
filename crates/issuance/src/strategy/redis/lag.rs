//! What is pending of the events whose wins Redis alone has, and for how long, measured by whoever
//! writes them to the ledger; also while the ledger does not answer, of the events that it told
//! last.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use firstcome_core::EventId;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep};

use super::calls::{Keys, PendingBatch};
use super::keeper::LOOKS_AT_ONCE;
use super::metrics::Metrics;
use super::terms::Terms;
use super::{Failed, RedisStrategy};

/// How often it is looked, and how many times as long as a look takes there is none.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REST_TIMES: u32 = 9;
/// Pending batches that are read at once.
const STEP: usize = 8;

impl RedisStrategy {
    /// Measures what is pending of the events that are told, until it is stopped; nothing before
    /// there are any to look at.
    pub(super) async fn measure_on(&self, mut events: Receiver<Vec<EventId>>) -> Infallible {
        // Whoever tells ends with this.
        let _ = events.changed().await;
        loop {
            let began = Instant::now();
            let told = events.borrow_and_update().clone();
            // Where Redis does not answer, its breaker tells.
            if let Ok((wins, age)) = self.pending_of(&told).await {
                Metrics::pending(wins, age);
            }
            sleep(LOOK_EVERY.max(began.elapsed() * REST_TIMES)).await;
        }
    }

    /// How many wins of these events are pending, and how old the oldest batch of them is.
    async fn pending_of(&self, events: &[EventId]) -> Result<(usize, Duration), Failed> {
        let (mut wins, mut oldest) = (0, None);
        for some in events.chunks(LOOKS_AT_ONCE) {
            let keys: Vec<Keys> = some.iter().copied().map(Keys::of).collect();
            let calls: Vec<_> = keys.iter().map(Keys::count_pending).collect();
            for (keys, count) in keys.iter().zip(self.0.redis.call_all::<u64>(&calls).await) {
                if count? == 0 {
                    continue;
                }
                let batches = self.wins_by_moment(keys).await?;
                wins += batches.values().sum::<usize>();
                let first = batches.into_keys().min();
                oldest = oldest.into_iter().chain(first).min();
            }
        }
        let Some(oldest) = oldest else { return Ok((wins, Duration::ZERO)) };
        let micros = self.now().await?.as_micros().saturating_sub(oldest);
        Ok((wins, Duration::from_micros(micros.try_into().unwrap_or_default())))
    }

    /// How many wins each pending batch of an event has, by when it was decided.
    async fn wins_by_moment(&self, keys: &Keys) -> Result<HashMap<i64, usize>, Failed> {
        let (mut by_moment, mut cursor) = (HashMap::new(), 0);
        loop {
            let scan = keys.scan_pending(cursor, STEP);
            let (next, batches): (u64, Vec<(String, String)>) = self.0.redis.call(&scan).await?;
            // A scan may tell the same twice, and what nobody can read waits too.
            by_moment.extend(batches.iter().filter_map(|(moment, batch)| {
                let read = PendingBatch::read(moment, batch, &Terms::default());
                Some((moment.parse().ok()?, read.map_or(0, |batch| batch.wins.len())))
            }));
            if next == 0 {
                return Ok(by_moment);
            }
            cursor = next;
        }
    }
}
