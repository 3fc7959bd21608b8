//! The claim transaction's statements for MySQL and MariaDB, prepared at their first use. A list is
//! one argument, as JSON. Indexes are named: of a small table all rows would be read, and locked.

mod apply;

use firstcome_core::{EventNo, UserId};
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{Connection, Error, Executor, MySqlConnection, Row};
use uuid::Uuid;

use super::super::batch::{LiveEvent, Win};
use super::{Asked, ClaimConnection, Move, NotCommitted, Seen};
use crate::entity::issued_coupon;
use crate::records::{EventColumns, signed_no};
use crate::server::{Session, mysql_options, mysql_session};
use crate::{LedgerError, Limits};

/// In the order of the list. The coupons are read, not locked: many events may be of one. The list
/// is in a query of its own: MySQL refuses a `JSON_TABLE` in one that locks.
const LOCK: &str = "
    SELECT e.no, e.id, e.coupon_id, e.quantity, e.issued, e.opens_at, e.closes_at, e.opened_early,
           e.paused, e.closed,
           (SELECT c.valid_from FROM coupons AS c WHERE c.id = e.coupon_id),
           (SELECT c.valid_until FROM coupons AS c WHERE c.id = e.coupon_id),
           (SELECT c.valid_days FROM coupons AS c WHERE c.id = e.coupon_id), e.version, e.erased,
           e.epoch
    FROM (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$')) AS ids) AS asked
         STRAIGHT_JOIN events AS e FORCE INDEX (id) ON e.id = UNHEX(asked.id)
    FOR UPDATE";

/// One row at least: the clock's. The statement begins after the lock was had.
const HELD: &str = "
    SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)),
           c.event_no, c.sequence, c.id, c.user_id, c.issued_at, c.valid_from, c.expires_at,
           c.used_at, c.revoked_at
    FROM (SELECT 1) AS one LEFT JOIN
         (JSON_TABLE(?, '$[*]' COLUMNS (
              event_no BIGINT PATH '$[0]',
              user_id VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$[1]')) AS asked
          STRAIGHT_JOIN issued_coupons AS c FORCE INDEX (issued_coupons_holder)
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

/// In an update of a join it is open which column is set first, so none depends on another.
const MOVE: &str = "
    UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
               no BIGINT PATH '$[0]', issued BIGINT PATH '$[1]', closed INT PATH '$[2]',
               won_after BIGINT PATH '$[3]')) AS moved
           STRAIGHT_JOIN events AS e FORCE INDEX (PRIMARY) ON e.no = moved.no
    SET e.issued = moved.issued, e.closed = moved.closed,
        e.unlisted_after =
            COALESCE(LEAST(e.unlisted_after, moved.won_after), moved.won_after)";

/// A connection that decides claims.
pub(crate) struct MySqlClaims(MySqlConnection);

impl MySqlClaims {
    pub(super) fn options(options: &MySqlConnectOptions) -> MySqlConnectOptions {
        mysql_options(options)
    }
}

impl MySqlClaims {
    /// The database's clock, and what these users hold of these events.
    async fn clock_and_held(
        &mut self,
        users: &[(i64, &str)],
    ) -> Result<(i64, Vec<issued_coupon::Model>), LedgerError> {
        let rows = sqlx::query(HELD).bind(json(users)).fetch_all(&mut self.0).await?;
        let clock = rows.first().ok_or(Error::RowNotFound)?;
        let held = rows.iter().filter_map(|row| issued_row(row).transpose());
        Ok((clock.try_get(0)?, held.collect::<Result<_, _>>()?))
    }

    async fn insert<'a>(&mut self, wins: impl Iterator<Item = &'a Win>) -> Result<(), Error> {
        let rows = wins.map(|win| {
            (
                signed_no(win.event_no),
                win.sequence.get(),
                win.id.as_uuid().simple().to_string(),
                win.user_id.as_str(),
                win.issued_at.as_micros(),
                win.valid_from.as_micros(),
                win.expires_at.as_micros(),
            )
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            sqlx::query(INSERT).bind(json(&rows)).execute(&mut self.0).await?;
        }
        Ok(())
    }

    async fn insert_and_move(&mut self, moves: &[Move<'_>]) -> Result<(), Error> {
        self.insert(moves.iter().flat_map(|moved| moved.wins)).await?;
        let moves: Vec<_> = moves
            .iter()
            .map(|it| (signed_no(it.no), it.issued, i32::from(it.closed), it.sequence_before()))
            .collect();
        sqlx::query(MOVE).bind(json(&moves)).execute(&mut self.0).await.map(|_| ())
    }

    async fn commit(&mut self) -> Result<(), NotCommitted> {
        match self.0.execute("COMMIT").await {
            Ok(_) => Ok(()),
            Err(error) => Err(NotCommitted::Unknown(error.into())),
        }
    }
}

impl ClaimConnection for MySqlClaims {
    type Options = MySqlConnectOptions;

    async fn connect(options: &MySqlConnectOptions, limits: &Limits) -> Result<Self, Error> {
        let mut db = MySqlConnection::connect_with(options).await?;
        mysql_session(&mut db, Session::Claim, limits).await?;
        // A transaction begins with its first statement.
        db.execute("SET SESSION autocommit = 0").await?;
        Ok(Self(db))
    }

    async fn look(&mut self, asked: &[Asked<'_>]) -> Result<Seen, LedgerError> {
        let ids: Vec<String> =
            asked.iter().map(|asked| asked.event_id.as_uuid().simple().to_string()).collect();
        let rows = sqlx::query(LOCK).bind(json(&ids)).fetch_all(&mut self.0).await?;
        let events: Vec<LiveEvent> = rows.iter().map(live_event).collect::<Result<_, _>>()?;
        let no = |id| events.iter().find(|event| event.id == id).map(|event| event.no);
        let users: Vec<(i64, &str)> = asked
            .iter()
            .filter_map(|asked| Some((no(asked.event_id)?, &asked.users)))
            .flat_map(|(no, users)| users.iter().map(move |user| (signed_no(no), user.as_str())))
            .collect();
        let (now_micros, held) = self.clock_and_held(&users).await?;
        Ok(Seen { events, now_micros, held })
    }

    async fn held(
        &mut self,
        holders: &[(EventNo, UserId)],
    ) -> Result<Vec<issued_coupon::Model>, LedgerError> {
        let users = holders.iter().map(|(no, user)| (signed_no(*no), user.as_str()));
        let (_, held) = self.clock_and_held(&users.collect::<Vec<_>>()).await?;
        Ok(held)
    }

    async fn write(&mut self, moves: &[Move<'_>]) -> Result<(), NotCommitted> {
        let written = self.insert_and_move(moves).await;
        written.map_err(|error| NotCommitted::Refused(error.into()))?;
        self.commit().await
    }

    async fn record(&mut self, moves: &[Move<'_>]) -> Result<(), NotCommitted> {
        self.write(moves).await
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        self.0.execute("ROLLBACK").await.map(|_| ())
    }
}

/// A statement's one argument.
fn json<T: serde::Serialize>(values: &[T]) -> String {
    serde_json::to_string(values).expect("texts and numbers serialize")
}

fn live_event(row: &MySqlRow) -> Result<LiveEvent, LedgerError> {
    EventColumns {
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
        valid_from: row.try_get(10)?,
        valid_until: row.try_get(11)?,
        valid_days: row.try_get::<Option<i32>, _>(12)?.map(i64::from),
        version: row.try_get(13)?,
        erased: row.try_get(14)?,
        epoch: row.try_get(15)?,
    }
    .try_into()
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
