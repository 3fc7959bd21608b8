//! The statements of a journal's stretch, prepared at their first use; a list is one argument, as
//! JSON.

use firstcome_core::{EventId, EventNo, Sequence, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{Error, Executor, Row};

use super::super::apply::{Advance, JournalConnection, JournalledEvent, Place, Plan, read};
use super::{MySqlClaims, json};
use crate::records::signed_no;
use crate::{LedgerError, Stretch};

const ADVANCE: &str = "
    UPDATE journal_positions SET next_offset = ?
    WHERE journal = ? AND journal_partition = ? AND next_offset = ?";

const POSITION: &str = "
    SELECT next_offset FROM journal_positions WHERE journal = ? AND journal_partition = ?";

/// In the order of the list, which is in a query of its own as a claim's is.
const LOCK: &str = "
    SELECT e.no, e.id, e.quantity, e.issued, e.epoch, e.fence, e.erased, e.journal_partition
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS ids) AS asked
         STRAIGHT_JOIN events AS e FORCE INDEX (id) ON e.id = UNHEX(asked.id)
    FOR UPDATE";

const HIGHEST: &str = "
    SELECT asked.no, (SELECT c.sequence FROM issued_coupons AS c FORCE INDEX (PRIMARY)
                      WHERE c.event_no = asked.no ORDER BY c.sequence DESC LIMIT 1)
    FROM JSON_TABLE(?, '$[*]' COLUMNS (no BIGINT PATH '$')) AS asked";

const TAKEN: &str = "
    SELECT c.event_no, c.sequence, c.id
    FROM JSON_TABLE(?, '$[*]' COLUMNS (
             event_no BIGINT PATH '$[0]', sequence BIGINT PATH '$[1]')) AS asked
         STRAIGHT_JOIN issued_coupons AS c FORCE INDEX (PRIMARY)
         ON c.event_no = asked.event_no AND c.sequence = asked.sequence";

const PLACES_OF: &str = "
    SELECT c.event_no, c.sequence, c.id
    FROM JSON_TABLE(?, '$[*]' COLUMNS (
             event_no BIGINT PATH '$[0]',
             user_id VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]')) AS asked
         STRAIGHT_JOIN issued_coupons AS c FORCE INDEX (issued_coupons_holder)
         ON c.event_no = asked.event_no AND c.user_id = asked.user_id";

const COUNT: &str = "
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
               no BIGINT PATH '$[0]', issued BIGINT PATH '$[1]',
               sequence_before BIGINT PATH '$[2]')) AS it
           STRAIGHT_JOIN events AS e FORCE INDEX (PRIMARY) ON e.no = it.no
    SET e.issued = it.issued,
        e.unlisted_after =
            COALESCE(LEAST(e.unlisted_after, it.sequence_before), it.sequence_before)";

const FENCE: &str = "
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (no BIGINT PATH '$[0]', fence BIGINT PATH '$[1]')) AS it
           STRAIGHT_JOIN events AS e FORCE INDEX (PRIMARY) ON e.no = it.no
    SET e.fence = it.fence, e.epoch = GREATEST(e.epoch, it.fence)";

impl JournalConnection for MySqlClaims {
    async fn advance(&mut self, stretch: &Stretch<'_>) -> Result<Advance, LedgerError> {
        let &Stretch { journal, partition, from, to } = stretch;
        let moved = sqlx::query(ADVANCE).bind(to).bind(journal).bind(partition).bind(from);
        if moved.execute(&mut self.0).await?.rows_affected() == 1 {
            return Ok(Advance::Moved);
        }
        let position = sqlx::query_scalar(POSITION).bind(journal).bind(partition);
        Ok(Advance::Elsewhere(position.fetch_optional(&mut self.0).await?))
    }

    async fn lock(&mut self, ids: &[EventId]) -> Result<Vec<JournalledEvent>, LedgerError> {
        let ids: Vec<String> = ids.iter().map(|id| id.as_uuid().simple().to_string()).collect();
        let rows = sqlx::query(LOCK).bind(json(&ids)).fetch_all(&mut self.0).await?;
        rows.iter().map(event).collect()
    }

    async fn highest(&mut self, events: &[EventNo]) -> Result<Vec<(EventNo, u32)>, LedgerError> {
        let nos: Vec<i64> = events.iter().map(|no| signed_no(*no)).collect();
        let rows = sqlx::query(HIGHEST).bind(json(&nos)).fetch_all(&mut self.0).await?;
        let mut highest = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(sequence) = row.try_get(1)? {
                highest.push(read::highest(row.try_get(0)?, sequence)?);
            }
        }
        Ok(highest)
    }

    async fn taken(&mut self, places: &[(EventNo, Sequence)]) -> Result<Vec<Place>, LedgerError> {
        let places: Vec<_> = places.iter().map(|(no, it)| (signed_no(*no), it.get())).collect();
        let rows = sqlx::query(TAKEN).bind(json(&places)).fetch_all(&mut self.0).await?;
        rows.iter().map(place).collect()
    }

    async fn places_of(&mut self, names: &[(EventNo, UserId)]) -> Result<Vec<Place>, LedgerError> {
        let names: Vec<_> =
            names.iter().map(|(no, user)| (signed_no(*no), user.as_str())).collect();
        let rows = sqlx::query(PLACES_OF).bind(json(&names)).fetch_all(&mut self.0).await?;
        rows.iter().map(place).collect()
    }

    async fn write_plan(&mut self, plan: &Plan) -> Result<(), Error> {
        let Plan { wins, counts, fences, .. } = plan;
        self.insert(wins.iter()).await?;
        if !counts.is_empty() {
            let counts: Vec<_> = counts
                .iter()
                .map(|count| (signed_no(count.no), count.issued, count.sequence_before))
                .collect();
            sqlx::query(COUNT).bind(json(&counts)).execute(&mut self.0).await?;
        }
        if !fences.is_empty() {
            let fences: Vec<_> =
                fences.iter().map(|(no, fence)| (signed_no(*no), read::signed(*fence))).collect();
            sqlx::query(FENCE).bind(json(&fences)).execute(&mut self.0).await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.0.execute("COMMIT").await.map(|_| ())
    }
}

fn event(row: &MySqlRow) -> Result<JournalledEvent, LedgerError> {
    read::EventColumns {
        no: row.try_get(0)?,
        id: row.try_get(1)?,
        quantity: row.try_get(2)?,
        issued: row.try_get(3)?,
        epoch: row.try_get(4)?,
        fence: row.try_get(5)?,
        erased: row.try_get(6)?,
        partition: row.try_get(7)?,
    }
    .try_into()
}

fn place(row: &MySqlRow) -> Result<Place, LedgerError> {
    read::place(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)
}
