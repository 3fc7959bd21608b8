//! What makes a win durable before anyone is told, by the commit of its event.
//!
//! | commit | a win is told when |
//! |---|---|
//! | `ledger` | the ledger has recorded it |
//! | `kafka` | the brokers have acknowledged it, and the ledger still goes by its epoch |
//! | `redis_stream` | the script has decided it |

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use firstcome_cache::redis::ScriptCall;
use firstcome_core::{Commit, EventId};
use firstcome_ledger::{
    EventRecord, IssuedCouponRecord, JournalRecord, JournalWin, LedgerError, Recorded, Recording,
    Standing, Told, Tried, Won,
};
use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::terms::word_of;
use super::{Failed, RedisStrategy};
use crate::journal::Journal;

/// How long it is remembered for how long coupons are valid.
const VALIDITY_REMEMBERED: Duration = Duration::from_secs(10);

/// Coupons of which a process remembers that; with more, all are forgotten.
const VALIDITIES_MAX: usize = 50_000;

/// For how long issued coupons of a coupon are valid, as it was read.
#[derive(Debug, Clone)]
pub(super) struct KnownValidity {
    /// What the script is told.
    word: String,
    /// The version of the coupon that says so.
    version: u64,
    read_at: Instant,
}

/// Wins of one event, by the word of an epoch.
#[derive(Clone, Copy)]
pub(super) struct Wins<'a> {
    pub(super) event: &'a EventRecord,
    pub(super) epoch: u64,
    pub(super) wins: &'a [Won],
    pub(super) told: Told,
    pub(super) tried: Tried,
}

impl RedisStrategy {
    /// Makes wins of different events as durable as they must be before anyone is told; what each
    /// event's winners hold, in the order of the wins.
    pub(super) async fn commit(
        &self,
        all: &[Wins<'_>],
    ) -> Vec<Result<Vec<IssuedCouponRecord>, Failed>> {
        let by = |commit| -> Vec<Wins<'_>> {
            let wins = all.iter().filter(|of| of.event.commit == commit && !of.wins.is_empty());
            wins.copied().collect()
        };
        let (in_ledger, in_journal) = (by(Commit::Ledger), by(Commit::Kafka));
        let (recorded, appended) = join(self.record(&in_ledger), self.append(&in_journal)).await;
        let (mut recorded, mut appended) = (recorded.into_iter(), appended.into_iter());
        let committed = all.iter().map(|of| match of.event.commit {
            _ if of.wins.is_empty() => None,
            // A worker does the rest.
            Commit::RedisStream => None,
            Commit::Ledger => recorded.next(),
            Commit::Kafka => appended.next().map(|appended| {
                let (held, standing) = appended?;
                if standing.stopped {
                    // Redis has not heard of it. They have won, and hear so later.
                    self.forget(of.event.id);
                    return Err(Failed::Stopped);
                }
                Ok(held)
            }),
        });
        let committed: Vec<_> = committed.collect();
        let held = all.iter().zip(committed).map(|(of, committed)| {
            committed.unwrap_or_else(|| self.coupons(of.event, of.epoch, of.wins))
        });
        held.collect()
    }

    /// Makes pending wins so durable that Redis may forget that they were pending; what each winner
    /// holds, in the order of the wins.
    pub(super) async fn settle(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        let told = match event.commit {
            Commit::RedisStream => Told::Already,
            Commit::Ledger | Commit::Kafka => Told::NotYet,
        };
        let wins = [Wins { event, epoch, wins, told, tried: Tried::Perhaps }];
        match event.commit {
            Commit::Ledger | Commit::RedisStream => self.record(&wins).await.remove(0),
            Commit::Kafka => Ok(self.append(&wins).await.remove(0)?.0),
        }
    }

