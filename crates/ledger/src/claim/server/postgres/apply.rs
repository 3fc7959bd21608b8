//! The statements of a journal's stretch, prepared at their first use; a list is one argument.

use firstcome_core::{EventId, EventNo, Sequence, Timestamp, UserId};
use sqlx::postgres::PgRow;
use sqlx::{Error, Executor, Row};
use uuid::Uuid;

use super::super::Win;
use super::super::apply::{Advance, Count, JournalConnection, JournalledEvent, Place, Plan, read};
use super::PostgresClaims;
use crate::records::signed_no;
use crate::{LedgerError, Stretch};

const ADVANCE: &str = "
    UPDATE journal_positions SET next_offset = $4
    WHERE journal = $1 AND journal_partition = $2 AND next_offset = $3";

const POSITION: &str = "
    SELECT next_offset FROM journal_positions WHERE journal = $1 AND journal_partition = $2";

/// In the order of their ids. That each is searched for, here and in what follows, is as in the
/// statements for claims: no statistics make a plan that reads all events.
const LOCK: &str = "
    SELECT live.*
    FROM (SELECT id FROM unnest($1) AS id ORDER BY id) AS asked CROSS JOIN LATERAL (
        SELECT no, id, quantity, issued, epoch, fence, erased, journal_partition
        FROM events WHERE id = asked.id FOR NO KEY UPDATE) AS live";

const HIGHEST: &str = "
    SELECT asked.no, last.sequence
    FROM unnest($1) AS asked (no) CROSS JOIN LATERAL (
        SELECT sequence FROM issued_coupons
        WHERE event_no = asked.no ORDER BY sequence DESC LIMIT 1) AS last";

/// The orders make it, and what follows, a search in the index that is meant: no statistics of a
/// table that was empty a moment ago make the other look as good.
const TAKEN: &str = "
    SELECT c.event_no, c.sequence, c.id
    FROM unnest($1, $2) AS asked (event_no, sequence) CROSS JOIN LATERAL (
        SELECT event_no, sequence, id FROM issued_coupons
        WHERE event_no = asked.event_no
              AND sequence BETWEEN asked.sequence AND asked.sequence
        ORDER BY sequence LIMIT 1) AS c";

const PLACES_OF: &str = "
    SELECT c.event_no, c.sequence, c.id
    FROM unnest($1, $2) AS asked (event_no, user_id) CROSS JOIN LATERAL (
        SELECT event_no, sequence, id FROM issued_coupons
        WHERE event_no = asked.event_no
              AND user_id BETWEEN asked.user_id AND asked.user_id
        ORDER BY user_id LIMIT 1) AS c";

const INSERT: &str = "
    INSERT INTO issued_coupons
           (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)";

const COUNT: &str = "
    UPDATE events
    SET issued = it.issued, unlisted_after = LEAST(events.unlisted_after, it.sequence_before)
    FROM unnest($1, $2, $3) AS it (no, issued, sequence_before)
    WHERE events.no BETWEEN it.no AND it.no";

const FENCE: &str = "
    UPDATE events SET fence = it.fence, epoch = GREATEST(epoch, it.fence)
    FROM unnest($1, $2) AS it (no, fence) WHERE events.no BETWEEN it.no AND it.no";

impl JournalConnection for PostgresClaims {
    async fn advance(&mut self, stretch: &Stretch<'_>) -> Result<Advance, LedgerError> {
        let &Stretch { journal, partition, from, to } = stretch;
        self.0.execute("BEGIN").await?;
        let moved = sqlx::query(ADVANCE).bind(journal).bind(partition).bind(from).bind(to);
        if moved.execute(&mut self.0).await?.rows_affected() == 1 {
            return Ok(Advance::Moved);
        }
        let position = sqlx::query_scalar(POSITION).bind(journal).bind(partition);
        Ok(Advance::Elsewhere(position.fetch_optional(&mut self.0).await?))
    }

    async fn lock(&mut self, ids: &[EventId]) -> Result<Vec<JournalledEvent>, LedgerError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query(LOCK).bind(ids).fetch_all(&mut self.0).await?;
        rows.iter().map(event).collect()
    }

    async fn highest(&mut self, events: &[EventNo]) -> Result<Vec<(EventNo, u32)>, LedgerError> {
        let query = sqlx::query(HIGHEST).bind(nos(events.iter()));
        let rows = query.fetch_all(&mut self.0).await?;
        rows.iter().map(|row| read::highest(row.try_get(0)?, row.try_get(1)?)).collect()
    }

    async fn taken(&mut self, places: &[(EventNo, Sequence)]) -> Result<Vec<Place>, LedgerError> {
        let sequences: Vec<_> = places.iter().map(|(_, it)| i64::from(it.get())).collect();
        let query = sqlx::query(TAKEN).bind(nos(places.iter().map(|(no, _)| no))).bind(sequences);
        query.fetch_all(&mut self.0).await?.iter().map(place).collect()
    }

    async fn places_of(&mut self, names: &[(EventNo, UserId)]) -> Result<Vec<Place>, LedgerError> {
        let users: Vec<_> = names.iter().map(|(_, user)| user.as_str()).collect();
        let query = sqlx::query(PLACES_OF).bind(nos(names.iter().map(|(no, _)| no))).bind(users);
        query.fetch_all(&mut self.0).await?.iter().map(place).collect()
    }

    async fn write_plan(&mut self, plan: &Plan) -> Result<(), Error> {
        let Plan { wins, counts, fences, .. } = plan;
        if !wins.is_empty() {
            let numbers = |of: fn(&Win) -> i64| wins.iter().map(of).collect::<Vec<_>>();
            let times = |of: fn(&Win) -> Timestamp| {
                wins.iter().map(|win| of(win).as_micros()).collect::<Vec<_>>()
            };
            let insert = sqlx::query(INSERT)
                .bind(numbers(|win| signed_no(win.event_no)))
                .bind(numbers(|win| win.sequence.get().into()))
                .bind(wins.iter().map(|win| win.id.as_uuid()).collect::<Vec<_>>())
                .bind(wins.iter().map(|win| win.user_id.as_str()).collect::<Vec<_>>())
                .bind(times(|win| win.issued_at))
                .bind(times(|win| win.valid_from))
                .bind(times(|win| win.expires_at));
            insert.execute(&mut self.0).await?;
            let numbers = |of: fn(&Count) -> i64| counts.iter().map(of).collect::<Vec<_>>();
            let count = sqlx::query(COUNT)
                .bind(numbers(|count| signed_no(count.no)))
                .bind(numbers(|count| count.issued.into()))
                .bind(numbers(|count| count.sequence_before.into()));
            count.execute(&mut self.0).await?;
        }
        if !fences.is_empty() {
            let fence = sqlx::query(FENCE)
                .bind(nos(fences.iter().map(|(no, _)| no)))
                .bind(fences.iter().map(|(_, fence)| read::signed(*fence)).collect::<Vec<_>>());
            fence.execute(&mut self.0).await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.0.execute("COMMIT").await.map(|_| ())
    }
}

fn nos<'a>(events: impl Iterator<Item = &'a EventNo>) -> Vec<i64> {
    events.map(|no| signed_no(*no)).collect()
}

fn event(row: &PgRow) -> Result<JournalledEvent, LedgerError> {
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

fn place(row: &PgRow) -> Result<Place, LedgerError> {
    read::place(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)
}
