//! The claim transaction's statements for PostgreSQL.

use firstcome_core::{EventId, EventNo, UserId};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Connection, Error, Executor, PgConnection, Row};
use uuid::Uuid;

use super::super::batch::{LiveEvent, Win};
use super::{ClaimConnection, Move};
use crate::entity::issued_coupon;
use crate::records::{EventColumns, signed_no};
use crate::server::{Session, postgres_session, refuse_postgres_replica};
use crate::{LedgerError, Limits};

/// The lock that an update of other columns than keys needs: rows that refer to the event may be
/// written meanwhile.
const LOCK: &str = "
    SELECT e.no, e.id, e.coupon_id, e.quantity, e.issued, e.opens_at, e.closes_at, e.opened_early,
           e.paused, e.closed, c.valid_from, c.valid_until, c.valid_days
    FROM events AS e JOIN coupons AS c ON c.id = e.coupon_id
    WHERE e.id = ANY($1) ORDER BY e.id FOR NO KEY UPDATE OF e";

/// One row at least: the clock's.
const HELD: &str = "
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
           c.event_no, c.sequence, c.id, c.user_id, c.issued_at, c.valid_from, c.expires_at,
           c.used_at, c.revoked_at
    FROM (SELECT 1) AS one LEFT JOIN
         (unnest($1::bigint[], $2::text[]) AS asked (event_no, user_id)
          JOIN issued_coupons AS c ON c.event_no = asked.event_no AND c.user_id = asked.user_id)
         ON TRUE";

const WRITE: &str = "
    WITH won AS (
        INSERT INTO issued_coupons
               (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::text[], $5::bigint[],
                             $6::bigint[], $7::bigint[]))
    UPDATE events AS e SET issued = moved.issued, closed = moved.closed
    FROM unnest($8::bigint[], $9::bigint[], $10::boolean[]) AS moved (no, issued, closed)
    WHERE e.no = moved.no";

/// A connection that decides claims.
pub(crate) struct PostgresClaims(PgConnection);

impl PostgresClaims {
    pub(super) fn options(options: &PgConnectOptions, limits: &Limits) -> PgConnectOptions {
        postgres_session(options, Session::Claim, limits)
    }
}

impl ClaimConnection for PostgresClaims {
    type Options = PgConnectOptions;

    async fn connect(options: &PgConnectOptions, _: &Limits) -> Result<Self, Error> {
        let mut db = PgConnection::connect_with(options).await?;
        refuse_postgres_replica(&mut db).await?;
        Ok(Self(db))
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.0.execute("BEGIN").await.map(|_| ())
    }

    async fn lock(&mut self, ids: &[EventId]) -> Result<Vec<LiveEvent>, LedgerError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
        let rows = sqlx::query(LOCK).bind(ids).fetch_all(&mut self.0).await?;
        rows.iter().map(live_event).collect()
    }

    async fn held(
        &mut self,
        asked: &[(EventNo, &UserId)],
    ) -> Result<(i64, Vec<issued_coupon::Model>), Error> {
        let (numbers, users): (Vec<i64>, Vec<&str>) =
            asked.iter().map(|(no, user)| (signed_no(*no), user.as_str())).unzip();
        let rows = sqlx::query(HELD).bind(numbers).bind(users).fetch_all(&mut self.0).await?;
        let now = rows.first().ok_or(Error::RowNotFound)?.try_get(0)?;
        let held = rows.iter().filter_map(|row| issued_row(row).transpose());
        Ok((now, held.collect::<Result<_, _>>()?))
    }

    async fn write(&mut self, wins: &[&Win], moves: &[Move]) -> Result<(), Error> {
        let of_wins =
            |value: fn(&Win) -> i64| -> Vec<i64> { wins.iter().map(|win| value(win)).collect() };
        let ids: Vec<Uuid> = wins.iter().map(|win| win.id.as_uuid()).collect();
        let users: Vec<&str> = wins.iter().map(|win| win.user_id.as_str()).collect();
        let of_moves = |value: fn(&Move) -> i64| -> Vec<i64> { moves.iter().map(value).collect() };
        let closed: Vec<bool> = moves.iter().map(|moved| moved.closed).collect();
        sqlx::query(WRITE)
            .bind(of_wins(|win| signed_no(win.event_no)))
            .bind(of_wins(|win| win.sequence.get().into()))
            .bind(ids)
            .bind(users)
            .bind(of_wins(|win| win.issued_at.as_micros()))
            .bind(of_wins(|win| win.valid_from.as_micros()))
            .bind(of_wins(|win| win.expires_at.as_micros()))
            .bind(of_moves(|moved| signed_no(moved.no)))
            .bind(of_moves(|moved| moved.issued.into()))
            .bind(closed)
            .execute(&mut self.0)
            .await
            .map(|_| ())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.0.execute("COMMIT").await.map(|_| ())
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        self.0.execute("ROLLBACK").await.map(|_| ())
    }
}

fn live_event(row: &PgRow) -> Result<LiveEvent, LedgerError> {
    EventColumns {
        no: row.try_get(0)?,
        id: row.try_get(1)?,
        coupon_id: row.try_get(2)?,
        quantity: row.try_get(3)?,
        issued: row.try_get(4)?,
        opens_at: row.try_get(5)?,
        closes_at: row.try_get(6)?,
        opened_early: row.try_get(7)?,
        paused: row.try_get(8)?,
        closed: row.try_get(9)?,
        valid_from: row.try_get(10)?,
        valid_until: row.try_get(11)?,
        valid_days: row.try_get::<Option<i32>, _>(12)?.map(i64::from),
    }
    .try_into()
}

/// A row of what is held; none for the clock's alone.
fn issued_row(row: &PgRow) -> Result<Option<issued_coupon::Model>, Error> {
    let Some(event_no) = row.try_get(1)? else { return Ok(None) };
    Ok(Some(issued_coupon::Model {
        event_no,
        sequence: row.try_get(2)?,
        id: row.try_get(3)?,
        user_id: row.try_get(4)?,
        issued_at: row.try_get(5)?,
        valid_from: row.try_get(6)?,
        expires_at: row.try_get(7)?,
        used_at: row.try_get(8)?,
        revoked_at: row.try_get(9)?,
        revoke_reason: None,
    }))
}
