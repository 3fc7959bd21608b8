//! Recording what a decider beside the ledger has issued.
//!
//! One transaction: lock the event's row; look whether it still goes by this decider's word, and
//! what the winners hold already; insert those who hold nothing, with the sequences that they were
//! given, and move the counter; commit. To record the same again changes nothing, and tells the
//! same: that is how the end of a transaction whose answer was lost is found out.
//!
//! Wins that nobody has tried to record before go in one message, where the database can: a
//! statement looks at the event and inserts them. Where it does not take them, or one of the
//! winners holds something after all, nothing was written, and they are recorded as above.

use firstcome_core::{EventId, IssuedCouponId, Sequence, Timestamp, UserId};
use tokio::time::{Instant, timeout};

use super::super::batch::{LiveEvent, Win};
use super::take::is_unique_violation;
use super::{Asked, ClaimConnection, Claimer, NotCommitted, is_stale};
use crate::{ClaimError, IssuedCouponRecord, LedgerError};

/// A win by the word of a decider beside the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Won {
    /// Who has won.
    pub user_id: UserId,
    /// Their place in line.
    pub sequence: Sequence,
    /// When, by the decider's clock.
    pub issued_at: Timestamp,
}

/// Whether the winners know of their wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nobody does before they are recorded: an event that was stopped takes no more.
    NotYet,
    /// They may: what was promised is kept, also when the event was stopped since.
    Already,
}

/// Whether somebody may have recorded wins before. It is a matter of speed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Hardly: they are won just now.
    Never,
    /// Who has won them may have.
    Perhaps,
}

/// Wins that are recorded in one message.
pub(crate) struct Recording<'a> {
    pub(super) event_id: EventId,
    pub(super) epoch: u64,
    pub(super) wins: &'a [Won],
    pub(super) told: Told,
    /// What each winner gets.
    pub(super) ids: Vec<IssuedCouponId>,
}

/// What became of wins that were to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// What each winner holds, in the order of the wins: all of it is durable. It is another coupon
    /// than the win's where the winner held one before.
    Held(Vec<IssuedCouponRecord>),
    /// Nothing was written, and will not be however often it is tried.
    Refused(NotRecorded),
}

/// Why wins are not recorded. The decider's word no longer counts, or never did: what it knows is
/// to be built anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRecorded {
    /// There is no such event.
    EventNotFound,
    /// The event goes by another epoch.
    Epoch {
        /// The present one.
        current: u64,
    },
    /// The event was closed or paused by hand.
    Stopped,
    /// There would be more than the quantity.
    Quantity,
    /// One of the sequences is somebody else's.
    Sequence,
}

impl<C: ClaimConnection> Claimer<C> {
    /// Records wins of one event.
    pub(super) async fn record(
        &self,
        event: EventId,
        epoch: u64,
        wins: &[Won],
        told: Told,
        tried: Tried,
    ) -> Result<Recorded, ClaimError> {
        let _permit = self.room.acquire().await.expect("it is never closed");
        let (mut lost, mut tries_left) = (false, 2);
        if C::TAKES && tried == Tried::Never && !wins.is_empty() {
            let ids = wins.iter().map(|won| IssuedCouponId::derive(event, &won.user_id)).collect();
            match self.record_new(&Recording { event_id: event, epoch, wins, told, ids }).await {
                Ok(Some(held)) => return Ok(Recorded::Held(held)),
                Ok(None) => {}
                Err(NotCommitted::Refused(error)) => return Err(ClaimError::Unavailable(error)),
                Err(NotCommitted::Unknown(_)) => (lost, tries_left) = (true, 1),
            }
        }
        loop {
            let (error, may_retry) = match self.record_once(event, epoch, wins, told).await {
                // Also what a commit whose answer was lost has done: its lock is gone by now.
                Ok(recorded) => return Ok(recorded),
                Err(Unrecorded::NotWritten(error, stale)) => (error, stale),
                Err(Unrecorded::Unknown(error)) => {
                    lost = true;
                    (error, true)
                }
            };
            tries_left -= 1;
            if tries_left == 0 || !may_retry {
                let failed = if lost { ClaimError::InDoubt } else { ClaimError::Unavailable };
                return Err(failed(error));
            }
        }
    }

