//! The claim transaction of the embedded ledger.
//!
//! One process owns the data (its lock sees to that), so the state that decides claims is held in
//! memory, under the one [turn](crate::Inner) of the writer, and a batch of winners is made
//! durable as *one* row appended to `claim_journal`: one statement and one fsync, whatever the
//! number of winners and of events. Settling moves journalled winners to the indexed tables,
//! where the constraints are, in bulk and mostly when no drop is running. What has not been
//! settled is the [`Tail`]; everyone who reads issued coupons settles what they are about to read.
//!
//! Invariants:
//! - a winner is in the tail or in `issued_coupons`, never in neither;
//! - memory changes only after the commit; when a commit fails, memory is read again before use.

mod checkpoint;
mod journal;
mod live;
mod settle;
mod settler;
mod winners;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use firstcome_core::{Clock, EventId, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use tokio::time::Instant;

use super::batch::{DecidedGroup, Group, Held, LiveEvent, group};
use super::{Answer, Claim, Decision};
use crate::metrics::{Metrics, as_gauge};
use crate::secrets::Keys;
use crate::{ClaimError, LedgerError};

pub(crate) use checkpoint::checkpoint;
use journal::Tail;
pub(crate) use live::{IssuedCounts, IssuedLive};
pub(crate) use settler::blocking;
pub(crate) use winners::{each_journalled, read_only};

/// The one writer of claims, and its memory.
pub(crate) struct ClaimWriter {
    db: Connection,
    keys: Keys,
    clock: Arc<dyn Clock>,
    events: HashMap<EventId, LiveEvent>,
    tail: Tail,
    issued_live: IssuedLive,
    /// Claims so far: how busy the drop is.
    claims: u64,
    /// Whether memory follows the database. It does not between a commit and what memory takes
    /// from it, nor after a commit that failed or a panic on the way.
    trusted: bool,
    metrics: Metrics,
}

impl ClaimWriter {
    /// Opens the writer's connection and reads what the journal still holds.
    pub(crate) fn open(
        path: &Path,
        keys: Keys,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        let db = checkpoint::connect(path)?;
        let mut writer = Self {
            db,
            keys,
            clock,
            events: HashMap::new(),
            tail: Tail::new(),
            issued_live: IssuedLive::default(),
            claims: 0,
            trusted: true,
            metrics: Metrics::new(),
        };
        writer.read_journal()?;
        Ok(writer)
    }

    /// Makes memory what the journal says.
    fn read_journal(&mut self) -> Result<(), LedgerError> {
        self.tail = Tail::load(&self.db)?;
        for event in self.tail.events() {
            self.issued_live.set(event, self.tail.sequence_max(event));
        }
        Ok(())
    }

    /// Decides a batch and makes its winners durable.
    pub(crate) fn claim(&mut self, batch: &[Claim]) -> Result<Vec<Answer>, ClaimError> {
        self.claims += batch.len() as u64;
        self.trust().map_err(ClaimError::Unavailable)?;
        self.make_room(batch.len()).map_err(ClaimError::Unavailable)?;
        let now = self.clock.now();
        let groups = group(batch);
        let held = self.prepare(&groups).map_err(ClaimError::Unavailable)?;
        let decided = self.decide_groups(groups, &held, now);
        self.trusted = false;
        self.commit(&decided)?;
        let answers = self.install(batch.len(), decided, &held);
        self.trusted = true;
        Ok(answers)
    }

    /// Forgets what is known of an event, so that the next batch reads what was changed.
    pub(crate) fn forget_event(&mut self, id: EventId) {
        self.events.remove(&id);
    }

    /// Forgets what is known of every event.
    pub(crate) fn forget_events(&mut self) {
        self.events.clear();
    }

    /// Reads everything again if memory may differ from the database.
    fn trust(&mut self) -> Result<(), LedgerError> {
        if !self.trusted {
            self.events.clear();
            self.read_journal()?;
            self.trusted = true;
        }
        Ok(())
    }

