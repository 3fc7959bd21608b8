//! The audit of an event: the invariants of a drop, counted from the rows themselves.

mod server;
mod sqlite;

use firstcome_core::{EventId, EventNo, IssuedCouponId, UserId, is_pseudonym};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::claim::sqlite::{ClaimWriter, blocking, read_only};
use crate::embedded::Embedded;
use crate::{Engine, Ledger, LedgerError};

/// Winners that are settled within one turn, so that claims do not wait long for the audit.
const SETTLED_IN_A_TURN: u32 = 4_096;
/// How often the journal is settled beside the claims before the audit waits no longer.
const ROUNDS_MAX: u32 = 64;

/// Used coupons without exactly one redemption that stands, and redemptions that stand of coupons
/// that are not used.
const USES_WRONG: &str = "
    SELECT (SELECT count(*) FROM issued_coupons AS c
            WHERE c.event_no = ?1 AND c.used_at IS NOT NULL
              AND 1 <> (SELECT count(*) FROM redemptions AS r
                        WHERE r.issued_coupon_id = c.id AND r.cancelled_at IS NULL))
         + (SELECT count(*) FROM redemptions AS r JOIN issued_coupons AS c
                        ON c.id = r.issued_coupon_id
            WHERE c.event_no = ?1 AND c.used_at IS NULL AND r.cancelled_at IS NULL) AS counted";

/// What the audit of an event found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// The event.
    pub event_id: EventId,
    /// How many coupons it has.
    pub quantity: u64,
    /// How many it says that it has issued.
    pub issued: u64,
    /// Issued coupons that are there.
    pub rows: u64,
    /// Different users who hold one.
    pub distinct_users: u64,
    /// The highest sequence.
    pub max_sequence: u64,
    /// Winners that are durable, but have not been moved to their table.
    pub pending: u64,
    /// What must hold.
    pub checks: Vec<AuditCheck>,
}

/// The check that a win is promised nowhere but in the ledger.
const NOTHING_PENDING: &str = "nothing_pending";

impl AuditRecord {
    /// The same with winners that a decider beside the ledger holds as pending.
    #[must_use]
    pub fn beside(mut self, pending: u64) -> Self {
        self.pending += pending;
        if pending > 0 {
            self.checks.retain(|check| check.name != NOTHING_PENDING);
            self.checks.push(AuditCheck::equal(NOTHING_PENDING, 0, self.pending));
        }
        self
    }

    /// Whether everything holds that must.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.checks.iter().all(|check| check.pass)
    }
}

/// One thing that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCheck {
    /// What.
    pub name: &'static str,
    /// The number that there should be, or the highest allowed.
    pub expected: u64,
    /// The number that there is.
    pub found: u64,
    /// Whether that is right.
    pub pass: bool,
}

impl AuditCheck {
    fn equal(name: &'static str, expected: u64, found: u64) -> Self {
        Self { name, expected, found, pass: expected == found }
    }

    fn at_most(name: &'static str, expected: u64, found: u64) -> Self {
        Self { name, expected, found, pass: found <= expected }
    }
}

/// What is counted of an event, all at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    quantity: u64,
    issued: u64,
    rows: u64,
    distinct_users: u64,
    max_sequence: u64,
    pending: u64,
    /// Rows whose sequence is their place among the rows.
    sequences_in_place: u64,
    /// Rows whose id is the one that their event and user derive.
    ids_right: u64,
    /// Rows under a pseudonym, whose ids are still of who it was.
    pseudonyms: u64,
    /// How many of these the event knows of.
    erased: u64,
    /// How often a decider beside the ledger has begun anew.
    epoch: u64,
    /// Whether its winners are told before they are here, and some may be on their way.
    told_before: bool,
    /// Rows whose sequence is above that of the row before.
    sequences_rising: u64,
    /// Winners that are found by who they are, where a table of its own lists them.
    found_by_holder: Option<u64>,
    /// Rows that are used without exactly one redemption, or redeemed without being used.
    uses_wrong: u64,
}

/// A winner of the event.
struct Winner {
    sequence: i64,
    id: Uuid,
    user_id: String,
}

