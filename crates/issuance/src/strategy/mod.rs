//! Who decides claims.

mod ledger;
mod lock;
mod redis;
mod redis_lock;

use std::collections::HashMap;

use firstcome_core::EventId;
use firstcome_ledger::{Claim, Decision};

use crate::Undecided;

pub use ledger::LedgerStrategy;
pub(crate) use redis::Restriction;
pub use redis::{RedisStrategy, Synced};
pub use redis_lock::RedisLockStrategy;

/// What became of a claim.
pub type Outcome = Result<Decision, Undecided>;

/// Decides batches of claims. Its winners are durable when it answers.
pub trait Strategy: Send + Sync + 'static {
    /// Batches of a lane that it decides at once.
    const AT_ONCE: usize = 1;

    /// Decides a batch, on any number of events: an outcome for each claim, in the order of the
    /// batch.
    fn decide(&self, batch: Vec<Claim>) -> impl Future<Output = Vec<Outcome>> + Send;
}

/// The claims of a batch on one event, in their order.
struct OfEvent {
    event: EventId,
    claims: Vec<Claim>,
    /// Their places in the batch.
    places: Vec<usize>,
}

/// Sorts a batch by event.
fn by_event(batch: Vec<Claim>) -> Vec<OfEvent> {
    let mut sorted: Vec<OfEvent> = Vec::new();
    let mut index_of: HashMap<EventId, usize> = HashMap::new();
    for (place, claim) in batch.into_iter().enumerate() {
        let event = claim.event_id;
        let index = *index_of.entry(event).or_insert_with(|| {
            sorted.push(OfEvent { event, claims: Vec::new(), places: Vec::new() });
            sorted.len() - 1
        });
        sorted[index].claims.push(claim);
        sorted[index].places.push(place);
    }
    sorted
}
