//! The audit of an event: the invariants of a drop, counted from the rows themselves.

mod sqlite;

use firstcome_core::{EventId, EventNo};
use tokio::sync::OwnedMutexGuard;

use crate::claim::sqlite::{ClaimWriter, blocking, read_only};
use crate::{Ledger, LedgerError};

/// Winners that are settled within one turn, so that claims do not wait long for the audit.
const SETTLED_IN_A_TURN: u32 = 4_096;
/// How often the journal is settled beside the claims before the audit waits no longer.
const ROUNDS_MAX: u32 = 64;

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

impl AuditRecord {
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
    /// Rows that are used without exactly one redemption, or redeemed without being used.
    uses_wrong: u64,
}

impl Counts {
    fn judged(&self, event_id: EventId, settled: bool) -> AuditRecord {
        let rows = self.rows;
        let mut checks = vec![
            AuditCheck::at_most("issued_within_quantity", self.quantity, self.issued),
            AuditCheck::equal("rows_equal_issued", self.issued, rows),
            AuditCheck::equal("distinct_users_equal_rows", rows, self.distinct_users),
            AuditCheck::equal("sequences_without_holes", rows, self.sequences_in_place),
            AuditCheck::equal("ids_match", rows, self.ids_right),
            AuditCheck::equal("used_coupons_have_one_redemption", 0, self.uses_wrong),
        ];
        if settled {
            checks.push(AuditCheck::equal("nothing_pending", 0, self.pending));
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
        let path = self.inner.path.clone();
        let Some(event) = blocking(move || sqlite::event_no(&path, id)).await? else {
            return Ok(None);
        };
        let turn =
            if self.inner.lock.is_some() { Some(self.settled_turn(event).await?) } else { None };
        let settled = turn.is_some();
        let path = self.inner.path.clone();
        let counts = blocking(move || {
            let mut db = read_only(&path)?;
            let snapshot = sqlite::snapshot(&mut db)?;
            // The snapshot is taken: the claims may go on.
            drop(turn);
            sqlite::count(&snapshot, event, id)
        });
        Ok(Some(counts.await?.judged(id, settled)))
    }

    /// What the database finds wrong with its own file; nothing for a sound one.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn integrity_faults(&self) -> Result<Vec<String>, LedgerError> {
        let path = self.inner.path.clone();
        blocking(move || sqlite::integrity_faults(&path)).await
    }

    /// The turn at a moment when nothing of the event is unsettled.
    async fn settled_turn(
        &self,
        event: EventNo,
    ) -> Result<OwnedMutexGuard<ClaimWriter>, LedgerError> {
        for _ in 0..ROUNDS_MAX {
            self.settle_event(event).await?;
            if self.inner.turn.lock().await.unsettled_of(event) <= SETTLED_IN_A_TURN {
                break;
            }
        }
        let mut turn = self.inner.turn.clone().lock_owned().await;
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