    /// Records wins of different events in the ledger.
    async fn record(&self, all: &[Wins<'_>]) -> Vec<Result<Vec<IssuedCouponRecord>, Failed>> {
        let recordings = all.iter().map(|of| Recording {
            event: of.event.id,
            epoch: of.epoch,
            wins: of.wins,
            told: of.told,
            tried: of.tried,
        });
        let recorded = self.0.ledger.record_wins(&recordings.collect::<Vec<_>>()).await;
        let held = all.iter().zip(recorded).map(|(of, recorded)| match recorded? {
            Recorded::Held(held) => {
                // Another place in line than Redis gave: what it knows is not what the ledger has.
                if of.wins.iter().zip(&held).any(|(won, held)| won.sequence != held.sequence) {
                    self.sync_now(of.event.id);
                }
                Ok(held)
            }
            Recorded::Refused(refused) => {
                tracing::warn!(
                    firstcome.event.id = %of.event.id,
                    "the ledger does not take what Redis has decided ({refused:?}): it is rebuilt"
                );
                self.sync_now(of.event.id);
                Err(Failed::NotRecorded(refused))
            }
        });
        held.collect()
    }

    /// Appends wins of different events to the journal, and asks afterwards whether their word
    /// still counts: the next epoch's fence is appended after that epoch has begun, so what counts
    /// now lies before it. And whether the ledger still has this journal: before it forgets one,
    /// all that is in it by then is applied.
    async fn append(
        &self,
        all: &[Wins<'_>],
    ) -> Vec<Result<(Vec<IssuedCouponRecord>, Standing), Failed>> {
        let appended = join_all(all.iter().map(|of| self.append_to_partition(of))).await;
        let written = all.iter().zip(&appended).filter(|(_, appended)| appended.is_ok());
        let written: Vec<_> = written.map(|(of, _)| (of.event.id, of.epoch)).collect();
        let journal = self.0.journal.as_ref().map(Journal::topic);
        let mut standings = self.standings(&written, journal).await;
        let appended = all.iter().zip(appended).map(|(of, appended)| {
            let held = appended?;
            let standing = standings.remove(&of.event.id).expect("asked of what is written")?;
            if !standing.has_journal {
                return Err(Failed::NotItsJournal);
            }
            if let Entry::Occupied(known) = self.validities().entry(of.event.coupon_id)
                && known.get().version != standing.coupon_version
            {
                known.remove();
            }
            Ok((held, standing))
        });
        appended.collect()
    }

    /// Appends wins of one event; what each winner holds.
    async fn append_to_partition(&self, of: &Wins<'_>) -> Result<Vec<IssuedCouponRecord>, Failed> {
        let partition = self.partition_of(of.event).await?.ok_or(Failed::NotLoaded)?;
        let wins = self.journal_wins(of.event, of.epoch, of.wins)?;
        let records: Vec<JournalRecord> = wins.iter().cloned().map(JournalRecord::Win).collect();
        self.append_records(partition, &records).await?;
        Ok(wins.iter().map(|win| self.0.ledger.coupon_of(of.event, win)).collect())
    }

    /// Appends records to a partition, where a worker will read them.
    ///
    /// # Errors
    /// Also where they have got offsets that are applied already: another topic has the name of
    /// this one, or the end of it was lost.
    pub(super) async fn append_records(
        &self,
        partition: i32,
        records: &[JournalRecord],
    ) -> Result<(), Failed> {
        let journal = self.journal()?;
        let position = self.applied_before(partition).await?;
        match journal.append(partition, records).await? {
            Some(lowest) if lowest < position => {
                Err(Failed::AnotherJournal { partition, position, end: lowest })
            }
            _ => Ok(()),
        }
    }

    /// How each of these events stands in the ledger, where it still goes by this epoch; and
    /// whether the ledger has this journal.
    pub(super) async fn standings(
        &self,
        events: &[(EventId, u64)],
        journal: Option<&str>,
    ) -> HashMap<EventId, Result<Standing, Failed>> {
        let ids: Vec<EventId> = events.iter().map(|(id, _)| *id).collect();
        let read = self.0.ledger.standings(&ids, journal).await.map_err(Arc::new);
        let standing = |&(id, epoch): &(EventId, u64)| {
            let standing = match &read {
                Ok(standings) => standings.get(&id).filter(|standing| standing.epoch == epoch),
                Err(error) => return (id, Err(LedgerError::Shared(Arc::clone(error)).into())),
            };
            let standing = standing.copied().ok_or_else(|| {
                self.sync_now(id);
                Failed::NotLoaded
            });
            (id, standing)
        };
        events.iter().map(standing).collect()
    }

    /// Notes in Redis that wins are durable, behind their answers. Where that fails, whoever meets
    /// them makes them so again, which changes nothing.
    pub(super) fn confirm(&self, calls: impl Iterator<Item = ScriptCall>) {
        let calls: Vec<ScriptCall> = calls.collect();
        if !calls.is_empty() {
            let redis = self.0.redis.clone();
            tokio::spawn(async move { redis.run_all::<i64>(&calls).await });
        }
    }

    /// The coupons of wins that the ledger has not got yet, in their order.
    pub(super) fn coupons(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        let wins = self.journal_wins(event, epoch, wins)?;
        Ok(wins.iter().map(|win| self.0.ledger.coupon_of(event, win)).collect())
    }

    fn journal_wins(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<JournalWin>, Failed> {
        let win = |won: &Won| {
            let (valid_from, expires_at) = won.validity?.of_issue(won.issued_at);
            Some(JournalWin {
                event_id: event.id,
                epoch,
                user_id: won.user_id.clone(),
                sequence: won.sequence,
                issued_at: won.issued_at,
                valid_from,
                expires_at,
            })
        };
        wins.iter().map(win).collect::<Option<_>>().ok_or_else(|| {
            // The ledger has them, or will when the event is loaded anew.
            self.sync_now(event.id);
            Failed::NotLoaded
        })
    }

    /// For how long the coupons of an event are valid, in [one word](word_of); none where the
    /// ledger tells when it records them.
    pub(super) async fn word_of_validity(&self, event: &EventRecord) -> Result<String, Failed> {
        if event.commit == Commit::Ledger {
            return Ok(String::new());
        }
        let known = self.validities().get(&event.coupon_id).cloned();
        if let Some(known) = &known
            && known.read_at.elapsed() < VALIDITY_REMEMBERED
        {
            return Ok(known.word.clone());
        }
        let read_at = Instant::now();
        match (self.0.ledger.validity_of(event).await, known) {
            (Ok((validity, version)), _) => {
                let word = word_of(validity, version);
                let known = KnownValidity { word: word.clone(), version, read_at };
                let mut validities = self.validities();
                if validities.len() >= VALIDITIES_MAX {
                    validities.clear();
                }
                validities.insert(event.coupon_id, known);
                Ok(word)
            }
            // Others who reach the ledger bring the script what is newer.
            (Err(_), Some(known)) => Ok(known.word),
            (Err(error), None) => Err(error.into()),
        }
    }
}
