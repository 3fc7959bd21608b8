//! The claim transaction's statements for MySQL and MariaDB. A list is one argument, as JSON.

use firstcome_core::{EventId, EventNo, UserId};
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{Connection, Error, Executor, MySqlConnection, Row};
use uuid::Uuid;

use super::super::batch::{LiveEvent, Win};
use super::{ClaimConnection, Move};
use crate::entity::issued_coupon;
use crate::records::{EventColumns, signed_no};
use crate::server::{Session, mysql_options, mysql_session};
use crate::{LedgerError, Limits};

/// In the order of the list. The coupons are read, not locked: many events may be of one.
const LOCK: &str = "
    SELECT e.no, e.id, e.coupon_id, e.quantity, e.issued, e.opens_at, e.closes_at, e.opened_early,
           e.paused, e.closed
    FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS asked
         STRAIGHT_JOIN events AS e ON e.id = UNHEX(asked.id)
    FOR UPDATE";

const VALIDITIES: &str = "
    SELECT e.no, c.valid_from, c.valid_until, c.valid_days
    FROM JSON_TABLE(?, '$[*]' COLUMNS (no BIGINT PATH '$')) AS asked
         STRAIGHT_JOIN events AS e ON e.no = asked.no
         STRAIGHT_JOIN coupons AS c ON c.id = e.coupon_id";

/// One row at least: the clock's. The statement begins after the lock was had.
const HELD: &str = "
    SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
           c.event_no, c.sequence, c.id, c.user_id, c.issued_at, c.valid_from, c.expires_at,
           c.used_at, c.revoked_at
    FROM (SELECT 1) AS one LEFT JOIN
         (JSON_TABLE(?, '$[*]' COLUMNS (
              event_no BIGINT PATH '$[0]',
              user_id VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]')) AS asked
          STRAIGHT_JOIN issued_coupons AS c
          ON c.event_no = asked.event_no AND c.user_id = asked.user_id)
         ON TRUE";

const INSERT: &str = "
    INSERT INTO issued_coupons
           (event_no, sequence, id, user_id, issued_at, valid_from, expires_at)
    SELECT won.event_no, won.sequence, UNHEX(won.id), won.user_id, won.issued_at, won.valid_from,
           won.expires_at
    FROM JSON_TABLE(?, '$[*]' COLUMNS (
             event_no BIGINT PATH '$[0]', sequence BIGINT PATH '$[1]', id CHAR(32) PATH '$[2]',
             user_id VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[3]',
             issued_at BIGINT PATH '$[4]', valid_from BIGINT PATH '$[5]',
             expires_at BIGINT PATH '$[6]')) AS won";

const MOVE: &str = "
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
               no BIGINT PATH '$[0]', issued BIGINT PATH '$[1]', closed INT PATH '$[2]')) AS moved
           STRAIGHT_JOIN events AS e ON e.no = moved.no
    SET e.issued = moved.issued, e.closed = moved.closed";

/// A connection that decides claims.
pub(crate) struct MySqlClaims(MySqlConnection);

impl MySqlClaims {
    pub(super) fn options(options: &MySqlConnectOptions) -> MySqlConnectOptions {
        mysql_options(options)
    }
}

impl ClaimConnection for MySqlClaims {
    type Options = MySqlConnectOptions;

    async fn connect(options: &MySqlConnectOptions, limits: &Limits) -> Result<Self, Error> {
        let mut db = MySqlConnection::connect_with(options).await?;
        mysql_session(&mut db, Session::Claim, limits).await?;
        Ok(Self(db))
    }

    async fn begin(&mut self) -> Result<(), Error> {
        self.0.execute("START TRANSACTION").await.map(|_| ())
    }

    async fn lock(&mut self, ids: &[EventId]) -> Result<Vec<LiveEvent>, LedgerError> {
        let ids: Vec<String> = ids.iter().map(|id| id.as_uuid().simple().to_string()).collect();
        let rows = sqlx::query(LOCK).bind(json(&ids)).fetch_all(&mut self.0).await?;
        let mut events: Vec<EventColumns> = rows.iter().map(columns).collect::<Result<_, _>>()?;
        let numbers: Vec<i64> = events.iter().map(|event| event.no).collect();
        let rows = sqlx::query(VALIDITIES).bind(json(&numbers)).fetch_all(&mut self.0).await?;
        for row in rows {
            let no: i64 = row.try_get(0)?;
            let event = events.iter_mut().find(|event| event.no == no).expect("it was asked for");
            event.valid_from = row.try_get(1)?;
            event.valid_until = row.try_get(2)?;
            event.valid_days = row.try_get::<Option<i32>, _>(3)?.map(i64::from);
        }
        events.into_iter().map(LiveEvent::try_from).collect()
    }

    async fn held(
        &mut self,
        asked: &[(EventNo, &UserId)],
    ) -> Result<(i64, Vec<issued_coupon::Model>), Error> {
        let asked: Vec<(i64, &str)> =
            asked.iter().map(|(no, user)| (signed_no(*no), user.as_str())).collect();
        let rows = sqlx::query(HELD).bind(json(&asked)).fetch_all(&mut self.0).await?;
        let now = rows.first().ok_or(Error::RowNotFound)?.try_get(0)?;
        let held = rows.iter().filter_map(|row| issued_row(row).transpose());
        Ok((now, held.collect::<Result<_, _>>()?))
    }

    async fn write(&mut self, wins: &[&Win], moves: &[Move]) -> Result<(), Error> {
        if !wins.is_empty() {
            let rows: Vec<_> = wins
                .iter()
                .map(|win| {
                    (
                        signed_no(win.event_no),
                        win.sequence.get(),
                        win.id.as_uuid().simple().to_string(),
                        win.user_id.as_str(),
                        win.issued_at.as_micros(),
                        win.valid_from.as_micros(),
                        win.expires_at.as_micros(),
                    )
                })
                .collect();
            sqlx::query(INSERT).bind(json(&rows)).execute(&mut self.0).await?;
        }
        let moves: Vec<_> = moves
            .iter()
            .map(|moved| (signed_no(moved.no), moved.issued, i32::from(moved.closed)))
            .collect();
        sqlx::query(MOVE).bind(json(&moves)).execute(&mut self.0).await.map(|_| ())
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.0.execute("COMMIT").await.map(|_| ())
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        self.0.execute("ROLLBACK").await.map(|_| ())
    }
}

/// A statement's one argument.
fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("texts and numbers serialize")
}

/// An event's own columns.
fn columns(row: &MySqlRow) -> Result<EventColumns, Error> {
    Ok(EventColumns {
        no: row.try_get(0)?,
        id: row.try_get::<Uuid, _>(1)?,
        coupon_id: row.try_get::<Uuid, _>(2)?,
        quantity: row.try_get(3)?,
        issued: row.try_get(4)?,
        opens_at: row.try_get(5)?,
        closes_at: row.try_get(6)?,
        opened_early: row.try_get(7)?,
        paused: row.try_get(8)?,
        closed: row.try_get(9)?,
        valid_from: None,
        valid_until: None,
        valid_days: None,
    })
}

/// A row of what is held; none for the clock's alone.
fn issued_row(row: &MySqlRow) -> Result<Option<issued_coupon::Model>, Error> {
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
