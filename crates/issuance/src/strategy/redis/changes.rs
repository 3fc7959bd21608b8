//! Changes of an event while Redis decides it.
//!
//! What allows more is in the ledger first, and Redis follows. What allows less freezes the event
//! in Redis first: nobody new is answered, what is pending is made durable, and then the ledger
//! changes. A freeze ends with its change, whatever others change beside it, or by itself.
//!
//! Where the ledger is the commit none of this is needed for what it looks at itself, which is all
//! but the window: it refuses what it no longer allows, and Redis is rebuilt then. Where it is
//! not, wins are promised before the ledger has them, so the quantity is lowered in Redis first,
//! under an epoch, and in the ledger only if it still goes by that epoch: before it every win is in
//! the ledger, within it Redis gives no more than that.

use std::time::Duration;

use firstcome_core::{Commit, EventId, Quantity};
use firstcome_ledger::{EventRecord, Ledger};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::calls::Keys;
use super::keeper::Scope;
use super::{Failed, RedisStrategy};
use crate::IssuanceError;

/// Longest that an event stays frozen when the one who froze it has died.
const FREEZE_MAX: Duration = Duration::from_secs(2);
/// The same where Redis alone has the wins, or the window gets narrower: whoever changed it may not
/// reach Redis any more, and others would promise what the ledger has closed, until one of them
/// [sweeps](super::keeper).
const FREEZE_ALONE_MAX: Duration = Duration::from_secs(15);
/// Longest that a change waits for what is pending.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// Longest that lowering the quantity waits until the event is loaded, or for another who does it.
const LOWER_MAX: Duration = Duration::from_secs(2);
/// How often who waits for another looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often who could not make Redis follow tries to let go of the event.
const LET_GO_EVERY: Duration = Duration::from_millis(500);
/// How long it begins to: after that it [counts as dead](super::keeper).
const LET_GO_MAX: Duration = super::keeper::LOWERING_MAX;
/// How long Redis remembers an event that is over; after that [the ledger is asked](super::over).
pub(super) const REMEMBERED: Duration = Duration::from_secs(3_600);

/// What a change takes away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restriction {
    /// The quantity, where it may be lower than before.
    pub(crate) quantity: Option<Quantity>,
    /// Whether it opens later than before, or closes earlier: Redis alone looks at that.
    pub(crate) narrows_window: bool,
}

/// Redis gives no more than a lower quantity. The ledger may follow while it goes by this epoch.
#[derive(Debug, Clone, Copy)]
struct Lowered {
    epoch: u64,
    /// How many have won; where these are more than the lower quantity, nothing was lowered.
    winners: u32,
}

