//! What makes a win durable before anyone is told, by the commit of its event.
//!
//! | commit | a win is told when |
//! |---|---|
//! | `ledger` | the ledger has recorded it |
//! | `kafka` | the brokers have acknowledged it, and the ledger still goes by its epoch |
//! | `redis_stream` | the script has decided it |

use std::time::Duration;

use firstcome_core::{Commit, EventId, Timestamp, Validity};
use firstcome_ledger::{
    EventRecord, IssuedCouponRecord, JournalRecord, JournalWin, Recorded, Standing, Told, Tried,
    Won,
};
use tokio::time::Instant;

use super::calls::Keys;
use super::{Failed, RedisStrategy};

/// How long it is remembered for how long coupons of an event are valid.
const VALIDITY_REMEMBERED: Duration = Duration::from_secs(10);

/// For how long coupons of an event are valid, as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownValidity {
    validity: Validity,
    /// The version of the coupon that says so.
    version: u64,
    read_at: Instant,
}

impl RedisStrategy {
    /// Makes wins of a batch as durable as they must be before anyone is told; what each winner
    /// holds, in the order of the wins.
    pub(super) async fn commit(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
        tried: Tried,
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        if wins.is_empty() {
            return Ok(Vec::new());
        }
        match event.commit {
            // A worker does the rest.
            Commit::RedisStream => self.coupons(event, epoch, wins).await,
            Commit::Ledger => self.record(event.id, epoch, wins, Told::NotYet, tried).await,
            Commit::Kafka => {
                let (held, standing) = self.append(event, epoch, wins).await?;
                if standing.stopped {
                    // Redis has not heard of it. They have won, and hear so later.
                    self.forget(event.id);
                    return Err(Failed::Stopped);
                }
                Ok(held)
            }
        }
    }

    /// Makes pending wins so durable that Redis may forget that they were pending; what each winner
    /// holds, in the order of the wins.
    pub(super) async fn settle(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        match event.commit {
            Commit::Ledger => {
                self.record(event.id, epoch, wins, Told::NotYet, Tried::Perhaps).await
            }
            Commit::RedisStream => {
                self.record(event.id, epoch, wins, Told::Already, Tried::Never).await
            }
            Commit::Kafka => Ok(self.append(event, epoch, wins).await?.0),
        }
    }

    async fn record(
        &self,
        event: EventId,
        epoch: u64,
        wins: &[Won],
        told: Told,
        tried: Tried,
    ) -> Result<Vec<IssuedCouponRecord>, Failed> {
        match self.0.ledger.record_wins(event, epoch, wins, told, tried).await? {
            Recorded::Held(held) => {
                // Another place in line than Redis gave: what it knows is not what the ledger has.
                if wins.iter().zip(&held).any(|(won, held)| won.sequence != held.sequence) {
                    self.sync_now(event);
                }
                Ok(held)
            }
            Recorded::Refused(refused) => {
                tracing::warn!(
                    firstcome.event.id = %event,
                    "the ledger does not take what Redis has decided ({refused:?}): it is rebuilt"
                );
                self.sync_now(event);
                Err(Failed::NotRecorded(refused))
            }
        }
    }

    /// Appends wins to the journal, and asks afterwards whether their word still counts: the next
    /// epoch's fence is appended after that epoch has begun, so what counts now lies before it.
    async fn append(
        &self,
        event: &EventRecord,
        epoch: u64,
        wins: &[Won],
    ) -> Result<(Vec<IssuedCouponRecord>, Standing), Failed> {
        let journal = self.journal()?;
        let partition = self.partition_of(event).await?.ok_or(Failed::NotLoaded)?;
        let known = self.validity(event).await?;
        let wins = journal_wins(event.id, epoch, wins, known.validity);
        let records: Vec<JournalRecord> = wins.iter().cloned().map(JournalRecord::Win).collect();
        journal.append(partition, &records).await?;
        let standing = self.standing(event.id, epoch).await?;
        if standing.coupon_version != known.version {
            self.validities().remove(&event.id);
        }
        Ok((wins.iter().map(|win| self.0.ledger.coupon_of(event, win)).collect(), standing))
    }

    /// How the event stands in the ledger, where it still goes by this epoch.
    pub(super) async fn standing(&self, event: EventId, epoch: u64) -> Result<Standing, Failed> {
        let standing = self.0.ledger.standing(event).await?;
        standing.filter(|standing| standing.epoch == epoch).ok_or_else(|| {
            self.sync_now(event);
            Failed::NotLoaded
        })
    }

    /// Notes in Redis that the wins of a batch are durable, behind its answer. Where that fails,
    /// whoever meets them makes them so again, which changes nothing.
    pub(super) fn confirm(&self, event: EventId, epoch: u64, moment: Timestamp) {
        let call = Keys::of(event).confirm(epoch, [moment].into_iter());
        let redis = self.0.redis.clone();
        tokio::spawn(async move { redis.run::<i64>(&call).await.map(|_| ()) });
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
        let known = self.validities().get(&event.id).copied();
        if let Some(known) = known.filter(|known| known.read_at.elapsed() < VALIDITY_REMEMBERED) {
            return Ok(known);
        }
        let read_at = Instant::now();
        let (validity, version) = self.0.ledger.validity_of(event).await?;
        let known = KnownValidity { validity, version, read_at };
        self.validities().insert(event.id, known);
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
