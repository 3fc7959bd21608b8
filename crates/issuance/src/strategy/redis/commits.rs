//! What makes a win durable before anyone is told, by the commit of its event.
//!
//! | commit | a win is told when |
//! |---|---|
//! | `ledger` | the ledger has recorded it |
//! | `kafka` | the brokers have acknowledged it, and the ledger still goes by its epoch |
//! | `redis_stream` | the script has decided it |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use firstcome_cache::redis::ScriptCall;
use firstcome_core::{Commit, EventId, Validity};
use firstcome_ledger::{
    EventRecord, IssuedCouponRecord, JournalRecord, JournalWin, LedgerError, Recorded, Recording,
    Standing, Told, Tried, Won,
};
use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::{Failed, RedisStrategy};

/// How long it is remembered for how long coupons are valid.
const VALIDITY_REMEMBERED: Duration = Duration::from_secs(10);

/// For how long issued coupons of a coupon are valid, as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownValidity {
    validity: Validity,
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
        let held = all.iter().zip(committed).map(async |(of, committed)| match committed {
            Some(committed) => committed,
            None => self.coupons(of.event, of.epoch, of.wins).await,
        });
        join_all(held).await
    }

    /// Makes pending wins so durable that Redis may forget that they were pending; what each winner
    /// holds, in the order of the wins.
    pub(super) async fn settle(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        let (told, tried) = match event.commit {
            Commit::RedisStream => (Told::Already, Tried::Never),
            Commit::Ledger | Commit::Kafka => (Told::NotYet, Tried::Perhaps),
        };
        let wins = [Wins { event, epoch, wins, told, tried }];
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
    /// now lies before it.
    async fn append(
        &self,
        all: &[Wins<'_>],
    ) -> Vec<Result<(Vec<IssuedCouponRecord>, Standing), Failed>> {
        let appended = join_all(all.iter().map(|of| self.append_to_partition(of))).await;
        let written = all.iter().zip(&appended).filter(|(_, appended)| appended.is_ok());
        let written: Vec<_> = written.map(|(of, _)| (of.event.id, of.epoch)).collect();
        let mut standings = self.standings(&written).await;
        let appended = all.iter().zip(appended).map(|(of, appended)| {
            let (held, coupon_version) = appended?;
            let standing = standings.remove(&of.event.id).expect("asked of what is written")?;
            if standing.coupon_version != coupon_version {
                self.validities().remove(&of.event.coupon_id);
            }
            Ok((held, standing))
        });
        appended.collect()
    }

    /// Appends wins of one event; what each winner holds, and the version of the coupon by which
    /// that is so.
    async fn append_to_partition(
        &self,
        of: &Wins<'_>,
    ) -> Result<(Vec<IssuedCouponRecord>, u64), Failed> {
        let journal = self.journal()?;
        let partition = self.partition_of(of.event).await?.ok_or(Failed::NotLoaded)?;
        let known = self.validity(of.event).await?;
        let wins = journal_wins(of.event.id, of.epoch, of.wins, known.validity);
        let records: Vec<JournalRecord> = wins.iter().cloned().map(JournalRecord::Win).collect();
        journal.append(partition, &records).await?;
        let held = wins.iter().map(|win| self.0.ledger.coupon_of(of.event, win));
        Ok((held.collect(), known.version))
    }

    /// How each of these events stands in the ledger, where it still goes by this epoch.
    pub(super) async fn standings(
        &self,
        events: &[(EventId, u64)],
    ) -> HashMap<EventId, Result<Standing, Failed>> {
        let ids: Vec<EventId> = events.iter().map(|(id, _)| *id).collect();
        let read = self.0.ledger.standings(&ids).await.map_err(Arc::new);
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
    pub(super) async fn coupons(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        let known = self.validity(event).await?;
        let wins = journal_wins(event.id, epoch, wins, known.validity);
        Ok(wins.iter().map(|win| self.0.ledger.coupon_of(event, win)).collect())
    }

    async fn validity(&self, event: &EventRecord) -> Result<KnownValidity, Failed> {
        let known = self.validities().get(&event.coupon_id).copied();
        if let Some(known) = known.filter(|known| known.read_at.elapsed() < VALIDITY_REMEMBERED) {
            return Ok(known);
        }
        let read_at = Instant::now();
        let (validity, version) = self.0.ledger.validity_of(event).await?;
        let known = KnownValidity { validity, version, read_at };
        self.validities().insert(event.coupon_id, known);
        Ok(known)
    }
}

fn journal_wins(
    event_id: EventId,
    epoch: u64,
    wins: &[Won],
    validity: Validity,
) -> Vec<JournalWin> {
    let win = |won: &Won| {
        let (valid_from, expires_at) = validity.of_issue(won.issued_at);
        JournalWin {
            event_id,
            epoch,
            user_id: won.user_id.clone(),
            sequence: won.sequence,
            issued_at: won.issued_at,
            valid_from,
            expires_at,
        }
    };
    wins.iter().map(win).collect()
}
