//! Recording what a decider beside the ledger has issued.
//!
//! One transaction for wins of any number of events: lock the events' rows, in the order of their
//! ids; look whether each still goes by this decider's word, and what the winners hold already;
//! insert those who hold nothing, with the sequences that they were given, and move the counters;
//! commit. To record the same again changes nothing, and tells the same: that is how the end of a
//! transaction whose answer was lost is found out.
//!
//! Wins that nobody has tried to record before, nor told anyone of, go in one message, where the
//! database can: a statement looks at the events and inserts them. Those of an event that does not
//! take them are left out by it, and where one of the winners holds something after all, nothing
//! was written: what is not recorded by that is recorded as above.
//!
//! An event refuses its own wins alone. Only where a place in line turns out to be somebody else's,
//! which the insert tells of none in particular, each event gets a transaction of its own.

use std::sync::Arc;

use firstcome_core::{EventId, IssuedCouponId, Sequence, Timestamp, UserId, Validity};
use tokio::time::{Instant, timeout};

use super::super::batch::{Held, LiveEvent, Win};
use super::take::is_unique_violation;
use super::{Asked, ClaimConnection, Claimer, Move, NotCommitted, is_stale};
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
    /// For how long it is valid, where the winner may have been told; none for as long as its
    /// coupon says when it is recorded.
    pub validity: Option<Validity>,
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

/// Wins of one event, by the word of an epoch.
#[derive(Debug, Clone, Copy)]
pub struct Recording<'a> {
    /// The event.
    pub event: EventId,
    /// By whose word they are won.
    pub epoch: u64,
    /// Of different users.
    pub wins: &'a [Won],
    /// Whether the winners know.
    pub told: Told,
    /// Whether it is tried for the first time.
    pub tried: Tried,
}