    /// One message; what the winners hold, or none where nothing was written and another way may do
    /// better.
    async fn record_new(
        &self,
        recording: &Recording<'_>,
    ) -> Result<Option<Vec<IssuedCouponRecord>>, NotCommitted> {
        // Whoever looks first tells better why there is no connection.
        let Ok(mut connected) = self.connection().await else { return Ok(None) };
        let begun = Instant::now();
        let recorded = connected.connection.record_new(recording);
        let recorded = timeout(self.limits.statement_timeout, recorded).await;
        let live = match recorded.unwrap_or(Err(NotCommitted::Unknown(LedgerError::Late))) {
            Ok(live) => live,
            Err(NotCommitted::Refused(error))
                if is_unique_violation(&error) || is_stale(&error, connected.is_new) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.give_back(connected);
        let Some(live) = live else { return Ok(None) };
        self.metrics.commit.record(begun.elapsed());
        let wins = recording.wins.iter().zip(&recording.ids).map(|(won, id)| win(&live, *id, won));
        let held = wins.map(|win| win.into_issued_coupon(&live, &self.keys.codes));
        Ok(Some(held.collect()))
    }

    /// One transaction; a connection on which anything failed is dropped, and its locks with it.
    async fn record_once(
        &self,
        event: EventId,
        epoch: u64,
        wins: &[Won],
        told: Told,
    ) -> Result<Recorded, Unrecorded> {
        let mut connected =
            self.connection().await.map_err(|error| Unrecorded::NotWritten(error, false))?;
        let (connection, is_new) = (&mut connected.connection, connected.is_new);
        let not_written = |error: LedgerError| {
            let stale = is_stale(&error, is_new);
            Unrecorded::NotWritten(error, stale)
        };
        let asked = Asked { event_id: event, users: wins.iter().map(|won| &won.user_id).collect() };
        let (events, held, _) =
            self.in_time(self.look(connection, vec![asked])).await.map_err(not_written)?;
        let live = events.first().ok_or(NotRecorded::EventNotFound);
        let fresh = live.and_then(|live| {
            let fresh: Vec<Win> = wins
                .iter()
                .map(|won| win_of(live, won))
                .filter(|win| !held.contains_key(&win.id))
                .collect();
            takes(live, epoch, fresh.len(), told).map(|()| (live, fresh))
        });
        let (live, fresh) = match fresh {
            Ok((live, fresh)) => (live, fresh),
            Err(refused) => {
                self.undo(connected).await;
                return Ok(Recorded::Refused(refused));
            }
        };
        let all = wins.iter().map(|won| win_of(live, won)).map(|win| match held.get(&win.id) {
            Some(record) => record.clone(),
            None => win.into_issued_coupon(live, &self.keys.codes),
        });
        let all: Vec<IssuedCouponRecord> = all.collect();
        if fresh.is_empty() {
            self.undo(connected).await;
            return Ok(Recorded::Held(all));
        }
        let begun = Instant::now();
        let issued = live.rule.issued + u32::try_from(fresh.len()).expect("a batch is bounded");
        let writing = connection.record(live.no, issued, &fresh);
        let written = timeout(self.limits.statement_timeout, writing).await;
        match written.unwrap_or(Err(NotCommitted::Unknown(LedgerError::Late))) {
            Ok(()) => {
                self.metrics.commit.record(begun.elapsed());
                self.give_back(connected);
                Ok(Recorded::Held(all))
            }
            Err(NotCommitted::Refused(error)) if is_unique_violation(&error) => {
                Ok(Recorded::Refused(NotRecorded::Sequence))
            }
            Err(NotCommitted::Refused(error)) => Err(not_written(error)),
            Err(NotCommitted::Unknown(error)) => {
                drop(connected);
                Err(Unrecorded::Unknown(error))
            }
        }
    }

    /// Lets the locks go; nothing was written.
    pub(super) async fn undo(&self, mut connected: super::Connected<C>) {
        if self.in_time(async { Ok(connected.connection.rollback().await?) }).await.is_ok() {
            self.give_back(connected);
        }
    }
}

/// Why wins are not known to be recorded.
enum Unrecorded {
    /// Nothing was written. Whether another connection might do better.
    NotWritten(LedgerError, bool),
    /// The answer to COMMIT was lost.
    Unknown(LedgerError),
}

/// Whether the event takes so many more, by the word of this epoch. None more it always takes.
fn takes(live: &LiveEvent, epoch: u64, more: usize, told: Told) -> Result<(), NotRecorded> {
    if more == 0 {
        return Ok(());
    }
    if live.epoch != epoch {
        return Err(NotRecorded::Epoch { current: live.epoch });
    }
    if told == Told::NotYet && (live.rule.closed || live.rule.paused) {
        return Err(NotRecorded::Stopped);
    }
    let left = live.rule.quantity.get().saturating_sub(live.rule.issued);
    if u32::try_from(more).is_ok_and(|more| more <= left) {
        Ok(())
    } else {
        Err(NotRecorded::Quantity)
    }
}

fn win_of(live: &LiveEvent, won: &Won) -> Win {
    win(live, IssuedCouponId::derive(live.id, &won.user_id), won)
}

fn win(live: &LiveEvent, id: IssuedCouponId, won: &Won) -> Win {
    let (valid_from, expires_at) = live.validity.of_issue(won.issued_at);
    Win {
        id,
        event_no: live.no,
        user_id: won.user_id.clone(),
        sequence: won.sequence,
        issued_at: won.issued_at,
        valid_from,
        expires_at,
    }
}
