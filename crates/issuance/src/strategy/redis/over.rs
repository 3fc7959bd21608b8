//! Claims on events that are long over: the ledger has all that there is to know of them, and Redis
//! is not filled with their winners once more.

use firstcome_core::{Commit, UserId};
use firstcome_ledger::{Decision, EventRecord};

use super::super::Outcome;
use super::calls::Keys;
use super::changes::REMEMBERED;
use super::{Failed, RedisStrategy};

impl RedisStrategy {
    /// What the ledger tells users who claim on an event that is long over, and that Redis has
    /// forgotten; none where it is not so, or not known here.
    pub(super) async fn decide_over(
        &self,
        event: &EventRecord,
        users: &[UserId],
    ) -> Result<Option<Vec<Outcome>>, Failed> {
        if !self.is_long_over(event) {
            return Ok(None);
        }
        let id = event.id;
        let now = self.0.ledger.event(id).await?;
        let Some(event) = now.filter(|event| self.is_long_over(event)) else { return Ok(None) };
        let (epoch, ..) = self.look(id).await?;
        let pending: u64 = self.0.redis.call(&Keys::of(id).count_pending()).await?;
        if epoch.is_some() || pending > 0 {
            return Ok(None);
        }
        if let (Commit::Kafka, Some(partition)) = (event.commit, event.partition) {
            _ = self.applied(partition, self.load_deadline(id)).await?;
        }
        let held = self.0.ledger.held_of(&event, users).await?.into_iter();
        let told = held.map(|held| held.map_or(Decision::Closed, Decision::AlreadyClaimed));
        Ok(Some(told.map(Ok).collect()))
    }

    /// For as long as Redis remembers it: nobody is recording wins of it any more.
    pub(super) fn is_long_over(&self, event: &EventRecord) -> bool {
        let ends = event.rule.window.closes_at();
        let over_since = if event.rule.closed { ends.min(event.updated_at) } else { ends };
        let long = i64::try_from(REMEMBERED.as_micros()).expect("an hour");
        self.0.ledger.clock().now().as_micros() - over_since.as_micros() >= long
    }
}