/// Wins of one event that are recorded in one message.
pub(crate) struct NewWins<'a> {
    pub(super) of: &'a Recording<'a>,
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
    /// Records wins of different events; what became of each event's, in their order.
    pub(super) async fn record(
        &self,
        recordings: &[Recording<'_>],
    ) -> Vec<Result<Recorded, ClaimError>> {
        let _permit = self.room.acquire().await.expect("it is never closed");
        let mut records: Vec<Record<'_>> = recordings.iter().map(Record::new).collect();
        let mut left: Vec<&mut Record<'_>> = records.iter_mut().collect();
        let in_doubt = self.record_new(&mut left).await;
        left.retain(|record| record.outcome.is_none());
        let tries = if in_doubt { 1 } else { 2 };
        if !self.record_looking(&mut left, tries).await {
            for record in left {
                self.record_looking(&mut [record], tries).await;
            }
        }
        records.into_iter().map(Record::outcome).collect()
    }

    /// Records in one message what is new; whether it is in doubt what became of that. Whatever has
    /// no outcome was not written, or is in doubt, and another way may do better.
    async fn record_new(&self, records: &mut [&mut Record<'_>]) -> bool {
        let is_new = |record: &&mut Record<'_>| {
            let Recording { wins, told, tried, .. } = record.of;
            *tried == Tried::Never && *told == Told::NotYet && !wins.is_empty()
        };
        let mut new: Vec<&mut Record<'_>> =
            records.iter_mut().filter(|_| C::TAKES).map(|it| &mut **it).filter(is_new).collect();
        if new.is_empty() {
            return false;
        }
        // Whoever looks first tells better why there is no connection.
        let Ok(mut connected) = self.connection().await else { return false };
        let wins: Vec<NewWins<'_>> = new.iter().map(|record| NewWins::of(record.of)).collect();
        let begun = Instant::now();
        let recorded = connected.connection.record_new(&wins);
        let recorded = timeout(self.limits.statement_timeout, recorded).await;
        match recorded.unwrap_or(Err(NotCommitted::Unknown(LedgerError::Late))) {
            Ok(events) => {
                self.give_back(connected);
                if !events.is_empty() {
                    self.metrics.commit.record(begun.elapsed());
                }
                for (record, wins) in new.iter_mut().zip(&wins) {
                    let live = events.iter().find(|live| live.id == wins.of.event);
                    let held = live.map(|live| Recorded::Held(self.held_by(live, wins)));
                    record.outcome = held.map(Ok);
                }
                false
            }
            Err(NotCommitted::Refused(error))
                if is_unique_violation(&error) || is_stale(&error, connected.is_new) =>
            {
                false
            }
            Err(NotCommitted::Refused(error)) => {
                fail(&mut new, error);
                false
            }
            Err(NotCommitted::Unknown(_)) => {
                for record in new {
                    record.in_doubt = true;
                }
                true
            }
        }
    }

    fn held_by(&self, live: &LiveEvent, new: &NewWins<'_>) -> Vec<IssuedCouponRecord> {
        let wins = new.of.wins.iter().zip(&new.ids).map(|(won, id)| win(live, *id, won));
        wins.map(|win| win.into_issued_coupon(live, &self.keys.codes)).collect()
    }

    /// Records in one transaction, which looks first, and is tried so often. False where a place in
    /// line of one of several events is somebody else's: nothing was written, and nobody is told.
    async fn record_looking(&self, records: &mut [&mut Record<'_>], mut tries: u32) -> bool {
        if records.is_empty() {
            return true;
        }
        let error = loop {
            let recordings: Vec<&Recording<'_>> = records.iter().map(|record| record.of).collect();
            let (error, may_retry) = match self.record_once(&recordings).await {
                // Also what a commit whose answer was lost has done: its lock is gone by now.
                Ok(recorded) => {
                    for (record, recorded) in records.iter_mut().zip(recorded) {
                        record.outcome = Some(Ok(recorded));
                    }
                    return true;
                }
                Err(Unrecorded::Taken) if records.len() > 1 => return false,
                Err(Unrecorded::Taken) => {
                    records[0].outcome = Some(Ok(Recorded::Refused(NotRecorded::Sequence)));
                    return true;
                }
                Err(Unrecorded::NotWritten(error, stale)) => (error, stale),
                Err(Unrecorded::Unknown(error)) => {
                    for record in records.iter_mut() {
                        record.in_doubt = true;
                    }
                    (error, true)
                }
            };
            tries -= 1;
            if tries == 0 || !may_retry {
                break error;
            }
        };
        fail(records, error);
        true
    }

    /// One transaction; a connection on which anything failed is dropped, and its locks with it.
    async fn record_once(
        &self,
        recordings: &[&Recording<'_>],
    ) -> Result<Vec<Recorded>, Unrecorded> {
        let mut connected =
            self.connection().await.map_err(|error| Unrecorded::NotWritten(error, false))?;
        let (connection, is_new) = (&mut connected.connection, connected.is_new);
        let not_written = |error: LedgerError| {
            let stale = is_stale(&error, is_new);
            Unrecorded::NotWritten(error, stale)
        };
        let asked = recordings.iter().map(|of| Asked {
            event_id: of.event,
            users: of.wins.iter().map(|won| &won.user_id).collect(),
        });
        let look = self.look(connection, asked.collect());
        let (events, held, _) = self.in_time(look).await.map_err(not_written)?;
        let looked: Vec<_> = recordings.iter().map(|of| self.looked(of, &events, &held)).collect();
        let moves = looked.iter().filter_map(|looked| looked.as_ref().ok()?.moved());
        let moves: Vec<Move<'_>> = moves.collect();
        if moves.is_empty() {
            self.undo(connected).await;
        } else {
            let begun = Instant::now();
            let writing = timeout(self.limits.statement_timeout, connection.record(&moves)).await;
            match writing.unwrap_or(Err(NotCommitted::Unknown(LedgerError::Late))) {
                Ok(()) => {
                    self.metrics.commit.record(begun.elapsed());
                    self.give_back(connected);
                }
                Err(NotCommitted::Refused(error)) if is_unique_violation(&error) => {
                    return Err(Unrecorded::Taken);
                }
                Err(NotCommitted::Refused(error)) => return Err(not_written(error)),
                Err(NotCommitted::Unknown(error)) => {
                    drop(connected);
                    return Err(Unrecorded::Unknown(error));
                }
            }
        }
        let recorded = looked.into_iter().map(|looked| match looked {
            Ok(looked) => Recorded::Held(looked.all),
            Err(refused) => Recorded::Refused(refused),
        });
        Ok(recorded.collect())
    }

    /// What is to be written of an event's wins, and what their winners hold then.
    fn looked<'a>(
        &self,
        of: &Recording<'_>,
        events: &'a [LiveEvent],
        held: &Held,
    ) -> Result<Looked<'a>, NotRecorded> {
        let live = events.iter().find(|live| live.id == of.event);
        let live = live.ok_or(NotRecorded::EventNotFound)?;
        let (mut fresh, mut all) = (Vec::new(), Vec::new());
        for win in of.wins.iter().map(|won| win_of(live, won)) {
            match held.get(&win.id) {
                Some(record) => all.push(record.clone()),
                None => {
                    all.push(win.clone().into_issued_coupon(live, &self.keys.codes));
                    fresh.push(win);
                }
            }
        }
        takes(live, of, fresh.len())?;
        Ok(Looked { live, fresh, all })
    }

    /// Lets the locks go; nothing was written.
    pub(super) async fn undo(&self, mut connected: super::Connected<C>) {
        if self.in_time(async { Ok(connected.connection.rollback().await?) }).await.is_ok() {
            self.give_back(connected);
        }
    }
}

