//! Settling: what moves winners from the journal to the tables.
//!
//! Every step is one transaction and idempotent: the tables' keys meet a winner that is there
//! already, and the journal's row goes in the same commit.

use firstcome_core::{EventNo, IssuedCouponId, UserId};
use rusqlite::{Transaction, TransactionBehavior, params};
use tokio::time::Instant;

use super::journal::{EventIds, JournalRow, decode};
use super::{ClaimWriter, live};
use crate::LedgerError;
use crate::claim::batch::Win;
use crate::metrics::as_gauge;
use crate::records::signed_no;

/// Most winners in the tail: just below the number at which a map of 2^20 slots grows. They cost
/// about 50 bytes each, and about 1 µs each at the next start.
pub(super) const UNSETTLED_MAX: usize = 900_000;

const INSERT: &str = "
    INSERT INTO issued_coupons
           (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (event_no, sequence) DO NOTHING";

const COUNT: &str = "UPDATE events SET issued = max(issued, ?2) WHERE no = ?1";

impl ClaimWriter {
    /// Moves the journal's oldest rows, as many as hold `wins_max` winners. Answers how many
    /// winners are left in the journal.
    ///
    /// # Errors
    /// When the database does not take them; nothing was moved then.
    pub(crate) fn settle_some(&mut self, wins_max: usize) -> Result<usize, LedgerError> {
        self.trust()?;
        let rows = self.tail.oldest_rows(wins_max);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(0) };
        let begun = Instant::now();
        let moved = self.move_rows(first, last)?;
        self.metrics.settle.record(begun.elapsed());
        for win in &moved {
            self.tail.remove(win.id, win.event_no);
        }
        self.tail.remove_rows(&rows);
        let tail = &self.tail;
        self.issued_live.retain(|event| tail.pending(event) > 0);
        self.metrics.unsettled.set(as_gauge(self.tail.len()));
        Ok(self.tail.len())
    }

    fn move_rows(
        &mut self,
        first: &JournalRow,
        last: &JournalRow,
    ) -> Result<Vec<Win>, LedgerError> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut wins = Vec::new();
        {
            let mut ids = EventIds::default();
            let mut select = transaction
                .prepare_cached("SELECT entries FROM claim_journal WHERE no BETWEEN ?1 AND ?2")?;
            let mut rows = select.query([first.no, last.no])?;
            while let Some(row) = rows.next()? {
                let runs = decode(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
                wins.extend(ids.wins(&transaction, &runs)?);
            }
            // In the table's own order, and with the last winner of each event at its end.
            wins.sort_unstable_by_key(|win| (win.event_no, win.sequence));
            insert(&transaction, &wins)?;
            let mut delete = transaction
                .prepare_cached("DELETE FROM claim_journal WHERE no BETWEEN ?1 AND ?2")?;
            delete.execute([first.no, last.no])?;
        }
        transaction.commit()?;
        Ok(wins)
    }

    /// Settles what this user has won, on whatever event.
    pub(crate) fn settle_user(&mut self, user: &UserId) -> Result<(), LedgerError> {
        self.trust()?;
        let unsettled: Vec<EventNo> = self.tail.events().collect();
        for (no, event_id) in live::event_ids(&self.db, &unsettled)? {
            self.settle_one(no, IssuedCouponId::derive(event_id, user), user)?;
        }
        Ok(())
    }

    /// Settles one winner, if it is in the tail.
    fn settle_one(
        &mut self,
        event: EventNo,
        id: IssuedCouponId,
        user: &UserId,
    ) -> Result<(), LedgerError> {
        let Some(win) = self.tail.get(id) else { return Ok(()) };
        let win = win.to_win(id, event, user);
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert(&transaction, &[win])?;
        transaction.commit()?;
        self.tail.remove(id, event);
        Ok(())
    }

    /// Whether this issued coupon is still in the journal alone.
    pub(crate) fn is_unsettled(&self, id: IssuedCouponId) -> bool {
        self.tail.get(id).is_some()
    }

    /// Winners of this event that are in the journal alone.
    pub(crate) fn unsettled_of(&self, event: EventNo) -> u32 {
        self.tail.pending(event)
    }

    /// Winners that are in the journal alone.
    pub(crate) fn unsettled(&self) -> usize {
        self.tail.len()
    }

    /// Claims so far.
    pub(crate) fn claims(&self) -> u64 {
        self.claims
    }
}

/// Inserts the winners that are not there yet, and counts them; each event's are in sequence.
fn insert(transaction: &Transaction<'_>, wins: &[Win]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(INSERT)?;
    let mut count = transaction.prepare_cached(COUNT)?;
    for of_event in wins.chunk_by(|one, next| one.event_no == next.event_no) {
        for win in of_event {
            insert.execute(params![
                signed_no(win.event_no),
                win.sequence.get(),
                win.id.as_uuid().into_bytes(),
                win.user_id.as_str(),
                win.issued_at.as_micros(),
                win.valid_from.as_micros(),
                win.expires_at.as_micros()
            ])?;
        }
        if let Some(last) = of_event.last() {
            count.execute(params![signed_no(last.event_no), last.sequence.get()])?;
        }
    }
    Ok(())
}