    /// Keeps the tail bounded: a drop that never calms down pays for its settling as it goes.
    fn make_room(&mut self, claims: usize) -> Result<(), LedgerError> {
        if self.tail.len() + claims > settle::UNSETTLED_MAX {
            self.settle_some(2 * claims)?;
        }
        Ok(())
    }

    /// Loads the events that are not in memory, and who of the batch holds a coupon already.
    fn prepare(&mut self, groups: &[Group]) -> Result<Held, LedgerError> {
        self.load_events(groups.iter().map(|group| group.event_id))?;
        let mut held = Held::new();
        let mut to_look_up = Vec::new();
        for group in groups {
            let Some(event) = self.events.get(&group.event_id) else { continue };
            let settled_rows = event.rule.issued > self.tail.pending(event.no);
            for (user, &id) in group.users.iter().zip(&group.ids) {
                if let Some(record) = self.tail.get(id) {
                    held.insert(id, record.issued_coupon(event, user, id, &self.keys.codes));
                } else if settled_rows {
                    to_look_up.push((event, Cow::Borrowed(user)));
                    if event.has_erased {
                        to_look_up.push((event, Cow::Owned(self.keys.pseudonyms.of(user))));
                    }
                }
            }
        }
        let found = live::settled_coupons(&self.db, &to_look_up, &self.keys.codes)?;
        held.extend(found.into_iter().map(|record| (record.id, record)));
        Ok(held)
    }

    fn decide_groups(&self, groups: Vec<Group>, held: &Held, now: Timestamp) -> Vec<DecidedGroup> {
        let decide = |group: Group| {
            let event = self.events.get(&group.event_id)?;
            Some(group.decide(event, held, now))
        };
        groups.into_iter().filter_map(decide).collect()
    }

    /// One transaction: the journal's new row, and the events that the clock has closed.
    fn commit(&mut self, groups: &[DecidedGroup]) -> Result<(), ClaimError> {
        let closed: Vec<EventId> = groups
            .iter()
            .filter(|group| {
                let before = self.events.get(&group.group.event_id);
                before.is_some_and(|event| event.rule.closed != group.decided.rule.closed)
            })
            .map(|group| group.group.event_id)
            .collect();
        let nobody_won = groups.iter().all(|group| group.wins.is_empty());
        if closed.is_empty() && nobody_won {
            return Ok(());
        }
        let begun = Instant::now();
        let unavailable = |error: rusqlite::Error| ClaimError::Unavailable(error.into());
        let transaction = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(unavailable)?;
        live::close_events(&transaction, &closed).map_err(unavailable)?;
        let wins = groups.iter().map(|group| group.wins.as_slice());
        self.tail.append(&transaction, wins).map_err(unavailable)?;
        // SQLite's commit fails before or after it took effect; which of both is for a later
        // reading to tell.
        transaction.commit().map_err(|error| ClaimError::InDoubt(error.into()))?;
        self.metrics.commit.record(begun.elapsed());
        Ok(())
    }

    /// After the commit: memory follows, and everyone gets an answer.
    fn install(&mut self, claims: usize, groups: Vec<DecidedGroup>, held: &Held) -> Vec<Answer> {
        let mut answers = vec![Ok(Decision::EventNotFound); claims];
        let wins: usize = groups.iter().map(|group| group.wins.len()).sum();
        if wins > 0 {
            self.tail.committed(wins);
        }
        for group in groups {
            let Some(event) = self.events.get_mut(&group.group.event_id) else { continue };
            event.rule = group.decided.rule;
            if !group.wins.is_empty() {
                self.issued_live.set(event.no, event.rule.issued);
            }
            group.answer(event, held, &self.keys.codes, &mut answers);
            self.tail.insert(&group.wins);
        }
        self.metrics.unsettled.set(as_gauge(self.tail.len()));
        answers
    }
}