/// Wins of one event on their way.
struct Record<'a> {
    of: &'a Recording<'a>,
    /// Whether they were written and the answer lost.
    in_doubt: bool,
    outcome: Option<Result<Recorded, ClaimError>>,
}

impl<'a> Record<'a> {
    fn new(of: &'a Recording<'a>) -> Self {
        Self { of, in_doubt: false, outcome: None }
    }

    fn outcome(self) -> Result<Recorded, ClaimError> {
        self.outcome.expect("each has come to an end")
    }
}

/// Nothing more is tried, for this reason.
fn fail(records: &mut [&mut Record<'_>], error: LedgerError) {
    let cause = Arc::new(error);
    for record in records {
        let error = LedgerError::Shared(Arc::clone(&cause));
        let failed = if record.in_doubt { ClaimError::InDoubt } else { ClaimError::Unavailable };
        record.outcome = Some(Err(failed(error)));
    }
}

impl<'a> NewWins<'a> {
    fn of(of: &'a Recording<'a>) -> Self {
        let ids = of.wins.iter().map(|won| IssuedCouponId::derive(of.event, &won.user_id));
        Self { of, ids: ids.collect() }
    }

    /// The last sequence before these winners'.
    pub(super) fn sequence_before(&self) -> u32 {
        let lowest = self.of.wins.iter().map(|won| won.sequence.get()).min();
        lowest.map_or(0, |lowest| lowest - 1)
    }
}

/// Wins of an event after a look.
struct Looked<'a> {
    live: &'a LiveEvent,
    /// Of those who hold nothing.
    fresh: Vec<Win>,
    /// What everybody holds once they are written.
    all: Vec<IssuedCouponRecord>,
}

impl Looked<'_> {
    /// What becomes of the event, if anything does.
    fn moved(&self) -> Option<Move<'_>> {
        let LiveEvent { no, rule, .. } = self.live;
        let more = u32::try_from(self.fresh.len()).expect("a batch is bounded");
        let moved =
            Move { no: *no, issued: rule.issued + more, closed: rule.closed, wins: &self.fresh };
        (more > 0).then_some(moved)
    }
}

/// Why wins are not known to be recorded.
enum Unrecorded {
    /// Nothing was written. Whether another connection might do better.
    NotWritten(LedgerError, bool),
    /// The same: a place in line is somebody else's.
    Taken,
    /// The answer to COMMIT was lost.
    Unknown(LedgerError),
}

/// Whether the event takes so many more of these wins. None more it always takes.
fn takes(live: &LiveEvent, of: &Recording<'_>, more: usize) -> Result<(), NotRecorded> {
    if more == 0 {
        return Ok(());
    }
    if live.epoch != of.epoch {
        return Err(NotRecorded::Epoch { current: live.epoch });
    }
    if of.told == Told::NotYet && (live.rule.closed || live.rule.paused) {
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
    let validity = won.validity.unwrap_or(live.validity);
    let (valid_from, expires_at) = validity.of_issue(won.issued_at);
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
