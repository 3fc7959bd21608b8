//! Counting on SQLite: one read transaction, over the table and what the journal alone holds.

use std::path::Path;

use firstcome_core::{EventId, EventNo, IssuedCouponId};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{Counts, USES_WRONG, Winner};
use crate::LedgerError;
use crate::claim::sqlite::{each_journalled, read_only};
use crate::records::{self, signed_no, sound};

const QUANTITY: &str = "SELECT quantity FROM events WHERE no = ?1";
const ISSUED: &str = "SELECT issued FROM events WHERE no = ?1";
const EPOCH: &str = "SELECT epoch FROM events WHERE no = ?1";
const TOLD_BEFORE: &str = "SELECT commit_to <> 'ledger' FROM events WHERE no = ?1";
const ERASED: &str = "SELECT erased FROM events WHERE no = ?1";
const DISTINCT_USERS: &str =
    "SELECT count(DISTINCT user_id) FROM issued_coupons WHERE event_no = ?1";
const IS_SETTLED: &str = "SELECT 1 FROM issued_coupons WHERE event_no = ?1 AND sequence = ?2";
const HOLDS_SETTLED: &str = "SELECT 1 FROM issued_coupons WHERE event_no = ?1 AND user_id = ?2";
const ROWS: &str =
    "SELECT sequence, id, user_id FROM issued_coupons WHERE event_no = ?1 ORDER BY sequence";
/// Begins a read transaction and fixes what it sees.
pub(super) fn snapshot(db: &mut Connection) -> Result<Transaction<'_>, LedgerError> {
    let snapshot = db.transaction()?;
    // SQLite takes the snapshot at the first read.
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(snapshot)
}

pub(super) fn count(
    db: &Transaction<'_>,
    event: EventNo,
    event_id: EventId,
) -> Result<Counts, LedgerError> {
    let pending = pending(db, event, event_id)?;
    let issued = number(db, ISSUED, event)?;
    let settled_users = number(db, DISTINCT_USERS, event)?;
    let mut counts = Counts {
        quantity: number(db, QUANTITY, event)?,
        erased: number(db, ERASED, event)?,
        epoch: number(db, EPOCH, event)?,
        told_before: number(db, TOLD_BEFORE, event)? == 1,
        pending: pending.len() as u64,
        distinct_users: settled_users + new_users(db, event, &pending)?,
        uses_wrong: number(db, USES_WRONG, event)?,
        ..Counts::default()
    };
    count_rows(db, event, event_id, pending, &mut counts)?;
    // The event's own count follows the winners when they settle.
    counts.issued = if counts.pending > 0 { issued.max(counts.max_sequence) } else { issued };
    Ok(counts)
}

/// What a query of an event counts.
fn number(db: &Transaction<'_>, query: &str, event: EventNo) -> Result<u64, LedgerError> {
    let number: i64 = db.query_row(query, [signed_no(event)], |row| row.get(0))?;
    sound(u64::try_from(number), "a count of the event")
}

/// The winners whom the journal alone holds, by sequence.
fn pending(
    db: &Transaction<'_>,
    event: EventNo,
    event_id: EventId,
) -> Result<Vec<Winner>, LedgerError> {
    let mut journalled = Vec::new();
    each_journalled(db, event, |sequence, user| {
        journalled.push(Winner {
            sequence: i64::from(sequence.get()),
            id: IssuedCouponId::derive(event_id, user).as_uuid(),
            user_id: user.as_str().to_owned(),
        });
    })?;
    let mut is_settled = db.prepare(IS_SETTLED)?;
    let mut pending = Vec::new();
    for winner in journalled {
        if !is_settled.exists(params![signed_no(event), winner.sequence])? {
            pending.push(winner);
        }
    }
    pending.sort_unstable_by_key(|winner| winner.sequence);
    Ok(pending)
}

/// Users among the pending winners whom the table does not know.
fn new_users(db: &Transaction<'_>, event: EventNo, pending: &[Winner]) -> Result<u64, LedgerError> {
    let mut users: Vec<&str> = pending.iter().map(|winner| winner.user_id.as_str()).collect();
    users.sort_unstable();
    users.dedup();
    let mut holds_settled = db.prepare(HOLDS_SETTLED)?;
    let mut new = 0;
    for user in users {
        new += u64::from(!holds_settled.exists(params![signed_no(event), user])?);
    }
    Ok(new)
}

/// Goes through every winner in the order of the sequences, without holding them all.
fn count_rows(
    db: &Transaction<'_>,
    event: EventNo,
    event_id: EventId,
    pending: Vec<Winner>,
    counts: &mut Counts,
) -> Result<(), LedgerError> {
    let mut pending = pending.into_iter().peekable();
    let mut select = db.prepare(ROWS)?;
    let mut rows = select.query([signed_no(event)])?;
    while let Some(row) = rows.next()? {
        let (sequence, user_id) = (row.get(0)?, row.get(2)?);
        let id = Uuid::from_slice(row.get_ref(1)?.as_bytes().map_err(rusqlite::Error::from)?);
        let id = id.unwrap_or_default();
        while let Some(earlier) = pending.next_if(|winner| winner.sequence < sequence) {
            counts.add(&earlier, event_id);
        }
        counts.add(&Winner { sequence, id, user_id }, event_id);
    }
    for later in pending {
        counts.add(&later, event_id);
    }
    Ok(())
}

/// What SQLite's own check of the file says.
pub(super) fn integrity_faults(path: &Path) -> Result<Vec<String>, LedgerError> {
    let db = read_only(path)?;
    let mut check = db.prepare("PRAGMA integrity_check")?;
    let said = check.query_map([], |row| row.get::<_, String>(0))?;
    let said: Vec<String> = said.collect::<Result<_, _>>()?;
    Ok(if said == ["ok"] { Vec::new() } else { said })
}

/// The number of the event with this id.
pub(super) fn event_no(path: &Path, id: EventId) -> Result<Option<EventNo>, LedgerError> {
    let db = read_only(path)?;
    let bytes = id.as_uuid().into_bytes();
    let found = db.query_row("SELECT no FROM events WHERE id = ?1", [bytes], |row| row.get(0));
    found.optional()?.map(records::event_no).transpose()
}