impl Counts {
    /// Counts the next winner in the order of the sequences.
    fn add(&mut self, winner: &Winner, event_id: EventId) {
        self.rows += 1;
        let sequence = u64::try_from(winner.sequence).unwrap_or(0);
        self.sequences_rising += u64::from(sequence > self.max_sequence);
        self.max_sequence = self.max_sequence.max(sequence);
        self.sequences_in_place += u64::from(sequence == self.rows);
        let user = UserId::parse(&winner.user_id);
        let derived = user
            .as_ref()
            .is_ok_and(|user| IssuedCouponId::derive(event_id, user).as_uuid() == winner.id);
        self.ids_right += u64::from(derived);
        self.pseudonyms += u64::from(!derived && user.as_ref().is_ok_and(is_pseudonym));
    }

    fn judged(&self, event_id: EventId, settled: bool) -> AuditRecord {
        let rows = self.rows;
        let mut checks = vec![
            AuditCheck::at_most("issued_within_quantity", self.quantity, self.issued),
            AuditCheck::equal("rows_equal_issued", self.issued, rows),
            AuditCheck::equal("distinct_users_equal_rows", rows, self.distinct_users),
            // What a decider had given and lost before anyone was told is not given again. An
            // event that Redis decides has its second epoch when it is loaded for the first time.
            // Winners come from a journal in any order.
            match self.epoch {
                0..=2 if !self.told_before => {
                    AuditCheck::equal("sequences_without_holes", rows, self.sequences_in_place)
                }
                _ => AuditCheck::equal("sequences_distinct", rows, self.sequences_rising),
            },
            AuditCheck::equal("ids_match", rows, self.ids_right + self.pseudonyms.min(self.erased)),
            AuditCheck::equal("used_coupons_have_one_redemption", 0, self.uses_wrong),
        ];
        if let Some(found) = self.found_by_holder {
            checks.push(AuditCheck::equal("coupons_found_by_holder", rows, found));
        }
        if settled {
            checks.push(AuditCheck::equal(NOTHING_PENDING, 0, self.pending));
        }
        AuditRecord {
            event_id,
            quantity: self.quantity,
            issued: self.issued,
            rows,
            distinct_users: self.distinct_users,
            max_sequence: self.max_sequence,
            pending: self.pending,
            checks,
        }
    }
}

impl Ledger {
    /// Audits an event at one moment between two batches of claims; claims go on meanwhile. None
    /// when there is no such event.
    ///
    /// A server settles the event's winners first and checks that none is left pending. A visitor
    /// beside a server changes nothing: it counts pending winners among the rows.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn audit(&self, id: EventId) -> Result<Option<AuditRecord>, LedgerError> {
        let (counts, settled) = match &self.inner.engine {
            Engine::Embedded(embedded) => (embedded.count(id).await?, embedded.serves()),
            Engine::Server(server) => (server::count(server, id).await?, true),
        };
        Ok(counts.map(|counts| counts.judged(id, settled)))
    }

    /// What the database finds wrong with its own file; nothing for a sound one. A database
    /// server looks after its files itself.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn integrity_faults(&self) -> Result<Vec<String>, LedgerError> {
        let path = match &self.inner.engine {
            Engine::Embedded(embedded) => embedded.path.clone(),
            Engine::Server(_) => return Ok(Vec::new()),
        };
        blocking(move || sqlite::integrity_faults(&path)).await
    }
}

impl Embedded {
    /// Counts an event at one moment; none when there is no such event.
    async fn count(&self, id: EventId) -> Result<Option<Counts>, LedgerError> {
        let path = self.path.clone();
        let Some(event) = blocking(move || sqlite::event_no(&path, id)).await? else {
            return Ok(None);
        };
        let turn = if self.serves() { Some(self.settled_turn(event).await?) } else { None };
        let path = self.path.clone();
        let counts = blocking(move || {
            let mut db = read_only(&path)?;
            let snapshot = sqlite::snapshot(&mut db)?;
            // The snapshot is taken: the claims may go on.
            drop(turn);
            sqlite::count(&snapshot, event, id)
        });
        counts.await.map(Some)
    }

    /// The turn at a moment when nothing of the event is unsettled.
    async fn settled_turn(
        &self,
        event: EventNo,
    ) -> Result<OwnedMutexGuard<ClaimWriter>, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            self.settle_event(event).await?;
            if self.turn.lock().await.unsettled_of(event) <= SETTLED_IN_A_TURN {
                break;
            }
        }
        let mut turn = self.turn.clone().lock_owned().await;
        blocking(move || {
            while turn.unsettled_of(event) > 0 {
                let before = turn.unsettled();
                if turn.settle_some(SETTLED_IN_A_TURN as usize)? >= before {
                    // What does not settle the audit shall find.
                    break;
                }
            }
            Ok(turn)
        })
        .await
    }
}