impl RedisStrategy {
    /// Changes an event in the ledger as [`Ledger::change_event`] does, and in Redis. What it may
    /// take away, `restricts` tells, or that it is refused already.
    ///
    /// # Errors
    /// When the ledger does not answer, or the quantity cannot be lowered safely now.
    pub(crate) async fn change_event<R, F, E>(
        &self,
        ledger: &Ledger,
        id: EventId,
        restricts: R,
        change: F,
    ) -> Result<Option<Result<EventRecord, E>>, IssuanceError>
    where
        R: FnOnce(&EventRecord) -> Result<Option<Restriction>, E> + Send + 'static,
        F: FnOnce(EventRecord) -> Result<EventRecord, E> + Send + 'static,
        E: Send + 'static,
    {
        // Of this change alone.
        let hand = Uuid::new_v4().simple().to_string();
        let event = ledger.event(id).await?;
        let restriction = match event.as_ref().map(restricts).transpose() {
            Ok(restriction) => restriction.flatten(),
            Err(refused) => return Ok(Some(Err(refused))),
        };
        let ready = match event.zip(restriction) {
            Some((event, restriction)) => self.before_restriction(&event, restriction, &hand).await,
            None => Ok(None),
        };
        let lowered = match ready {
            Ok(lowered) => lowered,
            Err(failed) => {
                tokio::spawn(self.clone().let_go(id, hand));
                return Err(failed);
            }
        };
        let guarded = move |mut event: EventRecord| {
            if let Some(Lowered { epoch, winners }) = lowered {
                if event.epoch != epoch {
                    return Err(None);
                }
                event.rule.issued = event.rule.issued.max(winners);
            }
            change(event).map_err(Some)
        };
        let changed = ledger.change_event(id, guarded).await;
        let now = match &changed {
            Ok(Some(Ok(event))) => Some(event.clone()),
            // What was refused: Redis goes on as the ledger.
            Ok(_) => ledger.event(id).await.ok().flatten(),
            Err(_) => None,
        };
        let is_followed = match now {
            Some(event) => self.follow(&hand, &event).await,
            None => matches!(changed, Ok(None)),
        };
        if changed.is_err() {
            tokio::spawn(self.clone().let_go_in_doubt(id, hand));
        } else if !is_followed {
            tokio::spawn(self.clone().let_go(id, hand));
        }
        match changed? {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(Ok(event))),
            Some(Err(Some(refused))) => Ok(Some(Err(refused))),
            Some(Err(None)) => Err(Failed::NotLoaded.into()),
        }
    }

    /// Makes ready for a change that allows less. Where Redis does not answer, the ledger's refusal
    /// does instead if it is the commit, and what the journal's writers ask afterwards if that is.
    ///
    /// # Errors
    /// When the quantity cannot be lowered safely now, or anything at all where Redis alone has the
    /// wins, or would have to hear of it, and does not answer.
    async fn before_restriction(
        &self,
        event: &EventRecord,
        restriction: Restriction,
        hand: &str,
    ) -> Result<Option<Lowered>, IssuanceError> {
        let is_alone = event.commit == Commit::RedisStream || restriction.narrows_window;
        let longest = if is_alone { FREEZE_ALONE_MAX } else { FREEZE_MAX };
        let micros = i64::try_from(longest.as_micros()).expect("seconds");
        let lowered = match restriction.quantity {
            Some(quantity) if event.commit != Commit::Ledger => {
                Some(self.lower(event.id, quantity, hand, micros).await?)
            }
            _ => None,
        };
        // Who lowers it has frozen it: an event of which that is refused is decided as before.
        let is_frozen = match lowered {
            Some(_) => true,
            None => match self.0.redis.run::<i64>(&Keys::of(event.id).freeze(hand, micros)).await {
                Ok(frozen) => frozen == 1,
                // Others may reach it: whoever wins there is told so, whatever the ledger says.
                Err(error) if is_alone => {
                    return Err(Failed::from(error).into());
                }
                Err(_) => false,
            },
        };
        if is_frozen {
            // What cannot be made durable in time is refused, or void, later.
            let _ = timeout(DRAIN_MAX, self.settle_pending(event, Scope::default())).await;
        }
        Ok(lowered)
    }

    /// Lowers the quantity in Redis, and freezes the event for so long at most, both or neither.
    async fn lower(
        &self,
        event: EventId,
        quantity: Quantity,
        hand: &str,
        micros: i64,
    ) -> Result<Lowered, Failed> {
        let deadline = Instant::now() + LOWER_MAX;
        loop {
            let lower = Keys::of(event).lower(quantity, hand, micros);
            let answer: Vec<u64> = self.0.redis.run(&lower).await?;
            match *answer.as_slice() {
                [epoch, winners] => {
                    let winners = u32::try_from(winners).map_err(|_| Failed::Nonsense)?;
                    return Ok(Lowered { epoch, winners });
                }
                // Whose hand died, the keeper finds out.
                [_] if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                [_] => return Err(Failed::Lowering),
                _ if Instant::now() < deadline => self.sync_soon(event, deadline).await,
                _ => return Err(Failed::NotLoaded),
            }
        }
    }

    /// The same as [`let_go`](Self::let_go), where the ledger is changed or not, or will be: what
    /// it has now does not count. The next epoch begins under the lock that the change has, and so
    /// after it.
    async fn let_go_in_doubt(self, event: EventId, hand: String) {
        let until = Instant::now() + LET_GO_MAX;
        while Instant::now() < until {
            if self.sync_event(event).await.is_ok() {
                return self.let_go(event, hand).await;
            }
            sleep(LET_GO_EVERY).await;
        }
    }

    /// Ends what a hand has done, or may have, to an event that it could not make Redis follow.
    async fn let_go(self, event: EventId, hand: String) {
        let until = Instant::now() + LET_GO_MAX;
        while Instant::now() < until {
            if let Ok(Some(event)) = self.0.ledger.event(event).await
                && self.follow(&hand, &event).await
            {
                return;
            }
            sleep(LET_GO_EVERY).await;
        }
    }

    /// Makes Redis follow a change that is in the ledger, or that was refused there; the hand is of
    /// whoever has made Redis ready for it, or nobody's. Whether Redis has answered.
    pub(super) async fn follow(&self, hand: &str, event: &EventRecord) -> bool {
        let keys = Keys::of(event.id);
        match self.0.redis.run::<i64>(&keys.follow(hand, event)).await {
            Ok(0) if !hand.is_empty() => match self.0.ledger.event(event.id).await {
                // Somebody else was faster with a later change, or with a rebuild. What this hand
                // holds back it lets go, by that one.
                Ok(Some(now)) if now.version > event.version || now.epoch > event.epoch => {
                    return Box::pin(self.follow(hand, &now)).await;
                }
                Ok(_) => self.forget(event.id),
                Err(_) => return false,
            },
            Ok(_) => self.remember(event.clone()),
            Err(_) => {
                // The keeper does it when Redis answers again.
                self.forget(event.id);
                return false;
            }
        }
        true
    }

    /// Lets Redis forget in time events that are over, of which nothing is pending.
    pub(super) async fn expire(&self, events: &[EventId]) {
        let calls = events.iter().map(|event| Keys::of(*event).expire(REMEMBERED));
        // What stays longer than it need be does no harm: the next look does it.
        let _ = self.0.redis.run_all::<i64>(&calls.collect::<Vec<_>>()).await;
    }
}
